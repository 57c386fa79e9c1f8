"""Recordings written by a thread of their own, so that no packet ever waits for a disk.

The reactor puts jobs into a queue and goes on; one background thread opens, writes, closes and
renames. A disk that hangs makes the queue grow up to a limit, then records are lost, from the
recordings only. A disk that fails ends the recordings it fails, and is reported.

The queue is a deque: appending and popping are atomic, and each counter has one thread that
writes it, so no lock stands between the two. Failures travel back in the same manner and are
logged by the reactor, since log observers are made for one thread.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import NamedTuple

from twisted.logger import Logger

from rtpproxy_tw.errors import RecordingRefused
from rtpproxy_tw.recording.disk import Calls, DiskFile, write_note
from rtpproxy_tw.recording.sinks import Note, Outcome, Place
from rtpproxy_tw.recording.space import Reserve

MAX_JOBS = 262_144
"""Records that may wait: some seconds of a thousand calls. With their share of MAX_OCTETS about
100 MB at worst."""

MAX_OCTETS = 64 * 1024 * 1024
"""Octets of records that may wait."""

WAKE_OCTETS = 65_536
"""The thread is woken for so much, not for each packet; what is less waits for flush()."""

HOLD_OCTETS = 1024 * 1024
"""Octets the thread may have in the buffers of all files together."""

STOP_SECONDS = 5.0
"""How long the end of the process waits for the disk."""


PORTION = 8
"""Notes of which it is told at once that they are written: a third of a millisecond."""

BETWEEN = 0.005
"""Seconds between two portions."""


class Task(Enum):
    """What the thread is to do with a file."""

    OPEN = auto()
    ADOPT = auto()
    RECORD = auto()
    CLOSE = auto()


class Job(NamedTuple):
    """One entry of the queue; ``data`` is the header or the record."""

    task: Task
    file: SpooledFile
    data: bytes = b""
    adopted: tuple[int, int, int] = (-1, 0, 0)
    """For ADOPT: descriptor, octets and records of the file."""


class Failure(NamedTuple):
    """A recording that came to grief, and why."""

    name: str
    error: Exception


class SpooledFile:
    """A file as the reactor sees it; a Sink."""

    __slots__ = ("_closed", "_writer", "disk", "dropped", "error", "failed", "name", "place")

    def __init__(self, writer: Writer, place: Place, name: str, disk: DiskFile) -> None:
        self._writer = writer
        self.place = place
        self._closed = False
        self.name = name
        self.disk = disk
        """The thread's business."""
        self.failed = False
        """Set by the thread when the disk refused."""
        self.error: str | None = None
        """Why, in words."""
        self.dropped = 0
        """Records lost because the disk did not keep up, or had refused before."""

    @property
    def outcome(self) -> Outcome:
        """See Sink. Complete once the file is closed."""
        disk = self.disk
        pending = 0 if self.failed or self._closed else disk.accepted - disk.packets
        lost = self.dropped + disk.accepted - disk.packets - pending
        return Outcome(disk.packets, lost, disk.size, disk.sha256, self.error)

    def miss(self) -> None:
        """See Sink."""
        self.dropped += 1

    def write(self, record: bytes) -> None:
        """Queue a record, or drop and count it where the queue is full."""
        if self._closed:
            return
        if self.failed:
            self.dropped += 1
        else:
            self._writer.take(self, record)

    def close(self) -> None:
        """Queue the end. Idempotent."""
        if not self._closed:
            self._closed = True
            self._writer.release(self)


class Writer:
    """The reactor's side. Its methods are called from one thread and do not block, but stop().

    ``later`` calls a function after so many seconds: many recordings that have ended in one second
    are told of in portions then, else at once.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        max_jobs: int = MAX_JOBS,
        max_octets: int = MAX_OCTETS,
        calls: Calls | None = None,
        reserve: Reserve | None = None,
        later: Callable[[float, Callable[[], object]], object] | None = None,
    ) -> None:
        self._later = later
        self._telling = False
        """Whether there is a portion to come."""
        self._max_jobs = max_jobs
        self._max_octets = max_octets
        self._calls = calls or Calls()
        self._worker = Worker(reserve or Reserve())
        self._thread: threading.Thread | None = None
        self._jobs = 0
        self._octets = 0
        self._unannounced = 0

    def open(self, place: Place, name: str, header: bytes) -> SpooledFile:
        """Create the file soon. Raises RecordingRefused while the disk does not keep up."""
        if self._worker.stopping:
            raise RecordingRefused("the relay is stopping")
        if self._full():
            raise RecordingRefused("the disk does not keep up with the recordings")
        if place in self._worker.short:
            raise RecordingRefused(self._worker.reserve.complaint)
        self._start()
        file = SpooledFile(self, place, name, DiskFile(place, name, self._calls))
        self._put(Job(Task.OPEN, file, header))
        self._worker.wake.set()
        return file

    def adopt(
        self, place: Place, name: str, descriptor: int, size: int, packets: int
    ) -> SpooledFile:
        """Go on with a file another process has begun; the descriptor is ours from now on.

        Raises RecordingRefused.
        """
        self._start()
        file = SpooledFile(self, place, name, DiskFile(place, name, self._calls))
        file.disk.accepted = file.disk.packets = packets
        self._put(Job(Task.ADOPT, file, b"", (descriptor, size, packets)))
        self._worker.wake.set()
        return file

    def settle(self, limit: float = STOP_SECONDS) -> bool:
        """Wait until everything that came so far is written; False where that takes too long."""
        if self._thread is None:
            return True
        deadline = time.monotonic() + limit
        self._worker.flushing = True
        self._worker.wake.set()
        while self._worker.jobs or self._worker.busy or self._worker.flushing:
            if time.monotonic() > deadline or not self._thread.is_alive():
                return False
            time.sleep(0.001)
        return True

    def take(self, file: SpooledFile, record: bytes) -> None:
        """Queue a record of ``file``."""
        if self._worker.stopping:
            return
        if self._full():
            if not file.dropped:
                self._log.warn("the disk does not keep up: {name} loses packets", name=file.name)
            file.dropped += 1
            return
        self._put(Job(Task.RECORD, file, record))
        self._unannounced += len(record)
        if self._unannounced >= WAKE_OCTETS:
            self._unannounced = 0
            self._worker.wake.set()

    def release(self, file: SpooledFile) -> None:
        """Queue the end of ``file``: its last records, however full the queue is, and a move."""
        if file.dropped:
            self._log.warn("{name} lacks {count} packets", name=file.name, count=file.dropped)
        if not self._worker.stopping:
            self._put(Job(Task.CLOSE, file))
            self._worker.wake.set()

    def note(self, note: Note) -> None:
        """Queue it, however full the queue is."""
        if self._worker.stopping:
            return
        try:
            self._start()
        except RecordingRefused as error:
            self._log.error("{name} is not written: {error}", name=note.name, error=error)
            return
        self._jobs += 1
        self._worker.jobs.append(note)
        self._worker.wake.set()

    @property
    def free(self) -> int | None:
        """Octets free where the last recording was begun, as of the last flush; None: unknown."""
        return self._worker.free

    def flush(self) -> None:
        """Have everything written that came so far, and log what went wrong."""
        self._report()
        if not self._telling:
            self._tell()
        if self._thread is not None:
            self._worker.flushing = True
            self._worker.wake.set()

    def stop(self, limit: float = STOP_SECONDS) -> bool:
        """Write and close everything; False when that took longer than ``limit`` seconds.

        The one method that waits, for use when the reactor stops. Later recordings are refused.
        """
        self._worker.stopping = True
        self._worker.wake.set()
        if self._thread is not None:
            self._thread.join(limit)
        self._later = None
        self._report()
        self._tell()
        if self._thread is None or not self._thread.is_alive():
            return True
        waiting = self._jobs - self._worker.jobs_done
        self._log.error("the disk hangs: {count} records are lost", count=waiting)
        return False

    def _start(self) -> None:
        """Start the thread: not before it is needed, so that no fork of the process loses it."""
        if self._thread is not None:
            return
        # A daemon, so that a disk that hangs for ever cannot keep the process from ending.
        thread = threading.Thread(target=self._worker.run, name="recordings", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise RecordingRefused(f"no thread to write with: {error}") from error
        self._thread = thread

    def _full(self) -> bool:
        return (
            self._jobs - self._worker.jobs_done >= self._max_jobs
            or self._octets - self._worker.octets_done >= self._max_octets
        )

    def _put(self, job: Job) -> None:
        self._jobs += 1
        self._octets += len(job.data)
        self._worker.jobs.append(job)

    def _report(self) -> None:
        failures = self._worker.failures
        while failures:
            name, error = failures.popleft()
            self._log.error("recording {name} failed: {error}", name=name, error=error)

    def _tell(self) -> None:
        """Tell of notes that are written: of a portion, and of the others later."""
        written = self._worker.notes_written
        most = PORTION if self._later is not None else len(written)
        for _ in range(min(most, len(written))):
            written.popleft().done()
        self._telling = self._later is not None and bool(written)
        if self._telling and self._later is not None:
            self._later(BETWEEN, self._tell)


class Worker:
    """The thread's side: ``jobs``, ``flushing``, ``stopping``, ``wake`` are how it is asked."""

    def __init__(self, reserve: Reserve) -> None:
        self.reserve = reserve
        self.short: frozenset[Place] = frozenset()
        """Where there is too little space for new recordings."""
        self.free: int | None = None
        """Octets that can be written where the last recording was begun."""
        self._place: Place | None = None
        self.notes_written: deque[Note] = deque()
        self.jobs: deque[Job | Note] = deque()
        self.wake = threading.Event()
        self.flushing = False
        self.stopping = False
        self.busy = False
        """Whether it works, and has not waited since."""
        self.jobs_done = 0
        self.octets_done = 0
        self.failures: deque[Failure] = deque()
        self._open: dict[SpooledFile, None] = {}
        self._held = 0

    def run(self) -> None:
        """Work until asked to stop and nothing is left."""
        stopping = False
        while not stopping:
            self.wake.wait()
            # Cleared, and the requests read, before the queue is emptied: what comes while it
            # is being emptied wakes the thread once more.
            self.wake.clear()
            stopping = self.stopping
            self.busy = True
            self.work()
            self.busy = False
        for file in tuple(self._open):
            self._attempt(Job(Task.CLOSE, file))

    def work(self) -> None:
        """Empty the queue, then the buffers if asked to."""
        flushing, self.flushing = self.flushing, False
        while self.jobs:
            job = self.jobs.popleft()
            if isinstance(job, Note):
                self._note(job)
            else:
                self._attempt(job)
                self.octets_done += len(job.data)
            self.jobs_done += 1
        if flushing:
            self._write_out()
            self._look_at_space()

    def _attempt(self, job: Job) -> None:
        """Do it; an error ends that recording, and never the thread that serves the others."""
        file = job.file
        if file.failed:
            # It waited in the queue while the ones before it failed.
            file.disk.accepted += job.task is Task.RECORD
            return
        before = file.disk.buffered
        try:
            self._do(job)
        except Exception as error:
            self._fail(file, error)
        self._held += file.disk.buffered - before
        if self._held >= HOLD_OCTETS:
            self._write_out()

    def _do(self, job: Job) -> None:
        task, file, data, _ = job
        match task:
            case Task.OPEN:
                self._place = file.place
                if self._is_short(file.place):
                    raise OSError(errno.ENOSPC, self.reserve.complaint, file.name)
                self._open[file] = None
                file.disk.open(data)
            case Task.ADOPT:
                self._open[file] = None
                file.disk.adopt(*job.adopted)
            case Task.RECORD:
                file.disk.add(data)
            case Task.CLOSE:
                del self._open[file]
                file.disk.finish()

    def _write_out(self) -> None:
        for file in tuple(self._open):
            if file.disk.buffered:
                try:
                    file.disk.write_out()
                except Exception as error:
                    self._fail(file, error)
        self._held = 0

    def _is_short(self, place: Place) -> bool:
        """Whether there is too little space, even after making some, if that may be done."""
        short = self.reserve.is_short(place)
        self.short = self.short | {place} if short else self.short - {place}
        return short

    def _look_at_space(self) -> None:
        if self._place is not None:
            self.free = self.reserve.octets_free(self._place)
        if not self.reserve.octets:
            return
        open_at = {file.place for file in self._open}
        for place in open_at | self.short:
            if self._is_short(place) and self.reserve.stops:
                error = OSError(errno.ENOSPC, self.reserve.complaint)
                for file in [each for each in self._open if each.place == place]:
                    self._fail(file, error)

    def _note(self, note: Note) -> None:
        try:
            write_note(note)
        except Exception as error:
            self.failures.append(Failure(note.name, error))
        self.notes_written.append(note)

    def _fail(self, file: SpooledFile, error: Exception) -> None:
        file.error = str(error)
        file.failed = True
        self._open.pop(file, None)
        self.failures.append(Failure(file.name, error))
        with suppress(Exception):
            file.disk.abandon()
