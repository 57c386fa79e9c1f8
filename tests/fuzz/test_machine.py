"""The whole relay as a state machine: commands, packets and time in any order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtpproxy_tw.addresses import Address
from tests.control.grammar import CALLS, RIGHT, WRONG, damaged
from tests.datagrams import DTLS, FAX, RECEIVER_REPORT, STUN, rtp
from tests.fuzz.targets import PAUSES, SOURCES
from tests.fuzz.world import World

DATAGRAMS = st.one_of(
    st.builds(rtp, st.integers(0, 5), st.sampled_from([1, 2])),
    st.sampled_from([RECEIVER_REPORT, STUN, DTLS, FAX, b""]),
    st.binary(max_size=40),
)


class TheRelay(RuleBasedStateMachine):
    """What ``World.check`` says holds after each step, and at the end nothing is left."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(high=40010)
        self.world.__enter__()

    @rule(line=RIGHT | WRONG | damaged())
    def command(self, line: str) -> None:
        """Whatever somebody may send."""
        self.world.ask(line.encode("utf-8", "surrogateescape").replace(b"\n", b" "))

    @rule(lines=CALLS)
    def calls(self, lines: list[str]) -> None:
        """Commands after which there are sessions."""
        for line in lines:
            self.world.ask(line.encode())

    @rule(
        datagram=DATAGRAMS,
        source=st.sampled_from(SOURCES),
        index=st.integers(0, 40),
        times=st.integers(1, 6),
    )
    def packets(self, datagram: bytes, source: Address, index: int, times: int) -> None:
        """Anybody sends to a port that is open."""
        ports = sorted(self.world.bench.host.ports)
        for _ in range(times if ports else 0):
            self.world.bench.host.deliver(datagram, source, ports[index % len(ports)])
            self.world.bench.clock.advance(0.02)
            ports = sorted(self.world.bench.host.ports) or ports

    @rule(pause=st.sampled_from(PAUSES))
    def wait(self, pause: float) -> None:
        """Time passes."""
        self.world.bench.clock.advance(pause)

    @invariant()
    def holds(self) -> None:
        """See World."""
        self.world.check()

    def teardown(self) -> None:
        """Nothing is left of anything."""
        try:
            self.world.end()
        finally:
            self.world.__exit__()


TestTheRelay = TheRelay.TestCase
TestTheRelay.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
