"""How the relay is, seen from outside: the kernel's figures of its process, and its metrics."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.cpu import ran
from rtpproxy_tw.tools.ctl_client import Client, Unreachable, read_target


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. Times in seconds, memory in octets; what could not be asked for is -1."""

    when: float
    calls: int
    """Begun since the start of the run."""
    resident: int
    descriptors: int
    threads: int
    cpu: float
    """Seconds the process has run."""
    log_lines: int
    slowest: float
    """Command since the last look, to its reply."""
    sessions: int = -1
    timers: int = -1
    ports: int = -1
    recordings: int = -1


ASKED = {
    "sessions": "relay_sessions",
    "timers": "relay_timers",
    "ports": "relay_ports_used",
    "recordings": "relay_recordings",
}
"""Metrics by the name in a sample; those with labels are added up."""


class Watch:
    """Looks at the process ``pid``, whose log is the file ``log`` and whose HTTP is at ``http``."""

    def __init__(self, pid: int, http: Path, log: Path, now: Callable[[], float]) -> None:
        self._pid = pid
        self._client = Client(read_target(str(http)))
        self._log = log
        self._log_read = 0
        self._log_lines = 0
        self._now = now
        self.began = now()
        """When the run did, which is when looks count from."""
        self.tracebacks = 0
        self.kinds: dict[str, int] = {}
        """Lines of the log by what they say, numbers and names left out."""

    def look(self, calls: int, slowest: float, ask: bool = True) -> Sample:
        """At this moment."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        self._read_log()
        return Sample(
            when=self._now() - self.began,
            calls=calls,
            resident=pages * os.sysconf("SC_PAGESIZE"),
            descriptors=len(os.listdir(f"/proc/{self._pid}/fd")),
            threads=len(os.listdir(f"/proc/{self._pid}/task")),
            cpu=ran(self._pid),
            log_lines=self._log_lines,
            slowest=slowest,
            **(self._metrics() if ask else {}),
        )

    def wait_until_calm(self, at_most: float) -> Sample:
        """The first look at which there is no session any more; or the last one in that time."""
        deadline = time.monotonic() + at_most
        while True:
            sample = self.look(0, 0.0)
            if sample.sessions == 0 or time.monotonic() > deadline:
                return sample
            time.sleep(0.5)

    def _metrics(self) -> dict[str, int]:
        with suppress(Unreachable):
            text = self._client.fetch("/metrics").decode()
            return {name: total(text, metric) for name, metric in ASKED.items()}
        return {}

    def _read_log(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._log_read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._log_read += len(whole)
        lines = whole.decode(errors="replace").splitlines()
        self._log_lines += len(lines)
        self.tracebacks += sum("Traceback" in line for line in lines)
        for line in lines:
            kind = kind_of(line)
            if kind in self.kinds or len(self.kinds) < 200:
                self.kinds[kind] = self.kinds.get(kind, 0) + 1


def total(text: str, metric: str) -> int:
    """Of all samples of ``metric`` in the text of a scrape."""
    found = re.findall(rf"^{metric}(?:\{{[^}}]*\}})? ([0-9.e+]+)$", text, re.MULTILINE)
    return int(sum(map(float, found)))


def kind_of(line: str) -> str:
    """What a line of the log says, without what differs from call to call."""
    text = re.sub(r"^[^a-z]*?(?=[A-Z]{4}|[a-z])", "", line)
    text = re.sub(r"soak-\S+|'[^']*'|\"[^\"]*\"", "…", text)
    return re.sub(r"\d+", "N", text)[:110]
