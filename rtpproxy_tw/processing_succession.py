"""What changes packets on their way, in another process, and what is still to be told of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rtpproxy_tw.commands import CatchDigits
from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.media.dtmf import KEYS, Detector, DigitWatch, Event
from rtpproxy_tw.media.processing import Processing, Processor
from rtpproxy_tw.media.resizer import Piece, Resizer
from rtpproxy_tw.reporting.notify import QUEUE_LIMIT, Notifier
from rtpproxy_tw.session import Leg, Session
from rtpproxy_tw.snapshot.kinds import (
    COUNT,
    FLAG,
    OCTETS,
    TIME,
    Damaged,
    either,
    integer,
    listed,
    row,
)
from rtpproxy_tw.snapshot.shapes import Shape
from rtpproxy_tw.snapshot.tables import NOTIFY, NOTIFY_SOCKET, PAYLOAD_TYPE, SSRC

MOST_PIECES = 4096
"""Packets that may wait to be joined: far more than ever do."""

SEQUENCE = integer(0, 0xFFFF)

PIECE = Shape(
    lambda: Piece(0, 0, False, 0, b"", b"", 0, 0.0),
    {
        "timestamp": SSRC,
        "payload_type": PAYLOAD_TYPE,
        "marker": FLAG,
        "first_octet": integer(0, 255),
        "extras": OCTETS,
        "payload": OCTETS,
        "ticks": COUNT,
        "arrived": TIME,
    },
)

RESIZER = Shape(
    lambda: None,
    {
        "packet_ms": integer(0, 10_000),
        "_ssrc": either(SSRC),
        "_heard": SEQUENCE,
        "_sent": SEQUENCE,
        "_sent_until": either(SSRC),
        "_queue": listed(PIECE.kind, MOST_PIECES),
        "_ticks": COUNT,
    },
    left_out=["_totals"],
)

EVENT = Shape(
    lambda: Event(0, 0, 0, 0),
    {
        "code": integer(0, len(KEYS) - 1),
        "timestamp": SSRC,
        "volume": integer(0, 0x3F),
        "duration": integer(0, 0xFFFF),
        "earlier": COUNT,
    },
)

DETECTOR = Shape(
    Detector, {"_ssrc": either(SSRC), "_event": either(EVENT.kind), "_latest": either(SSRC)}
)

WATCH = row(NOTIFY, PAYLOAD_TYPE, FLAG, DETECTOR.kind)
"""Whom to tell, and with which tag; of which packets; whether they are hidden; what came so far."""


class ProcessingPart:
    """What stands between a session's packets as they come and as they are relayed.

    That a party is not heard while a prompt plays belongs to the prompt.
    """

    name = "processing"

    def __init__(
        self, processing: Processing, make: Callable[[int], Resizer], *, lasting: bool = False
    ) -> None:
        """``make`` makes a resizer for packets of so many milliseconds.

        What is ``lasting`` alone is written for the time after a crash: a record is some seconds
        old by then, and numbers that were given out since must not be given out again.
        """
        self._processing = processing
        self._make = make
        self._lasting = lasting

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        found = {leg.side.value: self._pack(leg) for leg in session.legs}
        return {side: value for side, value in found.items() if value} or None

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        if type(value) is not dict:
            raise Damaged("no object")
        for leg in session.legs:
            record = value.get(leg.side.value)
            if record is not None:
                self._unpack(leg, record, shift)

    def _unpack(self, leg: Leg, record: Any, shift: float) -> None:
        if type(record) is not dict:
            raise Damaged("no object")
        if "digits" in record:
            (socket, tag), payload_type, hide, detector = WATCH.unpack(record["digits"], shift)
            watch = self._processing.watch(leg, socket, CatchDigits(tag, payload_type, hide))
            watch.detector = detector
        if "resizer" in record:
            made = RESIZER.fill(self._make(leg.packet_ms), record["resizer"], shift)
            self._processing.go_on(leg, made)

    def _pack(self, leg: Leg) -> dict[str, Any]:
        record: dict[str, Any] = {}
        processor = leg.rtp.processor
        if isinstance(processor, Processor) and processor.resizer is not None:
            record["resizer"] = {} if self._lasting else RESIZER.pack(processor.resizer)
        for tap in leg.rtp.taps:
            if isinstance(tap, DigitWatch) and tap.socket is not None and WATCH.pack is not None:
                watched = (tap.socket, tap.tag), tap.payload_type, tap.hide, tap.detector
                record["digits"] = WATCH.pack(watched)
        return record


class Notices:
    """Notices that are still to be told. What may have arrived goes again, as ever."""

    name = "notices"

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        untold = self._notifier.untold()
        return NOTICES.pack(untold) if untold and NOTICES.pack is not None else None

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        for socket, lines in NOTICES.unpack(value, shift):
            self._notifier.go_on(socket, lines)


NOTICES = listed(row(NOTIFY_SOCKET, listed(OCTETS, 2 * QUEUE_LIMIT)), 1 << 16)
