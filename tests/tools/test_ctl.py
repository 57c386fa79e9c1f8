"""``rtpproxy-ctl`` as scripts and people run it, against a relay on fakes behind a real socket."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.reporting.sampling import Sampler
from rtpproxy_tw.tools import ctl
from rtpproxy_tw.tools.ctl_client import call_path, read_target
from rtpproxy_tw.tools.ctl_completion import script
from rtpproxy_tw.tools.ctl_top import urgent_first
from rtpproxy_tw.tools.ctl_words import _history, call_rows, table, visible
from rtpproxy_tw.web.guard import Guard, Reach
from tests.quality.test_second_opinion import voip
from tests.recording.test_trace import captured
from tests.web.client import NASTY, Connection, Served

pytestmark = pytest.mark.network


class Listening(threading.Thread):
    """Passes connections of a UNIX socket to a served relay, one after the other."""

    def __init__(self, served: Served, path: Path) -> None:
        super().__init__(daemon=True)
        import socket

        self.served = served
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()

    def run(self) -> None:
        """Serve until closed."""
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            with accepted:
                octets = b""
                while not complete(octets):
                    octets += accepted.recv(65536)
                connection = Connection(self.served)
                connection.send(octets)
                connection.run()
                accepted.sendall(connection.transport.value())

    def close(self) -> None:
        """End it."""
        import socket

        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.join()


def complete(octets: bytes) -> bool:
    """Whether a request is all there."""
    head, end, body = octets.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return True


class Program:
    """The program with its relay."""

    def __init__(self, served: Served, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.served = served
        self.path = path
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        status = ctl.main(["--api", str(self.path), *arguments])
        out, err = self._capsys.readouterr()
        return status, out, err

    def json(self, *arguments: str) -> Any:
        """The value that --json prints."""
        status, out, err = self(*arguments, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    served = Served(trace=1)
    listening = Listening(served, tmp_path / "http.sock")
    listening.start()
    yield Program(served, listening.path, capsys)
    listening.close()


def test_calls_are_listed_in_columns(run: Program) -> None:
    run.served.call("one")
    run.served.media("one", packets=60)
    run.served.call("two", answered=False)
    status, out, _ = run("list")
    assert status == 0
    heading, one, two = out.splitlines()
    assert heading.split() == ["CALL", "STATE", "SECONDS", "CALLER", "CALLEE", "PACKETS"]
    assert one.split()[:2] == ["one", "both"]
    assert one.split()[-1] == "60/60"
    assert two.split()[:2] == ["two", "setup"]
    assert run.json("list")["count"] == 2
    assert run("list", "--state", "setup", "--ids")[1] == "two\n"


def test_why_tells_in_words_and_succeeds_whenever_the_call_exists(run: Program) -> None:
    run.served.call("one")
    run.served.bench.clock.advance(30)
    status, out, _ = run("why", "one")
    assert status == 0
    assert "[never-arrived]" in out
    assert run.json("why", "one")["sessions"][0]["legs"][0]["code"] == "never-arrived"


def test_an_unknown_call_has_a_status_of_its_own(run: Program) -> None:
    for command in ("why", "show", "trace", "record", "delete"):
        status, out, err = run(command, "nothing")
        assert (status, out) == (3, "")
        assert "no such call" in err or "no packets" in err


def test_a_call_is_shown_recorded_debugged_and_deleted(run: Program) -> None:
    run.served.call("one")
    run.served.media("one", packets=3)
    status, out, _ = run("show", "one")
    assert status == 0
    assert "192.0.2.1:4000" in out
    assert run("record", "one")[1] == "2 parties are recorded\n"
    assert run("record", "one", "--stop")[1] == "2 recordings ended\n"
    (told,) = run.json("show", "one")["sessions"]
    assert [each["text"] for each in told["timeline"] if each["kind"] == "recording"] == [
        f"{side}: recording {what}, asked over HTTP"
        for what in ("begins", "ends")
        for side in ("caller", "callee")
    ]
    assert run("debug", "one")[1] == "the call is logged in detail\n"
    assert run("debug", "one", "--off")[1] == "the call is logged as usual\n"
    assert run.json("delete", "one")["deleted"] == 1
    assert "ended: deleted" in run("why", "one")[1]


def test_what_is_shown_has_the_intervals_and_the_second_opinion(run: Program) -> None:
    run.served.call("one")
    sampler = Sampler(clock=run.served.bench.clock, is_local=lambda host: False)
    sampler.sessions = run.served.bench.registry
    (session,) = run.served.bench.registry.of_call("one")
    for number in range(700):
        run.served.media("one", packets=1, first=number)
        if number % 50 == 0:
            sampler.tick()
    report = voip(int.from_bytes(b"ssrc", "big"), int.from_bytes(b"ssrc", "big"))
    session.caller.rtcp.keep_letter(run.served.bench.clock.seconds(), report)
    sampler.tick()
    run.served.bench.clock.advance(1)
    _, out, _ = run("show", "one")
    assert "in intervals of 10 s" in out
    assert re.search(r"\d\d:\d\d:\d\d\.\d+ +500 packets +0 lost +jitter +\S+ ms +MOS 4\.\d", out)
    assert "the other party reports 5.1 % lost, 1.9 % too late, MOS-LQ 4.1, MOS-CQ 4.0" in out
    (told,) = run.json("show", "one")["sessions"]
    assert [len(leg["history"]) for leg in told["legs"]] == [1, 1]
    assert told["legs"][1]["quality"]["far_end"]["voip"]["loss_ratio"] == 0.0508


def test_of_many_intervals_a_terminal_is_shown_the_last_ones() -> None:
    one = {"at": 0.0, "seconds": 10.0, "packets": 1, "lost": 0, "jitter_ms": None, "mos": None}
    heading, *lines = _history([one] * 100)
    assert heading.endswith("the last 12 of 100")
    assert len(lines) == 12
    assert lines[0].endswith("jitter    - ms  MOS -")


def test_what_is_refused_is_told_with_status_one(run: Program) -> None:
    run.served.bench.recorders.directory = False
    run.served.call("one")
    status, out, err = run("record", "one")
    assert (status, out) == (1, "")
    assert "no recording directory" in err
    assert run("list", "--verdict", "odd")[0] == 1


def test_a_trace_goes_into_a_file(run: Program, tmp_path: Path) -> None:
    run.served.call("one")
    run.served.media("one", packets=4)
    path = tmp_path / "trace.pcap"
    assert run("trace", "one", "-o", str(path))[0] == 0
    assert len(captured(path.read_bytes())) == 8
    assert run("trace", "one", "-o", str(tmp_path / "no" / "where"))[0] == 1


def test_a_relay_is_drained_within_a_limit_and_ends(run: Program) -> None:
    told = run.json("drain", "--exit", "--limit", "90")
    assert told["ending"]
    assert told["seconds_left"] == 90
    assert "ended in 90 s" in run("drain", "--status")[1]


def test_a_relay_that_is_alone_has_no_fleet(run: Program) -> None:
    assert run("fleet")[0] == run("takeover")[0] == 1


def test_a_relay_is_drained_and_taken_back(run: Program) -> None:
    assert run("drain", "--status")[1].startswith("new sessions are taken")
    assert run("drain")[1].startswith("no new sessions")
    assert run.served.draining.draining
    assert run.json("drain", "--off")["draining"] is False


def test_totals_and_room_are_shown(run: Program) -> None:
    assert "nsess_created: 0" in run("stats")[1]
    assert run("capacity")[1].startswith("room for 42 calls, limited by a test")
    assert run.json("capacity")["calls"] == 42


def test_top_prints_once_for_scripts(run: Program) -> None:
    run.served.call("one")
    status, out, _ = run("top", "--once")
    assert status == 0
    assert "one" in out
    assert run.json("top")["count"] == 1


class Terminal:
    """What a person sees and types while ``rtpproxy-ctl top`` runs."""

    def __init__(self, path: Path, *, rich: bool) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        program = "import signal, sys;" + ("" if rich else "sys.modules['rich.live'] = None;")
        # Where the tests run in the background, it would be ignored from birth.
        program += " signal.signal(signal.SIGINT, signal.default_int_handler);"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c"),
                f"{program} from rtpproxy_tw.tools.ctl import main; sys.exit(main())",
                *("--api", str(path), "top"),
            ],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "40"},
        )
        os.close(theirs)
        self._ours = ours
        self.shown = b""

    def see(self, wanted: bytes) -> None:
        """Wait until something is shown."""
        deadline = time.monotonic() + 20
        while wanted not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._ours], [], [], 0.1)[0]:
                self.shown += os.read(self._ours, 65536)

    def interrupt(self) -> int:
        """Ctrl-C; the exit status, and what is shown last is taken in."""
        self._process.send_signal(signal.SIGINT)
        status = None
        while status is None:
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._ours, 65536)
                except OSError:  # the other end is closed
                    break
            status = self._process.poll()
        return self._process.wait(10)

    def close(self) -> None:
        """Whatever happened."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_top_repaints_a_terminal_until_it_is_interrupted(run: Program, rich: bool) -> None:
    if rich:
        pytest.importorskip("rich")
    run.served.call("one\x1b[2Jhost[red]", "a")
    run.served.bench.clock.advance(30)
    with closing(Terminal(run.path, rich=rich)) as terminal:
        terminal.see(b"one\\x1b[2Jhost[red]")
        terminal.see(b"never-arrived")
        run.served.call("another")
        terminal.see(b"another")
        assert terminal.interrupt() == 130
        assert b"Traceback" not in terminal.shown
        # The call-id's own control characters have not reached the terminal.
        assert b"\x1b[2Jhost" not in terminal.shown
        if rich:
            assert b"\x1b[?1049h" in terminal.shown  # the other screen, and back
            assert b"\x1b[?1049l" in terminal.shown
            assert re.search(rb"\x1b\[1;31m *never-arrived", terminal.shown)


@pytest.mark.parametrize("call_id", [name for name in NASTY if len(name) < 1000])
def test_hostile_call_ids_can_be_asked_about_and_do_nothing_to_the_terminal(
    run: Program, call_id: str
) -> None:
    argument = os.fsdecode(call_id.encode("utf-8", "surrogateescape"))
    run.served.call(call_id, call_id)
    run.served.media(call_id)
    for command in ("show", "why", "delete"):
        status, out, err = run(command, argument)
        assert (status, err) == (0, "")
        assert all(char.isprintable() or char == "\n" for char in out)
    assert all(char.isprintable() or char == "\n" for char in run("list")[1])
    assert not len(run.served.bench.registry)


def test_where_nobody_listens_the_status_is_four(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in (str(tmp_path / "nothing"), "http://127.0.0.1:9"):
        assert ctl.main(["--api", target, "stats"]) == 4
    assert "there is no such socket" in capsys.readouterr().err


@pytest.mark.parametrize("line", [[], ["nonsense"], ["why"], ["--api", "x", "list"], ["list", "x"]])
def test_a_wrong_command_line_has_status_two(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(line)
    assert ended.value.code == 2


def test_a_token_is_shown_where_one_is_given(run: Program, tmp_path: Path) -> None:
    run.served.interface.guard = Guard(Reach.PUBLIC, [b"right"])
    assert run("stats")[0] == 1
    (tmp_path / "token").write_text("# a comment\nright\n")
    assert run("--token-file", str(tmp_path / "token"), "stats")[0] == 0
    assert run("--token-file", str(tmp_path / "nothing"), "stats")[0] == 4


def test_the_environment_may_name_the_relay(
    run: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ctl.API, f"unix:{run.path}")
    assert ctl.main(["stats"]) == 0


@pytest.mark.parametrize(
    "text, target",
    [
        ("/a/b", ("unix", "/a/b", 0, "")),
        ("./b", ("unix", "./b", 0, "")),
        ("unix:/a", ("unix", "/a", 0, "")),
        ("http://h", ("http", "h", 80, "")),
        ("http://h:8080/", ("http", "h", 8080, "")),
        ("https://[::1]:1/relay/", ("https", "::1", 1, "/relay")),
    ],
)
def test_targets_are_read(text: str, target: tuple[str, str, int, str]) -> None:
    assert read_target(text) == target


@pytest.mark.parametrize("text", ["", "unix:", "h:80", "ftp://h", "http://", "http://h:99999"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_target(text)


def test_a_path_of_a_call_has_no_dots_to_be_taken_for_steps() -> None:
    assert call_path("..", "why") == "/api/v1/calls/%2E%2E/why"


def test_completion_knows_every_command_and_bash_takes_it() -> None:
    text = script(ctl.make_parser(), "bash")
    for command in ("list", "why", "trace", "drain", "completion"):
        assert command in text
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{text}\nCOMP_WORDS=(rtpproxy-ctl dr); COMP_CWORD=1; _rtpproxy_ctl; "
            'echo "${COMPREPLY[@]}"; COMP_WORDS=(rtpproxy-ctl list --st); COMP_CWORD=2;'
            ' _rtpproxy_ctl; echo "${COMPREPLY[@]}"',
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["drain", "--state"]
    assert script(ctl.make_parser(), "zsh").startswith("autoload")


def test_troubles_come_first() -> None:
    def call(name: str, verdict: str) -> dict[str, Any]:
        return {"call_id": name, "sessions": [{"legs": [{"verdict": verdict}]}]}

    calls = [call("a", "ok"), call("b", "one-way"), call("c", "held"), call("d", "never-arrived")]
    assert [each["call_id"] for each in urgent_first(calls)] == ["b", "d", "a", "c"]


def test_a_table_of_nothing_is_its_heading() -> None:
    assert next(iter(table(call_rows([])))).startswith("CALL")


def test_control_characters_are_made_visible() -> None:
    assert visible("a\x1b[0m\u202e\udcffé") == "a\\x1b[0m\\u202e\\udcffé"


def test_it_starts_without_twisted_and_at_once() -> None:
    program = (
        "import sys; from rtpproxy_tw.tools import ctl; ctl.make_parser();"
        "assert not any(name.startswith(('twisted', 'zope')) for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_why_a_relay_is_not_upgraded_is_told(run: Program) -> None:
    status, _, complaint = run("upgrade")
    assert status == 1
    assert "cannot be handed over" in complaint
