"""What attackers get out of each policy: the table in the documentation is what is measured here.

An attacker knows a port of the relay and sends there for ten seconds; the party and the other
side talk at the same time, 50 packets a second each. *Injected* is what the attacker makes the
other side hear, *leaked* what he gets of what it says.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch import Latch, latch_factory
from tests.datagrams import rtp

TABLE = Path(__file__).parent.parent / "docs" / "latching-attacks.csv"
HEADINGS = [
    "Situation",
    "strict: injected",
    "strict: leaked",
    "rtpproxy: injected",
    "rtpproxy: leaked",
]

ATTACKER: Address = ("203.0.113.66", 40000)
PUBLIC: Address = ("192.0.2.1", 4000)
PRIVATE: Address = ("192.168.1.9", 4000)
BEHIND_NAT: Address = ("198.51.100.7", 31022)
PORT_KEPT: Address = ("198.51.100.7", 4000)
MOVED: Address = ("198.51.100.99", 6000)
PRIVATE_PORT: Address = ("192.168.1.9", 6000)

TICKS = 500
"""Of 20 ms."""


class Attack:
    """One call and one attacker; ``injected`` and ``leaked`` count packets."""

    def __init__(self, policy: str, signalled: Address) -> None:
        self.latch: Latch = latch_factory(policy)(1)
        self.latch.payload_types = (0, 8, 101)
        self.now = 100.0
        self.latch.signal(signalled, self.now)
        self.latch.complete(self.now)
        self.injected = self.leaked = 0
        self._tick = 0

    def run(
        self,
        ticks: int,
        party: Address | None,
        attack: Callable[[int], bytes | None] = lambda tick: None,
    ) -> None:
        """All talk so long; the attacker always a little earlier than the party.

        The other side's packets come alternately between those two and after them.
        """
        for _ in range(ticks):
            self._tick += 1
            forged = attack(self._tick)
            if forged is not None:
                self.injected += self.latch.hear(ATTACKER, forged, self.now)
            between = self.latch.remote
            if party is not None:
                self.latch.hear(party, rtp(self._tick, 0xCA11), self.now + 0.001)
            to = between if self._tick % 2 else self.latch.remote
            self.leaked += to == ATTACKER
            self.now += 0.02


def spray(tick: int) -> bytes | None:
    """Round and round all ports: the same packet every three seconds on each."""
    return rtp(1, 0xBAD) if tick % 150 == 1 else None


def stream(tick: int) -> bytes:
    """A stream that looks like a real one."""
    return rtp(tick, 0xBAD)


def before_the_party(signalled: Address, party: Address) -> Callable[[str], Attack]:
    """The attacker sprays from a second before the party's first packet on."""

    def attack(policy: str) -> Attack:
        call = Attack(policy, signalled)
        call.run(50, None, spray)
        call.run(TICKS - 50, party, spray)
        return call

    return attack


def with_the_party(signalled: Address, party: Address) -> Callable[[str], Attack]:
    """The attacker streams from the party's first packet on."""

    def attack(policy: str) -> Attack:
        call = Attack(policy, signalled)
        call.run(TICKS, party, stream)
        return call

    return attack


def in_mid_call(
    signalled: Address,
    party: Address,
    command: Address | None = None,
    then: Address | None = None,
) -> Callable[[str], Attack]:
    """The attacker streams a minute later, at once after a command if there is one."""

    def attack(policy: str) -> Attack:
        call = Attack(policy, signalled)
        call.run(3000, party)
        if command is not None:
            call.latch.signal(command, call.now)
        call.run(TICKS, then or party, stream)
        return call

    return attack


SITUATIONS = {
    "Spray over all ports before the party speaks, public address": before_the_party(
        PUBLIC, PUBLIC
    ),
    "The same, private address, party behind a NAT": before_the_party(PRIVATE, BEHIND_NAT),
    "Stream from the first packet on, public address": with_the_party(PUBLIC, PUBLIC),
    "The same, party behind a NAT that keeps its port": with_the_party(PRIVATE, PORT_KEPT),
    "The same, party behind a NAT that changes its port": with_the_party(PRIVATE, BEHIND_NAT),
    "Stream in mid-call": in_mid_call(PUBLIC, PUBLIC),
    "Stream in mid-call, party behind a NAT": in_mid_call(PRIVATE, BEHIND_NAT),
    "Stream after a command that repeats the address": in_mid_call(PUBLIC, PUBLIC, PUBLIC),
    "The same, party behind a NAT": in_mid_call(PRIVATE, BEHIND_NAT, PRIVATE),
    "Stream after a command that moves the party": in_mid_call(PUBLIC, PUBLIC, MOVED, MOVED),
    "Stream after a command that changes the port behind a NAT": in_mid_call(
        PRIVATE, BEHIND_NAT, PRIVATE_PORT
    ),
}


def measure() -> list[list[str]]:
    """The table, without its headings."""
    rows = []
    for situation, attack in SITUATIONS.items():
        strict, original = attack("strict"), attack("rtpproxy")
        counts = (strict.injected, strict.leaked, original.injected, original.leaked)
        rows.append([situation, *map(str, counts)])
    return rows


def test_the_documented_table_is_what_is_measured() -> None:
    with TABLE.open(newline="") as table:
        headings, *rows = csv.reader(table)
    assert headings == HEADINGS
    assert rows == measure()


@pytest.mark.parametrize("situation", [each for each in SITUATIONS if "changes its" not in each])
def test_strict_gives_attackers_nothing(situation: str) -> None:
    attack = SITUATIONS[situation]("strict")
    assert (attack.injected, attack.leaked) == (0, 0)


if __name__ == "__main__":
    csv.writer(sys.stdout, lineterminator="\n").writerows([HEADINGS, *measure()])
