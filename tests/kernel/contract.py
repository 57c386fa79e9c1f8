"""What every KernelPath does; a subclass says how to make one and how datagrams reach it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.kernel.path import (
    PACKETS,
    Flow,
    FlowId,
    KernelPath,
    Upto,
    brief_of,
    only_goes_on,
)
from tests.kernel.fake import Fate
from tests.kernel.frames import rtp

LOCAL, PARTY = ("198.51.100.1", 35000), ("198.51.100.9", 40000)
LEAVES, OTHER = ("198.51.100.1", 35002), ("198.51.100.8", 41000)
STRANGER = ("198.51.100.7", 1)
NOWHERE = ("203.0.113.9", 41000)

FLOW = Flow(LOCAL, PARTY, LEAVES, OTHER)

BUDGET = 3
CAPACITY = 4


def replaced(datagram: bytes) -> bytes:
    """The same of another SSRC."""
    return datagram[:8] + b"else" + datagram[12:]


class Rig(ABC):
    """A started path with CAPACITY and BUDGET, and a way to reach it.

    A route leads to OTHER until it is lost, none to NOWHERE.
    """

    path: KernelPath
    budget = BUDGET

    @abstractmethod
    def deliver(self, datagram: bytes, source: Address = PARTY, local: Address = LOCAL) -> Fate:
        """A datagram arrives."""

    @abstractmethod
    def lose_route(self) -> None:
        """No route leads to OTHER any more."""

    @abstractmethod
    def wait(self) -> None:
        """Time passes, as long as it takes for callbacks."""

    @abstractmethod
    def close(self) -> None:
        """The test is over."""

    def add(self, flow: Flow = FLOW) -> FlowId:
        """Add a flow that must be possible."""
        id = self.path.add(flow)
        assert id is not None, dict(self.path.refusals)
        return id


def surveyed(rig: Rig) -> tuple[int, dict[FlowId, Upto]]:
    """What a survey tells, all of it."""
    packets, stirred = 0, dict[FlowId, Upto]()
    for each in rig.path.survey():
        packets += each.packets
        stirred |= each.stirred
    return packets, stirred


class FlowContract(ABC):
    """Of whatever carries flows, the kernel or not."""

    @abstractmethod
    def new_rig(self) -> Rig:
        """One for a test."""

    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        made = self.new_rig()
        yield made
        made.close()

    def test_a_flow_is_carried_from_add_to_remove(self, rig: Rig) -> None:
        assert rig.deliver(rtp(0)) is Fate.UP
        id = rig.add()
        assert [rig.deliver(rtp(number)) for number in (1, 2)] == [Fate.RELAYED] * 2
        sample = rig.path.remove(id)
        assert (sample.packets, sample.octets, sample.rtp.received) == (2, 64, 2)
        assert rig.deliver(rtp(3)) is Fate.UP

    def test_counters_can_be_read_meanwhile(self, rig: Rig) -> None:
        one, other = rig.add(), rig.add(replace(FLOW, local=(LOCAL[0], LOCAL[1] + 4)))
        rig.deliver(rtp(1))
        assert rig.path.sample(one).packets == 1
        samples = rig.path.samples()
        assert set(samples) == {one, other}
        assert samples[one][:2] == (1, 32)
        assert samples[one].last_ns == rig.path.sample(one).last_ns > 0
        assert samples[other] == (0, 0, 0)

    def test_a_glance_tells_whether_anything_was_counted(self, rig: Rig) -> None:
        id = rig.add()
        glance = rig.path.glancer(id)
        before = glance()
        assert glance() == before
        rig.deliver(rtp(1))
        assert glance() != before

    def test_a_glance_tells_media_that_goes_on_from_all_else(self, rig: Rig) -> None:
        id = rig.add()
        glance = rig.path.glancer(id)
        rig.deliver(rtp(1))
        told = [glance()]
        for datagrams, ordinary in (
            ((rtp(2), rtp(3)), True),
            ((), True),
            ((rtp(5),), False),  # one is missing,
            ((rtp(4),), False),  # and comes late
            ((rtp(5),), False),  # again
            ((rtp(6, payload_type=8),), False),
            ((rtp(7, payload_type=8), rtp(8, payload_type=8)), True),
            ((replaced(rtp(9, payload_type=8)),), False),  # another SSRC
            ((b"no RTP",), False),
        ):
            for datagram in datagrams:
                assert rig.deliver(datagram) is Fate.RELAYED
            told.append(glance())
            assert only_goes_on(*told[-2:]) is ordinary, datagrams
        assert told[-1][PACKETS] == rig.path.samples()[id].packets == 11

    def test_a_survey_tells_media_that_goes_on_from_all_else(self, rig: Rig) -> None:
        id = rig.add()
        other = rig.add(replace(FLOW, local=(LOCAL[0], LOCAL[1] + 4), rtp=False))
        rig.deliver(rtp(1))
        assert surveyed(rig) == (1, {id: (-1, -1)}), "a new one"
        for datagrams, upto in (
            ((rtp(2), rtp(3)), None),
            ((rtp(4),), None),
            ((), (4, 4)),  # there were some before,
            ((), None),  # and none now
            ((rtp(5),), (4, 4)),
            ((rtp(6), rtp(8)), (5, 5)),  # one is missing,
            ((rtp(9), rtp(7)), (8, 7)),  # and comes late
            ((rtp(10), rtp(10)), (9, 9)),  # again
            ((rtp(12), rtp(12)), (10, 10)),  # one missing, another one twice
            ((rtp(13, payload_type=8),), (12, 11)),
            ((rtp(14, payload_type=8),), None),
            ((replaced(rtp(15, payload_type=8)),), (14, 13)),  # another SSRC
            ((b"no RTP",), (15, 14)),
        ):
            for datagram in datagrams:
                assert rig.deliver(datagram) is Fate.RELAYED
            stirred = {} if upto is None else {id: upto}
            assert surveyed(rig) == (len(datagrams), stirred), datagrams
        rig.path.remove(id)
        assert surveyed(rig) == (0, {})
        assert rig.path.samples().keys() == {other}

    def test_packets_are_counted_once(self, rig: Rig) -> None:
        for rtp_too in (True, False):
            id = rig.add(replace(FLOW, rtp=rtp_too))
            assert rig.path.count(id, 0) == 0
            rig.deliver(rtp(1))
            rig.deliver(rtp(2))
            assert rig.path.count(id, 2) == 2
            rig.deliver(rtp(3))
            assert surveyed(rig)[0] == int(rtp_too)
            assert rig.path.count(id, 3) == int(not rtp_too)
            rig.deliver(rtp(4))
            assert rig.path.count(id, 0) == -3
            assert rig.path.remove(id).packets == 4
            assert surveyed(rig)[0] == 0, "who removes it counts the rest"

    def test_a_flow_in_the_place_of_another_begins_with_nothing(self, rig: Rig) -> None:
        for _ in range(2 * CAPACITY):
            id = rig.add()
            rig.deliver(rtp(1))
            assert surveyed(rig)[0] == 1
            rig.deliver(rtp(2))
            assert surveyed(rig)[0] == 1
            rig.deliver(rtp(3))
            rig.path.remove(id)

    def test_in_brief_is_the_same_as_at_length(self, rig: Rig) -> None:
        id = rig.add()
        assert rig.path.brief(id) == brief_of(rig.path.sample(id))
        for number in (1, 2, 3, 5, 9):
            rig.deliver(rtp(number))
        brief = rig.path.brief(id)
        assert brief == brief_of(rig.path.sample(id))
        assert (brief.packets, brief.highest, brief.received) == (5, 9, 5)
        assert brief.jitter_samples > 0

    def test_a_name_is_never_used_again(self, rig: Rig) -> None:
        ids = []
        for _ in range(3 * CAPACITY):
            ids.append(rig.add())
            rig.path.remove(ids[-1])
        assert len(set(ids)) == len(ids)
        for unknown in (rig.path.remove, rig.path.sample):
            with pytest.raises(KeyError):
                unknown(ids[0])
        with pytest.raises(KeyError):
            rig.path.set_tap(ids[0], True)

    def test_strangers_are_heard_up_to_a_budget_and_never_relayed(self, rig: Rig) -> None:
        id = rig.add()
        fates = [rig.deliver(rtp(1), STRANGER) for _ in range(rig.budget + 2)]
        assert fates == [Fate.UP] * rig.budget + [Fate.DROPPED] * 2
        sample = rig.path.remove(id)
        assert (sample.packets, sample.foreign, sample.refused) == (0, rig.budget, 2)

    @pytest.mark.parametrize(
        "flow, why",
        [
            (replace(FLOW, source=("2001:db8::1", 1)), "families differ"),
            (replace(FLOW, to=("2001:db8::1", 1)), "families differ"),
        ],
        ids=["arrival", "departure"],
    )
    def test_what_cannot_be_is_refused_with_a_reason(self, rig: Rig, flow: Flow, why: str) -> None:
        assert rig.path.add(flow) is None
        assert dict(rig.path.refusals) == {why: 1}
        assert rig.path.samples() == {}

    def test_a_local_address_has_one_flow(self, rig: Rig) -> None:
        id = rig.add()
        assert rig.path.add(replace(FLOW, source=STRANGER)) is None
        assert dict(rig.path.refusals) == {"local address taken": 1}
        rig.path.remove(id)
        rig.add(replace(FLOW, source=STRANGER))

    def test_a_full_table_refuses_and_recovers(self, rig: Rig) -> None:
        flows = [replace(FLOW, local=(LOCAL[0], 35000 + 2 * n)) for n in range(CAPACITY + 1)]
        ids = [rig.add(flow) for flow in flows[:-1]]
        assert rig.path.add(flows[-1]) is None
        assert dict(rig.path.refusals) == {"table full": 1}
        rig.path.remove(ids[0])
        rig.add(flows[-1])

    def test_statistics_go_on_from_those_given(self, rig: Rig) -> None:
        id = rig.add()
        for number in (65534, 65535, 1, 1):
            rig.deliver(rtp(number))
        state = rig.path.remove(id).rtp
        assert (state.sent, state.received, state.duplicates) == (4, 3, 1)
        again = rig.path.add(FLOW, state)
        assert again is not None
        for number in (0, 65535, 2):
            rig.deliver(rtp(number))
        after = rig.path.sample(again)
        assert after.packets == 3
        assert (after.rtp.sent, after.rtp.received, after.rtp.duplicates) == (5, 5, 2)
        assert after.rtp.ssrc_changes == 1

    def test_without_rtp_no_statistics_are_kept(self, rig: Rig) -> None:
        id = rig.add(replace(FLOW, rtp=False))
        rig.deliver(b"\x80\xc9\x00\x01")
        sample = rig.path.remove(id)
        assert (sample.packets, sample.rtp.errors, sample.rtp.ssrc) == (1, 0, None)

    def test_stopping_twice_is_stopping_once(self, rig: Rig) -> None:
        rig.add()
        rig.path.stop()
        rig.path.stop()


class PathContract(FlowContract):
    """Of what is in front of the sockets and knows the network: it copies, holds and withdraws."""

    def test_what_was_withdrawn_can_be_counted(self, rig: Rig) -> None:
        id = rig.add()
        rig.deliver(rtp(1))
        assert rig.path.count(id, 1) == 1
        rig.deliver(rtp(2))
        rig.lose_route()
        rig.wait()
        assert rig.path.brief(id) == brief_of(rig.path.sample(id))
        assert rig.path.count(id, 0) == -1
        assert rig.path.count(id, 2) == 2
        assert rig.path.remove(id).packets == 2

    def test_a_flow_to_nowhere_is_refused(self, rig: Rig) -> None:
        assert rig.path.add(replace(FLOW, to=NOWHERE)) is None
        assert dict(rig.path.refusals) == {"no route": 1}
        assert rig.path.samples() == {}

    def test_nothing_is_carried_before_what_goes_up_has_been_sent_on(self, rig: Rig) -> None:
        id = rig.add(replace(FLOW, ordered=True))
        assert rig.path.is_held(id)
        assert [rig.deliver(rtp(number)) for number in (1, 2, 3)] == [Fate.UP] * 3
        for number in (0, 1, 2):
            rig.path.passed(id, rtp(number))
            assert rig.path.is_held(id)
        # One more has come meanwhile.
        assert rig.deliver(rtp(4)) is Fate.UP
        rig.path.passed(id, rtp(3))
        assert rig.deliver(rtp(5)) is Fate.UP
        for number in (4, 5):
            rig.path.passed(id, rtp(number))
        assert rig.deliver(rtp(6)) is Fate.RELAYED
        assert not rig.path.is_held(id)
        assert rig.path.remove(id).packets == 1

    def test_statistics_of_what_went_up_come_back_with_it(self, rig: Rig) -> None:
        other = rig.add(replace(FLOW, local=(LOCAL[0], LOCAL[1] + 4)))
        for number in range(5):
            rig.deliver(rtp(number), local=(LOCAL[0], LOCAL[1] + 4))
        state = rig.path.remove(other).rtp
        id = rig.add(replace(FLOW, ordered=True))
        rig.deliver(rtp(4))
        rig.path.passed(id, rtp(4), state)
        rig.deliver(rtp(5))
        after = rig.path.sample(id)
        assert (after.packets, after.rtp.sent, after.rtp.received) == (1, 6, 6)

    def test_a_change_of_an_ordered_flow_holds_it(self, rig: Rig) -> None:
        id = rig.add(replace(FLOW, ordered=True))
        rig.deliver(rtp(1))
        rig.path.passed(id, rtp(1))
        assert rig.deliver(rtp(2)) is Fate.RELAYED
        rig.path.set_tap(id, True)
        assert rig.path.is_held(id)
        assert rig.deliver(rtp(3)) is Fate.UP

    def test_a_tap_gets_a_copy_of_what_is_relayed(self, rig: Rig) -> None:
        copies = []
        rig.path.on_tap(lambda *copy: copies.append(copy))
        id = rig.add(replace(FLOW, tap=True))
        rig.deliver(rtp(1))
        rig.deliver(b"no", STRANGER)
        rig.wait()
        last_ns = rig.path.sample(id).last_ns
        assert copies == [(id, rtp(1), PARTY, last_ns)]

    def test_copies_of_every_size_come_whole_and_in_order(self, rig: Rig) -> None:
        copies: list[bytes] = []
        rig.path.on_tap(lambda id, datagram, source, when: copies.append(datagram))
        id = rig.add(replace(FLOW, tap=True))
        sizes = [20] * 70 + [0, 20, 400, 20, 20, 1200, 400, 400] + [20, 1200] * 3 + [20] * 3
        sent = [rtp(number, octets=octets) for number, octets in enumerate(sizes)]
        for datagram in sent:
            assert rig.deliver(datagram) is Fate.RELAYED
        rig.path.remove(id)
        assert copies == sent

    def test_a_tap_may_begin_late_and_is_complete_when_it_ends(self, rig: Rig) -> None:
        copies: list[bytes] = []
        rig.path.on_tap(lambda id, datagram, source, ns: copies.append(datagram))
        id = rig.add()
        for number in range(6):
            if number in (2, 4):
                rig.path.set_tap(id, number == 2)
            rig.deliver(rtp(number))
        assert copies == [rtp(2), rtp(3)]
        rig.path.set_tap(id, True)
        rig.deliver(rtp(6))
        rig.path.remove(id)
        assert copies == [rtp(2), rtp(3), rtp(6)]
        rig.wait()
        assert len(copies) == 3

    def test_a_tap_may_end_a_flow(self, rig: Rig) -> None:
        copies: list[bytes] = []

        def end(id: FlowId, datagram: bytes, source: Address, ns: int) -> None:
            copies.append(datagram)
            if len(copies) == 1:
                rig.path.remove(id)

        rig.path.on_tap(end)
        rig.add(replace(FLOW, tap=True))
        for number in range(3):
            rig.deliver(rtp(number))
        rig.wait()
        assert sorted(copies) == [rtp(0), rtp(1), rtp(2)]
        assert rig.path.samples() == {}

    def test_a_flow_without_route_is_withdrawn(self, rig: Rig) -> None:
        withdrawn: list[FlowId] = []
        rig.path.on_withdrawn(withdrawn.append)
        id = rig.add()
        rig.deliver(rtp(1))
        rig.lose_route()
        assert withdrawn == [id]
        assert rig.deliver(rtp(2)) is Fate.UP
        assert rig.path.samples()[id].packets == 1
        assert rig.path.sample(id).packets == 1
        assert rig.path.add(FLOW) is None
        assert dict(rig.path.refusals) == {"no route": 1}
        assert rig.path.remove(id).packets == 1
        assert rig.path.samples() == {}

    def test_a_withdrawn_flow_may_be_removed_at_once(self, rig: Rig) -> None:
        packets: list[int] = []
        rig.path.on_withdrawn(lambda id: packets.append(rig.path.remove(id).packets))
        rig.add()
        rig.deliver(rtp(1))
        rig.lose_route()
        assert packets == [1]
        assert rig.path.samples() == {}
