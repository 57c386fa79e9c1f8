"""What holds for strict latching whatever happens, in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtpproxy_tw.addresses import Address, is_private
from rtpproxy_tw.latch import StrictLatch, latch_factory
from rtpproxy_tw.latch.candidates import MOST_CANDIDATES
from tests.datagrams import DTLS, FAX, SENDER_REPORT, STUN, rtp
from tests.latching import RTCP, RTP, V4, Stage, strict

PUBLIC = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
HIDDEN = ["192.168.1.9", "100.64.3.3", "fd00::9"]
STRANGERS = ["203.0.113.66", "203.0.113.67", "2001:db8:66::66", "224.0.0.1", "127.0.0.1", "0.0.0.0"]
PORTS = [4000, 4001, 6000, 6001, 0, 65535]

signalled_port = st.sampled_from([4000, 6000, 65534])
any_source = st.tuples(st.sampled_from(PUBLIC + HIDDEN + STRANGERS), st.sampled_from(PORTS))
junk = st.one_of(
    st.binary(max_size=40), st.sampled_from([STUN, DTLS, FAX, SENDER_REPORT, rtp(1, 0), rtp(9, 0)])
)
gaps = st.sampled_from([0.0, 0.001, 0.02, 0.03, 0.2, 0.6, 1.5, 6.0, 11.0])


class OneLeg(RuleBasedStateMachine):
    """Both components of a leg, driven as the relay drives them.

    Each source sends a stream of its own, so that no NAT rebinding is among what happens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rtp = Stage(StrictLatch(RTP), RTP, None)
        self.rtcp = Stage(StrictLatch(RTCP), RTCP, None)
        self.said: set[str] = set()
        self.heard: set[str] = set()
        self.hidden = True
        self.changed = 100.0

    @initialize(hosts=st.sampled_from([PUBLIC, PUBLIC + HIDDEN]))
    def begin(self, hosts: list[str]) -> None:
        """Some calls have public parties only."""
        self.hosts = hosts
        self.hidden = False
        self.command(hosts[0], 4000)

    def command(self, host: str, port: int) -> None:
        """A command names the party's address."""
        if self.rtp.latch.signalled != (host, port):
            self.changed = self.rtp.now
        self.said.add(host)
        self.hidden |= is_private(host)
        self.rtp.latch.signal((host, port), self.rtp.now)
        self.rtcp.latch.signal((host, port + 1), self.rtp.now)

    @rule(index=st.integers(0, 5), port=signalled_port)
    def signal(self, index: int, port: int) -> None:
        """A re-INVITE."""
        self.command(self.hosts[index % len(self.hosts)], port)

    @rule(gap=gaps)
    def wait(self, gap: float) -> None:
        """Time passes."""
        self.rtp.now += gap
        self.rtcp.now = self.rtp.now

    @rule(source=any_source, packets=st.integers(1, 8), gap=gaps)
    def media(self, source: Address, packets: int, gap: float) -> None:
        """RTP arrives."""
        for _ in range(packets):
            self.judge(source, self.rtp.media(source))
            self.wait(gap)

    @rule(source=any_source, datagram=junk)
    def junk(self, source: Address, datagram: bytes) -> None:
        """Anything arrives."""
        self.judge(source, datagram)

    @rule()
    def exact(self) -> None:
        """RTP arrives from where it was signalled."""
        assert self.rtp.latch.signalled is not None
        self.judge(self.rtp.latch.signalled, self.rtp.media(self.rtp.latch.signalled))

    @rule(source=any_source, packets=st.integers(1, 8), gap=gaps)
    def report(self, source: Address, packets: int, gap: float) -> None:
        """RTCP arrives."""
        for _ in range(packets):
            latch = self.rtcp.latch
            if self.rtcp.hear(source):
                assert latch.source == source or not latch.settled
                assert source[0] in self.said | self.heard or self.hidden
            self.wait(gap)

    def judge(self, source: Address, datagram: bytes) -> None:
        """One datagram on the RTP port."""
        latch = self.rtp.latch
        before, was_settled = latch.source, latch.settled
        passed = self.rtp.hear(source, datagram)
        if source == latch.signalled and self.rtp.now < self.changed + 10 and not was_settled:
            assert passed, "the exact source was refused while a window was open"
            assert latch.source == latch.remote == source
        if passed:
            assert source[0] in self.said or self.hidden, "a stranger got in"
            assert source[1] != 0
            self.heard.add(source[0])
        if latch.source is not before:
            assert passed
            assert latch.source is not None
            self.rtcp.latch.follow(latch.source, self.rtp.now)

    @invariant()
    def media_goes_to_the_party(self) -> None:
        """Nothing is sent where nobody signalled or was believed."""
        for latch in (self.rtp.latch, self.rtcp.latch):
            assert latch.remote is None or latch.remote[0] in self.said | self.heard or self.hidden
            assert latch.source is not None or not latch.settled

    @invariant()
    def memory_is_bounded(self) -> None:
        """There are never more candidates than there is room for."""
        for latch in (self.rtp.latch, self.rtcp.latch):
            assert isinstance(latch, StrictLatch)
            assert latch._contest is None or len(latch._contest.candidates) <= MOST_CANDIDATES


OneLeg.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOneLeg = OneLeg.TestCase


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([RTP, RTCP]),
    st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 30), st.sampled_from([0.0, 0.0004, 0.03])),
        max_size=120,
    ),
)
def test_one_burst_per_port_is_never_forwarded_nor_answered(
    component: int, bursts: list[tuple[int, int, float]]
) -> None:
    stage = strict(component, (V4.private, 4000))
    for port, (host, packets, pause) in enumerate(bursts, start=1):
        assert stage.talk((f"203.0.113.{host}", port), packets, gap=0.004 / packets) == 0
        assert stage.latch.remote == (V4.private, 4000)
        stage.now += pause
    assert stage.talk((V4.private, 4000), 10) == 10


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["strict", "rtpproxy"]),
    st.sampled_from([RTP, RTCP]),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(any_source, junk, gaps), max_size=60),
)
def test_no_datagram_from_anywhere_raises(
    policy: str,
    component: int,
    known: bool,
    asymmetric: bool,
    arrivals: list[tuple[Address, bytes, float]],
) -> None:
    latch = latch_factory(policy)(component)
    latch.asymmetric = asymmetric
    stage = Stage(latch, component, ("192.168.1.9", 4000) if known else None)
    for source, datagram, gap in arrivals:
        stage.hear(source, datagram)
        stage.now += gap
        if component == RTCP and gap > 1:
            latch.follow(source, stage.now)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=300))
def test_memory_is_bounded_under_any_spray(sources: list[tuple[int, int]]) -> None:
    stage = strict(RTP, ("192.168.1.9", 4000))
    for host, port in sources:
        stage.hear((f"203.0.{host >> 8}.{host & 255}", port))
        stage.now += 0.003
        assert isinstance(stage.latch, StrictLatch)
        contest = stage.latch._contest
        assert contest is None or len(contest.candidates) <= MOST_CANDIDATES
