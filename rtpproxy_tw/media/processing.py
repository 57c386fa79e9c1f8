"""What stands between packets accepted and packets relayed: re-packetising, muting, hiding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.commands import CatchDigits
from rtpproxy_tw.interfaces import INotifier, IProcessing, IProcessor
from rtpproxy_tw.media.dtmf import DigitWatch
from rtpproxy_tw.media.resizer import Resizer
from rtpproxy_tw.session import Leg, NotifySocket, Stream
from rtpproxy_tw.statistics import Totals


@implementer(IProcessor)
class Processor:
    """The processor of one RTP stream. It leaves the stream when it has nothing to do any more."""

    __slots__ = ("_totals", "hidden", "muted", "resizer")

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self.resizer: Resizer | None = None
        self.muted = False
        """A prompt is played to the other party, which is to hear nothing else."""
        self.hidden: int | None = None
        """The payload type that is kept from the other party."""

    def process(
        self, stream: Stream, datagram: bytes, source: Address, now: float
    ) -> Sequence[bytes]:
        """See IProcessor."""
        passed: Sequence[bytes] = (datagram,)
        resizer = self.resizer
        if resizer is not None:
            passed = resizer.take(datagram, now)
            if resizer.idle:
                self.resizer = None
                self.leave(stream)
        if self.muted:
            self._drop(stream, len(passed))
            return ()
        if self.hidden is not None:
            passed = [each for each in passed if not self._hide(stream, each, source)]
        return passed

    def leave(self, stream: Stream) -> None:
        """Be no processor of ``stream`` any more, unless there is still something to do."""
        if self.resizer is None and not self.muted and self.hidden is None:
            stream.processor = None

    def _hide(self, stream: Stream, datagram: bytes, source: Address) -> bool:
        if len(datagram) < 12 or datagram[1] & 0x7F != self.hidden:
            return False
        for tap in stream.taps:
            tap.heard(stream, datagram, source)
        self._drop(stream, 1)
        return True

    def _drop(self, stream: Stream, count: int) -> None:
        stream.dropped += count
        self._totals.npkts_discard += count


@implementer(IProcessing)
class Processing:
    """Makes processors. ``now`` gives the relay's seconds."""

    def __init__(self, notifier: INotifier, totals: Totals, now: Callable[[], float]) -> None:
        self._notifier = notifier
        self._totals = totals
        self._now = now

    def repacketise(self, leg: Leg) -> None:
        """See IProcessing."""
        processor = leg.rtp.processor
        if leg.packet_ms:
            processor = self._of(leg.rtp)
            if processor.resizer is None:
                processor.resizer = Resizer(leg.packet_ms, self._totals)
        if isinstance(processor, Processor) and processor.resizer is not None:
            # Switched off it goes on until its numbers are those of the packets that come.
            processor.resizer.packet_ms = leg.packet_ms

    def mute(self, stream: Stream) -> None:
        """Let nothing of ``stream`` pass, until :meth:`unmute`."""
        self._of(stream).muted = True

    def unmute(self, stream: Stream) -> None:
        """Let it pass again. Idempotent."""
        processor = stream.processor
        if isinstance(processor, Processor):
            processor.muted = False
            processor.leave(stream)

    def catch_digits(self, leg: Leg, wanted: CatchDigits) -> bool:
        """See IProcessing."""
        notify = leg.session.notify
        if wanted.tag is None or notify is None:
            return False
        self.watch(leg, notify[0], wanted)
        return True

    def watch(self, leg: Leg, socket: NotifySocket, wanted: CatchDigits) -> DigitWatch:
        """Tell ``socket`` of the keys pressed, as ``wanted``, which has a tag."""
        stream = leg.rtp
        watch = next((tap for tap in stream.taps if isinstance(tap, DigitWatch)), None)
        if watch is None:
            watch = DigitWatch(self._notifier, self._now)
            # First, for a recording that fails must not cost a digit.
            stream.taps = (watch, *stream.taps)
        watch.socket, watch.tag = socket, wanted.tag or b""
        watch.payload_type, watch.hide = wanted.payload_type, wanted.hide
        if wanted.hide:
            self._of(stream).hidden = wanted.payload_type
        elif isinstance(stream.processor, Processor):
            stream.processor.hidden = None
            stream.processor.leave(stream)
        return watch

    def go_on(self, leg: Leg, resizer: Resizer) -> None:
        """Re-packetise what the party sends where another process was in the middle of it."""
        self._of(leg.rtp).resizer = resizer

    def _of(self, stream: Stream) -> Processor:
        processor = stream.processor
        if not isinstance(processor, Processor):
            processor = stream.processor = Processor(self._totals)
        return processor
