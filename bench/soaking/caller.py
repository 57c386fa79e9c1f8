"""The SIP proxy: it starts calls at a steady rate and does to each what its script says.

It takes turns of some milliseconds. In each, the replies that have come are read, everything that
is due is sent to the relay in one piece, and the parties speak and hear. Nobody waits for the
relay: calls that are under way are as many as it takes.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bench.soaking.party import PACKETS, Address, Parties
from bench.soaking.pipeline import Pipeline, Then
from bench.soaking.plan import Chance, Fate, Script

TURN = 0.01
"""Seconds."""

HURRY = 2
"""How many times the usual number of calls one turn may begin: who has fallen behind does not make
it worse."""

DEBT = 1.0
"""Seconds of calls that are made up for. What should have begun earlier never does, and is counted
as that."""

MOST = 600
"""Commands under way; with more of them no call begins."""

ARRIVING = 2.0
"""Seconds that parties listen for what is on its way to them, before they move or hang up: what has
not come by then is lost."""


@dataclass(slots=True, eq=False)
class Living:
    """A call that has begun."""

    script: Script
    names: tuple[str, str, str]
    ports: list[Address]
    """Where the callee sends, then where the caller does."""
    speaking: bool = False
    """Its parties will say something as soon as they know where to."""
    spoke: float = 0.0
    """When they last did, or were to."""
    asked: float = 0.0
    """When its last command but deletions was sent."""
    changing: bool = False
    """Something is still to be done to it before it ends."""
    troubled: bool = False
    """One of its commands was refused because of a fault; others then may be, too."""

    def line(self, verb: str, party: Address | None = None, rest: str = "") -> str:
        """A command; of U and L with the party's address."""
        call_id, from_tag, to_tag = self.names
        match verb[0]:
            case "U":
                assert party is not None
                return f"{verb} {call_id} {party[0]} {party[1]} {from_tag}{rest}"
            case "L":
                assert party is not None
                return f"{verb} {call_id} {party[0]} {party[1]} {from_tag} {to_tag}{rest}"
        return f"{verb} {call_id}{rest} {from_tag} {to_tag}"


class Proxy:
    """Starts ``rate`` calls a second, each of which lasts ``hold`` seconds.

    ``first`` is the number of the first one. ``lives`` are the seconds that the relay lets a
    session go on without an answer, and with one. ``shaken`` tells whether a fault is at work that
    commands may notice: what they are answered is then counted and not judged.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        parties: Parties,
        chance: Chance,
        *,
        rate: float,
        hold: float,
        lives: tuple[float, float],
        shaken: Callable[[], bool],
        first: int = 0,
    ) -> None:
        self._pipeline = pipeline
        self._parties = parties
        self._chance = chance
        self._rate, self._hold, self._lives = rate, hold, lives
        self._shaken = shaken
        self._first = first
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self.began = time.monotonic()
        self.started = 0
        self.skipped = 0
        """Calls that were not begun in time, because the relay or this process was too slow."""
        self.commands: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """Errors while a fault was at work."""
        self.wrong: Counter[str] = Counter()
        """Replies that should not be."""
        self.late = 0
        """Sessions that the relay had ended by itself before they were deleted, because that came
        later than their time to live allows."""
        self.fates: Counter[Fate] = Counter()
        self.moved = self.recorded = self.prompted = 0
        self.recent: list[Address] = []
        """Ports of calls, for strangers."""

    def turn(self, starting: bool = True) -> None:
        """What is due now. Raises OSError where the relay does not answer any more."""
        now = time.monotonic()
        if starting:
            self._begin(now)
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        self._pipeline.turn()
        self._parties.listen()

    @property
    def busy(self) -> bool:
        """Whether something is still to be done to a call."""
        return bool(self._due or self._pipeline.under_way)

    def _begin(self, now: float) -> None:
        wanted = int((now - self.began) * self._rate) - self.started - self.skipped
        most = int(HURRY * self._rate * TURN) + 1
        never = max(0, wanted - most - int(DEBT * self._rate))
        self.skipped += never
        for _ in range(min(wanted, most)):
            if self._pipeline.under_way > MOST:
                break
            self._start(self._chance.script(self._first + self.started))
            self.started += 1

    def _start(self, script: Script) -> None:
        name = f"soak-{script.number:08d}"
        call = Living(script, (f"{name}-7c1f@198.51.100.7", f"f{name};1", f"t{name};1"), [])
        self.fates[script.fate] += 1
        caller, callee, _ = self._parties.addresses
        self._send(call, call.line("Uc0,8,101", caller), lambda reply: self._port(call, reply))
        if script.answered:
            self._send(call, call.line("Lc0,8,101", callee), lambda reply: self._port(call, reply))
            if script.recorded:
                self.recorded += 1
                self._send(call, call.line("R"), lambda reply: self._is(call, b"0", reply))
            call.speaking, call.spoke = script.media, time.monotonic()
            if script.moved or script.prompted:
                call.changing = True
                self._later(self._hold / 2, lambda: self._change(call))
        pause = self._hold if script.answered else self._hold / 4
        self._later(pause, lambda: self._delete(call))

    def _change(self, call: Living) -> None:
        if not self._is_heard_out(call):
            self._later(TURN, lambda: self._change(call))
            return
        call.changing = False
        if call.script.moved:
            self.moved += 1
            # Where its set-up met with trouble there are no two parties to hear each other.
            speaks = call.script.media and len(call.ports) == 2
            call.speaking, call.spoke = speaks, time.monotonic()
            line = call.line("Uc0,8", self._parties.addresses[2])
            self._send(call, line, lambda reply: self._moved(call, reply))
        else:
            self.prompted += 1
            line = call.line("P2", rest=" welcome 0,8")
            self._send(call, line, lambda reply: self._is(call, b"0", reply))

    def _delete(self, call: Living) -> None:
        if call.changing or not self._is_heard_out(call):
            self._later(TURN, lambda: self._delete(call))
            return
        self._parties.over(call.script.number)
        for number in range(call.script.deletions):
            again = bool(number)
            line = call.line("D")
            self._send(call, line, lambda reply, again=again: self._gone(call, again, reply))  # type: ignore[misc]

    def _is_heard_out(self, call: Living) -> bool:
        # Whether nothing is on its way to a party any more, or has been for too long.
        under_way = call.speaking or self._parties.waits(call.script.number)
        return not under_way or time.monotonic() - call.spoke > ARRIVING

    def _talk(self, call: Living, moved: bool = False) -> None:
        for_callee, for_caller = call.ports
        call.speaking, call.spoke = False, time.monotonic()
        first = PACKETS if moved else 0
        self._parties.talk(call.script.number, (for_caller, for_callee), moved, first)

    # Replies.

    def _port(self, call: Living, reply: bytes) -> None:
        words = reply.split()
        if words and words[0].isdigit() and words[0] != b"0":
            call.ports.append((words[1].decode() if len(words) > 1 else "", int(words[0])))
            if call.script.number % 50 == 0:
                self.recent = [*self.recent[-20:], call.ports[-1]]
            if call.speaking and len(call.ports) == 2:
                self._talk(call)
        else:
            self._complain(call, "a port", reply)

    def _moved(self, call: Living, reply: bytes) -> None:
        if not reply[:1].isdigit() or reply == b"0":
            self._complain(call, "a port", reply)
        elif call.speaking:
            self._talk(call, moved=True)

    def _gone(self, call: Living, again: bool, reply: bytes) -> None:
        life = self._lives[call.script.answered]
        if reply == b"E50" and not again and time.monotonic() - call.asked >= life:
            self.late += 1
        else:
            self._is(call, b"E50" if again else b"0", reply)

    def _is(self, call: Living, expected: bytes, reply: bytes) -> None:
        if reply != expected:
            self._complain(call, expected.decode(), reply)

    def _complain(self, call: Living, expected: str, reply: bytes) -> None:
        call.speaking = False
        told = reply[:40].decode(errors="replace")
        if self._shaken() or call.troubled:
            call.troubled = True
            self.refused[told] += 1
        else:
            self.wrong[f"{told!r} in place of {expected}"] += 1

    # Sending.

    def _send(self, call: Living, line: str, then: Then) -> None:
        self.commands[line[0]] += 1
        if line[0] != "D":
            call.asked = time.monotonic()
        self._pipeline.ask(line, then)

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (time.monotonic() + seconds, self._order, do))
