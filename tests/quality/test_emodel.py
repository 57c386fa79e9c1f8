"""The E-model against the figures of the recommendations, and against its own logic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.quality.codecs import CODECS, codec_name, is_silent
from rtpproxy_tw.quality.emodel import WIDEBAND, effective_impairment, mos, rating

PCMU, G723, G729, G722 = CODECS[0], CODECS[4], CODECS[18], CODECS[9]


def test_the_defaults_give_the_rating_that_the_recommendation_states() -> None:
    """G.107: with all parameters at their defaults, R = 93.2."""
    assert rating(0, 0) == pytest.approx(93.2, abs=0.05)


@pytest.mark.parametrize(
    "r, score", [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (0, 1.0), (100, 4.5)]
)
def test_ratings_become_scores_by_the_table(r: float, score: float) -> None:
    """G.107 table B.1: the limits of the categories of user satisfaction."""
    assert mos(r) == pytest.approx(score, abs=0.011)


def test_telephone_quality_at_its_best_is_four_point_four_one() -> None:
    """G.711 without loss or delay; and the G.729A and G.723.1 of G.113 without loss."""
    assert round(mos(rating(0, 0)), 2) == 4.41
    assert round(mos(rating(0, G729.ie or 0)), 2) == 4.1
    assert round(mos(rating(0, G723.ie or 0)), 2) == 3.95


@pytest.mark.parametrize(
    "bpl, percent, impairment",
    [(4.3, 1, 17.9), (4.3, 2, 30.2), (25.1, 1, 3.6), (25.1, 2, 7.0), (25.1, 5, 15.8)],
)
def test_losses_of_g711_impair_as_equation_7_29_says(
    bpl: float, percent: float, impairment: float
) -> None:
    """Ie = 0: 95 * Ppl / (Ppl + Bpl), worked by hand."""
    assert effective_impairment(0, bpl, percent / 100, 1.0) == pytest.approx(impairment, abs=0.05)


def test_losses_of_g729a_impair_as_equation_7_29_says() -> None:
    """11 + 84 * 2 / (2 + 19), worked by hand; bursts twice as long make it 11 + 84 * 2 / 20."""
    assert effective_impairment(11, 19, 0.02, 1.0) == pytest.approx(19.0)
    assert effective_impairment(11, 19, 0.02, 2.0) == pytest.approx(19.4)


@pytest.mark.parametrize("delay", [0, 50, 100, 150])
def test_delays_up_to_150_ms_hardly_matter(delay: int) -> None:
    """G.114: up to 150 ms most users notice nothing; R stays in the best categories."""
    assert rating(delay, 0) > 89


@pytest.mark.parametrize("delay, r", [(200, 85.8), (300, 72.7), (400, 62.3), (500, 54.8)])
def test_longer_delays_cost_what_the_curve_of_the_recommendation_shows(
    delay: int, r: float
) -> None:
    """Equations 7-27 and 7-28 together with the echo of the default phone, worked by hand."""
    assert rating(delay, 0) == pytest.approx(r, abs=0.1)


def test_wideband_has_a_scale_of_its_own() -> None:
    """G.107.1: 129 at best, G.722 loses 13; brought to the span of scores that is R = 89.9."""
    assert rating(0, 0, WIDEBAND) == 129
    assert rating(0, G722.ie or 0, WIDEBAND) == 116
    assert mos(129, WIDEBAND) == 4.5
    assert mos(116, WIDEBAND) == pytest.approx(mos(116 / 1.29))


fractions = st.floats(0, 1)
delays = st.floats(0, 1e6)


@given(delays, fractions, st.floats(0, 1e6), st.sampled_from([PCMU, G723, G729, G722]))
def test_a_score_is_a_score_whatever_goes_in(
    delay: float, loss: float, ratio: float, codec: object
) -> None:
    """Never below 1, above 4.5, or no number at all."""
    assert isinstance(codec, type(PCMU))
    impairment = effective_impairment(codec.ie or 0, codec.bpl, loss, ratio)
    assert 1.0 <= mos(rating(delay, impairment, codec.scale), codec.scale) <= 4.5


@given(fractions, fractions, st.floats(1, 20))
def test_more_loss_never_sounds_better(one: float, other: float, ratio: float) -> None:
    """Ie,eff grows with the loss, and never beyond 95 with random loss."""
    less, more = sorted((one, other))
    worse = effective_impairment(0, 4.3, more, ratio)
    assert effective_impairment(0, 4.3, less, ratio) <= worse
    assert effective_impairment(0, 4.3, more, 1.0) <= 95


@given(delays, delays)
def test_more_delay_never_sounds_better_beyond_a_tenth(one: float, other: float) -> None:
    """Below 100 ms echo makes tiny differences either way."""
    less, more = sorted((max(100.0, one), max(100.0, other)))
    assert rating(more, 0) <= rating(less, 0) + 0.01


def test_payload_types_have_names() -> None:
    """Dynamic ones are numbers, as only the SDP knows more."""
    assert codec_name(8) == "PCMA"
    assert codec_name(111) == "payload type 111"


def test_silence_is_known_by_its_samples() -> None:
    """Comfort noise, or code words about zero; nothing is said of other codecs."""
    assert is_silent(13, b"\x40")
    assert is_silent(0, b"\xff\x7f\xfe" * 50)
    assert is_silent(8, b"\xd5" * 160)
    assert not is_silent(0, b"\xd5" * 160)
    assert not is_silent(0, b"\xff" * 159 + b"\x10")
    assert not is_silent(0, b"")
    assert not is_silent(18, b"\x00" * 20)
