"""A call between two phones over a SIP proxy: SIPp signals, the phones speak meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tests.e2e import media
from tests.e2e.media import Endpoint
from tests.e2e.phone import Phone
from tests.e2e.process import wait_until
from tests.e2e.sip import Message, Sipp


class Call:
    """One call over ``proxy`` from ``caller`` to ``callee``, each with a SIPp scenario.

    ``says`` and ``replies`` are the caller's and the callee's first, second, ... SDPs. ``length``
    is how long each pause of the scenarios takes, in seconds. As a context manager it is closed
    with the block; it starts with :meth:`place`.
    """

    def __init__(
        self,
        folder: Path,
        proxy: str,
        caller: tuple[Phone, str],
        callee: tuple[Phone, str],
        says: Sequence[str],
        replies: Sequence[str] = (),
        *,
        length: float = 1.0,
        call_id: str | None = None,
    ) -> None:
        self.folder = folder
        self.proxy = proxy
        self.caller, self._caller_scenario = caller
        self.callee, callee_scenario = callee
        folder.mkdir(exist_ok=True)
        for who, texts in (("caller", says), ("callee", replies)):
            for number, text in enumerate(texts, 1):
                (folder / f"{who}{number}.sdp").write_bytes(text.encode())
        self._length_ms = round(length * 1000)
        self._call_id = call_id
        self.caller_sipp: Sipp | None = None
        self.callee_sipp = Sipp(
            callee_scenario, self.callee.host, folder, length_ms=self._length_ms
        )

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is still running and close the sockets."""
        if self.caller_sipp is not None:
            self.caller_sipp.end()
        self.callee_sipp.end()
        self.caller.close()
        self.callee.close()

    def place(self) -> None:
        """Let the caller's SIPp call."""
        wait_until(lambda: self.callee_sipp.ready, "the callee's SIPp listens")
        self.caller_sipp = Sipp(
            self._caller_scenario,
            self.caller.host,
            self.folder,
            proxy=self.proxy,
            peer=self.callee.host,
            length_ms=self._length_ms,
            call_id=self._call_id,
        )

    @property
    def over(self) -> bool:
        """Whether both SIPps have ended."""
        caller = self.caller_sipp
        return caller is not None and not (caller.running or self.callee_sipp.running)

    @property
    def endpoints(self) -> list[Endpoint]:
        """Both parties' endpoints."""
        return [*self.caller.endpoints, *self.callee.endpoints]

    def follow(self) -> None:
        """Let both phones act on what their SIPps have seen."""
        self.caller.follow(self.caller_messages())
        self.callee.follow(self.callee_sipp.messages())

    def caller_messages(self) -> list[Message]:
        """What the caller's SIPp has sent and received so far."""
        return self.caller_sipp.messages() if self.caller_sipp is not None else []

    def talking(self, packets: int) -> bool:
        """Whether every endpoint has heard that many packets."""
        return all(len(endpoint.heard) >= packets for endpoint in self.endpoints)

    def ended_at(self) -> float:
        """When the BYE reached the party that did not send it."""
        return next(
            message.when
            for message in (*self.caller_messages(), *self.callee_sipp.messages())
            if not message.sent and message.text.startswith("BYE")
        )

    def assert_signalled_well(self) -> None:
        """Both SIPps got through their scenarios."""
        for sipp in (self.caller_sipp, self.callee_sipp):
            assert sipp is not None
            assert sipp.status == 0, f"{sipp.argv}\n{sipp.printed()[-3000:]}"


def run_calls(
    calls: Sequence[Call], until: Callable[[], bool] | None = None, timeout: float = 30
) -> None:
    """Let the calls go on until ``until()``, or until they are over.

    In that case the phones speak on for a while, so that a relay that still relays shows.
    """
    endpoints = [endpoint for call in calls for endpoint in call.endpoints]

    def turn() -> None:
        for call in calls:
            call.follow()

    media.run(endpoints, until or (lambda: all(call.over for call in calls)), timeout, turn)
    if until is None:
        turn()
        media.speak_on(endpoints)


def run_to_the_end(call: Call) -> float:
    """Place the call, run it, see that signalling went well. When its BYE arrived."""
    call.place()
    run_calls([call])
    call.assert_signalled_well()
    return call.ended_at()
