"""The same commands to the original's engine and to a relay on fakes: the same replies.

Ports are compared by the order of their appearance. What differs on purpose is in
docs/deviations.rst, and is not compared here: see :meth:`Ours.differs` and ``ANOTHER_FAULT``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.commands import Origin
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from tests.control.grammar import CALLS, RIGHT, WRONG, damaged
from tests.fakes import Bench
from tests.oracle import Oracle, needs_oracle

pytestmark = [pytest.mark.network, needs_oracle]

ORIGIN = Origin()
SESSIONS = ("nsess_created", "npkts_rcvd", "npkts_relayed")
ALL_TAGS = ("f", "t", "f;1", "t;1", "f;2", "t;2")
ANOTHER_FAULT = {("E36", "E37"), ("E36", "E3")}
"""Of two faults in a command the engine tells the one, we the other: 6 without IPv6, and any."""
COMMANDS = ("ncmds_rcvd", "ncmds_succd", "ncmds_errs", "ncmds_repld", "ncmds_rcvd_ndups")


class Ours:
    """A relay set up like the engine, with what that has counted so far."""

    def __init__(self, oracle: Oracle) -> None:
        addresses = LocalAddresses((LocalAddress("0.0.0.0"),))
        bench = Bench(addresses=addresses, low=35000, high=64998, notify=[oracle.notify_spec])
        self._registry = bench.registry
        self._responder = Responder(
            dialect=RtpproxyDialect(),
            executor=bench.dispatcher,
            totals=bench.totals,
            clock=bench.clock,
        )
        for names in (SESSIONS, COMMANDS):
            for name, value in zip(names, oracle.ask("G " + " ".join(names)).split(), strict=True):
                setattr(bench.totals, name, int(value))
        # The engine has since succeeded with that very command and told so.
        bench.totals.ncmds_succd += 1
        bench.totals.ncmds_repld += 1

    def ask(self, line: str) -> str:
        """The reply to one command, without its newline."""
        command = line.encode("utf-8", "surrogateescape")
        reply = self._responder.respond(command, ORIGIN)
        return reply.decode("utf-8", "surrogateescape").removesuffix("\n")

    def differs(self, line: str) -> bool:
        """Whether the replies to ``line``, or to those after it, may differ on purpose."""
        main, *subs = (
            [word for word in part.split() if word in ALL_TAGS] for part in line.split("&&")
        )
        deletes = re.search(r"(^| && )[dD]", line) is not None
        return re.search(r"&& [dD][wW]* +&&", line) is not None or any(
            self._both(call, main, ())
            or any(self._both(call, sub, main) for sub in subs)
            or (deletes and self._nested(call))
            for call in {"c1", "c2"} & set(line.split())
        )

    def _there(self, call_id: str) -> list[str]:
        return [tag for tag in ALL_TAGS if self._registry.find(call_id, tag, None)]

    def _both(self, call_id: str, tags: Sequence[str], made: Sequence[str]) -> bool:
        # Each of two tags may mean a session: one that is there, or that the command will make.
        there = self._there(call_id)
        meant = {each.partition(";")[0] for each in there} | {*there, *made}
        return len([tag for tag in tags if tag in meant]) > 1

    def _nested(self, call_id: str) -> bool:
        # There are both a tag without medium number and the same with one.
        there = self._there(call_id)
        return any(each.partition(";")[0] in there for each in there if ";" in each)


class Names:
    """Makes the replies of one side comparable: they differ in ports, and in the time it is."""

    def __init__(self) -> None:
        self._ports: dict[str, str] = {}

    def of(self, line: str, reply: str) -> str:
        """``reply`` to ``line`` with ports named in order of appearance, seconds rounded."""
        match line[:1].upper():
            case "U" | "L":
                # With its address, as two addresses may have the same port by chance.
                return re.sub(r"\b[0-9]{5}( 127[0-9.]+)?", self._port, reply)
            case "Q":
                # The engine's time to live counts down, ours stands still.
                return re.sub(r"\b[0-9]{2}\b", lambda ttl: str(-int(ttl[0]) // 10), reply)
            case _:
                return reply

    def _port(self, found: re.Match[str]) -> str:
        return self._ports.setdefault(found[0], f"port{len(self._ports)}{found[1] or ''}")


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as engine:
        yield engine


SCRIPTS = st.builds(operator.add, CALLS, st.lists(RIGHT | RIGHT | WRONG, min_size=1, max_size=8))


Told = list[tuple[str, str, str]]


def run(oracle: Oracle, script: Sequence[str]) -> Told:
    """Each line with both replies, from no session on, up to the first that are not alike."""
    oracle.ask("X")
    ours = Ours(oracle)
    theirs, mine = Names(), Names()
    told: Told = []
    for line in script:
        if ours.differs(line):
            break
        told.append((line, theirs.of(line, oracle.ask(line)), mine.of(line, ours.ask(line))))
        if not alike(told):
            break
    return told


def alike(told: Told) -> bool:
    """Whether the last replies are the same, or differ on purpose."""
    return not told or told[-1][1] == told[-1][2] or told[-1][1:] in ANOTHER_FAULT


def compare(oracle: Oracle, script: Sequence[str]) -> None:
    """Fails where the replies to ``script`` are not alike, twice."""
    told = run(oracle, script)
    if not alike(told):
        # The engine's ports are real: it may have heard a stray packet, which it counts.
        told = run(oracle, script)
    assert alike(told), told


many = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@many
@given(line=st.one_of(WRONG, damaged(), damaged(WRONG)))
def test_a_single_command_is_answered_alike(oracle: Oracle, line: str) -> None:
    compare(oracle, [line])


@many
@given(script=SCRIPTS)
def test_a_script_is_answered_alike(oracle: Oracle, script: list[str]) -> None:
    compare(oracle, script)
