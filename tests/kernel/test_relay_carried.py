"""A real relay process whose settled streams go through the kernel, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.media.kernel import capabilities
from tests.contracts import rtp

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(
        not capabilities.has_needed(), reason="needs CAP_BPF and CAP_NET_ADMIN to load a program"
    ),
]

PATIENCE = 10.0


class Call:
    """A relay and a call through it, with both parties where they say they are."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        before: tuple[str, ...] = (),
        program: str = "rtpproxy_tw.tools.launcher",
    ) -> None:
        self.path = str(folder / "control")
        self.log = (folder / "log").open("wb")
        self.relay = subprocess.Popen(
            [
                *before,
                *(sys.executable, "-m", program, "-f", "-F"),
                *("-s", f"cunix:{self.path}", "-l", "127.0.0.1", "-m", "46400", "-M", "46420"),
                *("-p", str(folder / "pid"), "--fast-path", "ebpf", *options),
            ],
            stderr=self.log,
        )
        deadline = time.monotonic() + PATIENCE
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(PATIENCE)
        while True:
            try:
                self.control.connect(self.path)
                break
            except OSError:
                assert self.relay.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        self.parties = [self._socket() for _ in "ab"]
        self.addresses = [party.getsockname() for party in self.parties]
        caller, callee = (party.getsockname()[1] for party in self.parties)
        self.to = [
            ("127.0.0.1", int(self.ask(f"L c 127.0.0.1 {callee} f t").split()[0]))
            for _ in [self.ask(f"U c 127.0.0.1 {caller} f")]
        ]
        self.to.append(("127.0.0.1", int(self.ask(f"U c 127.0.0.1 {caller} f t").split()[0])))
        self.sequence = 0

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 0))
        made.settimeout(1.0)
        return made

    def ask(self, command: str) -> str:
        """One command, one line."""
        self.control.sendall(command.encode() + b"\n")
        return self.control.recv(4096).decode().strip()

    def exchange(self, count: int) -> None:
        """``count`` packets each way, each seen to arrive, unchanged and from the told address."""
        for _ in range(count):
            self.sequence += 1
            for sender, receiver in ((0, 1), (1, 0)):
                datagram = rtp(self.sequence, ssrc=7 + sender)
                self.parties[sender].sendto(datagram, self.to[sender])
                assert self.parties[receiver].recvfrom(2000) == (datagram, self.to[receiver])

    def settle(self) -> None:
        """Talk until the kernel carries both directions: the relay may sleep meanwhile."""
        for _ in range(60):  # a stream that was not fit is looked at again after a second
            self.exchange(1)
            time.sleep(0.02)

    def asleep(self, count: int) -> None:
        """``count`` packets each way pass while the relay's process is stopped."""
        os.kill(self.relay.pid, signal.SIGSTOP)
        try:
            self.exchange(count)
        finally:
            os.kill(self.relay.pid, signal.SIGCONT)

    def close(self) -> None:
        """End everything."""
        self.control.close()
        for party in self.parties:
            party.close()
        self.relay.terminate()
        self.relay.wait(PATIENCE)
        self.log.close()


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """A call that the kernel carries."""
    made = Call(tmp_path)
    try:
        made.settle()
        yield made
    finally:
        made.close()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_media_flows_while_the_process_sleeps_and_every_packet_is_counted(call: Call) -> None:
    """The kernel carries it, and Q and G tell the same as if the process had."""
    before = call.sequence
    call.asleep(100)
    sent = call.sequence
    assert sent == before + 100
    names = "npkts_ina npkts_ino nrelayed ndropped rtpa_nsent rtpa_nrcvd rtpa_ndups rtpa_nlost"
    assert call.ask(f"Q c f t {names}") == f"{sent} {sent} {2 * sent} 0 {sent} {sent} 0 0"
    assert call.ask("G npkts_rcvd npkts_relayed npkts_discard") == f"{2 * sent} {2 * sent} 0"


def test_a_command_takes_the_media_back_and_nothing_is_lost(call: Call) -> None:
    """A re-INVITE to another port: the new party is heard at once."""
    call.asleep(10)
    moved = call._socket()
    port = moved.getsockname()[1]
    call.ask(f"U c 127.0.0.1 {port} f t")
    call.parties[0].close()
    call.parties[0] = moved
    call.exchange(20)
    call.settle()
    call.asleep(10)
    sent = call.sequence
    assert call.ask("Q c f t npkts_ina npkts_ino nrelayed ndropped") == (
        f"{sent} {sent} {2 * sent} 0"
    )


def test_a_stranger_is_not_relayed_beside_a_carried_stream(call: Call) -> None:
    """He is counted, and the call goes on in the kernel."""
    with call._socket() as stranger:
        for number in range(30):
            stranger.sendto(rtp(number, ssrc=666), call.to[0])
    call.asleep(20)
    sent = call.sequence
    call.parties[1].settimeout(0.1)
    with pytest.raises(TimeoutError):
        call.parties[1].recvfrom(2000)
    assert call.ask("Q c f t npkts_ina npkts_ino nrelayed") == f"{sent} {sent} {2 * sent}"
    assert call.ask("G npkts_discard") == "30"


def held_by(pid: int) -> dict[str, int]:
    """The capabilities of every thread of a process, by set and thread."""
    return {
        f"{line.split()[0]} {status.parent.name}": int(line.split()[1], 16)
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))
    }


NEEDED = 1 << capabilities.BPF | 1 << capabilities.NET_ADMIN


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may write to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv here (util-linux)")
def test_an_ordinary_user_with_two_capabilities_has_it_and_keeps_none(open_folder: Path) -> None:
    """As a unit of systemd with AmbientCapabilities; every thread has given them up."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    few = "-all,+bpf,+net_admin"
    call = Call(
        open_folder,
        before=(
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps", few),
            *("--ambient-caps", few, "--bounding-set", few),
        ),
    )
    try:
        call.settle()
        call.asleep(50)
        assert Path(f"/proc/{call.relay.pid}").stat().st_uid == 65534
        held = held_by(call.relay.pid)
        assert held
        assert not any(held.values()), held
        call.ask("D c f t")
    finally:
        call.close()
    assert "Traceback" not in (open_folder / "log").read_text()


def test_capabilities_that_a_successor_will_need_are_kept_if_asked_for(tmp_path: Path) -> None:
    """Otherwise even root gives up those that the kernel path took."""
    for options, kept in (((), 0), (("--keep-capabilities",), NEEDED)):
        call = Call(tmp_path, *options)
        try:
            in_force = [
                mask for name, mask in held_by(call.relay.pid).items() if name.startswith("CapEff")
            ]
            assert {mask & NEEDED for mask in in_force} == {kept}
        finally:
            call.close()


def test_carried_media_keeps_a_session_alive_and_its_silence_ends_it(tmp_path: Path) -> None:
    """The time to live counts what the kernel saw."""
    call = Call(tmp_path, "-T", "2")
    try:
        call.settle()
        for _ in range(30):
            call.exchange(1)
            time.sleep(0.1)
        assert call.ask("Q c f t ttl") in ("1", "2")
        time.sleep(3.2)
        assert call.ask("Q c f t") == "E50"
        assert call.ask("G nsess_timeout nsess_nortp") == "1 0"
    finally:
        call.close()


def test_the_end_of_the_relay_leaves_nothing_in_the_kernel(tmp_path: Path) -> None:
    """Nothing is relayed after it."""
    call = Call(tmp_path)
    call.settle()
    call.relay.terminate()
    call.relay.wait(PATIENCE)
    call.parties[0].sendto(rtp(1, ssrc=7), call.to[0])
    call.parties[1].settimeout(0.2)
    with pytest.raises(TimeoutError):
        call.parties[1].recvfrom(2000)
    call.close()
