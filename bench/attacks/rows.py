"""The attacks: the rows of the matrix.

The numbers are those of docs/threat-model.rst. Where a row is there twice, the caller says where
it really is in the one (*public*); in the other it names a private address, and its packets come
out of a NAT that gives them another port (*private*).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from bench.attacks.call import Attack, Call, Script
from bench.attacks.field import HOSTS
from bench.attacks.packets import Kind, Mark, bad_tag, hello, rtcp, rtp
from bench.calls import CallError

SECOND = 50
"""Ticks."""

SETTLED = 25
"""Ticks after which a party that is where it said it is has been believed for long."""

SETTLED_LATER = 540
"""The same behind a NAT: the ten seconds in which a better source could come are over."""

LATE = 25
"""Ticks until the victim of an early attack says anything."""

STRANGE_SSRC = 0x0BADBAD0

BAD_TAGS = 25
"""Packets a tick: 10,000 in ``BAD_TAGS_LAST`` ticks, and a busy machine's buffers hold a while."""

BAD_TAGS_LAST = 8 * SECOND

BELIEVED_ANEW = 12
"""Packets: a party behind a new NAT is believed by its fifth one, and as many come towards it."""

NOTICED = 10
"""Packets of 0.2 s: a connected port is disconnected so long after a second of silence."""

MOST_TRIES = 40
"""Sessions made and given up in one tick, to be given a port again."""


@dataclass(frozen=True)
class Row:
    """One attack. ``play`` tells what happens in its call, tick by tick."""

    name: str
    what: str
    private: bool
    play: Callable[[Call], Script]
    promised: bool = True
    """Whether the policy strict promises that nobody gets anything there."""
    cut: int = 0
    """How many packets of the parties' may be cut out even so."""
    alone: bool = False
    """It strikes every port of the relay, so it does not run beside the others."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name}: {self.what}, {'private' if self.private else 'public'} address"


# What attackers send.


def stream(call: Call, *, attacker: int = 0) -> Attack:
    """A stream that looks like a real one, and its RTCP."""

    def attack(tick: int) -> None:
        call.attack(rtp(tick, STRANGE_SSRC, call.forged()), attacker=attacker)
        if tick % 10 == 0:
            call.attack(rtcp(STRANGE_SSRC, call.forged()), offset=1, attacker=1)

    return attack


def spray(call: Call) -> Attack:
    """One packet a second to every port of the relay's, round and round."""
    ports = call.ports
    share = -(-len(ports) // SECOND)

    def attack(tick: int) -> None:
        start = tick % SECOND * share
        host = call.caller.to[0]
        packet = rtp(1, STRANGE_SSRC, call.forged())
        for port in ports[start : start + share]:
            call.attackers[0].send(packet, (host, port))

    return attack


def spray_of_one(call: Call) -> Attack:
    """What a single call sees of a spray over all ports, from many ports of the attacker's."""

    def attack(tick: int) -> None:
        if tick % 10 == 0:
            packet = rtp(1, STRANGE_SSRC, call.forged())
            call.attack(packet, attacker=tick // 10 % 4)
            call.attack(packet, offset=1, attacker=tick // 10 % 4)

    return attack


def copy(call: Call) -> Attack:
    """The caller's own SSRC, and always the very number that it will use next."""

    def attack(tick: int) -> None:
        caller = call.caller
        call.attack(rtp(caller.sequence, caller.ssrc, call.forged()))

    return attack


def hellos(call: Call) -> Attack:
    """DTLS handshakes."""
    return lambda tick: call.attack(hello(call.forged()))


def bad_tags(call: Call) -> Attack:
    """SRTP that nobody can have a key for, 1,250 packets a second."""

    def attack(tick: int) -> None:
        for number in range(BAD_TAGS):
            call.attack(bad_tag(tick * BAD_TAGS + number, STRANGE_SSRC, call.forged()))

    return attack


def crossed(call: Call) -> Attack:
    """The attacker's RTP comes to the RTCP port and the other way round, the caller's own too."""

    def attack(tick: int) -> None:
        call.attack(rtp(tick, STRANGE_SSRC, call.forged()), offset=1)
        call.attack(rtcp(STRANGE_SSRC, call.forged()))
        host, port = call.caller.to
        mark = Mark(Kind.CROSSED, call.row, 0)
        call.caller.rtp.send(rtp(tick, call.caller.ssrc, mark), (host, port + 1))

    return attack


# Where the caller is.


def private(call: Call) -> bool:
    """Have the caller be behind a NAT; True, so that it can be said in passing."""
    call.caller.hide(HOSTS[call.version].private)
    return True


def settled(call: Call, *, hidden: bool) -> Script:
    """Set the call up, and talk until nobody but the caller is believed any more."""
    if hidden:
        private(call)
    call.begin()
    yield from call.talk(SETTLED_LATER if hidden else SETTLED)


# What happens.


def undisturbed(hidden: bool) -> Callable[[Call], Script]:
    """No attack: what a call loses by itself, until the caller is believed."""

    def play(call: Call) -> Script:
        if hidden:
            private(call)
        call.begin()
        yield from call.talk(LATE, caller=False, callee=False)
        yield from call.talk(4 * SECOND)

    return play


def early(
    kind: Callable[[Call], Attack], hidden: bool, ticks: int = 4 * SECOND
) -> Callable[[Call], Script]:
    """The attack begins before the caller says anything, and goes on."""

    def play(call: Call) -> Script:
        if hidden:
            private(call)
        call.begin()
        attack = kind(call)
        yield from call.talk(LATE, attack, caller=False)
        yield from call.talk(ticks, attack)

    return play


def later(
    kind: Callable[[Call], Attack], hidden: bool, ticks: int = 4 * SECOND
) -> Callable[[Call], Script]:
    """The attack begins when the call has long been going on."""

    def play(call: Call) -> Script:
        yield from settled(call, hidden=hidden)
        yield from call.talk(ticks, kind(call))

    return play


def refreshed(hidden: bool) -> Callable[[Call], Script]:
    """A re-INVITE repeats the address every second."""

    def play(call: Call) -> Script:
        yield from settled(call, hidden=hidden)
        attack = stream(call)
        for _ in range(4):
            call.signal()
            yield from call.talk(SECOND, attack)

    return play


def changed(hidden: bool) -> Callable[[Call], Script]:
    """A re-INVITE moves the caller to another host."""

    def play(call: Call) -> Script:
        yield from settled(call, hidden=hidden)
        caller = call.caller
        caller.where = call.field.callee
        caller.move()
        if hidden:
            caller.hide(HOSTS[call.version].other)
        else:
            caller.signalled = caller.address
        call.signal()
        yield from call.talk(4 * SECOND, spray_of_one(call))

    return play


def rebound(hidden: bool) -> Callable[[Call], Script]:
    """After a second of silence the NAT has the stream go on from another port; strangers spray."""

    def play(call: Call) -> Script:
        yield from settled(call, hidden=hidden)
        attack = spray_of_one(call)
        yield from call.talk(SECOND + 5, attack, caller=False, callee=False)
        call.caller.sequence += SECOND
        call.caller.move()
        yield from call.talk(4 * SECOND, attack)

    return play


def ping_pong(hidden: bool) -> Callable[[Call], Script]:
    """One stream comes by turns from the caller and from an attacker."""

    def play(call: Call) -> Script:
        yield from settled(call, hidden=hidden)
        caller = call.caller

        def attack(tick: int) -> None:
            call.attack(rtp(caller.sequence, caller.ssrc, call.forged()))
            caller.sequence += 1

        yield from call.talk(4 * SECOND, attack)

    return play


def shaking_hands(hidden: bool) -> Callable[[Call], Script]:
    """A DTLS handshake between the parties, with an attacker's in between."""

    def play(call: Call) -> Script:
        if hidden:
            private(call)
        call.begin()
        attack = hellos(call)
        yield from call.talk(LATE, attack, caller=False, callee=False)
        for tick in range(10):
            attack(tick)
            for party in () if hidden else (call.caller, call.callee):
                party.say(hello(party.numbered()))
            yield
        yield from call.talk(3 * SECOND, attack)

    return play


def reused(hidden: bool) -> Callable[[Call], Script]:
    """A call ends, one of its parties goes on, and its port is given to another call.

    The new caller is at the same host as the old one, as behind one gateway; or behind a NAT.
    """

    def play(call: Call) -> Script:
        call.begin()
        yield from call.talk(SETTLED)
        dead, port = call.caller, call.caller.to[1]
        call.end()
        call.another()
        if hidden:
            private(call)
        tries = 0
        while True:
            dead.speak(1)
            call.begin()
            tries += 1
            if port in (call.caller.to[1], call.callee.to[1]):
                break
            call.end()
            if tries % MOST_TRIES == 0:
                yield
        yield from chain.from_iterable(
            call.talk(1, lambda tick: dead.speak(1), caller=tick >= LATE, callee=tick >= LATE)
            for tick in range(LATE + 3 * SECOND)
        )

    return play


def mapped(call: Call) -> Script:
    """IPv4 in the clothes of IPv6: the signalled address is written ``::ffff:a.b.c.d``; or IPv4
    packets come to the port of an IPv6 call."""
    if call.version == 4:
        host, port = call.caller.signalled
        try:
            call.begin((f"::ffff:{host}", port))
        except CallError as error:
            call.refused = str(error)
            return
        yield from call.talk(SETTLED)
        yield from call.talk(4 * SECOND, stream(call))
        return
    call.begin()
    sender = call.field.socket(call.field.stranger, 4, lambda datagram: None)
    host = HOSTS[4].relay

    def attack(tick: int) -> None:
        for offset in (0, 1):
            packet = rtp(tick, STRANGE_SSRC, call.forged())
            sender.send(packet, (host, call.caller.to[1] + offset))

    yield from call.talk(LATE, attack, caller=False)
    yield from call.talk(3 * SECOND, attack)


def _pair(
    name: str,
    what: str,
    make: Callable[[bool], Callable[[Call], Script]],
    cut: tuple[int, int] = (0, 0),
) -> tuple[Row, Row]:
    return (
        Row(name, what, False, make(False), cut=cut[0]),
        Row(name, what, True, make(True), cut=cut[1]),
    )


ROWS: tuple[Row, ...] = (
    *_pair("none", "no attack", undisturbed),
    Row("A1", "spray before the first packet", False, early(spray, False), alone=True),
    Row("A2", "spray before the first packet", True, early(spray, True), alone=True),
    *_pair("A3", "stream in mid-call", lambda hidden: later(stream, hidden)),
    *_pair("A4", "stream while the address is repeated", refreshed),
    *_pair("A5", "spray after the address changed", changed, cut=(0, BELIEVED_ANEW)),
    *_pair("A6", "right SSRC and next number", lambda hidden: later(copy, hidden)),
    *_pair("A7", "NAT rebinding, sprayed at", rebound, cut=(NOTICED, NOTICED)),
    *_pair("A8", "two sources of one stream", ping_pong),
    *_pair("A29", "DTLS hellos of a stranger", shaking_hands),
    Row("A30", "10,000 bad SRTP tags in set-up", False, early(bad_tags, False, BAD_TAGS_LAST)),
    Row("A30", "10,000 bad SRTP tags", True, later(bad_tags, True, BAD_TAGS_LAST)),
    *_pair("A31", "RTP to the RTCP port and back", lambda hidden: later(crossed, hidden)),
    *_pair("A32", "late packets of a dead call", reused),
    Row("A33", "IPv4 mapped into IPv6", False, mapped),
    Row("stream", "steady stream from the start", False, early(stream, False)),
    Row("stream", "steady stream from the start", True, early(stream, True), promised=False),
)
