"""The table of neighbours: who has an entry, and what the program may believe of it."""

from __future__ import annotations

from array import array

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.hops import MARKS, Hops
from rtpproxy_tw.media.kernel.rtnetlink import Neighbour

WORDS = layout.HOP.size // 8

KEYS = [(device, host) for device in (2, 3) for host in ("192.0.2.9", "2001:db8::9", "192.0.2.8")]
ADDRESSES = [bytes.fromhex(f"0200000000{number:02x}") for number in range(4)]


class Table:
    """Memory for some entries, and what the program would make of it."""

    def __init__(self, entries: int) -> None:
        self.words = memoryview(array("Q", bytes(entries * layout.HOP.size)))
        self.hops = Hops(self.words)

    def addresses(self, place: int) -> tuple[bytes, bytes] | None:
        """The neighbour's and the device's, None where only the kernel may tell."""
        at, mark = place & 0xFFFF, place >> 16
        to, own = self.words[at * WORDS], self.words[at * WORDS + 1]
        if not place or to >> 48 != mark or own >> 48 != mark:
            return None
        return to.to_bytes(8, "little")[:6], own.to_bytes(8, "little")[:6]

    def across(self, place: int) -> bool:
        """Whether packets go right to the other end of a pair of devices."""
        at, mark = place & 0xFFFF, place >> 16
        return self.words[at * WORDS + 3] == mark << 48 | 1


def test_a_neighbour_is_where_the_kernel_says() -> None:
    table = Table(4)
    place = table.hops.take(KEYS[0])
    assert table.addresses(place) is None
    table.hops.learn(Neighbour(*KEYS[0], ADDRESSES[0]))
    assert table.addresses(place) is None, "the device's own is not known"
    table.hops.own(KEYS[0][0], ADDRESSES[3])
    assert table.addresses(place) == (ADDRESSES[0], ADDRESSES[3])
    table.hops.learn(Neighbour(*KEYS[0], b""))
    assert table.addresses(place) is None


def test_only_known_neighbours_on_such_devices_are_at_the_other_end_of_a_pair() -> None:
    table = Table(6)
    table.hops.own_only({2: ADDRESSES[2], 3: ADDRESSES[3]})
    first, second = (table.hops.take((device, "192.0.2.9")) for device in (2, 3))
    table.hops.across({2})
    assert not table.across(first), "nobody knows where it is"
    for device in (2, 3):
        table.hops.learn(Neighbour(device, "192.0.2.9", ADDRESSES[0]))
    assert (table.across(first), table.across(second)) == (True, False)
    table.hops.across({3})
    assert (table.across(first), table.across(second)) == (False, True)
    third = table.hops.take((3, "192.0.2.8"))
    table.hops.learn(Neighbour(3, "192.0.2.8", ADDRESSES[1]))
    assert table.across(third)
    table.hops.forget()
    assert not table.across(second)
    table.hops.leave((3, "192.0.2.8"))
    assert not table.across(third)


def test_an_address_of_another_length_is_none() -> None:
    table = Table(4)
    table.hops.own(2, bytes(20))
    place = table.hops.take(KEYS[0])
    table.hops.learn(Neighbour(*KEYS[0], bytes(20)))
    assert table.addresses(place) is None


def test_all_flows_by_one_neighbour_share_its_entry() -> None:
    table = Table(2)
    places = {table.hops.take(KEYS[0]) for _ in range(3)}
    assert len(places) == 1
    assert table.hops.take(KEYS[1]) == 0, "there is no room for two"
    for _ in range(3):
        assert KEYS[0] in table.hops
        table.hops.leave(KEYS[0])
    assert table.hops.take(KEYS[1])


def test_a_mark_comes_again_after_all_others() -> None:
    table = Table(2)
    marks = []
    for _ in range(MARKS + 1):
        marks.append(table.hops.take(KEYS[0]) >> 16)
        table.hops.leave(KEYS[0])
    assert marks[-1] == marks[0]
    assert len(set(marks)) == MARKS
    assert 0 not in marks


def test_two_processes_with_one_table_do_not_take_each_others_entries() -> None:
    table = Table(4)
    table.hops.own(2, ADDRESSES[3])
    before = table.hops.take(KEYS[0])
    table.hops.learn(Neighbour(*KEYS[0], ADDRESSES[0]))
    after = Hops(table.words)
    assert table.addresses(before) is None, "nobody looks after what was there"
    after.own(2, ADDRESSES[3])
    place = after.take(KEYS[1])
    after.learn(Neighbour(*KEYS[1], ADDRESSES[1]))
    # The first one is still there, and hears the news.
    table.hops.learn(Neighbour(*KEYS[0], ADDRESSES[2]))
    assert table.addresses(place) in (None, (ADDRESSES[1], ADDRESSES[3]))
    assert table.addresses(before) in (None, (ADDRESSES[2], ADDRESSES[3]))
    after.learn_all([Neighbour(*KEYS[1], ADDRESSES[1])])
    assert table.addresses(place) == (ADDRESSES[1], ADDRESSES[3])
    assert table.addresses(before) is None


def test_what_another_process_has_left_is_believed_no_longer_than_to_the_next_look() -> None:
    table = Table(4)
    other = Hops(table.words)
    other.own(2, ADDRESSES[3])
    places = [other.take(key) for key in KEYS[:2]]
    for key in KEYS[:2]:
        other.learn(Neighbour(*key, ADDRESSES[0]))
    assert all(map(table.addresses, places))
    table.hops.learn_all([])
    assert not any(map(table.addresses, places))


class AnyNews(RuleBasedStateMachine):
    """Flows come and go, and there is news of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(4)
        self.places: list[tuple[tuple[int, str], int]] = []
        self.told: dict[tuple[int, str], bytes] = {}
        """Of those in use: what was said of others, the kernel is asked for when they are."""
        self.own: dict[int, bytes] = {}
        self.across: frozenset[int] = frozenset()

    @rule(devices=st.frozensets(st.sampled_from((2, 3))))
    def look_on(self, devices: frozenset[int]) -> None:
        self.table.hops.across(devices)
        self.across = devices

    @rule(key=st.sampled_from(KEYS))
    def take(self, key: tuple[int, str]) -> None:
        used = {each for each, _ in self.places}
        place = self.table.hops.take(key)
        assert bool(place) == (key in used or len(used) < 3)
        if place:
            self.places.append((key, place))

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.places:
            at = data.draw(st.integers(0, len(self.places) - 1))
            key, place = self.places.pop(at)
            self.table.hops.leave(key)
            if key not in {each for each, _ in self.places}:
                self.told.pop(key, None)
                assert self.table.addresses(place) is None

    @rule(key=st.sampled_from(KEYS), address=st.sampled_from([b"", *ADDRESSES]))
    def learn(self, key: tuple[int, str], address: bytes) -> None:
        self.table.hops.learn(Neighbour(*key, address))
        if key in self.table.hops:
            self.told[key] = address

    @rule(addresses=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(ADDRESSES)))
    def learn_all(self, addresses: dict[tuple[int, str], bytes]) -> None:
        self.table.hops.learn_all([Neighbour(*key, each) for key, each in addresses.items()])
        self.told = {key: each for key, each in addresses.items() if key in self.table.hops}

    @rule()
    def forget(self) -> None:
        self.table.hops.forget()
        self.told = {}

    @rule(device=st.sampled_from((2, 3)), address=st.sampled_from([b"", *ADDRESSES]))
    def change_device(self, device: int, address: bytes) -> None:
        self.table.hops.own(device, address)
        self.own[device] = address

    @rule(addresses=st.dictionaries(st.sampled_from((2, 3)), st.sampled_from(ADDRESSES)))
    def see_devices(self, addresses: dict[int, bytes]) -> None:
        self.table.hops.own_only(addresses)
        self.own = dict(addresses)

    @invariant()
    def the_program_sees_what_was_told_last(self) -> None:
        for key, place in self.places:
            to, own = self.told.get(key, b""), self.own.get(key[0], b"")
            assert self.table.addresses(place) == ((to, own) if to and own else None)
            assert self.table.across(place) == bool(to and own and key[0] in self.across)


TestAnyNews = AnyNews.TestCase
TestAnyNews.settings = settings(max_examples=50, stateful_step_count=30)
