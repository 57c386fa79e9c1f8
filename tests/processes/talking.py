"""A relay process with media processes, and calls through it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.contracts import rtp

PATIENCE = 10.0

MODULE = b"rtpproxy_tw.media.processes.worker"


def eventually(there: Callable[[], object], seconds: float) -> None:
    """Wait until ``there`` is so."""
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


class Parties:
    """The two ends of a call."""

    def __init__(self, control: socket.socket, name: str) -> None:
        self.control = control
        self.name = name
        self.parties = [self.socket() for _ in "ab"]
        self.sequence = 0
        caller, callee = (party.getsockname()[1] for party in self.parties)
        self.ask(f"U {name} 127.0.0.1 {caller} f")
        self.to = [("127.0.0.1", self._port(self.ask(f"L {name} 127.0.0.1 {callee} f t")))]
        self.to += [("127.0.0.1", self._port(self.ask(f"U {name} 127.0.0.1 {caller} f t")))]

    def _port(self, answer: str) -> int:
        return int(answer.split()[0])

    def socket(self) -> socket.socket:
        """For a party."""
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 0))
        made.settimeout(2.0)
        return made

    def ask(self, command: str) -> str:
        """One command, one line."""
        self.control.sendall(command.encode() + b"\n")
        return self.control.recv(65536).decode().strip()

    def exchange(self, count: int, pause: float = 0.0) -> None:
        """``count`` packets each way, each seen to arrive, unchanged and from the told address."""
        for _ in range(count):
            self.sequence += 1
            for sender, receiver in ((0, 1), (1, 0)):
                datagram = rtp(self.sequence, ssrc=7 + sender)
                self.parties[sender].sendto(datagram, self.to[sender])
                assert self.parties[receiver].recvfrom(2000) == (datagram, self.to[receiver])
            time.sleep(pause)

    def nothing_comes(self, receiver: int) -> bool:
        """Whether nothing more arrives there."""
        self.parties[receiver].settimeout(0.2)
        try:
            self.parties[receiver].recv(2000)
        except TimeoutError:
            return True
        finally:
            self.parties[receiver].settimeout(2.0)
        return False

    def recover(self) -> None:
        """Talk until packets come through again, whatever has been lost."""
        deadline = time.monotonic() + PATIENCE
        for party in self.parties:
            party.settimeout(0.3)
        while time.monotonic() < deadline:
            try:
                self.exchange(1)
                break
            except TimeoutError:
                continue
        for party in self.parties:
            party.settimeout(0.2)
            try:
                while True:
                    party.recv(2000)
            except TimeoutError:
                party.settimeout(2.0)

    def carried(self) -> bool:
        """Whether media processes have the ports in their epoll sets."""
        return {port for _, port in self.to} <= self._watched()

    def _watched(self) -> set[int]:
        raise NotImplementedError


class Call(Parties):
    """A relay and a call through it, with both parties where they say they are."""

    def __init__(self, folder: Path, *options: str, local: str = "127.0.0.1") -> None:
        path = str(folder / "control")
        self.log = (folder / "log").open("wb")
        self.relay = subprocess.Popen(
            [
                *(sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F"),
                *("-s", f"cunix:{path}", "-l", local, "-m", "46500", "-M", "46560"),
                *("-p", str(folder / "pid"), "--fast-path", "none", "--media-processes", "1"),
                *("--http", "none", *options),
            ],
            stderr=self.log,
        )
        deadline = time.monotonic() + PATIENCE
        control = socket.socket(socket.AF_UNIX)
        control.settimeout(PATIENCE)
        while True:
            try:
                control.connect(path)
                break
            except OSError:
                assert self.relay.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        self.others: list[Other] = []
        super().__init__(control, "c")

    def processes(self) -> list[int]:
        """The media processes there are."""
        found = []
        for task in Path(f"/proc/{self.relay.pid}/task").glob("*/children"):
            for pid in task.read_text().split():
                try:
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue
                if MODULE in command:
                    found.append(int(pid))
        return found

    def another(self, number: int) -> Other:
        """One more call through the same relay."""
        made = Other(self, f"c{number}")
        self.others.append(made)
        return made

    def settle(self) -> None:
        """Talk until a process carries both directions."""
        deadline = time.monotonic() + PATIENCE
        while not self.carried():
            assert time.monotonic() < deadline, "not carried"
            self.exchange(1)
            time.sleep(0.02)

    def asleep(self, count: int) -> None:
        """``count`` packets each way pass while the relay is stopped, but not its processes."""
        os.kill(self.relay.pid, signal.SIGSTOP)
        try:
            self.exchange(count)
        finally:
            os.kill(self.relay.pid, signal.SIGCONT)

    def _watched(self) -> set[int]:
        return {port for pid in self.processes() for port in watched(pid)}

    def close(self) -> None:
        """End everything."""
        self.control.close()
        for party in (*self.parties, *(each for other in self.others for each in other.parties)):
            party.close()
        self.relay.terminate()
        self.relay.wait(PATIENCE)
        self.log.close()


class Other(Parties):
    """A further call."""

    def __init__(self, first: Call, name: str) -> None:
        self._first = first
        super().__init__(first.control, name)

    def _watched(self) -> set[int]:
        return self._first._watched()


def watched(pid: int) -> set[int]:
    """The local UDP ports that a process has in epoll sets."""
    by_inode = {
        words[9]: int(words[1].rpartition(":")[2], 16)
        for words in map(str.split, Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:])
    }
    ports = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            text = info.read_text()
        except OSError:
            continue
        for fd in re.findall(r"^tfd:\s+(\d+)", text, re.MULTILINE):
            try:
                inode = os.readlink(f"/proc/{pid}/fd/{fd}").partition("[")[2].rstrip("]")
            except OSError:
                continue
            if inode in by_inode:
                ports.add(by_inode[inode])
    return ports
