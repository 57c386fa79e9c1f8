"""The SIP proxy: it starts calls at a steady rate and does to each what its script says.

It takes turns of some milliseconds. In each, everything that is due is sent to the relay in one
piece, and the replies are read; then the parties speak.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bench.calls import Client
from bench.soaking.party import PACKETS, Address, Parties
from bench.soaking.plan import Chance, Fate, Script

TURN = 0.02
"""Seconds."""

HURRY = 2
"""How many times the usual number of calls one turn may begin: who has fallen behind does not make
it worse."""


SILENCE = 4
"""Turns between the last packet of a call and its end, or a change of address: what is on its way
then is lost, and nobody's fault."""


@dataclass(slots=True, eq=False)
class Living:
    """A call that has begun."""

    script: Script
    names: tuple[str, str, str]
    ports: list[Address]
    """Where the callee sends, then where the caller does."""
    spoke: int = 0
    """The turn in which its parties last did."""

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


Then = Callable[[bytes], None]


class Proxy:
    """Starts ``rate`` calls a second, each of which lasts ``hold`` seconds.

    ``first`` is the number of the first one. ``shaken`` tells whether a fault is at work that
    commands may notice: what they are answered is then counted and not judged.
    """

    def __init__(
        self,
        client: Client,
        parties: Parties,
        chance: Chance,
        *,
        rate: float,
        hold: float,
        shaken: Callable[[], bool],
        first: int = 0,
    ) -> None:
        self._client = client
        self._parties = parties
        self._chance = chance
        self._rate, self._hold = rate, hold
        self._shaken = shaken
        self._first = first
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._lines: list[tuple[str, Then]] = []
        self._turns = 0
        self.began = time.monotonic()
        self.started = 0
        self.skipped = 0
        """Calls that were not begun in time, because the relay or this process was too slow."""
        self.commands: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """Errors while a fault was at work."""
        self.wrong: Counter[str] = Counter()
        """Replies that should not be."""
        self.fates: Counter[Fate] = Counter()
        self.moved = self.recorded = self.prompted = 0
        self.slowest = 0.0
        """Seconds that a turn's commands took, since somebody last set it to 0."""
        self.recent: list[Address] = []
        """Ports of calls, for strangers."""

    def turn(self, starting: bool = True) -> None:
        """What is due now."""
        now = time.monotonic()
        self._turns += 1
        if starting:
            self._begin(now)
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        if self._lines:
            self._ask()
        self._parties.listen()

    @property
    def busy(self) -> bool:
        """Whether something is still to be done to a call."""
        return bool(self._due)

    def _begin(self, now: float) -> None:
        wanted = int((now - self.began) * self._rate) - self.started - self.skipped
        most = int(HURRY * self._rate * TURN) + 1
        if wanted > most:
            self.skipped += wanted - most
            wanted = most
        for _ in range(wanted):
            self._start(self._chance.script(self._first + self.started))
            self.started += 1

    def _start(self, script: Script) -> None:
        name = f"soak-{script.number:08d}"
        call = Living(script, (f"{name}-7c1f@198.51.100.7", f"f{name};1", f"t{name};1"), [])
        self.fates[script.fate] += 1
        caller, callee, _ = self._parties.addresses
        self._send(call.line("Uc0,8,101", caller), lambda reply: self._port(call, reply))
        if script.answered:
            self._send(call.line("Lc0,8,101", callee), lambda reply: self._port(call, reply))
            if script.recorded:
                self.recorded += 1
                self._send(call.line("R"), lambda reply: self._is(call, b"0", reply))
            if script.media:
                call.spoke = self._turns + 1
                self._later(0.0, lambda: self._talk(call, moved=False))
            if script.moved or script.prompted:
                call.changing = True
                self._later(self._hold / 2, lambda: self._change(call))
        if script.deletions:
            pause = self._hold if script.answered else self._hold / 4
            self._later(pause, lambda: self._delete(call))
        else:
            self._later(self._hold, lambda: self._parties.over(script.number))

    def _change(self, call: Living) -> None:
        script = call.script
        if self._turns - call.spoke < SILENCE and script.media:
            self._later(TURN, lambda: self._change(call))
            return
        call.changing = False
        if script.moved:
            self.moved += 1
            call.spoke = self._turns + 1  # or will, once there is a reply; its end waits for that
            self._send(
                call.line("Uc0,8", self._parties.addresses[2]),
                lambda reply: self._moved(call, reply),
            )
        elif script.prompted:
            self.prompted += 1
            line = call.line("P2", rest=" welcome 0,8")
            self._send(line, lambda reply: self._is(call, b"0", reply))

    def _delete(self, call: Living) -> None:
        spoke = self._turns - call.spoke < SILENCE and call.script.media
        if spoke or call.changing:
            self._later(TURN, lambda: self._delete(call))
            return
        self._parties.listen()
        self._parties.over(call.script.number)
        for number in range(call.script.deletions):
            expected = b"E50" if number else b"0"
            self._send(call.line("D"), lambda reply, e=expected: self._is(call, e, reply))  # type: ignore[misc]

    def _talk(self, call: Living, moved: bool) -> None:
        if len(call.ports) == 2:
            for_callee, for_caller = call.ports
            first = PACKETS if moved else 0
            call.spoke = self._turns
            self._parties.talk(call.script.number, (for_caller, for_callee), moved, first)

    # Replies.

    def _port(self, call: Living, reply: bytes) -> None:
        words = reply.split()
        if words and words[0].isdigit() and words[0] != b"0":
            call.ports.append((words[1].decode() if len(words) > 1 else "", int(words[0])))
            if call.script.number % 50 == 0:
                self.recent = [*self.recent[-20:], call.ports[-1]]
        else:
            self._complain(call, "a port", reply)

    def _moved(self, call: Living, reply: bytes) -> None:
        if not reply[:1].isdigit() or reply == b"0":
            self._complain(call, "a port", reply)
        elif call.script.media:
            call.spoke = self._turns + 1
            self._later(0.0, lambda: self._talk(call, moved=True))

    def _is(self, call: Living, expected: bytes, reply: bytes) -> None:
        if reply != expected:
            self._complain(call, expected.decode(), reply)

    def _complain(self, call: Living, expected: str, reply: bytes) -> None:
        told = reply[:40].decode(errors="replace")
        if self._shaken() or call.troubled:
            call.troubled = True
            self.refused[told] += 1
        else:
            self.wrong[f"{told!r} in place of {expected}"] += 1

    # Sending.

    def _send(self, line: str, then: Then) -> None:
        self.commands[line[0]] += 1
        self._lines.append((line, then))

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (time.monotonic() + seconds, self._order, do))

    def _ask(self) -> None:
        lines, self._lines = self._lines, []
        began = time.monotonic()
        replies = self._client.ask_all([line.encode() for line, _ in lines])
        self.slowest = max(self.slowest, time.monotonic() - began)
        for (_, then), reply in zip(lines, replies, strict=True):
            then(reply)
