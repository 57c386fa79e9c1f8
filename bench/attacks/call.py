"""One call under attack: the two parties, the attacker's sockets, and the count of it all."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.attacks.field import HOSTS, Field
from bench.attacks.packets import Kind, Mark, mark_of, rtcp, rtp
from bench.calls import Client, allocated
from bench.namespaces import Namespace

TICK = 0.02
"""Seconds between two packets of a party."""

RTCP_EVERY = 25
"""Ticks."""

Address = tuple[str, int]
Script = Iterator[None]
"""What happens in a call, tick by tick."""

Attack = Callable[[int], None]
"""What the attacker sends in one tick; told how many ticks of it have passed."""


@dataclass
class Tally:
    """What came of one call. All but ``leaked`` and ``injected`` are RTP of the two parties."""

    leaked: int = 0
    """Packets of the parties that the attacker received."""
    injected: int = 0
    """Packets of the attacker that a party received."""
    sent: int = 0
    lost: int = 0
    """Sent, and not received by the other party."""
    cut: int = 0
    """Those of them that were sent after the first one that was received."""


@dataclass
class Way:
    """What one party said, and what of it the other one heard."""

    sent: int = 0
    heard: set[int] = field(default_factory=set)

    def add_to(self, tally: Tally) -> None:
        """Count."""
        missing = self.sent - len(self.heard)
        tally.sent += self.sent
        tally.lost += missing
        if self.heard:
            tally.cut += missing - min(self.heard)


class Party:
    """Somebody on the phone, with a port for RTP and the next one for RTCP."""

    def __init__(self, call: Call, kind: Kind, where: Namespace) -> None:
        self._call = call
        self.kind = kind
        self.where = where
        self.ssrc = random.randrange(1, 1 << 32)
        self.sequence = random.randrange(1 << 16)
        self.way = Way()
        """What it says."""
        self.to: Address = ("", 0)
        """Where the relay takes its RTP."""
        self.move()
        self.signalled: Address = self.address

    @property
    def address(self) -> Address:
        """Where it really is."""
        return self.rtp.address

    def move(self) -> None:
        """Go on from other ports, as behind a NAT that has forgotten the old ones."""
        field, version = self._call.field, self._call.version
        self.rtp = field.socket(self.where, version, self._hear_rtp)
        self.rtcp = field.socket(self.where, version, self._hear_rtcp, self.rtp.address[1] + 1)

    def hide(self, host: str) -> None:
        """Be behind a NAT, which gives it another port: ``host`` is what it says of itself."""
        self.signalled = (host, 4000 + self._call.row * 4)

    def speak(self, tick: int) -> None:
        """The next packet of its stream, and RTCP now and then."""
        self.say(rtp(self.sequence, self.ssrc, self.numbered()))
        self.sequence += 1
        if tick % RTCP_EVERY == 0:
            self.rtcp.send(
                rtcp(self.ssrc, Mark(self.kind, self._call.row, 0)), (self.to[0], self.to[1] + 1)
            )

    def say(self, datagram: bytes) -> None:
        """Send that on the port of RTP."""
        self.rtp.send(datagram, self.to)

    def numbered(self) -> Mark:
        """The mark for its next packet, which counts as sent."""
        mark = Mark(self.kind, self._call.row, self.way.sent)
        self.way.sent += 1
        return mark

    def _hear_rtp(self, datagram: bytes) -> None:
        self._call.arrived(self, mark_of(datagram), is_rtcp=False)

    def _hear_rtcp(self, datagram: bytes) -> None:
        self._call.arrived(self, mark_of(datagram), is_rtcp=True)


class Call:
    """One row in the making. ``row`` marks its packets."""

    def __init__(self, field: Field, client: Client, row: int, version: int, ports: range) -> None:
        self.field = field
        self.row = row
        self.version = version
        self.ports = ports
        self.tally = Tally()
        self.refused: str | None = None
        """What the relay answered where it did not understand."""
        self._client = client
        self._tick = 0
        self._calls = itertools.count()
        self._id = self._next_id()
        self._former: list[Party] = []
        self.caller = Party(self, Kind.CALLER, field.caller)
        self.callee = Party(self, Kind.CALLEE, field.callee)
        self.attackers = [field.socket(field.stranger, version, self._leak) for _ in range(4)]
        """The second one is on the port after the first one's."""

    # Commands.

    def begin(self, signalled: Address | None = None) -> None:
        """Set the call up; ``signalled`` is what the caller's offer says, in place of the truth."""
        host, port = signalled or self.caller.signalled
        self.callee.to = self._ask(f"U{self._options} {self._id} {host} {port} from")
        host, port = self.callee.signalled
        self.caller.to = self._ask(f"L{self._options} {self._id} {host} {port} from to")

    def signal(self) -> None:
        """The caller's re-INVITE."""
        host, port = self.caller.signalled
        self._ask(f"U{self._options} {self._id} {host} {port} from to")

    def end(self) -> None:
        """Hang up; the next call of this row has another Call-ID."""
        self._client.ask(f"D {self._id} from to".encode())
        self._id = self._next_id()

    def is_alive(self) -> bool:
        """Whether the relay still knows the call."""
        return not self._client.ask(f"Q {self._id} from to".encode()).startswith(b"E")

    def another(self) -> None:
        """Other parties, who know nothing of the former ones."""
        self._former += (self.caller, self.callee)
        for each in self._former:
            each.kind = Kind.LATE
        self.caller = Party(self, Kind.CALLER, self.field.caller)
        self.callee = Party(self, Kind.CALLEE, self.field.callee)

    def _ask(self, command: str) -> Address:
        line = command.encode()
        host, port = allocated(self._client.ask(line), line)
        return host, port

    def _next_id(self) -> str:
        return f"attack{self.version}-{self.row}-{next(self._calls)}"

    @property
    def _options(self) -> str:
        return "6c0,8,101" if self.version == 6 else f"c0,8,101l{HOSTS[4].relay}"

    # What happens.

    def talk(
        self,
        ticks: int,
        attack: Attack | None = None,
        *,
        caller: bool = True,
        callee: bool = True,
    ) -> Script:
        """Both parties speak, or one of them; the attacker is always a little earlier."""
        for tick in range(ticks):
            self._tick += 1
            if attack is not None:
                attack(tick)
            if caller:
                self.caller.speak(self._tick)
            if callee:
                self.callee.speak(self._tick)
            yield

    def forged(self) -> Mark:
        """The mark of whatever the attacker sends."""
        return Mark(Kind.FORGED, self.row, 0)

    def attack(self, datagram: bytes, *, offset: int = 0, attacker: int = 0) -> None:
        """The attacker sends that to where the caller sends; 1 further for RTCP."""
        host, port = self.caller.to
        self.attackers[attacker].send(datagram, (host, port + offset))

    # What is heard.

    def arrived(self, party: Party, mark: Mark | None, *, is_rtcp: bool) -> None:
        """A party has received something."""
        if mark is None or mark.row != self.row:
            return
        if party in self._former:
            if mark.kind in (Kind.CALLER, Kind.CALLEE):
                self.tally.leaked += 1
            return
        other = self.callee if party is self.caller else self.caller
        match mark.kind:
            case Kind.FORGED | Kind.LATE:
                self.tally.injected += 1
            case Kind.CROSSED:
                self.tally.injected += not is_rtcp
            case other.kind if not is_rtcp:
                other.way.heard.add(mark.number)

    def _leak(self, datagram: bytes) -> None:
        mark = mark_of(datagram)
        if mark is not None and mark.kind in (Kind.CALLER, Kind.CALLEE):
            self.tally.leaked += 1

    def conclude(self) -> Tally:
        """Count what was lost."""
        for party in (self.caller, self.callee):
            party.way.add_to(self.tally)
        return self.tally
