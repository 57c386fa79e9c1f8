"""What a dead process left is gone on with as far as it is sound, and never trusted."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtpproxy_tw.bequest import KeptPart, Lapse
from rtpproxy_tw.continuity import testament
from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.continuity.inheritance import Inheritance, passed
from rtpproxy_tw.continuity.safe import Safe
from rtpproxy_tw.continuity.taking import Taker
from rtpproxy_tw.media_succession import _pair
from rtpproxy_tw.session import Ending, Leg, Session
from tests.fakes import Bench
from tests.snapshot.test_records import commanded


class Store:
    """Holds copies of descriptors, as systemd and the keeper do."""

    def __init__(self) -> None:
        self.held: list[tuple[str, int]] = []

    def __call__(self, *fields: str, descriptors: Sequence[int] = ()) -> bool:
        """See Tell."""
        words = dict(field.split("=", 1) for field in fields)
        if "FDSTORE" in words:
            self.held += [(words["FDNAME"], os.dup(each)) for each in descriptors]
            return True
        for name, descriptor in self.held:
            if name == words["FDNAME"]:
                os.close(descriptor)
        self.held = [each for each in self.held if each[0] != words["FDNAME"]]
        return True

    def copies(self) -> list[tuple[str, int]]:
        """As the next process gets them."""
        return [(name, os.dup(descriptor)) for name, descriptor in self.held]

    def close(self) -> None:
        """The end."""
        while self.held:
            os.close(self.held.pop()[1])


class Media:
    """Takes sockets as the relay does, and closes them."""

    name = "media"

    def __init__(self) -> None:
        self.ports: list[tuple[int, int]] = []

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        for leg in session.legs:
            one, two = _pair(leg, value.get(leg.side.value), luggage)
            self.ports.append((one.getsockname()[1], two.getsockname()[1]))
            one.close()
            two.close()


class Saying:
    """Says ``said``, and remembers what it is told."""

    def __init__(self, name: str, said: str | None) -> None:
        self.name = name
        self.said = said
        self.told: list[Any] = []

    def pack(self, luggage: Luggage) -> Any:
        """See Whole."""
        return self.said

    def unpack(self, value: Any, luggage: Luggage, shift: float) -> None:
        """See Whole."""
        self.told.append(value)


class Life:
    """A relay on fakes whose sessions have real sockets; it may be the one after a crash."""

    def __init__(self, store: Store, began: float = 1000.0) -> None:
        self.bench = Bench(ttl=60, setup_ttl=60)
        self.bench.clock.advance(began)
        self.sockets: dict[Leg, tuple[socket.socket, socket.socket]] = {}
        self.sessions: list[Session] = []
        self.sayings = [Saying("something", "said"), Saying("nothing", None)]
        self.will = testament.Testament(
            safe=Safe(store),
            sessions=lambda: self.sessions,
            sockets=lambda leg: tuple(each.fileno() for each in self.sockets[leg]),
            refresh=lambda session: None,
            replies=dict,
            now=self.bench.clock.seconds,
            later=lambda call: self.bench.clock.callLater(0, call),
        )
        self.will.wholes = self.sayings

    def call(self, number: int) -> Session:
        """One more."""
        commanded(self.bench, f"U c{number} 10.0.0.1 4000 f".encode())
        commanded(self.bench, f"L c{number} 10.0.0.2 5000 f t".encode())
        (session,) = self.bench.registry.of_call(f"c{number}")
        for leg in session.legs:
            self.sockets[leg] = pair = side_by_side()
            leg.port = pair[0].getsockname()[1]
        self.sessions.append(session)
        return session

    def live(self) -> None:
        """Write all."""
        for _ in range(20):
            self.bench.clock.advance(0)
        self.will.tick()

    def inherit(self, inheritance: Inheritance) -> tuple[Taker, Media]:
        """Go on with it."""
        media = Media()
        now = self.bench.clock.seconds
        taker = Taker(
            parts=(media, Lapse(now), KeptPart(self.will)),
            wholes=self.sayings,
            now=now,
            admit=self.sessions.append,
            abandon=self.will.abandoned,
            find={session.key: session for session in self.sessions}.get,
            strict=False,
        )
        self.will.safe.expect(inheritance.names)
        inheritance.bequeath(taker, now())
        inheritance.close()
        return taker, media


def side_by_side() -> tuple[socket.socket, socket.socket]:
    """Sockets of two neighbouring ports."""
    for _ in range(100):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("127.0.0.1", 0))
        two = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            two.bind(("127.0.0.1", one.getsockname()[1] + 1))
        except (OSError, OverflowError):
            one.close()
            two.close()
        else:
            return one, two
    raise AssertionError("no two ports side by side")


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty one."""
    made = Store()
    yield made
    made.close()


@pytest.fixture
def dead(store: Store) -> Iterator[Life]:
    """A relay with three calls, all written; from now on it does nothing any more."""
    made = Life(store)
    made.will.start()
    for number in range(3):
        made.call(number)
    for session in made.sessions:
        made.will.created(session)
    made.live()
    yield made
    os.close(made.will._memory)
    for pair in made.sockets.values():
        for each in pair:
            each.close()


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


def test_all_sessions_come_back_with_their_sockets(store: Store, dead: Life) -> None:
    before = open_descriptors()
    heir = Life(store)
    taker, media = heir.inherit(Inheritance(store.copies()))
    assert (taker.taken, taker.refused) == (3, 0)
    assert {each.key for each in heir.sessions} == {each.key for each in dead.sessions}
    assert set(media.ports) == {
        (leg.port, leg.port + 1) for session in dead.sessions for leg in session.legs
    }
    assert open_descriptors() == before


def test_who_had_nothing_to_say_is_told_nothing(store: Store, dead: Life) -> None:
    heir = Life(store)
    heir.inherit(Inheritance(store.copies()))
    assert [each.told for each in heir.sayings] == [["said"], []]


def test_the_time_of_the_crash_is_nobodys_silence(store: Store, dead: Life) -> None:
    """Two minutes later, with a time to live of one, all of it is left."""
    heir = Life(store, began=1120.0)
    heir.inherit(Inheritance(store.copies()))
    for session in heir.sessions:
        assert session.expires(independent=False, hold_timeout=0) == 1180.0


def test_what_the_heir_has_claimed_stays_kept_and_the_rest_is_let_go_of(
    store: Store, dead: Life
) -> None:
    names = {name for name, _ in store.held}
    heir = Life(store)
    inheritance = Inheritance(store.copies())
    heir.inherit(inheritance)
    heir.will.start()
    heir.live()
    (memory,) = names - {name for each in heir.sessions for name in _names(heir, each)}
    held = [name for name, _ in store.held]
    assert memory not in held
    assert len(held) == 3 * 4 + 1
    for session in list(heir.sessions):
        heir.sessions.remove(session)
        heir.will.ended(session, Ending.DELETED)
    assert len(store.held) == 1
    os.close(heir.will._memory)


def _names(life: Life, session: Session) -> list[str]:
    return list(life.will.names(session).values())


def test_a_call_that_ended_before_all_was_written_anew_does_not_come_back(
    store: Store, dead: Life
) -> None:
    """It still stands in the memory of the process before, which is read as well."""
    second = Life(store, began=1001.0)
    second.inherit(Inheritance(store.copies()))
    second.will.start()
    second.will.ended(second.sessions[0], Ending.DELETED)
    third = Life(store, began=1002.0)
    taker, _ = third.inherit(Inheritance(store.copies()))
    assert taker.taken == 2
    assert second.sessions[0].key not in {each.key for each in third.sessions}
    os.close(second.will._memory)


def test_strange_descriptors_are_left_out(store: Store, dead: Life) -> None:
    """A pipe, a stream, a socket bound elsewhere, one passed twice, junk: all closed."""
    strange = [*os.pipe(), os.memfd_create("junk")]
    os.write(strange[2], b"RTWb" + b"\xff" * 5000)
    with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        strange += [os.dup(stream.fileno()), os.dup(other.fileno())]
    before = open_descriptors() - len(strange)
    heir = Life(store)
    named = [(f"x{index}", descriptor) for index, descriptor in enumerate(strange)]
    named += [*store.copies(), *store.copies()]
    taker, _ = heir.inherit(Inheritance(named))
    assert taker.taken == 3
    assert open_descriptors() == before


def test_a_session_without_its_sockets_is_left_out_alone(store: Store, dead: Life) -> None:
    """Of the third one a port was never kept, or is another's by now."""
    name = dead.will.names(dead.sessions[2])
    named = [each for each in store.copies() if each[0] not in list(name.values())[:1]]
    heir = Life(store)
    taker, _ = heir.inherit(Inheritance(named))
    assert (taker.taken, taker.refused) == (2, 1)


@given(at=st.integers(0, 1 << 20), wrong=st.binary(min_size=1, max_size=2000))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_memory_costs_what_was_damaged_at_most(at: int, wrong: bytes) -> None:
    store = Store()
    life = Life(store)
    life.will.start()
    for number in range(3):
        life.will.created(life.call(number))
    life.live()
    memory = life.will._memory
    os.pwrite(memory, wrong, at % os.fstat(memory).st_size)
    before = open_descriptors()
    heir = Life(store)
    taker, _ = heir.inherit(Inheritance(store.copies()))
    assert open_descriptors() == before
    # The first record says of what kind all is; without it nothing is believed.
    assert taker.taken >= 1 or at % os.fstat(memory).st_size < 512 or len(wrong) > 512
    os.close(memory)
    store.close()
    for pair in life.sockets.values():
        for each in pair:
            each.close()


@pytest.mark.parametrize(
    "environment, found",
    [
        ({}, []),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, [("a", 3), ("b", 4)]),
        ({"LISTEN_PID": "8", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, []),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b:c"}, [("a", 3)]),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "-1", "LISTEN_FDNAMES": "a"}, []),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "9" * 50, "LISTEN_FDNAMES": "a"}, []),
    ],
)
def test_descriptors_are_believed_to_be_passed_to_us_only(
    environment: dict[str, str], found: list[tuple[str, int]]
) -> None:
    assert passed(environment, 7) == found


def test_sockets_of_systemd_units_are_not_ours() -> None:
    """The name of a unit, or one that an administrator gave it."""
    with socket.socket() as passed_one:
        inheritance = Inheritance([("rtpproxy-tw.socket", passed_one.fileno())])
        assert inheritance.names == set()
        inheritance.close()
        assert passed_one.getsockname()
