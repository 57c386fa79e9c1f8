"""Notices over real sockets, to listeners that restart, reset and never read."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.testing import SynchronousResolver

from rtpproxy_tw.commands import Origin
from rtpproxy_tw.reporting.notify import Notifier
from rtpproxy_tw.session import NotifySocket

pytestmark = pytest.mark.network

SETTLE = 0.2
PAUSE = 0.02

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which closing resets the connection."""


class Relay:
    """A notifier on a reactor of its own, which turns while the test waits."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        self.notifier: Notifier
        self.listeners: list[Listener] = []

    def start(self, allowed: str, **settings: Any) -> NotifySocket:
        """Start it; returns the one socket it knows."""
        self.notifier = Notifier(
            reactor=self.reactor,
            allowed=[allowed],
            settle=SETTLE,
            retry=lambda failures: PAUSE,
            **settings,
        )
        self.notifier.startService()
        found = self.notifier.resolve(allowed, Origin("udp", "127.0.0.1", "127.0.0.3"))
        assert found is not None
        return found

    def listener(self, where: str | tuple[str, int], backlog: int = 8) -> Listener:
        """Somebody listens at ``where`` from now on."""
        made = Listener(where, backlog)
        self.listeners.append(made)
        return made

    def until(self, done: Callable[[], object], seconds: float = 10.0) -> None:
        """Turn the reactor until ``done`` says so."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "waited too long"
            self.reactor.iterate(0.005)

    def turn(self, seconds: float) -> None:
        """Turn the reactor for so long."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end)

    def stop(self, meanwhile: Callable[[], object] = lambda: None) -> float:
        """Stop; nothing may be left in the reactor. Returns how many seconds it took."""
        began = time.monotonic()
        done: list[None] = []
        self.notifier.stopService().addCallback(done.append)
        self.until(lambda: (meanwhile(), done)[1])
        took = time.monotonic() - began
        assert not self.reactor.getDelayedCalls()
        assert not self.reactor.removeAll()
        return took

    def close(self) -> None:
        """Give back the descriptors of the listeners and of the reactor itself."""
        for listener in self.listeners:
            listener.close()
        self.reactor._poller.close()
        for reader in self.reactor._internalReaders:
            reader.connectionLost(None)


class Listener:
    """A listening socket of a SIP proxy, whose reading the test does by hand."""

    def __init__(self, where: str | tuple[str, int], backlog: int = 8) -> None:
        self.socket = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(where)
        self.where = self.socket.getsockname()
        self.socket.listen(backlog)
        self.socket.setblocking(False)
        self.connections: list[socket.socket] = []
        self.accepted = 0
        self.data: list[bytearray] = []
        """What was read, by connection."""

    @property
    def lines(self) -> list[bytes]:
        """The whole lines of all connections."""
        return [line for data in self.data for line in bytes(data).split(b"\n")[:-1]]

    def accept(self) -> bool:
        """Accept a connection if there is one."""
        try:
            connection, _ = self.socket.accept()
        except BlockingIOError:
            return False
        connection.setblocking(False)
        self.accepted += 1
        self.connections.append(connection)
        self.data.append(bytearray())
        return True

    def read(self, limit: int = 1 << 20) -> int:
        """Read at most ``limit`` bytes of each connection; how many lines there are by now."""
        self.accept()
        for number, connection in enumerate(self.connections):
            try:
                self.data[number] += connection.recv(limit)
            except BlockingIOError:
                continue
        return len(self.lines)

    def reset(self) -> None:
        """Close the connections, but not in an orderly way."""
        for connection in self.connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()
        self.connections.clear()

    def close(self) -> None:
        """As when the process ends. Idempotent."""
        if self.socket.fileno() < 0:
            return
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        self.socket.close()
        if isinstance(self.where, str):
            os.unlink(self.where)


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay, stopped and closed after the test."""
    made = Relay()
    yield made
    made.stop()
    made.close()


@pytest.fixture(params=["unix", "tcp"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str | tuple[str, int]:
    """An address nobody listens at."""
    if request.param == "unix":
        return str(tmp_path / "notify.sock")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: tuple[str, int] = probe.getsockname()
        return found


def allowed(where: str | tuple[str, int]) -> str:
    """``where`` as it is configured."""
    return f"unix:{where}" if isinstance(where, str) else f"tcp:{where[0]}:{where[1]}"


def descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


def first_times(lines: list[bytes]) -> list[bytes]:
    """``lines`` without repetitions."""
    return list(dict.fromkeys(lines))


NUMBERS = [b"r %d" % number for number in range(200)]


@pytest.mark.parametrize("reads", ["everything", "some", "nothing"])
def test_a_listener_that_restarts_in_the_middle_gets_every_notice_in_order(
    relay: Relay, where: str | tuple[str, int], reads: str
) -> None:
    told = relay.start(allowed(where))
    first = relay.listener(where)
    for line in NUMBERS[:100]:
        relay.notifier.notify(told, line)
    relay.until(first.accept)
    match reads:
        case "everything":
            relay.until(lambda: first.read() == 100)
        case "some":
            relay.turn(0.05)
            first.read(150)
    first.close()
    for line in NUMBERS[100:]:
        relay.notifier.notify(told, line)
        relay.reactor.iterate(0)
    second = relay.listener(first.where)

    def complete() -> bool:
        second.read()
        return set(first.lines + second.lines) >= set(NUMBERS)

    relay.until(complete)
    assert first_times(first.lines + second.lines) == NUMBERS
    assert first_times(second.lines) == NUMBERS[NUMBERS.index(second.lines[0]) :]
    if reads == "everything":
        assert second.lines == NUMBERS[100:]


def test_notices_wait_for_a_listener_that_is_not_there_yet(
    relay: Relay, where: str | tuple[str, int]
) -> None:
    told = relay.start(allowed(where))
    for line in NUMBERS:
        relay.notifier.notify(told, line)
    relay.turn(5 * PAUSE)
    listener = relay.listener(where)
    relay.until(lambda: listener.read() >= len(NUMBERS))
    relay.turn(2 * SETTLE)
    listener.read()
    assert listener.lines == NUMBERS
    assert relay.notifier.counts.delivered == len(NUMBERS)


def test_a_listener_that_resets_each_connection_leaks_nothing_and_gets_all_in_the_end(
    relay: Relay, where: str | tuple[str, int]
) -> None:
    told = relay.start(allowed(where))
    listener = relay.listener(where)
    before = descriptors()
    for line in NUMBERS:
        relay.notifier.notify(told, line)

    def often() -> bool:
        listener.accept()
        listener.reset()
        return listener.accepted >= 8

    relay.until(often)
    relay.turn(0.01)
    assert descriptors() <= before + 1
    listener.data.clear()

    def complete() -> bool:
        listener.read()
        return set(listener.lines) >= set(NUMBERS)

    relay.until(complete)
    assert first_times(listener.lines) == NUMBERS


def test_a_listener_that_never_reads_costs_bounded_memory_and_holds_up_nobody(
    relay: Relay, where: str | tuple[str, int]
) -> None:
    told = relay.start(allowed(where), queue_limit=500)
    relay.listener(where)
    for number in range(20):
        for _ in range(100):
            relay.notifier.notify(told, b"%01000d" % number)
        relay.turn(0.005)
    delivery = relay.notifier._deliveries[told]
    assert len(delivery._backlog.waiting) <= 500
    assert len(delivery._backlog.unsure) <= 500
    assert relay.notifier.counts.dropped > 0
    assert relay.stop() < 2.0


def test_what_a_hung_unix_listener_left_unread_reaches_the_next_one(
    relay: Relay, tmp_path: Path
) -> None:
    path = str(tmp_path / "notify.sock")
    told = relay.start(f"unix:{path}")
    hung = relay.listener(path)
    for line in NUMBERS:
        relay.notifier.notify(told, line)
    relay.turn(3 * SETTLE)
    hung.close()
    listener = relay.listener(path)

    def complete() -> bool:
        listener.read()
        return set(listener.lines) >= set(NUMBERS)

    relay.until(complete)
    assert listener.lines == NUMBERS


def test_a_listener_with_a_full_queue_of_connections_is_tried_again(
    relay: Relay, tmp_path: Path
) -> None:
    path = str(tmp_path / "notify.sock")
    listener = relay.listener(path, backlog=0)
    filler = socket.socket(socket.AF_UNIX)
    filler.connect(path)
    told = relay.start(path)
    relay.notifier.notify(told, b"a")
    turns = 0

    def patience() -> bool:
        nonlocal turns
        turns += 1
        return turns > 10

    relay.until(patience)
    filler.close()
    relay.until(listener.read)
    assert listener.lines == [b"a"]


def test_a_connection_by_way_of_the_wildcard_comes_from_the_address_commands_go_to(
    relay: Relay,
) -> None:
    listener = relay.listener(("127.0.0.1", 0))
    told = relay.start(f"tcp:%%CC_SELF%%:{listener.where[1]}")
    relay.notifier.notify(told, b"a")
    relay.until(listener.accept)
    assert listener.connections[0].getpeername()[0] == "127.0.0.3"


def test_a_host_name_is_looked_up(relay: Relay) -> None:
    listener = relay.listener(("127.0.0.1", 0))
    told = relay.start(f"tcp:localhost:{listener.where[1]}")
    # The real one has threads, which outlive a reactor that is only turned by hand.
    relay.reactor.installNameResolver(SynchronousResolver())
    relay.notifier.notify(told, b"a")
    relay.until(listener.read)


def test_what_waits_when_the_relay_stops_is_written_first(
    relay: Relay, where: str | tuple[str, int]
) -> None:
    told = relay.start(allowed(where))
    listener = relay.listener(where)
    for line in NUMBERS:
        relay.notifier.notify(told, line)
    assert relay.stop(meanwhile=listener.read) < 0.9
    listener.read()
    assert listener.lines == NUMBERS
