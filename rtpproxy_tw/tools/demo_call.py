"""A whole call through a relay: two phones that talk, and the figures of what they hear."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import NamedTuple

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.tools.control_client import Control, NoAnswer
from rtpproxy_tw.tools.error_codes import Refused
from rtpproxy_tw.tools.hearing import Figures
from rtpproxy_tw.tools.signalling import PRETENDED_PORT, Signalling
from rtpproxy_tw.tools.softphone import Phone, heard_by, host_towards
from rtpproxy_tw.tools.speech import FRAME
from rtpproxy_tw.tools.timetable import Timetable

CALLER_HERTZ, CALLEE_HERTZ = 440, 620

REPORT_EVERY = 1.0
"""Seconds between two RTCP reports of a phone."""

SHOW_EVERY = 0.1
"""Seconds between two looks at the call while it lasts."""

GRACE = 0.3
"""Seconds that the last packets get to arrive."""

AFTERMATH = 20
"""Packets that each phone still sends after the end, none of which may be relayed."""


_NOTHING = Figures()


class Party(NamedTuple):
    """One party's addresses: what it claims, whence it sends, where it is told to send."""

    name: str
    claims: Address
    sends_from: Address
    told: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is known of a call at one moment; ``elapsed`` and ``seconds`` are seconds.

    ``queries`` are the relay's own figures, asked for as the caller and as the callee.
    """

    url: str
    seconds: float
    elapsed: float = 0.0
    parties: tuple[Party, ...] = ()
    to_callee: Figures = _NOTHING
    to_caller: Figures = _NOTHING
    queries: tuple[str, ...] = ()

    @property
    def directions(self) -> tuple[tuple[str, str, Figures], ...]:
        """Who speaks, who listens, the figures."""
        return ("caller", "callee", self.to_callee), ("callee", "caller", self.to_caller)


class Call:
    """One call of ``seconds`` through the relay behind ``control``; a context manager.

    Leaving it deletes the call, whatever happened. Methods raise NoAnswer, Refused and OSError.
    """

    def __init__(self, control: Control, seconds: float) -> None:
        self._control = control
        self._seconds = seconds
        self._signalling = Signalling(control)
        self._phones: list[Phone] = []
        self._parties: tuple[Party, ...] = ()
        self._queries: tuple[str, ...] = ()
        self._stack = ExitStack()

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            # Something worse is being told then; the relay's timeout ends the session.
            with suppress(NoAnswer, Refused):
                if self._signalling.alive:
                    self._signalling.bye()
            self._control.close()

    def set_up(self) -> None:
        """Get both phones their addresses, as INVITE and 200 would."""
        self._signalling.greet()
        for_caller, for_callee = self._signalling.invite()
        network = self._signalling.network
        caller = self._phone("caller", CALLER_HERTZ, for_caller)
        callee = self._phone("callee", CALLEE_HERTZ, for_callee)
        caller.call(callee)
        callee.call(caller)
        self._parties = tuple(
            Party(phone.speaker.name, (host, PRETENDED_PORT), phone.address, phone.told)
            for phone, host in ((caller, network.caller), (callee, network.callee))
        )

    def talk(self, show: Callable[[Report], None]) -> None:
        """Let both talk for the whole time; ``show`` is handed a report every now and then."""
        caller, callee = self._phones
        packets = max(1, round(self._seconds / FRAME))
        with self._timetable() as timetable:
            start = time.monotonic() + FRAME
            # They take turns, so that neither's packet has to wait for the other's.
            timetable.add(start, FRAME, packets, caller.speak)
            timetable.add(start + FRAME / 2, FRAME, packets, callee.speak)
            for phone in self._phones:
                timetable.add(
                    *(start + REPORT_EVERY / 2, REPORT_EVERY, round(self._seconds / REPORT_EVERY)),
                    partial(_report, phone),
                )
            looks = round(self._seconds / SHOW_EVERY)
            timetable.add(start, SHOW_EVERY, looks, lambda now: show(self.report(now - start)))
            timetable.run(start + self._seconds + GRACE)

    def hang_up(self) -> None:
        """Ask for the relay's figures, delete the call, see that nothing is relayed any more."""
        self._queries = self._signalling.query()
        self._signalling.bye()
        with self._timetable() as timetable:
            # What was relayed just before the end may still be in our sockets' buffers.
            end = time.monotonic() + FRAME
            timetable.run(end)
            for phone in self._phones:
                phone.end()
                timetable.add(end, FRAME, AFTERMATH, phone.babble)
            timetable.run(end + AFTERMATH * FRAME + GRACE)

    def report(self, elapsed: float, *, final: bool = False) -> Report:
        """The call as it is; ``final``: what has not come by now will not."""
        caller, callee = self._phones
        return Report(
            url=self._control.url.text,
            seconds=self._seconds,
            elapsed=elapsed,
            parties=self._parties,
            to_callee=heard_by(callee, caller, final=final),
            to_caller=heard_by(caller, callee, final=final),
            queries=self._queries,
        )

    def _phone(self, name: str, hertz: int, told: Address) -> Phone:
        phone = Phone(name, host_towards(told), hertz, told)
        self._stack.callback(phone.close)
        self._phones.append(phone)
        return phone

    def _timetable(self) -> Timetable:
        timetable = Timetable()
        for phone in self._phones:
            timetable.listen(phone.rtp, phone.listen)
            timetable.listen(phone.rtcp, phone.listen)
        return timetable


def _report(phone: Phone, now: float) -> None:
    """RTCP carries the time of day, whereas the timetable's clock has no meaning elsewhere."""
    phone.report(time.time())
