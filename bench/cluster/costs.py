"""What one session costs a relay and Redis, measured here and now."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.cluster.measuring import Plan, measure
from bench.cluster.signalling import lacking
from bench.cluster.troubles import TRIGGERS
from bench.namespaces import missing
from rtpproxy_tw.addresses import LocalAddress
from rtpproxy_tw.cluster import scripts
from rtpproxy_tw.cluster.node import PER_WRITE
from rtpproxy_tw.clustering import lean
from rtpproxy_tw.latch import StrictLatch
from rtpproxy_tw.session import Session, SessionKey, new_session
from rtpproxy_tw.snapshot import records

ADDRESS = "203.0.113.30"
TICKS = os.sysconf("SC_CLK_TCK")
END = b"that is all"
TRIED = 1000
"""Calls of the take-over that is tried."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What one session costs a relay."""

    octets: float
    """Of its line."""
    write: float
    """Seconds to make it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What one costs Redis, with the key that tells where its call is."""

    octets: float
    """Of Redis' memory."""
    seconds: float
    """Of its processor, each time it is written."""


def unit(count: int = 2000, now: Callable[[], float] = time.process_time) -> Unit:
    """Measure."""
    sessions = [_session(number) for number in range(count)]
    began = now()
    lines = [_line(session) for session in sessions]
    return Unit(sum(map(len, lines)) / count, (now() - began) / count)


def stored(count: int = 20_000, rounds: int = 3) -> Stored | None:
    """Measure with a Redis of our own, which ends afterwards; None: there is none to start."""
    program = shutil.which("redis-server")
    if program is None:
        return None
    lines = [(f"call-{number}@x", _line(_session(number))) for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        path = f"{folder}/socket"
        argv = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        try:
            with _connected(path) as redis:
                return _stored(redis, process.pid, lines, rounds)
        finally:
            process.kill()
            process.wait()


def restoring(calls: int = TRIED) -> float | None:
    """Seconds for each of ``calls`` that a relay takes over while all of them talk; None: it cannot
    be tried here. Raises ClusterError."""
    if missing() or lacking() or shutil.which("redis-server") is None:
        return None
    told = measure(TRIGGERS["by-address"], Plan(calls, rate=2.0, a_second=100))
    return None if told.taking is None else told.taking / calls


def _stored(redis: socket.socket, pid: int, lines: list[tuple[str, bytes]], rounds: int) -> Stored:
    _ask(redis, [[b"EVAL", scripts.TAKE.encode(), b"1", _owner(), b"one", b"0", b"1"]])
    before, began = _memory(redis), 0.0
    for turn in range(rounds + 1):
        if turn == 1:  # the first one makes what the others write again
            after, began = _memory(redis), _processor(pid)
        for at in range(0, len(lines), PER_WRITE):
            _ask(redis, list(_writing(lines[at : at + PER_WRITE])))
    spent = _processor(pid) - began
    return Stored((after - before) / len(lines), spent / rounds / len(lines))


def _writing(some: list[tuple[str, bytes]]) -> Iterator[list[bytes]]:
    """As the relay writes: where each call is, and all sessions in one step."""
    for name, _ in some:
        key = scripts.call_key(name).encode()
        yield [b"SET", key, ADDRESS.encode(), b"EX", b"%d" % scripts.CALL_KEPT]
    keys = [b"2", _owner(), scripts.sessions_key(ADDRESS).encode()]
    pairs = [each for name, line in some for each in (name.encode(), line)]
    yield [b"EVAL", scripts.WRITE.encode(), *keys, b"1", b"%d" % len(some), *pairs]


def _owner() -> bytes:
    return scripts.owner_key(ADDRESS).encode()


def _connected(path: str) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(30)
        with suppress(OSError):
            made.connect(path)
            return made
        made.close()
        if time.monotonic() > deadline:
            raise RuntimeError("redis-server does not answer")
        time.sleep(0.02)


def _ask(redis: socket.socket, commands: list[list[bytes]]) -> None:
    """Send all in one piece, and wait for the answer to what is sent behind them."""
    redis.sendall(b"".join(map(_packed, (*commands, [b"ECHO", END]))))
    told = b""
    while not told.endswith(END + b"\r\n"):
        told += redis.recv(65536)
    if told.startswith(b"-") or b"\r\n-" in told:
        raise RuntimeError(told[:200].decode(errors="replace"))


def _memory(redis: socket.socket) -> int:
    redis.sendall(_packed([b"INFO", b"memory"]))
    text = b""
    while b"used_memory:" not in text or not text.endswith(b"\r\n"):
        text += redis.recv(65536)
    return int(text.partition(b"used_memory:")[2].split()[0])


def _packed(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def _processor(pid: int) -> float:
    """Seconds of a processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _session(number: int) -> Session:
    made = new_session(
        SessionKey(f"call-{number}@sip.example.net", f"tag-{number}"), 1.0, 60.0, StrictLatch
    )
    for leg, host in zip(made.legs, ("192.0.2.10", "198.51.100.20"), strict=True):
        for stream in leg.streams:
            stream.latch.signal((host, 4000 + stream.component), 1.0)
        leg.local, leg.port = LocalAddress(ADDRESS), 40000
    made.strong = made.complete = True
    return made


def _line(session: Session) -> bytes:
    record = lean(records.pack(session, {}), session.caller.rtp.latch)
    record["at"] = 1.0
    return records.to_line(record)
