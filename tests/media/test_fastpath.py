"""When streams are given to the fast path, when they come back, and that nobody sees it in Q."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from rtpproxy_tw.commands import (
    Delete,
    Info,
    Lookup,
    MediaOptions,
    Outlet,
    Query,
    Record,
    Remote,
    SetTos,
    Statistics,
    Text,
    Update,
)
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.interfaces import IFastPath
from rtpproxy_tw.media.carrier import choose
from rtpproxy_tw.media.fastpath import NullFastPath, Offloader
from rtpproxy_tw.media.kernel.path import Unavailable
from rtpproxy_tw.statistics import Totals
from tests.contracts import rtp
from tests.fakes import Bench
from tests.kernel.fake import FakePath, Fate

F = Remote(("127.0.0.1", 5000))
T = Remote(("127.0.0.1", 6000))
CALLER, CALLEE = ("127.0.0.1", 5000), ("127.0.0.1", 6000)
TO_CALLER_LEG, TO_CALLEE_LEG = ("127.0.0.1", 40002), ("127.0.0.1", 40000)


class Carried(Bench):
    """A call on a relay with a fast path in memory."""

    def __init__(self, latching: str = "strict") -> None:
        self.path = FakePath()
        self.path.start()
        super().__init__(kernel=self.path, latching=latching)
        self.do(Update("c", "f", None, F))
        self.do(Lookup("c", "f", "t", T))
        (self.session,) = self.registry
        self.sequence = 0

    def arrive(
        self, datagram: bytes, source: tuple[str, int] = CALLER, to: tuple[str, int] = TO_CALLER_LEG
    ) -> Fate:
        """A datagram comes to this host: the path has the first word."""
        fate = self.path.deliver(datagram, source, to, int(self.clock.seconds() * 1e9) + 1)
        if fate is Fate.UP:
            self.host.deliver(datagram, source, to)
        return fate

    def talk(self, count: int = 1) -> list[Fate]:
        """``count`` packets each way, 20 ms apart; what became of them."""
        fates = []
        for _ in range(count):
            self.sequence += 1
            self.clock.advance(0.02)
            fates.append(self.arrive(rtp(self.sequence, 1), CALLER, TO_CALLER_LEG))
            fates.append(self.arrive(rtp(self.sequence, 2), CALLEE, TO_CALLEE_LEG))
        return fates

    @property
    def carried(self) -> bool:
        """Whether RTP is carried both ways."""
        streams = self.session.caller.rtp, self.session.callee.rtp
        assert streams[0].offloaded is streams[1].offloaded
        return streams[0].offloaded

    def counters(self) -> str:
        """Q's short line without the TTL."""
        reply = self.do(Query("c", "f", "t"))
        assert isinstance(reply, Text)
        return reply.text.partition(" ")[2]


@pytest.fixture
def bench() -> Carried:
    """A call that is carried."""
    made = Carried()
    made.talk(2)
    assert made.carried
    return made


def test_a_call_is_carried_as_soon_as_both_parties_are_settled(bench: Carried) -> None:
    """From the second party's first packet on; each packet still arrives once."""
    assert bench.talk(3) == [Fate.RELAYED] * 6
    flows = sorted(bench.path.sent[-2:])
    assert [to for _, _, to in flows] == [CALLEE, CALLER]
    assert bench.counters() == "5 5 10 0"


def test_one_party_alone_is_not_carried() -> None:
    """The other one may still turn out to be elsewhere."""
    bench = Carried()
    for sequence in range(200):
        bench.clock.advance(0.02)
        assert bench.arrive(rtp(sequence)) is Fate.UP
    assert not bench.carried


def test_rtcp_is_carried_by_itself(bench: Carried) -> None:
    """Each component has latches of its own."""
    report = b"\x80\xc9\x00\x01\x00\x00\x00\x01"
    for _ in range(3):
        bench.arrive(report, ("127.0.0.1", 5001), ("127.0.0.1", 40003))
        fate = bench.arrive(report, ("127.0.0.1", 6001), ("127.0.0.1", 40001))
    assert fate is Fate.RELAYED
    assert bench.counters() == "2 2 4 0", "RTCP is not counted in Q"


def test_counters_are_the_same_whoever_carried_the_packets(bench: Carried) -> None:
    """Q, G and I, asked in between or at the end."""
    slow = Bench()
    slow.do(Update("c", "f", None, F))
    slow.do(Lookup("c", "f", "t", T))
    for sequence in range(1, 13):
        slow.host.deliver(rtp(sequence, 1), CALLER, TO_CALLER_LEG)
        slow.host.deliver(rtp(sequence, 2), CALLEE, TO_CALLEE_LEG)
    bench.talk(5)
    bench.do(Query("c", "f", "t", ("rtpa_nsent",)))
    bench.talk(5)
    names = ("npkts_ina", "npkts_ino", "nrelayed", "ndropped", "rtpa_nsent", "rtpa_nrcvd")
    assert bench.do(Query("c", "f", "t", names)) == slow.do(Query("c", "f", "t", names))
    sums = Statistics(("npkts_rcvd", "npkts_relayed", "npkts_discard"))
    assert bench.do(sums) == slow.do(sums)
    assert bench.do(Info()) == slow.do(Info())
    for each in (bench, slow):
        each.do(Delete("c", "f", "t"))
    sums = Statistics(("rtpa_nsent", "rtpa_nrcvd", "rtpa_nlost", "nsess_nortp", "npkts_rcvd"))
    assert bench.do(sums) == slow.do(sums)


def test_what_the_path_carries_keeps_the_session_alive(bench: Carried) -> None:
    """And its end is not delayed by it."""
    for _ in range(100):
        bench.clock.advance(0.98)
        bench.talk()
    assert len(bench.registry) == 1
    bench.clock.advance(59.5)
    assert len(bench.registry) == 1
    bench.clock.advance(1.5)
    assert len(bench.registry) == 0


@pytest.mark.parametrize(
    "command",
    [
        Update("c", "f", "t", Remote(("127.0.0.1", 5002))),
        Lookup("c", "f", "t", T, MediaOptions(new_port=True)),
        Record("c", "f", "t"),
        Update("c", "f", "t", F, subs=(SetTos(32),)),
    ],
)
def test_a_command_that_may_change_something_takes_the_call_back_first(
    bench: Carried, command: Update | Lookup | Record
) -> None:
    """Its counters are complete by then."""
    bench.talk(3)
    bench.do(command)
    assert not bench.carried
    assert not bench.path.samples()
    assert bench.session.caller.rtp.accepted == 5


def test_whoever_changes_a_session_otherwise_takes_it_back_through_the_registry(
    bench: Carried,
) -> None:
    """A recording asked for over HTTP, for one."""
    bench.talk(3)
    bench.registry.release(bench.session)
    assert not bench.carried
    assert bench.session.caller.rtp.accepted == 5


def test_asking_takes_nothing_back(bench: Carried) -> None:
    """Q, G and I read along."""
    bench.do(Query("c", "f", "t"))
    bench.do(Statistics(()))
    bench.do(Info())
    assert bench.carried


def test_a_call_that_another_one_listens_to_is_not_carried(bench: Carried) -> None:
    """An outlet needs the packets; when it is gone, the path gets them again."""
    bench.do(Update("d", "df", "dt", Remote(("127.0.0.1", 7000)), subs=(Outlet("c", "f", "t"),)))
    bench.talk(100)
    assert not bench.carried
    bench.do(Delete("d", "df", None))
    bench.clock.advance(1)
    bench.talk(2)
    assert bench.carried


def test_a_packet_that_comes_to_the_socket_all_the_same_is_relayed_in_order(
    bench: Carried,
) -> None:
    """A fragment, say: the stream stays here for a while."""
    bench.talk()
    sent = len(bench.path.sent)
    bench.host.deliver(rtp(4, 1), CALLER, TO_CALLER_LEG)
    assert bench.host.sent(TO_CALLEE_LEG)[-1] == (rtp(4, 1), CALLEE)
    assert len(bench.path.sent) == sent
    assert not bench.carried
    bench.clock.advance(5)
    bench.sequence = 4
    bench.talk(2)
    assert bench.carried


def test_nothing_is_carried_past_a_packet_that_waits_in_the_socket(bench: Carried) -> None:
    """However long the relay takes to read it, and however many come meanwhile."""
    bench.talk(2)
    bench.do(Update("c", "f", "t", F))  # takes it back
    bench.talk()
    waiting = []
    for sequence in range(6, 10):
        assert bench.path.deliver(rtp(sequence, 1), CALLER, TO_CALLER_LEG) is Fate.UP
        waiting.append(rtp(sequence, 1))
    before = len(bench.path.sent)
    for datagram in waiting:
        assert len(bench.path.sent) == before
        bench.host.deliver(datagram, CALLER, TO_CALLER_LEG)
    assert bench.path.deliver(rtp(10, 1), CALLER, TO_CALLER_LEG) is Fate.RELAYED
    names = ("npkts_ina", "rtpa_nsent", "rtpa_nrcvd", "rtpa_ndups", "rtpa_nlost")
    reply = bench.do(Query("c", "f", "t", names))
    assert isinstance(reply, Text)
    assert reply.text == "10 10 10 0 0"


def test_a_relay_that_is_far_behind_gets_rid_of_its_load(
    bench: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each queue is emptied at once when its turn has come, and the path looked at once for it."""
    bench.talk(2)
    bench.do(Update("c", "f", "t", F))  # takes it back
    bench.talk()
    waiting = [rtp(sequence, 1) for sequence in range(6, 206)]
    for datagram in waiting:
        assert bench.path.deliver(datagram, CALLER, TO_CALLER_LEG) is Fate.UP
    drained: list[int] = []
    monkeypatch.setattr(bench.path, "drain", lambda: drained.append(1))
    sender = bench.session.caller.rtp.sender

    def drain() -> None:
        while waiting:
            bench.host.deliver(waiting.pop(0), CALLER, TO_CALLER_LEG)

    monkeypatch.setattr(sender, "drain", drain)
    bench.host.deliver(waiting.pop(0), CALLER, TO_CALLER_LEG)
    assert bench.path.deliver(rtp(206, 1), CALLER, TO_CALLER_LEG) is Fate.RELAYED
    assert len(drained) == 1
    names = ("npkts_ina", "rtpa_nsent", "rtpa_nrcvd", "rtpa_ndups", "rtpa_nlost")
    reply = bench.do(Query("c", "f", "t", names))
    assert isinstance(reply, Text)
    assert reply.text == "206 206 206 0 0"


def test_what_was_on_its_way_to_the_socket_at_the_start_goes_first(bench: Carried) -> None:
    """The path never saw it, and carries nothing before it has been sent on."""
    bench.talk(2)
    bench.do(Update("c", "f", "t", F))
    early = rtp(5, 1)  # past the place where the path looks, not yet in the socket
    bench.host.deliver(rtp(5, 2), CALLEE, TO_CALLEE_LEG)
    assert bench.carried
    assert bench.path.deliver(rtp(6, 1), CALLER, TO_CALLER_LEG) is Fate.UP
    bench.host.deliver(early, CALLER, TO_CALLER_LEG)
    assert bench.path.deliver(rtp(7, 1), CALLER, TO_CALLER_LEG) is Fate.UP
    bench.host.deliver(rtp(6, 1), CALLER, TO_CALLER_LEG)
    assert bench.path.deliver(rtp(8, 1), CALLER, TO_CALLER_LEG) is Fate.UP
    for sequence in (7, 8):
        bench.host.deliver(rtp(sequence, 1), CALLER, TO_CALLER_LEG)
    assert bench.path.deliver(rtp(9, 1), CALLER, TO_CALLER_LEG) is Fate.RELAYED


def test_a_stranger_does_not_take_a_call_back(bench: Carried) -> None:
    """He goes up, is refused and counted; beyond the budget the path counts for us."""
    for number in range(300):
        bench.arrive(rtp(number, 666), ("127.0.0.1", 666), TO_CALLER_LEG)
    assert bench.carried
    bench.counters()
    assert bench.session.caller.rtp.ignored == 300
    assert bench.do(Statistics(("npkts_discard",))) == Text("300", 25)


def test_a_party_that_moved_is_followed_from_the_path(bench: Carried) -> None:
    """A NAT rebinding: the source silent for a second, its stream going on from another port."""
    bench.talk(60)
    bench.clock.advance(0.5)
    mover = ("127.0.0.1", 5555)
    assert bench.arrive(rtp(bench.sequence + 1, 1), mover) is Fate.UP
    assert bench.session.caller.rtp.latch.source == CALLER, "silent for half a second only"
    bench.clock.advance(0.6)
    bench.arrive(rtp(bench.sequence + 30, 1), mover)
    assert bench.session.caller.rtp.latch.source == mover
    for number, fate in ((31, Fate.UP), (32, Fate.RELAYED)):
        assert bench.arrive(rtp(bench.sequence + number, 1), mover) is fate
        assert bench.arrive(rtp(bench.sequence + number, 2), CALLEE, TO_CALLEE_LEG) is fate
    assert bench.path.sent[-1] == (rtp(bench.sequence + 32, 2), TO_CALLER_LEG, mover)
    assert bench.arrive(rtp(bench.sequence + 33, 1), CALLER) is Fate.UP


@pytest.mark.parametrize("latching", ["strict", "rtpproxy"])
def test_a_stream_is_known_by_its_number_however_long_it_was_carried(latching: str) -> None:
    """What the latch remembers of the stream is from the path, not from before it."""
    bench = Carried(latching)
    bench.talk(1500)
    assert bench.carried
    bench.clock.advance(1.1)
    mover = ("127.0.0.1", 5555)
    latch = bench.session.caller.rtp.latch
    bench.arrive(rtp(bench.sequence + 1500, 1), mover)
    assert latch.source == CALLER
    bench.arrive(rtp(bench.sequence + 55, 1), mover)
    assert latch.source == mover


def test_a_flow_that_lost_its_way_comes_back_to_the_sockets(bench: Carried) -> None:
    """The route to one party is gone: both directions are ours again."""
    bench.path.lose_route("127.0.0.1")
    assert not bench.carried
    assert bench.talk() == [Fate.UP] * 2


def test_the_end_of_a_session_leaves_no_flow(bench: Carried) -> None:
    """Nothing is carried for ports that are free again."""
    bench.do(Delete("c", "f", "t"))
    assert not bench.path.samples()


def test_a_path_that_has_no_room_is_not_asked_for_every_packet() -> None:
    """It is asked again a second later."""
    bench = Carried()
    bench.path.unreachable.add("127.0.0.1")
    bench.talk(20)
    assert not bench.carried
    asked = sum(bench.path.refusals.values())
    assert asked <= 2
    bench.path.unreachable.clear()
    bench.clock.advance(1)
    bench.talk(2)
    assert bench.carried


def test_without_a_path_the_relay_says_why_and_goes_on() -> None:
    """--fast-path auto; ebpf insists."""
    bench = Bench()
    path = FakePath()
    path.unavailable = Unavailable("No privileges.", "Give it CAP_BPF.")
    asked: list[int] = []

    def make(flows: int) -> FakePath:
        asked.append(flows)
        return path

    made = choose("auto", bench.clock, Totals(), 0, 8, make=make)
    assert isinstance(made.path, NullFastPath)
    with pytest.raises(ConfigError, match=r"No privileges\. Give it CAP_BPF\."):
        choose("ebpf", bench.clock, Totals(), 0, 8, make=make)
    path.unavailable = None
    found = choose("auto", bench.clock, Totals(), 0, 8, make=make)
    assert isinstance(found.path, Offloader)
    assert path.running
    assert not path.confined
    found.confine()
    assert path.confined
    found.stopService()
    assert not path.running
    assert asked == [64] * 3


def test_none_means_that_nothing_is_tried() -> None:
    """--fast-path none."""

    def make(flows: int) -> FakePath:
        raise AssertionError("not to be tried")

    assert isinstance(choose("none", Bench().clock, Totals(), 0, 8, make=make).path, NullFastPath)


def test_both_fast_paths_provide_the_interface() -> None:
    """All methods are there."""
    path = FakePath()
    offloader = Offloader(path=path, now=lambda: 0.0, totals=Totals(), tos=0)
    assert verifyObject(IFastPath, offloader)
    assert verifyObject(IFastPath, NullFastPath())
