"""How good a call sounds, estimated: the E-model of ITU-T G.107, with G.107.1 for wideband.

The transmission rating R starts at what the basic signal-to-noise ratio allows and loses by
simultaneous impairments, by delay and echo, and by the codec and its losses. Everything a relay
cannot know has the default value of G.107 table 2; with these alone R is 93.2. Symbols are those
of the recommendation, spelled out where that helps.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, log2, log10, sqrt

# Defaults of G.107 table 2, in dB, dBm0p or dBmp as there.
_SLR = 8.0
_RLR = 2.0
_STMR = 15.0
_LSTR = 18.0
_DS = 3.0
_TELR = 65.0
_WEPL = 110.0
_NC = -70.0
_NFOR = -64.0
_PS = 35.0
_PR = 35.0
_QDU = 1.0

NARROWBAND = "narrowband"
WIDEBAND = "wideband"

WIDEBAND_CEILING = 129.0
"""R of a perfect wideband connection (G.107.1); on that scale narrowband ends at 93.2."""

WORST_CODEC = 95.0
"""The rating that is left to be lost by packet loss, in Ie,eff (G.107 equation 7-29)."""


def _noise() -> float:
    """No: the powers of all circuit noise, added up, at the 0 dBr point."""
    olr = _SLR + _RLR
    send_room = _PS - _SLR - _DS - 100 + 0.004 * (_PS - olr - _DS - 14) ** 2
    effective = _PR + 10 * log10(1 + 10 ** ((10 - _LSTR) / 10))
    receive_room = _RLR - 121 + effective + 0.008 * (effective - 35) ** 2
    floor = _NFOR + _RLR
    return 10 * log10(sum(10 ** (each / 10) for each in (_NC, send_room, receive_room, floor)))


_NO = _noise()
_RO = 15 - 1.5 * (_SLR + _NO)


def _echo_weight(delay: float) -> float:
    """STMRo: sidetone with the talker's echo added, which is sidetone too while it is early."""
    return -10 * log10(10 ** (-_STMR / 10) + exp(-delay / 4) * 10 ** (-_TELR / 10))


def _simultaneous(delay: float) -> float:
    """Is: too loud, wrong sidetone, quantising noise."""
    olr = _SLR + _RLR
    x = olr + 0.2 * (64 + _NO - _RLR)
    loud = 20 * ((1 + (x / 8) ** 8) ** (1 / 8) - x / 8)
    side = _echo_weight(delay)
    sidetone = (
        12 * (1 + ((side - 13) / 6) ** 8) ** (1 / 8)
        - 28 * (1 + ((side + 1) / 19.4) ** 35) ** (1 / 35)
        - 13 * (1 + ((side - 3) / 33) ** 13) ** (1 / 13)
        + 29
    )
    q = 37 - 15 * log10(_QDU)
    g = 1.07 + 0.258 * q + 0.0602 * q * q
    y = (_RO - 100) / 15 + 46 / 8.4 - g / 9
    z = 46 / 30 - g / 40
    return float(loud + sidetone + 15 * log10(1 + 10**y + 10**z))


def _delayed(delay: float) -> float:
    """Id: talker echo, listener echo, and the plain delay beyond 100 ms."""
    round_trip = 2 * delay
    terv = _TELR - 40 * log10((1 + delay / 10) / (1 + delay / 150)) + 6 * exp(-0.3 * delay**2)
    roe = -1.5 * (_NO - _RLR)
    re = 80 + 2.5 * (terv - 14)
    talker = ((roe - re) / 2 + sqrt((roe - re) ** 2 / 4 + 100) - 1) * (1 - exp(-delay))
    rle = 10.5 * (_WEPL + 7) / sqrt(sqrt(round_trip + 1))
    listener = (_RO - rle) / 2 + sqrt((_RO - rle) ** 2 / 4 + 169)
    return talker + listener + _absolute(delay)


def _absolute(delay: float) -> float:
    """Idd (G.107 equations 7-27 and 7-28)."""
    if delay <= 100:
        return 0.0
    x = log2(delay / 100)
    return float(25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))


@lru_cache(maxsize=2048)
def _clean(delay: int) -> float:
    """R at ``delay`` whole ms without any impairment by codec or loss."""
    return _RO - _simultaneous(delay) - _delayed(delay)


def effective_impairment(ie: float, bpl: float, loss: float, burst_ratio: float) -> float:
    """Ie,eff: the codec's impairment ``ie`` with random or bursty packet loss (equation 7-29).

    ``loss`` is 0 to 1, ``bpl`` the codec's robustness, ``burst_ratio`` 1 for random loss and more
    for bursts; less is taken as 1, as the model knows no loss more even than random.
    """
    percent = 100 * min(1.0, max(0.0, loss))
    if not percent:
        return ie
    return ie + (WORST_CODEC - ie) * percent / (percent / max(1.0, burst_ratio) + bpl)


def rating(delay_ms: float, impairment: float, scale: str = NARROWBAND) -> float:
    """R for a one-way mouth-to-ear delay and an Ie,eff; may lie below 0 or, wideband, above 100.

    Wideband (G.107.1) starts at 129 and loses by delay as narrowband does.
    """
    delay = int(min(10_000.0, max(0.0, delay_ms)))
    if scale == WIDEBAND:
        return WIDEBAND_CEILING - (_clean(0) - _clean(delay)) - impairment
    return _clean(delay) - impairment


def mos(r: float, scale: str = NARROWBAND) -> float:
    """The mean opinion score, 1 to 4.5, that goes with ``r`` (G.107 annex B).

    Wideband ratings are first brought to the narrowband span, as G.107.1 does; so a score is to
    be read on its own scale only.
    """
    if scale == WIDEBAND:
        r /= 1.29
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    # The cubic dips below 1 for the smallest ratings.
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)
