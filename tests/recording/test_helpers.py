"""Programs beside the relay: a few at a time, for a while, and then no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from rtpproxy_tw.recording import helpers as module
from rtpproxy_tw.recording.afterwards import Command, Exporter
from rtpproxy_tw.recording.files import Event, Files, Finished
from rtpproxy_tw.recording.helpers import Helpers, Work
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording.sinks import Place
from rtpproxy_tw.session import Ending
from tests.recording.memory import MemorySinks, a_session

UPON_EXEC = b"""Upon execvpe /nowhere/program ['/nowhere/program'] in environment id 1
:Traceback (most recent call last):
  File "/venv/lib/twisted/internet/process.py", line 1, in _fork
    self._execChild(path, uid, gid, executable, args, environment)
  File "/usr/lib/python3/os.py", line 1, in execvpe
    _execvpe(file, args, env)
  File "/usr/lib/python3/os.py", line 1, in _execvpe
    exec_func(file, *argrest)
FileNotFoundError: [Errno 2] No such file or directory
"""


class FakeProcess:
    """Runs until the test ends it."""

    pid: int | None = 1

    def __init__(self, protocol: ProcessProtocol, command: Sequence[str]) -> None:
        self.protocol = protocol
        self.command = list(command)
        self.written = b""
        self.signals: list[str] = []

    def write(self, data: bytes) -> None:
        """To its standard input."""
        self.written += data

    def closeStdin(self) -> None:
        """That was all."""

    def signalProcess(self, name: str) -> None:
        """It obeys."""
        self.signals.append(name)
        self.end(Failure(ProcessTerminated(None, 9)))

    def end(self, why: Failure | None = None) -> None:
        """It ends, well by default."""
        self.pid = None
        self.protocol.processEnded(why or Failure(ProcessDone(0)))


class FakeSpawner:
    """Starts them."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.broken = False

    def spawnProcess(
        self, process: ProcessProtocol, executable: str, args: Sequence[str], env: Any, path: str
    ) -> FakeProcess:
        """A new one."""
        if self.broken:
            raise OSError("no more processes")
        started = FakeProcess(process, args)
        self.processes.append(started)
        process.makeConnection(started)
        return started

    @property
    def running(self) -> list[FakeProcess]:
        """Those that have not ended."""
        return [each for each in self.processes if each.pid]


class Kit:
    """Helpers on fakes, and what their programs came to."""

    def __init__(self) -> None:
        self.spawner = FakeSpawner()
        self.clock = Clock()
        self.helpers = Helpers(spawner=self.spawner, clock=self.clock)
        self.done: list[tuple[int | None, bytes]] = []

    def run(self, name: str = "/bin/x", seconds: float = 60.0) -> None:
        """One more."""
        self.helpers.run(
            Work([name], lambda status, told: self.done.append((status, told)), seconds=seconds)
        )


def test_a_few_run_at_a_time_in_order() -> None:
    kit = Kit()
    for number in range(5):
        kit.run(f"/bin/{number}")
    assert [each.command for each in kit.spawner.running] == [["/bin/0"], ["/bin/1"]]
    kit.spawner.processes[0].end()
    assert [each.command for each in kit.spawner.running] == [["/bin/1"], ["/bin/2"]]


def test_output_and_status_are_handed_over() -> None:
    kit = Kit()
    kit.run()
    (process,) = kit.spawner.processes
    process.protocol.outReceived(b"one ")
    process.protocol.outReceived(b"two")
    process.protocol.errReceived(b"oops")
    process.end(Failure(ProcessTerminated(3)))
    assert kit.done == [(3, b"one two")]


def test_what_takes_too_long_is_killed() -> None:
    kit = Kit()
    kit.run(seconds=5)
    kit.clock.advance(5)
    assert kit.spawner.processes[0].signals == ["KILL"]
    assert kit.done == [(None, b"")]
    assert not kit.clock.getDelayedCalls()


def test_what_cannot_be_started_is_told() -> None:
    kit = Kit()
    kit.spawner.broken = True
    kit.run()
    assert kit.done == [(None, b"")]


def test_the_queue_is_limited(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    kit = Kit()
    for _ in range(10):
        kit.run()
    assert kit.helpers.lost == 5


def test_the_end_waits_for_what_runs_and_what_waits() -> None:
    kit = Kit()
    for _ in range(3):
        kit.run()
    stopped: list[object] = []
    kit.helpers.stop().addCallback(stopped.append)
    while kit.spawner.running:
        assert stopped == []
        kit.spawner.running[0].end()
    assert stopped == [None]
    assert len(kit.done) == 3
    assert not kit.clock.getDelayedCalls()


def test_the_end_does_not_wait_for_ever() -> None:
    kit = Kit()
    for _ in range(5):
        kit.run()
    stopped: list[object] = []
    kit.helpers.stop().addCallback(stopped.append)
    kit.clock.advance(module.GRACE)
    assert stopped == [None]
    assert kit.spawner.running == []
    assert len(kit.spawner.processes) == 2
    kit.run()
    assert len(kit.spawner.processes) == 2


def test_with_nothing_to_wait_for_the_end_is_at_once() -> None:
    stopped: list[object] = []
    Kit().helpers.stop().addCallback(stopped.append)
    assert stopped == [None]


def test_the_operator_s_command_gets_the_event() -> None:
    kit = Kit()
    Command(kit.helpers, ["/bin/hook", "-v"])({"event": "recording.started", "call_id": "x"})
    (process,) = kit.spawner.processes
    assert process.command == ["/bin/hook", "-v", "recording.started"]
    assert json.loads(process.written) == {"event": "recording.started", "call_id": "x"}


def commands(*, single: bool = False, target: str | None = None, mixed: bool = False) -> list[str]:
    """What is run to export a session of which both parties were recorded."""
    kit, finished = Kit(), list[Finished]()
    events: list[Event] = []
    recorders = FileRecorders(
        directory="/rec",
        spool=None,
        pcap=single,
        rtcp=True,
        everything=False,
        writer=MemorySinks(),
        wall=lambda: 1.0,
        local_host=lambda host: host,
        export=finished.append,
    )
    session = a_session()
    for leg in session.legs:
        recorders.record(leg, target and f"{target}-{leg.side.value}", single)
    recorders.ended(session, Ending.DELETED)
    exporter = Exporter(kit.helpers, form="wav", mixed=mixed, tell=events.append)
    for each in finished:
        exporter(each)
    while kit.spawner.running:
        kit.spawner.running[0].end(Failure(ProcessTerminated(1)))
    assert {event["event"] for event in events} == {"recording.export-failed"}
    return [" ".join(each.command).partition("-F wav ")[2] for each in kit.spawner.processes]


def test_both_parties_are_exported_into_one_file() -> None:
    assert commands() == ["-s -B /rec/call=from.o.rtp -A /rec/call=from.a.rtp /rec/call=from.wav"]
    assert commands(mixed=True)[0].startswith("-B")


def test_a_file_with_both_parties_is_exported() -> None:
    assert commands(single=True) == ["-s /rec/call=from.pcap /rec/call=from.wav"]


def test_files_with_names_of_their_own_are_exported_each() -> None:
    assert sorted(commands(target="x")) == [
        "-s -A /rec/x-callee.rtp /rec/x-callee.wav",
        "-s -B /rec/x-caller.rtp /rec/x-caller.wav",
    ]


def test_a_recording_begun_again_under_its_name_is_exported_once() -> None:
    session, sinks = a_session(), MemorySinks()
    files = [
        Files(session, ("c.o.rtp",), (sinks.open(Place("/r"), "c", b""),), False, False, 1.0)
        for _ in range(2)
    ]
    kit = Kit()
    Exporter(kit.helpers, form="mp3", mixed=False, tell=lambda event: None)(
        Finished(session, "/r", tuple(files))
    )
    assert len(kit.spawner.processes) == 1


def test_a_program_that_is_not_there_is_told_of_in_a_line() -> None:
    """Twisted finds that out in the child, which prints a traceback."""
    kit = Kit()
    with capturedLogs() as events:
        kit.run("/nowhere/program")
        (process,) = kit.spawner.processes
        process.protocol.errReceived(UPON_EXEC)
        process.end(Failure(ProcessTerminated(1)))
    (told,) = [formatEvent(event) for event in events]
    assert told == (
        "/nowhere/program ended with 1: FileNotFoundError: [Errno 2] No such file or directory"
    )
