"""One relay takes over from another: nobody hears it, and whatever goes wrong, neither."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import interrupted, loopback
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay

pytestmark = pytest.mark.network

HOST = loopback.host(41)
CALLS = 20

USERSPACE = ("--fast-path", "none")


class Party:
    """One telephone: where it is, and whither it sends."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.port: int = self.socket.getsockname()[1]
        self.to = (HOST, 0)
        self._numbers: list[int] = []

    def heard(self) -> list[int]:
        """The sequence numbers that came so far."""
        found = self._numbers
        with suppress(BlockingIOError):
            while True:
                datagram = self.socket.recv(2048, socket.MSG_DONTWAIT)
                found.append(int.from_bytes(datagram[2:4], "big"))
        return found


class Talk:
    """Calls through ``relay`` whose parties all send, every 20 ms."""

    def __init__(self, relay: Relay, calls: int = CALLS) -> None:
        self.parties: list[Party] = []
        self.sent = 0
        self._over = False
        for number in range(calls):
            caller, callee = Party(), Party()
            callee.to = (HOST, int(relay.ask(f"U c{number} {HOST} {caller.port} f").split()[0]))
            caller.to = (HOST, int(relay.ask(f"L c{number} {HOST} {callee.port} f t").split()[0]))
            self.parties += [caller, callee]
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._over:
            for number, party in enumerate(self.parties, 1):
                head = struct.pack("!BBHII", 0x80, 0, self.sent & 0xFFFF, self.sent * 160, number)
                party.socket.sendto(head + b"\xd5" * 160, party.to)
            self.sent += 1
            if not self.sent % 500:
                for party in self.parties:
                    party.heard()  # its buffer does not hold more than a minute
            due += 0.02
            time.sleep(max(0.0, due - time.monotonic()))

    def end(self) -> None:
        """Fall silent, and let go of the sockets."""
        self._over = True
        self._thread.join()

    def assert_all_was_heard(self) -> None:
        """By everybody, in order, and only once."""
        self.end()
        time.sleep(0.3)
        for party in self.parties:
            assert party.heard() == list(range(self.sent))
            party.socket.close()


@contextmanager
def talking(relay: Relay, calls: int = CALLS) -> Iterator[Talk]:
    """Calls, ended with the block."""
    talk = Talk(relay, calls)
    try:
        time.sleep(0.5)
        yield talk
    finally:
        talk.end()
        for party in talk.parties:
            party.socket.close()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """One that writes its pid into ``pid`` and keeps to itself."""
    pid_file = tmp_path / "pid"
    options = ["-p", str(pid_file), *USERSPACE]
    with Relay(HOST, tmp_path, options=options) as running, ExitStack() as stack:
        stack.callback(_end, pid_file, running.pid)
        yield running


def _end(pid_file: Path, first: int) -> None:
    """What goes on after the first process is another one."""
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        pid = int(pid_file.read_text())
        if pid != first:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), "it ends")


def present(tmp_path: Path) -> int:
    """The process that serves now."""
    return int((tmp_path / "pid").read_text())


def restart(tmp_path: Path) -> int:
    """Have it restarted; the new process."""
    before = present(tmp_path)
    os.kill(before, signal.SIGUSR2)
    wait_until(lambda: present(tmp_path) != before, "another process serves", 30)
    return present(tmp_path)


def test_nobody_hears_three_restarts_in_a_row(relay: Relay, tmp_path: Path) -> None:
    """Every packet comes through, once and in order; the counters go on."""
    with talking(relay) as talk:
        seen = {present(tmp_path)}
        for _ in range(3):
            seen.add(restart(tmp_path))
            time.sleep(0.3)
        assert len(seen) == 4
        talk.assert_all_was_heard()
    lines = relay.ask("I").splitlines()
    assert f"sessions created: {CALLS}" in lines
    assert f"packets received: {2 * CALLS * talk.sent}" in lines
    assert f"packets transmitted: {2 * CALLS * talk.sent}" in lines
    assert relay.ask("D c0 f t") == "0"
    assert relay.count_sessions() == CALLS - 1
    relay.assert_had_no_accident()


def test_commands_are_answered_all_the_time(relay: Relay, tmp_path: Path) -> None:
    """A client that waits as long as SIP proxies do notices nothing."""
    answers = []
    over = False

    def command() -> None:
        while not over:
            answers.append(relay.ask("V", timeout=5.0))
            time.sleep(0.01)

    thread = threading.Thread(target=command)
    thread.start()
    try:
        restart(tmp_path)
        time.sleep(0.3)
    finally:
        over = True
        thread.join()
    assert set(answers) == {"20040107"}


def _is_over(relay: Relay, tmp_path: Path, failures: int) -> bool:
    failed = relay.printed().count("not handed over") > failures
    return failed or present(tmp_path) != relay.pid


def test_the_old_relay_goes_on_whenever_the_new_one_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each message of the hand-over, until none is left: then it succeeds."""
    number, pid_file = tmp_path / "number", tmp_path / "pid"
    number.write_text("")
    monkeypatch.setenv(interrupted.NUMBER, str(number))
    options = ["-p", str(pid_file), *USERSPACE]
    program = [sys.executable, "-m", "tests.e2e.interrupted"]
    with Relay(HOST, tmp_path, options=options, program=program) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        with talking(relay) as talk:
            for messages in count(1):
                number.write_text(str(messages))
                failures = relay.printed().count("not handed over")
                os.kill(relay.pid, signal.SIGUSR2)
                wait_until(partial(_is_over, relay, tmp_path, failures), "it is over", 30)
                if present(tmp_path) != relay.pid:
                    break
            assert messages > 8  # hello, begin, totals, sessions, their acknowledgements, the end
            talk.assert_all_was_heard()
        assert f"packets received: {2 * CALLS * talk.sent}" in relay.ask("I").splitlines()


def test_a_new_relay_that_cannot_start_changes_nothing(tmp_path: Path) -> None:
    """Here its configuration has become wrong meanwhile."""
    configuration = tmp_path / "relay.toml"
    configuration.write_text("max_sessions = 100\n")
    with Relay(HOST, tmp_path, options=["--config", str(configuration), *USERSPACE]) as relay:
        with talking(relay, 2) as talk:
            configuration.write_text("max_sessions = -1\n")
            os.kill(relay.pid, signal.SIGUSR2)
            wait_until(lambda: "not handed over" in relay.printed(), "it has failed", 30)
            talk.assert_all_was_heard()
        assert relay.count_sessions() == 2


def test_replies_are_repeated_by_the_new_relay(relay: Relay, tmp_path: Path) -> None:
    """A command that comes again gets the same ports, though another process answers."""
    answers = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((HOST, 22222))
        for process in range(3):
            client.send(f"cookie U again {HOST} 4000 f".encode())
            answers.append(client.recv(2048))
            if process < 2:
                restart(tmp_path)
    assert len(set(answers)) == 1
    assert relay.count_sessions() == 1


def test_a_stopped_process_ends_no_call(tmp_path: Path) -> None:
    """SIGSTOP for longer than calls live without media; then everything that waited is relayed."""
    options = [*USERSPACE, "-T", "2"]
    with Relay(HOST, tmp_path, options=options) as relay, talking(relay, 2) as talk:
        os.kill(relay.pid, signal.SIGSTOP)
        time.sleep(4)
        os.kill(relay.pid, signal.SIGCONT)
        time.sleep(0.5)
        assert relay.count_sessions() == 2
        talk.assert_all_was_heard()


def test_with_one_second_to_live_who_talks_stays_and_who_does_not_ends(tmp_path: Path) -> None:
    """Neither restart counts as silence, and after them silence counts again."""
    pid_file = tmp_path / "pid"
    options = ["-p", str(pid_file), *USERSPACE, "-T", "1"]
    with Relay(HOST, tmp_path, options=options) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        with talking(relay, 4) as talk:
            for _ in range(2):
                restart(tmp_path)
                time.sleep(1.2)
                assert relay.count_sessions() == 4
            talk.assert_all_was_heard()
        wait_until(lambda: relay.count_sessions() == 0, "those who are silent end", 10)
        assert "sessions created: 4" in relay.ask("I").splitlines()
        relay.assert_had_no_accident()


@pytest.mark.parametrize("kind", ["cunix", "tcp"])
def test_control_connections_go_on_amid_a_command(tmp_path: Path, kind: str) -> None:
    """What was sent before the restart and what comes after it are one line."""
    pid_file = tmp_path / "pid"
    name = f"cunix:{tmp_path}/control" if kind == "cunix" else f"tcp:{HOST}:22223"
    family = socket.AF_UNIX if kind == "cunix" else socket.AF_INET
    options = ["-p", str(pid_file), *USERSPACE]
    with Relay(HOST, tmp_path, [name], options) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        client = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        client.settimeout(5)
        client.connect(f"{tmp_path}/control" if kind == "cunix" else (HOST, 22223))
        client.send(b"V\nVF 2004")
        assert client.recv(100) == b"20040107\n"
        restart(tmp_path)
        client.send(b"0107\n")
        assert client.recv(100) == b"1\n"
        restart(tmp_path)
        client.send(b"V\n")
        assert client.recv(100) == b"20040107\n"
    assert kind == "tcp" or not Path(f"{tmp_path}/control").exists()


@pytest.mark.parametrize("options", [["-a"], ["-a", "-R", "-P"]], ids=["adhoc", "pcap"])
def test_recordings_have_every_packet_of_all_processes(tmp_path: Path, options: list[str]) -> None:
    """One file goes on; its sidecar tells, and its digest proves, that nothing is missing."""
    pid_file, folder = tmp_path / "pid", tmp_path / "recordings"
    spool = tmp_path / "spool"
    folder.mkdir()
    spool.mkdir()
    more = ["-p", str(pid_file), *USERSPACE, "-r", str(folder), "-S", str(spool), *options]
    with Relay(HOST, tmp_path, options=more) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        with talking(relay, 5) as talk:
            for _ in range(2):
                restart(tmp_path)
                time.sleep(0.3)
            talk.assert_all_was_heard()
        for number in range(5):
            assert relay.ask(f"D c{number} f t") == "0"
        wait_until(lambda: not list(spool.iterdir()), "all recordings are where they belong")
        wait_until(lambda: len(_finished(folder)) == (5 if "-P" in options else 10), "all is told")
        for told in _finished(folder):
            assert told["lost"] == 0
            assert told["packets"] == talk.sent * len(told["parties"])
            for file in told["files"]:
                octets = (folder / file["name"]).read_bytes()
                assert file["sha256"] == hashlib.sha256(octets).hexdigest()
                assert file["octets"] == len(octets)


def _finished(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob("[!.]*.json")]
    return [each for each in found if each["state"] == "finished"]


def test_the_control_tool_returns_when_the_new_process_serves(tmp_path: Path) -> None:
    """It names it; and it says why when the old one goes on."""
    pid_file, api = tmp_path / "pid", tmp_path / "http"
    configuration = tmp_path / "relay.toml"
    configuration.write_text("max_sessions = 100\n")
    options = ["-p", str(pid_file), *USERSPACE, "--http", f"unix:{api}"]
    options += ["--config", str(configuration)]
    with Relay(HOST, tmp_path, options=options) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        with talking(relay, 2) as talk:
            done = _ctl(api, "upgrade")
            assert done.returncode == 0, done.stderr
            assert str(present(tmp_path)) in done.stdout
            assert present(tmp_path) != relay.pid
            configuration.write_text("max_sessions = -1\n")
            serving = present(tmp_path)
            done = _ctl(api, "upgrade")
            assert done.returncode == 1
            assert "gone" in done.stderr
            assert present(tmp_path) == serving
            talk.assert_all_was_heard()


def test_options_may_be_new_and_ports_of_a_former_range_live_until_their_calls_end(
    tmp_path: Path,
) -> None:
    """The new process has another range; what was given out before is closed one by one."""
    pid_file, api = tmp_path / "pid", tmp_path / "http"
    common = ["-f", "-F", "-s", f"udp:{HOST}:22222", "-l", HOST, "-p", str(pid_file), *USERSPACE]
    common += ["--http", f"unix:{api}", "-d", "DBUG"]
    options = ["-p", str(pid_file), *USERSPACE, "--http", f"unix:{api}"]
    with Relay(HOST, tmp_path, options=options) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        with talking(relay, 2) as talk:
            done = _ctl(api, "upgrade", "--", "-m", "no number")
            assert done.returncode == 1
            assert "no number" in done.stderr
            done = _ctl(api, "upgrade", "--", *common, "-m", "30000", "-M", "30100")
            assert done.returncode == 0, done.stderr
            assert present(tmp_path) != relay.pid
            time.sleep(0.3)
            port = int(relay.ask(f"U new {HOST} 4000 f").split()[0])
            assert 30000 <= port <= 30100
            former = talk.parties[0].to[1]
            assert relay.ask("D c0 f t") == "0"
            wait_until(lambda: _is_free(former), "the port of the call that has ended is closed")
            assert not _is_free(talk.parties[2].to[1])
            # As told by then; the next restart keeps to the new options.
            restart(tmp_path)
            port = int(relay.ask(f"U newer {HOST} 4000 f").split()[0])
            assert 30000 <= port <= 30100
            talk.end()
            time.sleep(0.3)
            for party in talk.parties[2:]:
                assert party.heard() == list(range(talk.sent))


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def test_the_first_process_of_a_container_stays_as_an_empty_parent(tmp_path: Path) -> None:
    """Its end would be that of all; signals reach whoever serves, and its end is the end."""
    control = tmp_path / "control"
    command = [sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F", *USERSPACE]
    command += ["-s", f"cunix:{control}", "-l", HOST, "-p", str(tmp_path / "pid")]
    namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([*namespace, *command], stderr=log) as container,
    ):
        try:
            wait_until(lambda: _answers(control), "it serves", 20)
            assert present(tmp_path) == 1
            assert _asked(control, f"U a {HOST} 4000 f").split()[0].isdigit()
            (first,) = _children(container.pid)
            for _ in range(2):
                before = present(tmp_path)
                # To the first process, as a container's engine would.
                os.kill(first, signal.SIGUSR2)
                wait_until(lambda: present(tmp_path) != before, "another serves", 30)  # noqa: B023
                wait_until(lambda: _answers(control), "it answers", 10)
                assert "active sessions: 1" in _asked(control, "I")
            assert container.poll() is None
            os.kill(first, signal.SIGTERM)
            assert container.wait(20) == 0
        finally:
            container.kill()


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _asked(control: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(str(control))
        client.sendall(command.encode() + b"\n")
        return client.recv(65536).decode()


def _answers(control: Path) -> bool:
    try:
        return _asked(control, "V").strip() == "20040107"
    except OSError:
        return False


def test_counters_go_on_and_listeners_are_told_only_what_is_new(tmp_path: Path) -> None:
    """Over HTTP: metrics of a call that has ended, and an event's id of the process before."""
    pid_file, api = tmp_path / "pid", tmp_path / "http"
    options = ["-p", str(pid_file), *USERSPACE, "--http", f"unix:{api}"]
    with Relay(HOST, tmp_path, options=options) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        with talking(relay, 3) as talk:
            assert relay.ask("D c0 f t") == "0"
            last, body = _events(api, None)
            assert '"reset":true' in body
            restart(tmp_path)
            metrics = _got(api, "/metrics")
            assert 'relay_sessions_closed_total{reason="delete"} 1' in metrics
            assert 'relay_control_commands_total{cmd="update",result="ok"} 3' in metrics
            assert relay.ask("D c1 f t") == "0"
            following, body = _events(api, last)
            assert following.split("-")[0] == last.split("-")[0]
            assert '"reset":true' not in body
            talk.end()


def _events(api: Path, last: str | None) -> tuple[str, str]:
    """The id of the first complete event, and all that came until then."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(api))
        known = f"Last-Event-ID: {last}\r\n" if last else ""
        client.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{known}\r\n".encode())
        body = ""
        while "\nid: " not in body or not body.rstrip().endswith("}"):
            body += client.recv(65536).decode()
        return body.split("\nid: ")[1].split("\n")[0], body


def _got(api: Path, path: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(api))
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        found = b""
        while part := client.recv(65536):
            found += part
        return found.decode()


def _ctl(api: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rtpproxy_tw.tools.ctl", "--api", f"unix:{api}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_prompt_goes_on_where_it_was(tmp_path: Path) -> None:
    """The party hears each of its packets once, of one stream, and nothing of the other party."""
    pid_file, prompt = tmp_path / "pid", tmp_path / "music"
    Path(f"{prompt}.0").write_bytes(bytes(range(250)) * 320)  # ten seconds of PCMU
    options = ["-p", str(pid_file), *USERSPACE, "--prompt-dir", str(tmp_path)]
    with Relay(HOST, tmp_path, options=options) as relay, ExitStack() as stack:
        stack.callback(_end, pid_file, relay.pid)
        with talking(relay, 1) as talk:
            assert relay.ask(f"P1 c0 {prompt} 0 f t") == "0"
            listener = talk.parties[0]
            time.sleep(0.2)
            listener.heard()
            restart(tmp_path)
            time.sleep(0.5)
            found = []
            with suppress(BlockingIOError):
                while True:
                    found.append(listener.socket.recv(2048, socket.MSG_DONTWAIT))
        assert len(found) > 50
        assert len({datagram[8:12] for datagram in found}) == 1
        numbers = [int.from_bytes(datagram[2:4], "big") for datagram in found]
        assert numbers == [number & 0xFFFF for number in range(numbers[0], numbers[0] + len(found))]
        heard = b"".join(datagram[12:] for datagram in found)
        begin = heard[0]
        assert heard == bytes((begin + each) % 250 for each in range(len(heard)))
