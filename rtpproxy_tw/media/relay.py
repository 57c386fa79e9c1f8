"""What happens to one datagram between its arrival and its departure, whatever plane carried it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.interfaces import IFastPath
from rtpproxy_tw.media.attention import Attention
from rtpproxy_tw.media.fastpath import NullFastPath
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.quality.refusals import Refusals
from rtpproxy_tw.session import Component, Stream
from rtpproxy_tw.statistics import Totals

SHORT = 128
"""Octets; shorter packets are sent twice when the operator asked for it (``-2``)."""


class Relay:
    """Latching, statistics, processing, copies and forwarding, in the original's order.

    ``now`` gives monotonic seconds. Nothing here raises for anything a stranger sends, and nothing
    is logged per packet.
    """

    _log = Logger()

    def __init__(
        self,
        now: Callable[[], float],
        totals: Totals,
        *,
        fast_path: IFastPath | None = None,
        send_twice: bool = False,
    ) -> None:
        self.attention = Attention()
        self.now = self._now = now
        self._totals = totals
        self._fast_path: IFastPath = NullFastPath() if fast_path is None else fast_path
        self._send_twice = send_twice
        # Packets to be sent twice cannot be carried by others.
        self._offloading = self._fast_path.active and not send_twice

    def received(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """``datagram`` from ``source`` arrived on the socket of ``stream``."""
        totals = self._totals
        leg = stream.leg
        session = leg.session
        if not session.complete:
            stream.early += 1
            totals.npkts_discard += 1
            if stream.stranger is not None:
                stream.stranger.heard(stream, datagram, source)
            return
        totals.npkts_rcvd += 1
        now = self._now()
        latch = stream.latch
        if stream.offloaded:
            # The latch must know how long its source has really been silent.
            self._fast_path.disturb(session)
        believed = latch.source
        if source != believed:
            # Nobody was silent while we did not listen.
            latch.last_heard = max(latch.last_heard, self.attention.since(now))
        if not latch.hear(source, datagram, now):
            stream.ignored += 1
            totals.npkts_discard += 1
            if stream.refusals is None:
                stream.refusals = Refusals(source)
            stream.refusals.note(source, datagram, now)
            if stream.stranger is not None:
                stream.stranger.heard(stream, datagram, source)
            return
        if latch.source is not believed:
            if _note_source(stream, believed, now):
                self._tell(stream)
            self._fast_path.release(session)
            if stream.component is Component.RTP:
                leg.rtcp.latch.follow(latch.source or source, now)
        elif stream.offloaded:
            self._fast_path.recall(stream, now)
        self._count(stream, datagram, now)
        leg.last_active = now
        if session.outlet_of is not None:
            stream.dropped += 1
            stream.nowhere += 1
            stream.withheld += len(datagram)
            totals.npkts_discard += 1
            return
        processor = stream.processor
        octets = 0
        for passed in (
            (datagram,) if processor is None else processor.process(stream, datagram, source, now)
        ):
            for tap in stream.taps:
                tap.heard(stream, passed, source)
            for feed in stream.feeds:
                feed.leg.last_active = now  # what leaves through it keeps an outlet alive
                if self._send(feed, passed):
                    feed.added += 1
                    feed.added_octets += len(passed)
                    totals.npkts_relayed += 1
            if self._send(stream.peer, passed):
                stream.relayed += 1
                octets += len(passed)
                totals.npkts_relayed += 1
            else:
                stream.dropped += 1
                stream.nowhere += stream.peer.latch.remote is None
                totals.npkts_discard += 1
        stream.withheld += len(datagram) - octets
        if self._offloading and stream.latch.settled and now >= stream.offload_after:
            self._fast_path.consider(stream, now)

    def _tell(self, stream: Stream) -> None:
        """Log that another source is believed; seldom where it happens again and again."""
        times, source = stream.latch.relatches, stream.latch.source
        if source is None or (times > 3 and times % 100):
            return
        self._log.info(
            "session {call_id!r} {from_tag!r}: {component} of the {side} is now from {host}"
            " port {port} (change {times})",
            call_id=stream.leg.session.key.call_id,
            from_tag=stream.leg.session.key.from_tag,
            component=stream.component.name,
            side=stream.leg.side.value,
            host=source[0],
            port=source[1],
            times=times,
        )

    def _count(self, stream: Stream, datagram: bytes, now: float) -> None:
        if stream.accepted:
            gap = now - stream.last_heard
            if gap > stream.longest_gap:
                stream.longest_gap = gap
        else:
            stream.first_heard = now
        stream.last_heard = now
        stream.accepted += 1
        stream.octets += len(datagram)
        stream.latest = datagram
        if stream.component is Component.RTP:
            analyzer = stream.analyzer
            if analyzer is None:
                analyzer = stream.analyzer = Analyzer()
            analyzer.heard(datagram, now)
        else:
            stream.keep_letter(now, datagram)

    def _send(self, out: Stream, datagram: bytes) -> bool:
        to = out.latch.remote
        sender = out.sender
        if to is None or sender is None:
            return False
        sent = sender.send(datagram, to)
        if self._send_twice and len(datagram) < SHORT:
            sender.send(datagram, to)
        return sent


def _note_source(stream: Stream, before: Address | None, now: float) -> bool:
    """For whoever asks later: ``stream`` believes another source than ``before``.

    True where that took the place of one.
    """
    source = stream.latch.source
    if source is None or source == before:
        return False
    kind = "relatch" if stream.accepted else "latch"
    what = f"{stream.leg.side.value}: {stream.component.name} is from {source[0]} port {source[1]}"
    stream.leg.session.timeline.add(now, kind, what)
    return before is not None
