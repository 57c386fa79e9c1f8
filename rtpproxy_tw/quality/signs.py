"""What can be seen of a leg at a moment: the yes-or-no questions that verdicts are made of."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.quality.codecs import COMFORT_NOISE
from rtpproxy_tw.quality.monitor import SILENT
from rtpproxy_tw.rtcp import looks_like_rtcp
from rtpproxy_tw.rtp import is_handshake

if TYPE_CHECKING:
    from rtpproxy_tw.session import Leg, Stream

PATIENCE = 3.0
"""Seconds a party is given after the session is complete."""

REFUSED_ENOUGH = 5
"""Refused datagrams that are more than a stray one or a scan."""

UNREACHABLE_FOR = 30.0
"""Seconds that a report of the network is believed for: kernels send one a second at most, which
all calls of one host share."""

UNREACHABLE_ENOUGH = 3
"""Reports that count against a party that is heard all the same."""

FLAPPING_FOR = 30.0
FLAPPING_ENOUGH = 3
"""So many changes of source in so many seconds are no handover any more."""

QUIET_FOR = 10.0
"""Seconds of nothing to hear that are no pause in a conversation."""

SSRC_CHANGED_FOR = 30.0
"""Seconds for which a change of the SSRC may explain what somebody just complained about."""


def heard(stream: Stream) -> bool:
    """Whether media of the party ever arrived: RTP, or what is neither RTCP nor a handshake.

    The latter may be T.38, which is media too.
    """
    analyzer = stream.analyzer
    if not stream.accepted:
        return False
    if analyzer is None or analyzer.received:
        return True
    return not (looks_like_rtcp(analyzer.stray) or is_handshake(analyzer.stray))


def speaking(stream: Stream, now: float) -> bool:
    """Whether media of the party arrives now."""
    return heard(stream) and now - stream.last_heard <= SILENT


def port_of(leg: Leg) -> int:
    """The leg's RTP port, the one it had where the session has ended."""
    return leg.port or leg.former_port


def ports_of(leg: Leg) -> tuple[Address, ...]:
    """The leg's own RTP address, as it is bound and as it is told to the party."""
    local, port = leg.local, port_of(leg)
    if local is None or not port:
        return ()
    hosts = (local.host,) if local.advertised is None else (local.host, local.advertised)
    return tuple((host, port) for host in hosts)


def _is_at(address: Address | None, leg: Leg) -> bool:
    """Whether ``address`` is the leg's own RTP address."""
    return address is not None and address[1] == port_of(leg) and address in ports_of(leg)


def looped(leg: Leg) -> bool:
    """Whether what is meant for the party is sent to this relay."""
    stream = leg.rtp
    if stream.looped:
        return True
    latch, other = stream.latch, leg.opposite
    if _is_at(latch.remote, leg) or _is_at(latch.remote, other):
        return True
    if stream.ours is not None and not heard(stream):
        return True
    given = latch.signalled
    return (_is_at(given, leg) or _is_at(given, other)) and not heard(stream)


def strayed(leg: Leg, now: float | None = None) -> Address | None:
    """The source of the party's media where it arrives on the port meant for the other party.

    With ``now`` only if it did so just now.
    """
    expected = leg.rtp.latch.signalled
    other = leg.opposite.rtp
    if expected is None or other.latch.signalled == expected:
        return None
    if other.accepted and other.latch.source == expected:
        recent = now is None or now - other.last_heard <= SILENT
        return expected if recent else None
    refusals = other.refusals
    if refusals is None or (now is not None and now - refusals.at > SILENT):
        return None
    if expected in refusals.sources:
        return expected
    signalled = other.latch.signalled
    if refusals.source[0] == expected[0] and (signalled is None or signalled[0] != expected[0]):
        return refusals.source
    return None


def impersonated(leg: Leg) -> bool:
    """Whether what is believed to be the party is the other one."""
    latch, other = leg.rtp.latch, leg.opposite.rtp.latch
    return latch.source is not None and latch.source == other.signalled != latch.signalled


def refused(leg: Leg, now: float | None = None, *, rtp: bool = False) -> bool:
    """Whether datagrams of others than the believed source arrive.

    With ``now`` only if they did so just now, with ``rtp`` only if the last ones are RTP.
    """
    refusals = leg.rtp.refusals
    if refusals is None or leg.rtp.ignored < REFUSED_ENOUGH or (rtp and refusals.ssrc is None):
        return False
    return now is None or now - refusals.at <= SILENT


def unreachable(leg: Leg, now: float) -> bool:
    """Whether the network reported that the party is unreachable, and nothing speaks against it.

    One report is enough for a party of which nothing came since. One that is heard all the same
    must be reported several times of late.
    """
    stream = leg.rtp
    if not speaking(stream, now):
        return stream.unreachable > 0 and stream.unreachable_at > stream.last_heard
    return (
        stream.unreachable >= UNREACHABLE_ENOUGH and now - stream.unreachable_at <= UNREACHABLE_FOR
    )


def crossed(leg: Leg) -> bool:
    """Whether the party's RTP arrives on its RTCP port."""
    return leg.monitor is not None and leg.monitor.crossed > 0


def on_hold(leg: Leg) -> bool:
    """Whether one of the parties is on hold, so that nobody need send anything."""
    return leg.held or leg.opposite.held


def wanted(leg: Leg) -> tuple[int, ...]:
    """The payload types the party may send: those the other one listed, else its own ones."""
    return leg.opposite.codecs or leg.codecs


def unwanted_payload(leg: Leg) -> int | None:
    """The payload type that the party sends although nobody asked for it."""
    analyzer = leg.rtp.analyzer
    known = wanted(leg)
    if analyzer is None or not known:
        return None
    heard_type = analyzer.payload_type
    if heard_type is None or heard_type in known or heard_type in COMFORT_NOISE:
        return None
    return heard_type


def flaps(leg: Leg, now: float) -> int:
    """How often the source of the party's media changed of late."""
    if leg.monitor is None:
        return 0
    return sum(now - when <= FLAPPING_FOR for when in leg.monitor.flaps)


def quiet_for(leg: Leg, now: float) -> float:
    """For how many seconds there has been nothing to hear in the party's packets."""
    since = leg.monitor.quiet_since if leg.monitor is not None else inf
    return now - since if since != inf else 0.0


def ssrc_changed(leg: Leg, now: float) -> bool:
    """Whether the party's stream was replaced by another one lately."""
    return leg.monitor is not None and now - leg.monitor.ssrc_changed <= SSRC_CHANGED_FOR
