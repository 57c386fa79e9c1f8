"""The SIP side: Kamailio, which leads media through the relays, and SIPp for both parties.

SIPp signals and does nothing by itself once a call is up: what is to happen then each call is told
by a request of its own (``OPTIONS``: offer anew, ``INFO``: hang up). Which addresses each party
was told to send to stands in what SIPp logs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from bench.cluster.world import PHONES, ROOT, ClusterError, World, end, wait_for

PROXY_PORT, CALLER_PORT, PASSING_PORT, CALLEE_PORT = 5060, 5070, 5071, 5080
CALLER, CALLEE = 20000, 20002
"""Where the parties' phones hear media."""

PROGRAM = shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIG = ROOT / "packaging" / "examples" / "kamailio.cfg"
SCENARIOS = Path(__file__).parent

WORKERS = 4
"""Processes of Kamailio; each asks relays, and waits for their answers, by itself."""

TELLING = 250
"""Calls that are told what to do in a second."""

Way = tuple[str, int]

_REQUEST = (
    "{method} sip:caller@{host}:{port} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP {host}:5099;branch=z9hG4bK{branch}\r\n"
    "From: <sip:bench@{host}>;tag=bench\r\n"
    "To: <sip:caller@{host}>\r\n"
    "Call-ID: {call_id}\r\n"
    "CSeq: {number} {method}\r\n"
    "Max-Forwards: 1\r\n"
    "Content-Length: 0\r\n\r\n"
)


def lacking() -> str | None:
    """What is not installed here; None: all is."""
    if PROGRAM is None:
        return "no kamailio here (Debian: kamailio)"
    if shutil.which("sipp") is None:
        return "no sipp here (Debian: sip-tester)"
    return None


class Signalling:
    """Kamailio with ``relays``, their control addresses, and SIPp. ``with`` ends all of it.

    ``retry_after``: seconds for which Kamailio leaves a relay alone that did not answer.
    """

    def __init__(self, world: World, relays: Iterable[str], retry_after: int = 60) -> None:
        self.world = world
        self.calls: list[str] = []
        """The Call-IDs, once placed."""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._relays = " ".join(f"udp:{host}:22222" for host in relays)
        self._retry_after = retry_after
        self._told = 0
        self._callers: subprocess.Popen[bytes] | None = None
        self._passing: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Signalling:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)
            end(process)

    def _start(self) -> None:
        assert PROGRAM is not None, "asked before"
        folder = self.world.folder
        argv = [PROGRAM, "-DD", "-E", "-f", str(CONFIG), "-w", str(folder), "-Y", str(folder)]
        argv += ["-P", f"{folder}/kamailio.pid", "-m", "64", "-M", "8", "-n", str(WORKERS)]
        argv += ["-l", f"udp:{PHONES}:{PROXY_PORT}", "-A", f'RELAYS="{self._relays}"']
        argv += ["-A", f"RETRY_AFTER={self._retry_after}"]
        self._processes.append(self.world.run("phones", argv, "kamailio.log", folder))
        self._sipp("callee", CALLEE_PORT, CALLEE, [])
        wait_for(self._proxy_answers, "Kamailio answers")

    def _proxy_answers(self) -> bool:
        if any(process.poll() is not None for process in self._processes):
            raise ClusterError(f"Kamailio or SIPp did not start: {self.world.folder}/*.log")
        with self.world.space("phones"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock, suppress(OSError):
            sock.settimeout(0.2)
            sock.bind((PHONES, 5099))
            sock.sendto(self._request("OPTIONS", "ping", PROXY_PORT), (PHONES, PROXY_PORT))
            return sock.recv(2048).startswith(b"SIP/2.0 200 ")
        return False

    def _request(self, method: str, call_id: str, port: int) -> bytes:
        self._told += 1
        text = _REQUEST.format(
            method=method,
            host=PHONES,
            port=port,
            branch=f"{os.getpid()}x{self._told}",
            call_id=call_id,
            number=self._told,
        )
        if port == PROXY_PORT:
            text = text.replace("sip:caller@", "sip:", 1)
        return text.encode()

    def _sipp(
        self, scenario: str, port: int, hears_at: int, more: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        log = self.world.folder / f"{scenario}.calls"
        argv = ["sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-nostdin", "-bind_local"]
        argv += ["-i", PHONES, "-p", str(port), "-key", "hears_at", str(hears_at)]
        argv += ["-trace_logs", "-log_file", str(log), "-trace_err", "-error_file", f"{log}.errors"]
        folder = self.world.folder
        made = self.world.run("phones", [*argv, *more], f"{scenario}.log", folder)
        self._processes.append(made)
        return made

    # The calls that stay.

    def place(self, count: int, rate: int) -> list[tuple[Way, Way]]:
        """Set ``count`` calls up, ``rate`` a second. For each, where the caller sends to and where
        the callee does."""
        more = ["-m", str(count), "-l", str(count + 1), "-r", str(rate), *_to_callee()]
        self._callers = self._sipp("caller", CALLER_PORT, CALLER, more)

        def is_up() -> bool:
            if self._callers is not None and self._callers.poll() is not None:
                raise ClusterError(f"SIPp gave up: {self.world.folder}/caller.*")
            return len(self._read("caller")) == count

        wait_for(is_up, f"{count} calls are up", 20 + 2 * count / rate)
        caller, callee = self._read("caller"), self._read("callee")
        self.calls = sorted(caller, key=lambda call_id: int(call_id.partition("-")[0]))
        return [(caller[each][-1], callee[each][-1]) for each in self.calls]

    def _read(self, scenario: str) -> dict[str, list[Way]]:
        """By Call-ID all that SIPp was told in SDPs."""
        found: dict[str, list[Way]] = {}
        path = self.world.folder / f"{scenario}.calls"
        for line in path.read_text().splitlines() if path.exists() else ():
            words = line.split()
            if len(words) == 3 and words[2].isdecimal():
                found.setdefault(words[0], []).append((words[1], int(words[2])))
        return found

    def offer_anew(self, calls: Sequence[str]) -> int:
        """A re-INVITE for each of ``calls``; how many were answered, and led where they were."""
        self._tell("OPTIONS", calls)
        answered = 0

        def is_done() -> bool:
            nonlocal answered
            told = self._read("caller")
            again = [told[each] for each in calls]
            answered = sum(len(each) == 2 and each[0] == each[1] for each in again)
            return all(len(each) == 2 for each in again)

        with suppress(ClusterError):
            wait_for(is_done, "all are answered", 15)
        return answered

    def hang_up(self, calls: Sequence[str]) -> None:
        """A BYE for each of ``calls``."""
        self._tell("INFO", calls)

    def ended(self) -> bool:
        """Wait for the end of all calls; whether SIP thinks that all went well."""
        assert self._callers is not None, "placed before"
        with suppress(subprocess.TimeoutExpired):
            return self._callers.wait(40) == 0
        return False

    def _tell(self, method: str, calls: Sequence[str]) -> None:
        with self.world.space("phones"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            for call_id in calls:
                sock.sendto(self._request(method, call_id, CALLER_PORT), (PHONES, CALLER_PORT))
                time.sleep(1 / TELLING)

    # Those that come and go meanwhile.

    def begin_others(self, rate: int = 2) -> None:
        """From now on so many short calls a second, until :meth:`end_others`."""
        more = ["-r", str(rate), "-cid_str", "passing-%u-%p@%s", "-trace_rtt", "-rtt_freq", "1"]
        more += ["-trace_stat", "-fd", "1", "-stf", str(self.world.folder / "passing.csv")]
        self._passing.append(self._sipp("passing", PASSING_PORT, CALLER, [*more, *_to_callee()]))

    def end_others(self) -> tuple[int, int, float]:
        """How many were placed and how many were well from beginning to end, and the seconds
        which the slowest one took to be answered."""
        process = self._passing.pop()
        process.send_signal(signal.SIGUSR1)  # it ends when its calls have
        with suppress(subprocess.TimeoutExpired):
            process.wait(40)
        end(process)
        head, *_, last = (self.world.folder / "passing.csv").read_text().splitlines()
        row = dict(zip(head.split(";"), last.split(";"), strict=False))
        times = [0.0]
        for path in self.world.folder.glob("passing_*_rtt.csv"):
            times += [float(line.split(";")[1]) / 1000 for line in path.read_text().split()[1:]]
        return int(row["TotalCallCreated"]), int(row["SuccessfulCall(C)"]), max(times)

    def teach(self) -> None:
        """A few calls, whose Call-IDs lead to every relay: whoever is dead is known by then."""
        more = ["-m", "6", "-r", "6", "-cid_str", "%u-%p@teaching", *_to_callee()]
        process = self._sipp("passing", PASSING_PORT + 1, CALLER, more)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)


def _to_callee() -> list[str]:
    return ["-key", "callee", f"{PHONES}:{CALLEE_PORT}", f"{PHONES}:{PROXY_PORT}"]
