"""The program as a process: how it starts, what signals do, how it ends, what it leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock

from rtpproxy_tw.configuration.options import version
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tools import launcher
from rtpproxy_tw.tools.launcher import Process, main, refuse_root, sentence_of
from tests.configuration.configuring import settings
from tests.conftest import LoggedFailures

ROOT = Path(__file__).parent.parent


class Reactor(MemoryReactorClock):
    """A reactor that runs, and stops as the real one does: after the events before shutdown."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []
        self.stopped = False

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        """Call it with the next turn of the clock."""
        self.callLater(0, call, *args)

    def stop(self) -> None:
        """Run the events before shutdown."""
        if self.stopped:
            raise ReactorNotRunning
        self.stopped = True
        for call, args, kw in self.triggers["before"]["shutdown"]:
            call(*args, **kw)


class FakeRelay:
    """A relay that does what the test wants when the test wants it."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.ready: Deferred[None] = Deferred()
        self.drained: Deferred[None] = Deferred()
        self.ended: Deferred[None] = succeed(None)
        self.failure: Exception | None = None

    def startService(self) -> None:
        self.calls.append("start")
        if self.failure:
            raise self.failure

    def stopService(self) -> Deferred[None]:
        self.calls.append("stop")
        return self.ended

    def drain(self) -> None:
        self.calls.append("drain")

    def refuse(self) -> None:
        self.calls.append("refuse")


class FakeStarter:
    """Whoever waits for the start; like the real one, only the first word counts."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self._told = False

    def ready(self) -> None:
        self._tell("ready")

    def failed(self, sentence: str) -> None:
        self._tell(f"failed: {sentence}")

    def _tell(self, word: str) -> None:
        if not self._told:
            self.calls.append(word)
        self._told = True


class Stage:
    """A process with everything around it faked."""

    def __init__(self, configured: Settings) -> None:
        self.calls: list[str] = []
        self.reactor = Reactor()
        self.relay = FakeRelay(self.calls)
        self.process = Process(self.reactor, self.relay, configured, FakeStarter(self.calls))

    def signal(self, number: int) -> None:
        """Let the handler of a signal run, and what it asked the reactor to call."""
        handlers = {
            **{stop: self.process.stop_signal for stop in launcher.STOP},
            launcher.REFUSE: self.process.refuse_signal,
            signal.SIGHUP: self.process.hangup_signal,
            launcher.UPGRADE: self.process.upgrade_signal,
        }
        handlers[number](number, None)
        self.reactor.advance(0)


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "relay.pid"


@pytest.fixture
def stage(pid_file: Path) -> Stage:
    made = Stage(settings(f"-f -s /nowhere -l 127.0.0.1 -p {pid_file}"))
    made.process.start()
    return made


def test_whoever_started_it_is_told_when_the_control_sockets_answer(
    stage: Stage, pid_file: Path
) -> None:
    assert stage.calls == ["start"]
    assert not pid_file.exists()
    stage.relay.ready.callback(None)
    assert stage.calls == ["start", "ready"]
    assert pid_file.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "error, sentence",
    [
        (ConfigError("there is something in the way"), "there is something in the way"),
        (
            CannotListenError("::1", 9, OSError("taken")),
            "cannot listen on ::1, port 9: taken",
        ),
        (CannotListenError("", 9, OSError("taken")), "cannot listen on *, port 9: taken"),
        (CannotListenError(None, b"/a", OSError("taken")), "cannot listen on /a: taken"),
    ],
)
def test_a_socket_that_cannot_be_had_ends_the_process_with_a_sentence(
    stage: Stage, pid_file: Path, error: Exception, sentence: str
) -> None:
    stage.relay.ready.errback(error)
    assert stage.calls == ["start", "stop", f"failed: {sentence}"]
    assert stage.process.status == 1
    assert not pid_file.exists()


def test_a_relay_that_does_not_start_ends_the_process(pid_file: Path) -> None:
    stage = Stage(settings(f"-f -s /nowhere -p {pid_file}"))
    stage.relay.failure = ConfigError("no")
    stage.process.start()
    assert stage.calls == ["start", "stop", "failed: no"]
    assert stage.process.status == 1


def test_a_mistake_of_ours_at_the_start_is_logged_as_one(
    stage: Stage, logged_failures: LoggedFailures
) -> None:
    stage.relay.ready.errback(ZeroDivisionError())
    assert stage.process.status == 1
    assert len(logged_failures.take()) == 1
    assert sentence_of(ZeroDivisionError()) == "ZeroDivisionError()"


def test_a_pid_file_that_cannot_be_had_is_found_out_before_the_relay_starts(
    pid_file: Path,
) -> None:
    os.mkfifo(pid_file)
    stage = Stage(settings(f"-f -s /nowhere -p {pid_file}"))
    stage.process.start()
    assert stage.calls == [
        "stop",
        f"failed: -p/--pid-file {pid_file}: is not a regular file",
    ]
    assert pid_file.is_fifo()


@pytest.mark.parametrize("number", launcher.STOP)
def test_a_stop_signal_stops_the_relay_and_takes_the_pid_file_away(
    stage: Stage, pid_file: Path, number: int
) -> None:
    stage.relay.ready.callback(None)
    stage.signal(number)
    assert stage.calls == ["start", "ready", "stop"]
    assert stage.reactor.stopped
    assert stage.process.status == 0
    assert not pid_file.exists()


def test_a_second_stop_signal_does_not_wait(
    stage: Stage, pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.relay.ended = Deferred()
    stage.relay.ready.callback(None)
    stage.signal(signal.SIGTERM)
    assert pid_file.exists()
    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)
    stage.process.stop_signal(signal.SIGINT, None)
    assert left == [128 + signal.SIGINT]
    assert not pid_file.exists()


def test_a_stop_during_the_start_is_told_to_whoever_waits(stage: Stage) -> None:
    stage.signal(signal.SIGTERM)
    assert stage.calls == ["start", "stop", "failed: it was ended before it was ready"]


def test_an_error_at_the_stop_does_not_keep_the_process(
    stage: Stage, pid_file: Path, logged_failures: LoggedFailures
) -> None:
    stage.relay.ended = Deferred()
    stage.relay.ready.callback(None)
    stage.signal(signal.SIGTERM)
    stage.relay.ended.errback(ZeroDivisionError())
    assert not pid_file.exists()
    assert len(logged_failures.take()) == 1


def test_hangup_lets_sessions_end_and_then_stops(stage: Stage) -> None:
    stage.relay.ready.callback(None)
    stage.signal(signal.SIGHUP)
    stage.signal(signal.SIGHUP)
    assert stage.calls == ["start", "ready", "drain"]
    assert not stage.reactor.stopped
    stage.relay.drained.callback(None)
    assert stage.reactor.stopped
    assert stage.process.status == 0


def test_a_stop_signal_need_not_wait_for_the_last_session(stage: Stage) -> None:
    stage.relay.ready.callback(None)
    stage.signal(signal.SIGHUP)
    stage.signal(signal.SIGTERM)
    assert stage.reactor.stopped


def test_hangup_while_stopping_changes_nothing(stage: Stage) -> None:
    stage.relay.ready.callback(None)
    stage.signal(signal.SIGTERM)
    stage.signal(signal.SIGHUP)
    assert stage.calls == ["start", "ready", "stop"]


def test_the_end_of_its_input_stops_a_relay_that_has_no_sessions(stage: Stage) -> None:
    stage.relay.ready.callback(None)
    stage.relay.drained.callback(None)
    assert stage.reactor.stopped


def test_usr1_has_it_take_no_new_sessions_and_go_on(stage: Stage) -> None:
    stage.relay.ready.callback(None)
    stage.signal(signal.SIGUSR1)
    assert stage.calls == ["start", "ready", "refuse"]
    assert not stage.reactor.stopped


def test_a_relay_that_cannot_be_handed_over_goes_on_when_asked_to(stage: Stage) -> None:
    stage.relay.ready.callback(None)
    stage.signal(signal.SIGUSR2)
    assert stage.calls == ["start", "ready"]
    assert not stage.reactor.stopped


@pytest.mark.parametrize(
    "line, verdict",
    [
        ("-s udp:127.0.0.1:9", "refused"),
        ("-s udp6:::1:9", "refused"),
        ("-s /a -s udp:127.0.0.1:9", "refused"),
        ("-s udp:127.0.0.1:9 -u :daemon", "refused"),
        ("-s tcp:127.0.0.1:9", "warned"),
        ("-s /a", "warned"),
        ("-s udp:127.0.0.1:9 -F", "fine"),
        ("-s udp:127.0.0.1:9 -u daemon", "fine"),
        ("-s /a -F", "fine"),
    ],
)
def test_root_takes_no_commands_over_udp_unless_told_to(
    line: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    if verdict == "refused":
        with pytest.raises(ConfigError, match="-u/--user"):
            refuse_root(settings(line))
    else:
        assert (refuse_root(settings(line)) is not None) is (verdict == "warned")


def test_others_may_take_commands_over_udp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert refuse_root(settings("-s udp:127.0.0.1:9")) is None


@pytest.mark.parametrize(
    "line, told",
    [
        ("-T 0", "-T/--ttl 0"),
        ("--bogus", "--help"),
        ("now", "now"),
        ("-s udp:127.0.0.1:70000", "70000"),
        ("--config /nowhere/x.toml", "/nowhere/x.toml"),
    ],
)
def test_a_bad_command_line_is_status_1_and_a_sentence(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("rtpproxy-tw: ")
    assert told in said.err


@pytest.mark.parametrize("option", ["-V", "-v", "-C", "-h", "--help", "--print-config"])
def test_information_is_status_0_on_standard_output(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([option]) == 0
    said = capsys.readouterr()
    assert said.out.endswith("\n")
    assert said.err == ""


# From here on real processes.

LAUNCH = [sys.executable, "-m", "rtpproxy_tw.tools.launcher"]


def run(
    *arguments: str, program: Sequence[str] = LAUNCH, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Start the program and wait until it returns; a daemon goes on after that."""
    # Files rather than pipes: a daemon that kept one open would be waited for.
    with (folder / "out").open("w+") as out, (folder / "err").open("w+") as err:
        ended = subprocess.run(
            [*program, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
            timeout=30,
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(ended.args, ended.returncode, out.read(), err.read())


def ask(path: Path, command: bytes = b"V") -> bytes:
    """The answer to one command."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(command)
        return client.recv(1024)


def gone(pid: int, timeout: float = 10.0) -> bool:
    """Whether the process ends in time."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


class Daemon:
    """The files of one daemon, and its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "control.sock"
        self.pid_file = folder / "relay.pid"

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Start it with these options besides the usual ones."""
        usual = ["-F", "-l", "127.0.0.1", "-m", "45800", "-M", "45899", "-s", str(self.socket)]
        return run(*usual, "-p", str(self.pid_file), *arguments, folder=self.folder)

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def end(self) -> None:
        """End it if it runs, and its keeper, which would start it again."""
        if self.pid_file.is_file() and (pid := self.pid) > 1:
            group = os.getpgid(pid)
            assert group != os.getpgid(0)
            os.killpg(group, signal.SIGKILL)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.end()


@pytest.mark.network
def test_the_parent_returns_when_the_daemon_answers(daemon: Daemon) -> None:
    started = daemon.start()
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    assert ask(daemon.socket) == b"20040107\n"
    pid = daemon.pid
    assert os.getsid(pid) not in (0, os.getsid(0))  # that of its keeper
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    for descriptor in (0, 1, 2):
        assert os.readlink(f"/proc/{pid}/fd/{descriptor}") == "/dev/null"
    assert daemon.socket.stat().st_mode & 0o777 == 0o660
    os.kill(pid, signal.SIGTERM)
    assert gone(pid)
    assert sorted(path.name for path in daemon.folder.iterdir()) == ["err", "out"]


@pytest.mark.network
def test_a_daemon_may_keep_directory_and_output(daemon: Daemon) -> None:
    daemon.start("-D", "--no_redirect", "-d", "INFO")
    assert os.readlink(f"/proc/{daemon.pid}/cwd") == str(daemon.folder)
    assert os.readlink(f"/proc/{daemon.pid}/fd/2") == str(daemon.folder / "err")
    pid = daemon.pid
    os.kill(pid, signal.SIGHUP)
    assert gone(pid)
    text = (daemon.folder / "err").read_text()
    assert f"started, process {pid}" in text
    assert "no new sessions" in text
    assert text.rstrip().endswith("Main loop terminated.")


@pytest.mark.network
def test_a_daemon_that_cannot_start_is_status_1_and_its_sentence(daemon: Daemon) -> None:
    started = daemon.start("-s", f"unix:{daemon.folder}/no/such.sock")
    assert started.returncode == 1
    assert started.stderr.startswith("rtpproxy-tw: cannot listen on ")
    assert "no/such.sock" in started.stderr
    assert not daemon.socket.exists()
    assert not daemon.pid_file.exists()


@pytest.mark.network
def test_a_second_instance_does_not_take_the_socket_of_the_first(daemon: Daemon) -> None:
    daemon.start()
    pid = daemon.pid
    second = daemon.start("-p", str(daemon.folder / "second.pid"))
    assert second.returncode == 1
    assert f"{daemon.socket}: this socket is in use by process {pid}" in second.stderr
    assert ask(daemon.socket) == b"20040107\n"
    assert not (daemon.folder / "second.pid").exists()


@pytest.mark.network
def test_a_dead_socket_and_an_old_pid_file_are_taken_over(daemon: Daemon) -> None:
    daemon.start("--no-keeper")
    pid = daemon.pid
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert daemon.socket.exists()
    assert daemon.start().returncode == 0
    assert daemon.pid != pid
    assert ask(daemon.socket) == b"20040107\n"


@pytest.mark.network
def test_a_pid_file_taken_over_by_another_process_stays_when_it_ends(daemon: Daemon) -> None:
    daemon.start()
    pid = daemon.pid
    daemon.pid_file.write_text("1\n")
    os.kill(pid, signal.SIGTERM)
    assert gone(pid)
    assert daemon.pid_file.read_text() == "1\n"
    assert not daemon.socket.exists()


@pytest.mark.network
def test_a_pipe_given_as_pid_file_is_refused_and_stays(daemon: Daemon) -> None:
    os.mkfifo(daemon.pid_file)
    started = daemon.start()
    assert started.returncode == 1
    assert "is not a regular file" in started.stderr
    assert daemon.pid_file.is_fifo()
    assert not daemon.socket.exists()


@pytest.mark.network
def test_root_becomes_the_user_wanted(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("only root can become another user")
    import pwd

    daemon = Daemon(tmp_path)
    try:
        assert daemon.start("-u", "daemon", "-L", "256", "--nice", "1").returncode == 0
        pid = daemon.pid
        status = Path(f"/proc/{pid}/status").read_text()
        wanted = pwd.getpwnam("daemon")
        assert f"Uid:\t{wanted.pw_uid}\t{wanted.pw_uid}\t{wanted.pw_uid}" in status
        assert f"Gid:\t{wanted.pw_gid}\t{wanted.pw_gid}\t{wanted.pw_gid}" in status
        assert daemon.socket.stat().st_uid == wanted.pw_uid
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "Max open files            256                  256" in limits
        assert os.getpriority(os.PRIO_PROCESS, pid) == 1
    finally:
        daemon.end()


@contextmanager
def in_foreground(
    *arguments: str, program: Sequence[str] = LAUNCH
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A started process and what it logs from then on."""
    command = [*program, "-f", "-F", "-l", "127.0.0.1", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "started, process" in line:
                    break
            yield process, process.stderr
        finally:
            process.kill()


@pytest.mark.network
def test_in_the_foreground_it_logs_to_standard_error_and_signals_end_it(tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    with in_foreground("-s", str(control), "-p", "/dev/null") as (process, log):
        assert ask(control) == b"20040107\n"
        for number in (signal.SIGUSR1, signal.SIGPIPE):
            process.send_signal(number)
        assert ask(control) == b"20040107\n"
        process.send_signal(signal.SIGINT)
        rest = log.read()
        assert process.wait(10) == 0
    assert "no new sessions from now on" in rest
    assert 'received command "V"' in rest
    assert not control.exists()
    assert Path("/dev/null").is_char_device()


@pytest.mark.network
def test_quit_is_logged_and_deadly(tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    with in_foreground("-s", str(control), "-p", "/dev/null") as (process, log):
        process.send_signal(signal.SIGQUIT)
        assert "SIGQUIT" in log.read()
        assert process.wait(10) == -signal.SIGQUIT


STUCK = """
import sys
from twisted.internet.defer import Deferred, succeed
from rtpproxy_tw.tools.launcher import main

class Relay:
    ready, drained = succeed(None), Deferred()
    def startService(self): pass
    def stopService(self): return Deferred()

sys.exit(main(build=lambda settings, reactor: Relay()))
"""


@pytest.mark.network
def test_a_second_signal_ends_a_process_that_is_stuck(tmp_path: Path) -> None:
    pid_file = tmp_path / "relay.pid"
    stuck = [sys.executable, "-c", STUCK]
    with in_foreground("-s", "/nowhere", "-p", str(pid_file), program=stuck) as (process, log):
        process.send_signal(signal.SIGTERM)
        while "SIGTERM: stopping" not in log.readline():
            pass
        assert pid_file.exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
    assert not pid_file.exists()


DYING = """
import os, sys
from rtpproxy_tw.tools.launcher import main
sys.exit(main(build=lambda settings, reactor: os.abort()))
"""


@pytest.mark.network
def test_a_daemon_that_dies_at_the_start_is_told_of(tmp_path: Path) -> None:
    died = run("-F", "-s", "/nowhere", program=[sys.executable, "-c", DYING], folder=tmp_path)
    assert died.returncode == 1
    assert died.stderr.endswith("the daemon was ended by SIGABRT before it was ready\n")


@pytest.mark.network
def test_closed_standard_descriptors_are_no_matter(daemon: Daemon) -> None:
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *LAUNCH]
    started = run(
        *("-F", "-l", "127.0.0.1", "-s", str(daemon.socket), "-p", str(daemon.pid_file)),
        program=closing,
        folder=daemon.folder,
    )
    assert started.returncode == 0
    assert ask(daemon.socket) == b"20040107\n"


@pytest.mark.network
def test_the_program_tells_its_version() -> None:
    shown = subprocess.run([*LAUNCH, "-V"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (shown.returncode, shown.stdout) == (0, version() + "\n")


def test_a_default_socket_is_marked_as_such() -> None:
    assert settings().control == (
        ControlAddress("unix", "/run/test/rtpproxy.sock", 0, named=False),
    )


@pytest.mark.network
def test_the_fast_path_is_proved_on_request() -> None:
    """The status tells a script what the sentence tells the operator."""
    done = subprocess.run(
        [sys.executable, "-m", "rtpproxy_tw.tools.launcher", "--check-fast-path"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode in (0, 1)
    assert ("works" in done.stdout.splitlines()[0]) is (done.returncode == 0)
