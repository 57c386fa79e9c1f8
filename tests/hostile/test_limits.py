"""Rows C: what the host can have too little of. Everything in docs/hostile.rst."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from rtpproxy_tw.memory_room import RESERVE
from tests.e2e.process import wait_until
from tests.hostile.exemptions import STOPPED, THRONGED
from tests.hostile.host import HOST, namespace, recorded, root
from tests.hostile.local import Local
from tests.hostile.relay import Relay

pytestmark = pytest.mark.hostile

__all__ = ["root"]


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[Path]:
    """A small file system."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(relay: Relay, name: str = "fill", most: int = 2000) -> tuple[int, str]:
    """Calls until one is refused: how many, and how."""
    for number in range(most):
        reply = relay.ask(f"U {name}-{number} 192.0.2.1 4000 f")
        if reply.startswith("E"):
            return number, reply
    return most, ""


def empty(relay: Relay, count: int, name: str = "fill") -> None:
    """End them."""
    for number in range(count):
        relay.ask(f"D {name}-{number} f")


def test_c01_without_descriptors_calls_are_refused_and_nothing_else(tmp_path: Path) -> None:
    with Local(tmp_path, "-L", "120") as here, here.call() as call:
        call.settle()
        count, code = fill(here.relay)
        assert code in ("E71", "E72")
        assert 10 < count < 60
        assert here.relay.fresh().ask(b"V") == b"20040107"
        assert 'reason="descriptors"} 0' not in here.relay.get("/metrics")
        call.goes_on()
        empty(here.relay, count)
        assert fill(here.relay, most=5)[0] == 5
        empty(here.relay, 5)


def test_c02_a_full_or_occupied_range_is_refused_at_once(tmp_path: Path) -> None:
    # Three pairs, and two for the call beside the row.
    with ExitStack() as stack:
        for port in (27002, 27004, 27009):
            taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            taken.bind((HOST, port))
        with Local(tmp_path, "-m", "27000", "-M", "27015") as here:
            assert fill(here.relay) == (3, "E72")
            assert fill(here.relay, "more") == (0, "E72")
            assert here.relay.metric("relay_port_alloc_failures_total") >= 2
            assert json.loads(here.relay.get("/api/v1/capacity"))
            empty(here.relay, 3)


def is_free(port: int) -> bool:
    """Whether nobody has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free, suppress(OSError):
        free.bind((HOST, port))
        return True
    return False


def test_c03_of_a_pair_with_one_port_taken_neither_stays_open(tmp_path: Path) -> None:
    # One pair, and two for the call beside the row.
    with ExitStack() as stack:
        for port in (27101, 27103, 27105):
            taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            taken.bind((HOST, port))
        with Local(tmp_path, "-m", "27100", "-M", "27111") as here:
            before = here.relay.descriptors()
            assert fill(here.relay) == (1, "E72")
            # It may just be trying one of them for the next call.
            for port in (27100, 27102, 27104):
                wait_until(partial(is_free, port), "the other one of the pair is free")
            empty(here.relay, 1)
            wait_until(lambda: here.relay.descriptors() <= before, "nothing is left open")


def test_c04_what_full_buffers_drop_is_counted(tmp_path: Path, root: None) -> None:
    with (
        namespace() as where,
        Local(tmp_path, where=where, exempt=(STOPPED,)) as here,
        here.call() as call,
    ):
        call.settle()
        assert here.relay.metric("relay_kernel_udp_drops_total") == 0
        here.relay.signal(signal.SIGSTOP)
        call.caller.say(20_000)
        here.relay.signal(signal.SIGCONT)
        assert here.relay.metric("relay_kernel_udp_drops_total") > 0
        call.callee.hear()
        call.goes_on()


def test_c05_before_memory_is_gone_new_calls_are_refused(tmp_path: Path, root: None) -> None:
    ports = ("-m", "40000", "-M", "65000")
    with Local(tmp_path, *ports, exempt=(THRONGED,)) as here, here.call() as call:
        call.settle()
        pages = int(Path(f"/proc/{here.relay.pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + RESERVE + (4 << 20)
        before = resource.prlimit(
            here.relay.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY)
        )
        most = 12_000
        count, code = fill(here.relay, most=most)
        assert count < most, "the limit was felt"
        assert code == "E72"
        call.goes_on()
        assert here.relay.log().count(" MB are left: new sessions are refused") == 1
        resource.prlimit(here.relay.pid, resource.RLIMIT_AS, before)
        wait_until(lambda: "there is memory again" in here.relay.log(), "it recovers")
        empty(here.relay, count)
        assert fill(here.relay, "again", 20)[0] == 20
        empty(here.relay, 20, "again")
        call.goes_on()


def test_c09_a_full_or_lost_disk_costs_the_recording_only(tmp_path: Path, root: None) -> None:
    with (
        mounted(tmp_path / "disk", "size=64k") as disk,
        Local(tmp_path / "relay", *recorded(disk, "-a")) as here,
        here.call() as call,
    ):
        call.settle()
        call.goes_on(400)
        wait_until(lambda: "No space left" in here.relay.log(), "it is told")
        call.goes_on()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        here.relay.ask(f"R {call.name} f t")
        call.goes_on()
        call.end()
        here.check()
        here.leave()
        wait_until(lambda: here.relay.metric("relay_recordings") == 0, "they are over")
        record = 30 + 172
        sizes = {path.stat().st_size % record for path in disk.glob("*.rtp")}
        assert sizes <= {0}


@contextmanager
def freezing(tmp_path: Path) -> Iterator[Path]:
    """A file system that can be made to stand still."""
    image, path = tmp_path / "image", tmp_path / "frozen"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    path.mkdir()
    made = subprocess.run(["mkfs.ext4", "-q", image], capture_output=True).returncode == 0
    if (
        not made
        or subprocess.run(["mount", "-o", "loop", image, path], capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted from an image here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_c10_a_disk_that_stands_still_costs_no_packet(tmp_path: Path, root: None) -> None:
    with (
        freezing(tmp_path) as disk,
        Local(tmp_path / "relay", *recorded(disk, "-a")) as here,
        here.call() as call,
    ):
        call.settle()
        wait_until(lambda: bool(list(disk.glob("*.rtp"))), "recordings begin")
        subprocess.run(["fsfreeze", "-f", disk], check=True)
        try:
            for _ in range(20):
                call.goes_on(5)
                assert here.relay.ask("V") == "20040107"
                time.sleep(0.05)
        finally:
            subprocess.run(["fsfreeze", "-u", disk], check=True)
        call.goes_on()
        call.end()
        here.check()
        here.leave()
        wait_until(lambda: here.relay.metric("relay_recordings") == 0, "they are over")
        assert sum(path.stat().st_size for path in disk.glob("*.rtp")) > 0


def test_c11_without_inodes_calls_go_on_and_long_names_fit(tmp_path: Path, root: None) -> None:
    with (
        mounted(tmp_path / "disk", "size=1m", "nr_inodes=4") as disk,
        Local(tmp_path / "relay", *recorded(disk)) as here,
    ):
        for number in range(5):
            with here.call(name=f"{'long/' * 100}{number}") as call:
                call.settle()
                assert here.relay.ask(f"R {call.name} f t") in ("0", "E65")
                call.goes_on()
        assert all(len(path.name) <= 255 for path in disk.iterdir())
