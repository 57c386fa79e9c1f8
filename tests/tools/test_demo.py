"""The demo as people run it: against relays in other processes, over real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.configuration.host import Host
from rtpproxy_tw.tools import demo, demo_relay
from rtpproxy_tw.tools.control_client import Control, ControlUrl, NoAnswer, control_of, read_url
from rtpproxy_tw.tools.demo_call import Call
from rtpproxy_tw.tools.demo_relay import DefaultRelay, answers
from rtpproxy_tw.tools.demo_verdict import judge
from tests.oracle import Oracle, needs_oracle

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

pytestmark = pytest.mark.network


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The program changes what signals do; here they must be as before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def default_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a place of this test's own the default of both the relay and the demo."""
    path = tmp_path / "rtpproxy.sock"
    monkeypatch.setattr(Host, "default_socket", lambda self: str(path))
    named = ("-s", f"unix:{path}", "-p", str(tmp_path / "pid"))
    monkeypatch.setattr(demo_relay, "COMMAND", (*demo_relay.COMMAND, *named))
    return path


def sessions(url: str) -> int:
    """How many there are at the relay."""
    control = control_of(read_url(url))
    info = dict(row.split(": ") for row in control.ask("I").splitlines())
    control.close()
    return int(info["active sessions"])


def test_a_relay_is_started_called_through_and_ended(
    default_socket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--seconds", "1.5"]) == demo.GOOD
    told = capsys.readouterr().out
    assert "Started one with no options (pid " in told
    assert "caller  says 192.168.1.20:4000, sends from 127.0.0.1:" in told
    assert "Both parties hear each other." in told
    assert f'"rtpproxy_sock", "unix:{default_socket}"' in told
    assert not default_socket.exists()


def test_a_relay_that_is_there_is_used_and_left_alone(
    default_socket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with DefaultRelay() as relay:
        assert relay.pid is not None
        assert demo.main(["--seconds", "0.6", "--json"]) == demo.GOOD
        told = json.loads(capsys.readouterr().out)
        assert answers(relay.url)
        assert sessions(relay.url.text) == 0
        with DefaultRelay() as again:
            assert again.pid is None
        assert answers(relay.url)
    assert told["good"] is True
    assert told["control"] == f"unix:{default_socket}"
    assert [way["sent"] for way in told["directions"]] == [30, 30]
    for way in told["directions"]:
        assert way["arrived"] + way["held_back"] == 30
        assert way["held_back"] > 0
        assert way["reports_sent"] == way["reports_arrived"] == 1
        assert way["delay"]["median"] > 0
        assert (way["lost"], way["late"], way["strangers"], way["garbled"]) == (0, 0, 0, 0)
    assert len(told["queries"]) == 2


def test_ctrl_c_ends_the_call_and_the_relay(default_socket: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from rtpproxy_tw.configuration.host import Host\n"
        "from rtpproxy_tw.tools import demo, demo_relay\n"
        f"Host.default_socket = lambda self: {str(default_socket)!r}\n"
        f"demo_relay.COMMAND = {demo_relay.COMMAND!r}\n"
        "sys.exit(demo.main(['--seconds', '60']))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child:
        for row in child.stdout:
            if row.startswith("callee"):
                break
        assert default_socket.exists()
        child.send_signal(signal.SIGINT)
        assert child.stderr is not None
        assert "Stopped." in child.stderr.read()
    assert child.returncode == demo.STOPPED
    assert not default_socket.exists()


def test_without_an_answer_the_verdict_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--control", f"{tmp_path}/none"]) == demo.BAD
    assert "No relay answers at unix:" in capsys.readouterr().out
    assert demo.main(["--control", f"{tmp_path}/none", "--json"]) == demo.BAD
    told = json.loads(capsys.readouterr().out)
    assert told["good"] is False
    assert "there is no such socket" in told["verdict"]


def test_a_relay_that_does_not_start_is_quoted(
    default_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = (sys.executable, "-c", "import sys; sys.exit('no ports today')")
    monkeypatch.setattr(demo_relay, "COMMAND", failing)
    with pytest.raises(NoAnswer, match="ended with status 1\nno ports today"), DefaultRelay():
        pass


def test_a_relay_that_never_answers_is_ended(
    default_socket: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "child"
    program = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(demo_relay, "COMMAND", (sys.executable, "-c", program))
    monkeypatch.setattr(demo_relay, "START_WITHIN", 0.5)
    began = time.monotonic()
    with pytest.raises(NoAnswer, match="does not answer"), DefaultRelay():
        pass
    assert time.monotonic() - began < 5
    assert not note.exists() or not Path(f"/proc/{note.read_text()}").exists()


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--control", "http://x"], "neither a path nor one of unix,"),
        (["--seconds", "0"], "must be from 0.5 to 1200 seconds"),
        (["--seconds", "nan"], "must be from 0.5 to 1200 seconds"),
        (["--seconds", "ten"], "must be from 0.5 to 1200 seconds"),
        (["call"], "unrecognized arguments"),
    ],
)
def test_a_bad_command_line_is_refused_with_a_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        demo.main(arguments)
    assert refused.value.code == 2
    assert told in capsys.readouterr().err


class Original(Control):
    """The original's engine, which answers over its own connection."""

    def __init__(self, engine: Oracle) -> None:
        super().__init__(read_url("unix:/original"))
        self._engine = engine

    def _ask(self, command: bytes) -> bytes:
        return self._engine.ask(command.decode()).encode()

    def close(self) -> None:
        """The engine stays."""


@needs_oracle
def test_the_original_is_judged_by_the_same_call() -> None:
    with Oracle() as engine, Call(Original(engine), 1.0) as call:
        call.set_up()
        call.talk(lambda report: None)
        call.hang_up()
        report = call.report(1.0, final=True)
        assert engine.ask("I").splitlines()[1] == "active sessions: 0"
    verdict = judge(report)
    assert verdict.good, verdict.text
    # It believes any source at once; only what it sends to a phone that has not spoken is lost.
    assert report.to_callee.held_back <= 2
    assert report.to_caller.held_back <= 2


def test_a_call_that_is_left_early_is_deleted(default_socket: Path) -> None:
    with DefaultRelay() as relay:
        with pytest.raises(ZeroDivisionError):
            leave_early(relay.url)
        assert sessions(relay.url.text) == 0


def leave_early(url: ControlUrl) -> None:
    with Call(control_of(url), 60) as call:
        call.set_up()
        assert sessions(url.text) == 1
        call.talk(lambda report: print(1 // 0))


def test_the_program_runs_from_anywhere(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "rtpproxy_tw.tools.demo", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--control URL" in told.stdout
