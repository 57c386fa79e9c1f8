"""What a fast path carries without anything happening is only counted each second: nobody can tell.

Two relays hear the same; one looks at its call thoroughly each second, the other where it must.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rtpproxy_tw.commands import Delete
from rtpproxy_tw.media.fastpath import Offloader
from rtpproxy_tw.quality.monitor import SILENT
from rtpproxy_tw.reporting.sampling import THOROUGH, Sampler
from rtpproxy_tw.session import Ending, Session
from tests.contracts import rtp
from tests.kernel.fake import Fate
from tests.media.test_fastpath import CALLEE, CALLER, TO_CALLEE_LEG, TO_CALLER_LEG, Carried

SECONDS = 24
"""Two intervals that have a score, and some more."""

FRAMES = 50

LOSSES = st.sets(st.integers(100, SECONDS * FRAMES - 1), max_size=40)


class Watched(Carried):
    """A carried call that is looked at each second, the RTP figures of which are counted."""

    def __init__(self, *, always: bool = False) -> None:
        """``always``: nothing may be taken for granted."""
        super().__init__()
        self.looks = self.fully = 0
        self.sampler = Sampler(
            clock=self.clock,
            is_local=lambda host: False,
            refresh=self._refresh,
            go_on=self._go_on,
            stirred=(lambda: iter([{self.session}])) if always else self.plane.stirred,
        )
        self.sampler.sessions = [self.session]
        self.frame = 0
        self.step = 1 / FRAMES

    def _refresh(self, session: Session) -> None:
        self.looks += 1
        self.fully += 1
        self.plane.refresh(session)

    def _go_on(self, session: Session) -> bool:
        done = self.plane.go_on(session)
        self.looks += done
        return done

    def hear(self, *, caller: bool = True, callee: bool = True, payload_type: int = 0) -> None:
        """One packet of each, as far as it comes."""
        self.clock.advance(self.step)
        for comes, source, to in (
            (caller, CALLER, TO_CALLER_LEG),
            (callee, CALLEE, TO_CALLEE_LEG),
        ):
            datagram = bytearray(rtp(self.frame, 1))
            datagram[1] = payload_type
            if comes:
                self.arrive(bytes(datagram), source, to)
        self.frame += 1

    def run(self, seconds: int, lost: frozenset[int] | set[int] = frozenset()) -> None:
        """Talk; ``lost`` are frames of the caller that do not come."""
        for _ in range(seconds):
            for _ in range(FRAMES):
                self.hear(caller=self.frame not in lost)
            self.sampler.tick()

    def known(self) -> list[object]:
        """All that was found out."""
        told: list[object] = [[*map(tuple, self.session.timeline)]]
        for leg in self.session.legs:
            monitor, analyzer = leg.monitor, leg.rtp.analyzer
            assert monitor is not None
            assert analyzer is not None
            bursts = monitor.bursts
            told += [list(monitor.history), monitor.code, monitor.code_since, monitor.mos_min]
            told += [bursts.lost, bursts.count, bursts.burst_packets, bursts.runs]
            told += [analyzer.sent, analyzer.received, leg.rtp.accepted, leg.rtp.octets]
            told += [leg.rtp.last_heard, leg.last_active]
        return told


def test_a_call_that_goes_on_is_looked_at_every_ten_seconds_and_counted_each_second() -> None:
    call = Watched()
    call.run(4)
    before = call.looks
    for second in range(3, SECONDS):
        call.run(1)
        assert call.totals.npkts_relayed == call.totals.npkts_rcvd == 2 * call.frame, second
    assert call.looks - before == 2
    assert call.fully <= before, "what only goes on needs no full look"


def test_whoever_asks_gets_the_counters_of_that_moment() -> None:
    """By the registry: of one call, or of all."""
    call = Watched()
    call.run(6)
    stream = call.session.caller.rtp
    for ask in (lambda: call.registry.of_call("c"), call.registry.refresh):
        call.run(1)
        assert stream.accepted < call.frame
        ask()
        assert stream.accepted == stream.octets / len(rtp(0)) == call.frame
        assert call.clock.seconds() - stream.last_heard < 0.1
        assert call.totals.npkts_relayed == call.totals.npkts_rcvd == 2 * call.frame


def test_a_fast_stream_is_looked_at_each_second() -> None:
    """The bitmap of what came does not hold ten seconds of it."""
    call = Watched()
    call.step = 1 / (6 * FRAMES)
    for second in range(4):
        for _ in range(6 * FRAMES):
            call.hear()
        call.sampler.tick()
        assert call.looks == second + 1


@given(lost=LOSSES)
@settings(max_examples=10, deadline=None)
def test_figures_intervals_and_bursts_are_the_same_however_often_it_was_looked(
    lost: set[int],
) -> None:
    followed, looked = Watched(), Watched(always=True)
    for call in (followed, looked):
        call.run(SECONDS, lost)
        call.do(Delete("c", "f", "t"))
        call.sampler.ended(call.session, Ending.DELETED)
    assert followed.looks < looked.looks
    assert followed.known() == looked.known()


def test_every_packet_is_judged_though_the_path_remembers_sixty_four() -> None:
    call = Watched()
    call.run(SECONDS, {*range(700, 705), 707})
    monitor = call.session.caller.monitor
    assert monitor is not None
    assert (monitor.bursts.unjudged, monitor.bursts.lost, monitor.bursts.count) == (0, 6, 1)


def test_silence_is_noticed_when_it_would_have_been() -> None:
    calls = Watched(), Watched(always=True)
    for call in calls:
        call.run(8)
        for second in range(8):
            for _ in range(FRAMES):
                call.hear(caller=False)
            call.sampler.tick()
            monitor = call.session.caller.monitor
            assert monitor is not None
            assert monitor.code == ("one-way" if second >= SILENT else "ok"), second
        call.plane.refresh(call.session)
    assert calls[0].known() == calls[1].known()


def test_calls_that_stay_silent_rest_too() -> None:
    """Whether both parties are, or one; and the second that brings them back is noticed."""
    for callee in (False, True):
        call = Watched()
        call.run(4)
        looks = []
        for _ in range(20):
            for _ in range(FRAMES):
                call.hear(caller=False, callee=callee)
            call.sampler.tick()
            looks.append(call.looks)
        assert looks[-1] - looks[8] <= 2
        monitor = call.session.caller.monitor
        assert monitor is not None
        assert monitor.code == ("one-way" if callee else "stopped")
        call.run(1)
        assert monitor.code == "ok"


def test_another_payload_type_and_strangers_are_noticed_within_a_second() -> None:
    call = Watched()
    call.run(4)
    for _ in range(FRAMES):
        call.hear(payload_type=13)
    call.sampler.tick()
    (monitor, _) = (leg.monitor for leg in call.session.legs)
    assert monitor is not None
    assert monitor.quiet_since == call.clock.seconds()
    call.run(2)
    looks = call.looks
    call.run(1)
    assert call.looks == looks, "the ten seconds are not over"
    call.arrive(rtp(1, 9), ("127.0.0.9", 4), TO_CALLER_LEG)
    call.run(1)
    assert call.looks == looks + 1


def test_ports_that_nobody_said_were_left_are_forgotten_in_time() -> None:
    call = Watched()
    call.run(2)
    leg = call.session.caller
    call.sampler.unreachable(("127.0.0.1", leg.port), CALLER)
    assert leg.rtp.unreachable == 1
    port, leg.port = leg.port, 50_000
    call.sampler.unreachable(("127.0.0.1", port), CALLER)
    assert leg.rtp.unreachable == 1
    for _ in range(THOROUGH + 1):
        call.sampler.tick()
    assert port not in {number for _, number in call.sampler._ports}


def test_rtcp_is_read_within_a_second_and_taken_back_alone() -> None:
    """A report has its call looked at; RTP is followed whatever becomes of RTCP."""
    report = bytes.fromhex("80c9 0001 0000 0001")
    call = Watched()
    for _ in range(3):
        for leg, to in ((call.session.caller, 40003), (call.session.callee, 40001)):
            source = leg.rtcp.latch.remote
            assert source is not None
            fate = call.arrive(report, source, ("127.0.0.1", to))
    assert fate is Fate.RELAYED
    call.run(6)
    looks = call.looks
    call.arrive(report, ("127.0.0.1", 5001), ("127.0.0.1", 40003))
    call.path.hand_out_copies()
    call.run(1)
    assert (call.looks, call.session.caller.rtcp.letters) == (looks + 1, None)
    fast_path = call.plane._fast_path
    assert isinstance(fast_path, Offloader)
    fast_path._uncarry(call.session.caller.rtcp)
    call.run(2)
    assert call.looks == looks + 1
    call.do(Delete("c", "f", "t"))
    assert [*call.plane.stirred()] == [{call.session}], "it was taken back"
    assert not [*call.plane.stirred()]


def test_what_somebody_has_asked_for_after_a_source_began_anew_stays_right() -> None:
    """The survey knows of the numbers before; by then they are of another run."""
    calls = Watched(), Watched(always=True)
    for call in calls:
        call.run(6)
        for number in range(3):
            call.clock.advance(call.step)
            call.arrive(rtp(number, 77), CALLER, TO_CALLER_LEG)
        call.registry.of_call("c")
        call.sampler.tick()
        analyzer = call.session.caller.rtp.analyzer
        assert analyzer is not None
        assert (analyzer.highest, analyzer.received) == (2, call.frame + 3)
    assert calls[0].known() == calls[1].known()
