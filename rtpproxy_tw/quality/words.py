"""The verdicts in words: a sentence and a hint by code, and the evidence, which any may have.

All text is made of addresses, numbers and names of our own: nothing that a party or a SIP proxy
wrote gets into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rtpproxy_tw.addresses import Address, is_loopback, is_private
from rtpproxy_tw.quality import signs
from rtpproxy_tw.quality.codecs import codec_name
from rtpproxy_tw.rtp import is_handshake

if TYPE_CHECKING:
    from rtpproxy_tw.session import Leg

Said = tuple[str, str]
"""A sentence and a hint."""


def place(address: Address | None) -> str:
    """``192.0.2.1:4000``, ``[2001:db8::1]:4000``."""
    if address is None:
        return "an address not known yet"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _here(leg: Leg) -> str:
    """Where the party's media is expected."""
    own = signs.ports_of(leg)
    if not own:
        return "no port"
    text = place(own[0])
    return f"{text}, told as {place(own[1])}" if len(own) > 1 else text


def _party(leg: Leg) -> str:
    return leg.side.value


def _seconds(duration: float) -> str:
    return f"{duration:.0f} s" if duration >= 10 else f"{duration:.1f} s"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _sent(leg: Leg) -> int:
    """Packets sent out to the party."""
    return leg.opposite.rtp.relayed


def _although(leg: Leg) -> str:
    sent = _sent(leg)
    return f" although {sent} were sent to {place(leg.rtp.latch.remote)}" if sent else ""


def _nothing(leg: Leg) -> str:
    """How the sentence of a party that was never heard begins."""
    return f"no RTP packet ever arrived from the {_party(leg)} on {_here(leg)}"


def _silence(leg: Leg, now: float) -> str:
    """How the sentence of a silent party begins, whether it was ever heard or not."""
    if not signs.heard(leg.rtp):
        return _nothing(leg)
    if signs.speaking(leg.rtp, now):
        # What arrives there is not the party's.
        return f"nothing arrives from the {_party(leg)} on {_here(leg)}"
    since = _seconds(now - leg.rtp.last_heard)
    return f"nothing has arrived from the {_party(leg)} on {_here(leg)} for {since}"


# By code.


def _ok(leg: Leg, now: float) -> Said:
    return f"media of the {_party(leg)} arrives from {place(leg.rtp.latch.source)}", ""


def _learning(leg: Leg, now: float) -> Said:
    session = leg.session
    if session.complete:
        age = _seconds(now - session.completed_at)
        return f"nothing has arrived from the {_party(leg)} yet, {age} after the answer", ""
    hint = ""
    if leg.rtp.early or leg.opposite.rtp.early:
        hint = "packets that come before the answer reached the relay go nowhere"
    return f"nothing is relayed for the {_party(leg)} yet: the call has not been answered", hint


def _held(leg: Leg, now: float) -> Said:
    who = leg if leg.held else leg.opposite
    return (
        f"{_silence(leg, now)}; the {_party(who)} is on hold",
        "if nobody put the call on hold, an SDP with the null address (0.0.0.0) did",
    )


def _never_arrived(leg: Leg, now: float) -> Said:
    signalled = leg.rtp.latch.signalled
    if signalled is None:
        hint = "no address of the party was ever given: the SIP proxy has sent no SDP of it"
    elif signalled[1] == 0:
        hint = "the party refused this medium: its SDP gives port 0"
    elif _unroutable(leg):
        hint = (
            "the address given is private and the party's own packets, which would tell the"
            " public one, do not come: look at the firewall between it and the relay"
        )
    elif is_loopback(signalled[0]) and not leg.rtp.latch.loopback:
        hint = "the address given is of the party's own loopback: nothing can be sent there"
    else:
        hint = (
            "the party does not send, or a firewall drops it: capture at the party, and check"
            " that the address told to it reaches this host"
        )
    return f"{_nothing(leg)}{_although(leg)}", hint


def _one_way(leg: Leg, now: float) -> Said:
    return (
        f"{_silence(leg, now)}; the {_party(leg.opposite)} is still heard",
        "the party stopped sending or its path broke: muted with silence suppression, a changed"
        " network, an expired NAT binding, a firewall's timeout",
    )


def _stopped(leg: Leg, now: float) -> Said:
    return (
        f"{_silence(leg, now)}, nor from the {_party(leg.opposite)}",
        "both parties stopped: the call is over and its end was not told, or the network of the"
        " relay itself is down",
    )


def _rtcp_only(leg: Leg, now: float) -> Said:
    if leg.rtp.accepted:
        return (
            f"{_nothing(leg)}; what arrives there is RTCP or a handshake only",
            "the party has set up its transport but sends no media",
        )
    return (
        f"{_nothing(leg)}; RTCP arrives on the port beside it, {leg.rtcp.accepted} packets",
        "the address is right and the path is open: a firewall or NAT passes the odd port only,"
        " or the party sends no media",
    )


def _wrong_source(leg: Leg, now: float) -> Said:
    latch, refusals = leg.rtp.latch, leg.rtp.refusals
    source = refusals.source if refusals is not None else None
    expected = latch.source or latch.signalled
    return (
        f"{_silence(leg, now)}, where {place(expected)} is expected; packets come from"
        f" {place(source)} and are refused",
        "the SDP names another address than the party sends from, and nothing tells that it is"
        " the same party: correct the SDP at the SIP proxy (fix_nated_sdp and the like), or the"
        " latching policy where such parties are to be trusted",
    )


def _crossed(leg: Leg, now: float) -> Said:
    if signs.crossed(leg):
        return (
            f"{_silence(leg, now)}; its RTP arrives on the RTCP port instead",
            "the party adds one to the port it was told, or the SIP proxy gave it the wrong one",
        )
    other = leg.opposite
    if signs.strayed(leg) is None:
        return (
            f"{_silence(leg, now)}; what arrives there is the media of the {_party(other)}",
            "one port was told to both parties: the SIP proxy put the reply to one party's command"
            " into both SDPs, or into none",
        )
    return (
        f"{_silence(leg, now)}; its media arrives on the port for the {_party(other)},"
        f" {_here(other)}",
        "the ports were told the wrong way round: the SIP proxy put the reply to one party's"
        " command into the SDP for the other",
    )


def _looped(leg: Leg, now: float) -> Said:
    remote = leg.rtp.ours or leg.rtp.latch.remote or leg.rtp.latch.signalled
    return (
        f"{_silence(leg, now)}; the address given for it, {place(remote)}, is a port of this relay",
        "the SDP went through the relay twice, or the relay's own SDP came back as the party's:"
        " find the SIP proxy that rewrites it a second time",
    )


def _unreachable(leg: Leg, now: float) -> Said:
    remote = place(leg.rtp.latch.remote)
    count = leg.rtp.unreachable
    hint = (
        f"nothing listens at {remote}: the party has closed its port or never opened it, or the"
        " SDP gives the wrong one"
    )
    if signs.speaking(leg.rtp, now):
        return (
            f"media of the {_party(leg)} arrives, but what is sent to it at {remote} comes back"
            f" as unreachable ({count} ICMP errors)",
            hint,
        )
    return (
        f"{_silence(leg, now)}{_although(leg)}; the network says it is unreachable"
        f" ({count} ICMP errors)",
        hint,
    )


def _payload(leg: Leg, now: float) -> Said:
    found = signs.unwanted_payload(leg)
    name = "nothing known" if found is None else codec_name(found)
    label = name if found is None or name.endswith(str(found)) else f"{name} ({found})"
    listed = ", ".join(map(str, signs.wanted(leg)[:12]))
    return (
        f"media of the {_party(leg)} arrives as {label}, which was not negotiated: {listed} were",
        "the other party cannot play it: compare the payload types of offer and answer, and look"
        " at what the party switched to",
    )


def _flapping(leg: Leg, now: float) -> Said:
    return (
        f"media of the {_party(leg)} arrives from changing sources: {signs.flaps(leg, now)} changes"
        f" in {_seconds(signs.FLAPPING_FOR)}, now {place(leg.rtp.latch.source)}",
        "a NAT with too many addresses, two devices sending for one party, or an attempt to"
        " take the stream over",
    )


def _quiet(leg: Leg, now: float) -> Said:
    analyzer = leg.rtp.analyzer
    name = ""
    if analyzer is not None and analyzer.payload_type is not None:
        name = codec_name(analyzer.payload_type)
    return (
        f"media of the {_party(leg)} arrives, but holds nothing to hear for"
        f" {_seconds(signs.quiet_for(leg, now))} ({name})",
        "the network is fine: a muted or missing microphone, or a gateway without its input",
    )


def _ssrc(leg: Leg, now: float) -> Said:
    since = _seconds(now - leg.monitor.ssrc_changed) if leg.monitor is not None else ""
    return (
        f"media of the {_party(leg)} arrives as another stream (SSRC) since {since} ago",
        "usual after a transfer or an announcement; a receiver that keeps to the former SSRC, or"
        " its SRTP context, plays nothing from then on",
    )


SENTENCES: Mapping[str, Callable[[Leg, float], Said]] = {
    "ok": _ok,
    "learning": _learning,
    "held": _held,
    "never-arrived": _never_arrived,
    "one-way": _one_way,
    "stopped": _stopped,
    "rtcp-only": _rtcp_only,
    "wrong-source": _wrong_source,
    "crossed-ports": _crossed,
    "looped-to-us": _looped,
    "icmp-unreachable": _unreachable,
    "payload-never-negotiated": _payload,
    "source-flapping": _flapping,
    "silence-only": _quiet,
    "ssrc-changed": _ssrc,
}


class Sentence:
    """What is to be said of ``leg``, put into words only when somebody, a log say, reads it."""

    __slots__ = ("_code", "_leg", "_now")

    def __init__(self, leg: Leg, code: str, now: float) -> None:
        self._leg = leg
        self._code = code
        self._now = now

    def __str__(self) -> str:
        return SENTENCES[self._code](self._leg, self._now)[0]


# Evidence.


def evidence(leg: Leg, now: float) -> tuple[str, ...]:
    """Everything that was observed of the leg, most telling first; at most a dozen lines."""
    found = [*_arrivals(leg, now), *_others(leg, now), *_changes(leg, now), *_outgoing(leg)]
    return tuple(found[:12])


def _arrivals(leg: Leg, now: float) -> list[str]:
    stream = leg.rtp
    lines = []
    if signs.heard(stream):
        after = stream.first_heard - leg.session.created
        last = _seconds(max(0.0, now - stream.last_heard))
        lines.append(
            f"{stream.accepted} packets accepted, the first {_seconds(after)} after the start,"
            f" the last {last} ago"
        )
    else:
        lines.append("no RTP packet accepted")
    if stream.early:
        lines.append(f"{stream.early} packets came before the answer and went nowhere")
    analyzer = stream.analyzer
    if analyzer is not None and analyzer.errors:
        kind = "STUN, DTLS or ZRTP last" if is_handshake(analyzer.stray) else "of whatever kind"
        lines.append(f"{analyzer.errors} packets on the RTP port were not RTP, {kind}")
    if leg.rtcp.accepted and not signs.heard(stream):
        lines.append(f"{leg.rtcp.accepted} packets accepted on the RTCP port")
    return lines


def _others(leg: Leg, now: float) -> list[str]:
    stream = leg.rtp
    lines = []
    if stream.ignored and stream.refusals is not None:
        refusals = stream.refusals
        last = _seconds(max(0.0, now - refusals.at))
        lines.append(
            f"{stream.ignored} packets refused, the last from {place(refusals.source)}, {last} ago"
        )
    if stream.unreachable:
        last = _seconds(max(0.0, now - stream.unreachable_at))
        lines.append(f"{stream.unreachable} ICMP errors, the last {last} ago")
    if signs.crossed(leg):
        lines.append("RTP arrives on the RTCP port")
    astray = signs.strayed(leg)
    if astray is not None:
        port = _here(leg.opposite)
        lines.append(
            f"packets of {place(astray)} arrive on the {_party(leg.opposite)}'s port {port}"
        )
    if signs.looped(leg):
        lines.append("the address given is one of this relay's own ports")
    return lines


def _changes(leg: Leg, now: float) -> list[str]:
    latch, monitor = leg.rtp.latch, leg.monitor
    lines = []
    if latch.source is not None and latch.signalled is not None and latch.source != latch.signalled:
        lines.append(
            f"the SDP said {place(latch.signalled)}, media comes from {place(latch.source)}"
        )
    elif latch.source is None and _unroutable(leg):
        lines.append(f"the SDP said {place(latch.signalled)}, a private address")
    if latch.relatches:
        lines.append(f"the source changed {_times(latch.relatches)}")
    analyzer = leg.rtp.analyzer
    if analyzer is not None and analyzer.ssrc_changes > 1:
        lines.append(f"the SSRC changed {_times(analyzer.ssrc_changes - 1)}")
    if leg.held or leg.opposite.held:
        lines.append(f"the {_party(leg if leg.held else leg.opposite)} is on hold")
    if monitor is not None and monitor.opinion.said_goodbye is not None:
        ago = _seconds(max(0.0, now - monitor.opinion.said_goodbye))
        lines.append(f"the party said goodbye by RTCP {ago} ago")
    return lines


def _outgoing(leg: Leg) -> list[str]:
    sent = _sent(leg)
    to = place(leg.rtp.latch.remote)
    lines = [f"{sent} packets sent to {to}" if sent else f"nothing sent to {to} so far"]
    dropped = leg.opposite.rtp.dropped
    if dropped:
        lines.append(f"{dropped} packets for it could not be sent")
    return lines


def _unroutable(leg: Leg) -> bool:
    """Whether the party gave a private address although it was told a public one."""
    signalled, own = leg.rtp.latch.signalled, signs.ports_of(leg)
    return bool(
        signalled is not None
        and own
        and is_private(signalled[0])
        and not is_private(own[-1][0])
        and not is_loopback(own[-1][0])
    )
