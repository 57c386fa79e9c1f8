"""Keys pressed on a telephone, as RFC 4733 events in RTP.

An event is sent as a row of packets with one timestamp and a growing duration; the last one, with
the E bit, is sent three times (section 2.5.1.4). One that outlasts the 16 bits of the duration
goes on in segments: another event by its timestamp, 65 535 ticks on, without marker (section
2.5.1.3). Where all end packets are lost the next event tells that this one is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.interfaces import INotifier, ITap
from rtpproxy_tw.rtp import Header, peek
from rtpproxy_tw.session import NotifySocket, Side, Stream

KEYS = "0123456789*#ABCD "
"""By event code (RFC 4733 section 3.2, table 3); the last is flash, which has no character."""

SEGMENT = 0xFFFF
"""Ticks of a full segment."""


class Press(NamedTuple):
    """A key that was pressed: ``volume`` is dB below full scale, ``duration`` in ticks."""

    key: str
    volume: int
    duration: int


@dataclass(slots=True)
class Event:
    """An event under way. ``earlier`` is how long its full segments lasted."""

    code: int
    timestamp: int
    volume: int
    duration: int
    earlier: int = 0

    def press(self) -> Press:
        """The key, as long as it lasted so far."""
        return Press(KEYS[self.code], self.volume, self.earlier + self.duration)


class Detector:
    """Makes one press of each event, however often its packets come. No I/O, raises nothing."""

    __slots__ = ("_event", "_latest", "_ssrc")

    def __init__(self) -> None:
        self._ssrc: int | None = None
        self._event: Event | None = None
        self._latest: int | None = None
        """The timestamp of the newest event heard of."""

    def heard(self, header: Header, payload: bytes) -> list[Press]:
        """The presses that are over now that this packet of events came; unknown codes are none."""
        if len(payload) < 4 or payload[0] >= len(KEYS):
            return []
        if header.ssrc != self._ssrc:
            self._ssrc, self._event, self._latest = header.ssrc, None, None
        code, flags = payload[0], payload[1]
        duration = int.from_bytes(payload[2:4], "big")
        presses = []
        event = self._event
        if event is not None and header.timestamp == event.timestamp:
            event.duration = max(event.duration, duration)
            event.volume = flags & 0x3F
        else:
            if self._latest is not None and _ahead(header.timestamp, self._latest) <= 0:
                return []  # an end sent again, or one that was overtaken
            earlier = 0
            if event is not None:
                if _continues(event, code, header):
                    earlier = event.earlier + SEGMENT
                else:
                    presses.append(event.press())
            event = self._event = Event(code, header.timestamp, flags & 0x3F, duration, earlier)
            self._latest = header.timestamp
        if flags & 0x80:
            presses.append(event.press())
            self._event = None
        return presses


@implementer(ITap)
class DigitWatch:
    """Tells ``socket`` of the keys one party presses; ``now`` gives the relay's seconds.

    A notice is ``TAG KEY VOLUME DURATION SIDE``; SIDE is 0 for the caller, 1 for the callee.
    """

    __slots__ = ("_notifier", "_now", "detector", "hide", "payload_type", "socket", "tag")

    def __init__(self, notifier: INotifier, now: Callable[[], float]) -> None:
        self._notifier = notifier
        self._now = now
        self.detector = Detector()
        self.socket: NotifySocket | None = None
        self.tag = b""
        self.payload_type = -1
        self.hide = False

    def heard(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """See ITap."""
        if len(datagram) < 2 or datagram[1] & 0x7F != self.payload_type:
            return
        header = peek(datagram)
        if header is not None:
            for press in self.detector.heard(header, datagram[header.start : header.end]):
                self._tell(stream, press)

    def _tell(self, stream: Stream, press: Press) -> None:
        side = stream.leg.side
        party = 0 if side is Side.CALLER else 1
        notice = f" {press.key} {press.volume} {press.duration} {party}"
        if self.socket is not None:
            self._notifier.notify(self.socket, self.tag + notice.encode())
        # What is kept from the other party may be a secret: it is not written down either.
        key = "a hidden key" if self.hide else "flash" if press.key == " " else press.key
        stream.leg.session.timeline.add(self._now(), "digit", f"{side.value}: pressed {key}")


def _continues(event: Event, code: int, header: Header) -> bool:
    return (
        code == event.code
        and not header.marker
        and _ahead(header.timestamp, event.timestamp) == SEGMENT
    )


def _ahead(one: int, other: int) -> int:
    return (one - other + 0x80000000 & 0xFFFFFFFF) - 0x80000000
