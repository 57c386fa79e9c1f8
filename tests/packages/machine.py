"""A Debian that boots: systemd as its process 1, on a network of its own that has only loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from itertools import count
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parent.parent.parent
MIRROR = "http://deb.debian.org/debian"
RELEASE = os.environ.get("RTPPROXY_TEST_RELEASE", "bookworm")
"""Of Debian; the guides can be followed in others than the one that the tests know best."""
LONG = 900.0
"""Seconds for any of the steps; the slowest fetches a hundred packages."""

NEEDED = ("debootstrap", "dpkg-buildpackage", "dh", "systemd-nspawn", "nsenter", "ip")

_SAFE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_numbers = count(1)


def missing() -> str:
    """Why there can be no machines here; empty: there can."""
    if os.geteuid() != 0:
        return "only root can start another system"
    lacking = [tool for tool in NEEDED if shutil.which(tool) is None]
    return f"missing: {', '.join(lacking)}" if lacking else ""


def run(*command: str | Path, **more: str) -> str:
    """What ``command`` prints; it must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", **more},
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]} {done.stderr[-3000:]}"
    return done.stdout


class Machine:
    """A copy of the system in ``template``, booted in ``folder`` while the block lasts."""

    def __init__(self, template: Path, folder: Path, *, capabilities: str = "") -> None:
        """``capabilities``: what systemd may have beyond what containers get, by commas."""
        self.root = folder / "root"
        self.network = f"relay-{os.getpid()}-{next(_numbers)}"
        self._log = folder / "nspawn.log"
        self._capabilities = capabilities
        self._leader = 0
        self._nspawn: subprocess.Popen[bytes] | None = None
        run("cp", "-a", "--reflink=auto", template, self.root)

    def __enter__(self) -> Machine:
        run("ip", "netns", "add", self.network)
        run("ip", "-n", self.network, "link", "set", "lo", "up")
        words = ["systemd-nspawn", "-q", "-D", str(self.root), "--boot", "--console=pipe"]
        words += ["--register=no", "--keep-unit", f"--machine={self.network}"]
        words += [f"--network-namespace-path=/run/netns/{self.network}", "--resolv-conf=off"]
        if self._capabilities:
            words.append(f"--capability={self._capabilities}")
        try:
            with self._log.open("wb") as log:
                self._nspawn = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            self._wait_until_booted(self._nspawn)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _wait_until_booted(self, nspawn: subprocess.Popen[bytes]) -> None:
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
        until = time.monotonic() + 60.0
        while time.monotonic() < until and nspawn.poll() is None:
            found = children.read_text().split()
            self._leader = int(found[0]) if found else 0
            if self._leader and self.ask("systemctl is-system-running --wait") in (
                "running\n",
                "degraded\n",
            ):
                return
            time.sleep(0.2)
        raise AssertionError(f"it does not boot: {self._log.read_text()}")

    def _end(self) -> None:
        if self._nspawn is not None:
            self._nspawn.terminate()  # which shuts the system down in order
            try:
                self._nspawn.wait(30.0)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        run("ip", "netns", "delete", self.network)
        shutil.rmtree(self.root)  # it is large

    def _inside(self, script: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        clean = ["env", "-i", f"PATH={_SAFE}", "HOME=/root", "LC_ALL=C.UTF-8"]
        return subprocess.run(
            [*enter, *clean, "DEBIAN_FRONTEND=noninteractive", "bash", "-ec", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )

    def ask(self, script: str) -> str:
        """What a shell of root's prints there, whether it succeeds or not."""
        return self._inside(script).stdout

    def run(self, script: str) -> str:
        """What a shell of root's prints there; each of its commands must succeed."""
        done = self._inside(script)
        if done.returncode == 0:
            return done.stdout
        journal = self.ask("journalctl --no-pager -q -n 40")
        raise AssertionError(
            f"{script}\nends with {done.returncode}\n"
            f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}\n{journal}"
        )
