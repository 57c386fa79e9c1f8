"""The wired relay in this process, on a reactor of its own and real sockets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tap import RelayService, _flows, build, monotonic
from tests.contracts import rtp

pytestmark = pytest.mark.network

HERE = LocalAddresses((LocalAddress("127.0.0.1"),))


class Running:
    """A started relay, and clients that let its reactor turn while they wait."""

    def __init__(self, settings: Settings) -> None:
        self.reactor: Any = monotonic(EPollReactor())
        self.relay: RelayService = build(settings, self.reactor)
        self.outcome: list[object] = []
        self.relay.ready.addBoth(self.outcome.append)
        self.relay.startService()

    def turn(self, times: int = 5) -> None:
        """Some turns of the reactor."""
        for _ in range(times):
            self.reactor.iterate(0.002)

    def ports(self) -> list[int]:
        """The ports of the TCP and UDP control sockets, in the order configured."""
        listening: list[Any] = [listener.listening.result for listener in self.relay.listeners]
        return [port.getHost().port for port in listening if hasattr(port.getHost(), "port")]

    def ask(self, client: socket.socket, command: bytes) -> bytes:
        """Send ``command``, return what comes back."""
        client.sendall(command)
        client.setblocking(False)
        for _ in range(200):
            self.turn(1)
            try:
                return client.recv(4096)
            except BlockingIOError:
                continue
        raise AssertionError(f"no answer to {command!r}")

    def stop(self) -> None:
        """Stop, and see that nothing is left in the reactor."""
        stopped: list[object] = []
        self.relay.stopService().addBoth(stopped.append)
        for _ in range(1000):
            self.turn(1)
            if stopped:
                break
        assert stopped
        self.turn()
        assert not self.reactor.getDelayedCalls()
        left = self.reactor.removeAll()
        assert not left, left
        self.reactor._poller.close()
        for reader in self.reactor._internalReaders:
            reader.connectionLost(None)


@pytest.fixture
def started() -> Iterator[list[Running]]:
    """Relays to be stopped at the end."""
    running: list[Running] = []
    yield running
    for each in running:
        each.stop()


def test_one_relay_is_commanded_over_all_transports_at_once(
    tmp_path: Path, started: list[Running]
) -> None:
    """A session made over one is known to the others."""
    control = (
        ControlAddress("unix", str(tmp_path / "one")),
        ControlAddress("cunix", str(tmp_path / "many")),
        ControlAddress("tcp", "127.0.0.1", 0),
        ControlAddress("tcp6", "::1", 0),
        ControlAddress("udp", "127.0.0.1", 0),
        ControlAddress("udp6", "::1", 0),
    )
    running = Running(
        Settings(control=control, addresses=HERE, min_port=46000, max_port=46020, sequential=True)
    )
    started.append(running)
    assert running.outcome == [None]
    tcp, tcp6, udp, udp6 = running.ports()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "one"))
        assert running.ask(client, b"U c 127.0.0.1 5000 f") == b"46000 127.0.0.1\n"
        running.turn()
        assert client.recv(1) == b"", "it closes after the reply"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "many"))
        assert running.ask(client, b"Q c f t\n") == b"60 0 0 0 0\n"
        assert running.ask(client, b"Q c f t ttl\n") == b"60\n"
    for family, kind, port in (
        (socket.AF_INET, socket.SOCK_STREAM, tcp),
        (socket.AF_INET6, socket.SOCK_STREAM, tcp6),
    ):
        with socket.socket(family, kind) as client:
            client.connect(("127.0.0.1" if family == socket.AF_INET else "::1", port))
            assert running.ask(client, b"L c 127.0.0.1 6000 f t\n") == b"46002 127.0.0.1\n"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", udp))
        assert running.ask(client, b"1_1 D c f t") == b"1_1 0\n"
        assert running.ask(client, b"1_1 D c f t") == b"1_1 0\n", "a repetition is not executed"
        assert running.ask(client, b"1_2 D c f t") == b"1_2 E50\n"
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.connect(("::1", udp6))
        assert running.ask(client, b"x V") == b"x 20040107\n"


def test_a_call_is_relayed_and_recorded(tmp_path: Path, started: list[Running]) -> None:
    """Through the wiring of every part: control, media, recording."""
    (tmp_path / "recordings").mkdir()
    running = Running(
        Settings(
            control=(ControlAddress("cunix", str(tmp_path / "s")),),
            addresses=HERE,
            min_port=46100,
            max_port=46120,
            sequential=True,
            record_dir=str(tmp_path / "recordings"),
        )
    )
    started.append(running)
    with (
        socket.socket(socket.AF_UNIX) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as callee,
    ):
        client.connect(str(tmp_path / "s"))
        for party in (caller, callee):
            party.bind(("127.0.0.1", 0))
            party.settimeout(1)
        for command, party in (
            (b"U c 127.0.0.1 %d f\n", caller),
            (b"L c 127.0.0.1 %d f t\n", callee),
        ):
            assert not running.ask(client, command % party.getsockname()[1]).startswith(b"E")
        assert running.ask(client, b"R c f t\n") == b"0\n"
        caller.sendto(rtp(), ("127.0.0.1", 46102))
        running.turn()
        assert callee.recvfrom(2000) == (rtp(), ("127.0.0.1", 46100))
        callee.sendto(b"answer", ("127.0.0.1", 46100))
        running.turn()
        assert caller.recvfrom(2000) == (b"answer", ("127.0.0.1", 46102))
        assert running.ask(client, b"D c f t\n") == b"0\n"
    running.stop()
    started.clear()
    recording = (tmp_path / "recordings" / "c=f.o.rtp").read_bytes()
    assert recording.endswith(rtp())


def test_a_draining_relay_tells_when_it_is_empty(tmp_path: Path, started: list[Running]) -> None:
    """SIGHUP: no new sessions, then the end."""
    control = (ControlAddress("cunix", str(tmp_path / "s")),)
    running = Running(Settings(control=control, addresses=HERE, min_port=46200, max_port=46220))
    started.append(running)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        running.ask(client, b"U c 127.0.0.1 5000 f\n")
        drained = running.relay.drain()
        assert not drained.called
        assert running.ask(client, b"U d 127.0.0.1 5000 f\n") == b"E99\n"
        assert running.ask(client, b"D c f\n") == b"0\n"
        assert drained.called


def test_a_step_of_the_wall_clock_ends_no_call(
    tmp_path: Path, started: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twisted's own reactors go by it."""
    control = (ControlAddress("cunix", str(tmp_path / "s")),)
    running = Running(Settings(control=control, addresses=HERE, min_port=46250, max_port=46260))
    started.append(running)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        running.ask(client, b"U c 127.0.0.1 5000 f\n")
        tomorrow = time.time() + 86_400
        monkeypatch.setattr(time, "time", lambda: tomorrow)
        monkeypatch.setattr("twisted.internet.base.runtimeSeconds", lambda: tomorrow)
        running.turn()
        assert running.ask(client, b"Q c f\n") == b"60 0 0 0 0\n"
        assert running.reactor.seconds() < tomorrow - 80_000


def test_a_named_socket_that_is_taken_is_fatal_and_left_alone(
    tmp_path: Path, started: list[Running]
) -> None:
    """A live socket of somebody else is never unlinked."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(ConfigError, match=path):
            build(Settings(control=(ControlAddress("unix", path),), addresses=HERE), EPollReactor())
        assert os.path.exists(path)


def test_a_default_socket_that_is_taken_is_left_out(tmp_path: Path, started: list[Running]) -> None:
    """As long as another one remains."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        default = ControlAddress("unix", path, named=False)
        named = ControlAddress("udp", "127.0.0.1", 0)
        running = Running(Settings(control=(default, named), addresses=HERE))
        started.append(running)
        assert running.outcome == [None]
        assert len(running.relay.listeners) == 1
        with pytest.raises(ConfigError, match="no control socket"):
            build(Settings(control=(default,), addresses=HERE), EPollReactor())


def test_a_control_port_that_is_taken_fails_the_start(
    tmp_path: Path, started: list[Running]
) -> None:
    """With the port in the sentence; what could listen is closed again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        control = (
            ControlAddress("udp", "127.0.0.1", port),
            ControlAddress("unix", str(tmp_path / "s")),
        )
        running = Running(Settings(control=control, addresses=HERE))
        started.append(running)
        (failure,) = running.outcome
        assert isinstance(failure, Failure)
        assert failure.check(CannotListenError)
        assert str(port) in failure.getErrorMessage()


def test_the_mode_of_control_sockets_lets_the_group_in_and_nobody_else(
    tmp_path: Path, started: list[Running]
) -> None:
    """0660."""
    control = (ControlAddress("unix", str(tmp_path / "s")),)
    running = Running(Settings(control=control, addresses=HERE))
    started.append(running)
    assert os.stat(tmp_path / "s").st_mode & 0o777 == 0o660


def test_a_path_that_somebody_else_took_over_is_not_removed_at_the_end(tmp_path: Path) -> None:
    """A successor's live socket stays."""
    path = tmp_path / "s"
    running = Running(Settings(control=(ControlAddress("unix", str(path)),), addresses=HERE))
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(path))
        running.stop()
        assert path.exists()


def test_an_own_path_is_removed_at_the_end(tmp_path: Path) -> None:
    """Nothing is left lying about."""
    path = tmp_path / "s"
    running = Running(Settings(control=(ControlAddress("unix", str(path)),), addresses=HERE))
    assert path.exists()
    running.stop()
    assert not path.exists()


@pytest.mark.parametrize("missing", ["recordings", "spool"])
def test_a_recording_directory_that_is_none_is_refused_at_the_start(
    tmp_path: Path, missing: str
) -> None:
    """Not at the first call that was to be recorded."""
    for directory in {"recordings", "spool"} - {missing}:
        (tmp_path / directory).mkdir()
    settings = Settings(
        control=(ControlAddress("unix", str(tmp_path / "s")),),
        addresses=HERE,
        record_dir=str(tmp_path / "recordings"),
        spool_dir=str(tmp_path / "spool"),
    )
    with pytest.raises(ConfigError, match=f"{missing}: is not a directory"):
        build(settings, EPollReactor())


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system here")
def test_a_spool_on_another_file_system_is_refused_at_the_start(tmp_path: Path) -> None:
    """Each recording would fail at its end, when it is to be moved."""
    with TemporaryDirectory(dir="/dev/shm") as spool:
        if os.stat(spool).st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system here")
        settings = Settings(
            control=(ControlAddress("unix", str(tmp_path / "s")),),
            addresses=HERE,
            record_dir=str(tmp_path),
            spool_dir=spool,
        )
        with pytest.raises(ConfigError, match=f"{spool}: is on another file system than"):
            build(settings, EPollReactor())


def test_there_is_room_in_the_kernel_for_every_socket_there_can_be() -> None:
    """Ports, descriptors or --max-sessions: whatever ends first."""
    one, other = LocalAddress("127.0.0.1"), LocalAddress("::1")
    few = Settings(
        control=(ControlAddress("unix", "/control"),),
        addresses=LocalAddresses((one,)),
        min_port=40000,
        max_port=40098,
    )
    assert _flows(few) == 2 * 50
    assert _flows(replace(few, addresses=LocalAddresses((one, other)))) == 2 * 2 * 50
    assert _flows(replace(few, max_sessions=3)) == 4 * 3
