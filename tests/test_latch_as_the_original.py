"""The policy ``rtpproxy`` against the original's engine: the same packets, the same fate."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch import RtpproxyLatch
from tests.datagrams import rtp
from tests.latching import RTCP, RTP
from tests.oracle import Oracle, needs_oracle

pytestmark = [pytest.mark.network, needs_oracle]

HOSTS = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"]
"""Of the sources; the first one is where the party was signalled to be."""

QUIET = 0.03
"""Seconds after which a packet that we would not forward is taken for dropped. Should the engine
forward it later, it is found where something else was expected."""

STEPS = 12


class Call:
    """A session of the engine, our latches for the same party, and sockets all round.

    The party has several pairs of ports, numbered; the other one is well-behaved.
    """

    def __init__(
        self, oracle: Oracle, stack: ExitStack, name: str, known: bool, flags: str
    ) -> None:
        self._oracle = oracle
        self._name = name
        self._flags = flags
        self._sent = 0
        self._party = [pair(stack, host) for host in HOSTS]
        self._other = pair(stack, "127.0.0.1")
        self.latches = (RtpproxyLatch(RTP), RtpproxyLatch(RTCP))
        self._mark(flags)
        host, port = self._address(0) if known else ("0.0.0.0", 0)
        reply = oracle.ask(f"U{flags}l127.0.0.1 {name} {host} {port} f")
        self._outside = int(reply.split()[0])
        there = self._other[0].getsockname()[1]
        reply = oracle.ask(f"Ll127.0.0.1 {name} 127.0.0.1 {there} f t")
        self._inside = int(reply.split()[0])
        if known:
            self._tell(0)

    def signal(self, source: int, flags: str) -> None:
        """A command says that the party is there now."""
        self._flags = flags
        host, port = self._address(source)
        self._oracle.ask(f"U{flags}l127.0.0.1 {self._name} {host} {port} f t")
        self._mark(flags)
        self._tell(source)

    def send(self, source: int, datagram: bytes, component: int = RTP) -> None:
        """The party sends, or who claims to be it: both must let it pass, or neither."""
        latch = self.latches[component - 1]
        sender = self._party[source][component - 1]
        before = latch.source
        passes = latch.hear(sender.getsockname(), datagram, time.monotonic())
        if passes and component == RTP and latch.source is not before:
            assert latch.source is not None
            self.latches[1].follow(latch.source, time.monotonic())
        sender.sendto(datagram, ("127.0.0.1", self._inside + component - 1))
        expect(self._other[component - 1], datagram if passes else None)

    def answer(self, component: int) -> None:
        """The other party sends: it must arrive where our latch would send it, and only there."""
        self._sent += 1
        datagram = rtp(self._sent, 77, payload=b"answer")
        sender = self._other[component - 1]
        sender.sendto(datagram, ("127.0.0.1", self._outside + component - 1))
        remote = self.latches[component - 1].remote
        for number in range(len(HOSTS)):
            receiver = self._party[number][component - 1]
            if receiver.getsockname() == remote:
                expect(receiver, datagram)
        for number in range(len(HOSTS)):
            receiver = self._party[number][component - 1]
            receiver.settimeout(0)
            with pytest.raises(BlockingIOError):
                receiver.recv(2048)

    def _address(self, source: int) -> Address:
        host, port = self._party[source][0].getsockname()
        return host, port

    def _mark(self, flags: str) -> None:
        for latch in self.latches:
            latch.asymmetric = flags == "a"

    def _tell(self, source: int) -> None:
        host, port = self._address(source)
        self.latches[0].signal((host, port), time.monotonic())
        self.latches[1].signal((host, port + 1), time.monotonic())


def pair(stack: ExitStack, host: str) -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets on an even port and the next one."""
    for _ in range(100):
        first = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        second = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            first.bind((host, random.randrange(20000, 32000, 2)))
            second.bind((host, first.getsockname()[1] + 1))
        except OSError:
            continue
        return first, second
    raise AssertionError("no free pair of ports")


def expect(receiver: socket.socket, datagram: bytes | None) -> None:
    """Exactly this arrives; None: nothing does."""
    receiver.settimeout(QUIET if datagram is None else 3.0)
    try:
        received: bytes | None = receiver.recv(2048)
    except TimeoutError:
        received = None
    assert received == datagram


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """One engine for all calls."""
    with Oracle() as engine:
        yield engine


class Script:
    """A call in which anything may happen; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._next: Counter[int] = Counter({ssrc: 100 for ssrc in range(3)})
        self.known = self._random.random() < 0.7
        self.flags = self._random.choice(["", "", "a"])
        self.log: list[str] = []

    def step(self, call: Call) -> None:
        """One thing happens; nothing asymmetric becomes symmetric, or the other way round."""
        chance, source = self._random.random(), self._random.randrange(len(HOSTS))
        if chance < 0.15:
            self.log.append(f"signal {source}")
            call.signal(source, self.flags)
        elif chance < 0.25 and self.known:
            self.log.append(f"rtcp {source}")
            call.send(source, b"\x80\xc9\x00\x01" + bytes(4), RTCP)
        elif chance < 0.32:
            datagram = self._random.choice([b"", b"abc", b"\x00" * 20, rtp(9)[:11]])
            self.log.append(f"{datagram!r} {source}")
            call.send(source, datagram)
        else:
            ssrc = self._random.choice([1, 1, 1, 2, 0])
            self._next[ssrc] += self._random.choice([1, 1, 1, 2, 60, 535, 536, 537, 700, -5, 65000])
            self.log.append(f"rtp {source} ssrc {ssrc} seq {self._next[ssrc] & 0xFFFF}")
            call.send(source, rtp(self._next[ssrc], ssrc))


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_same_packets_pass_to_the_same_places(
    oracle: Oracle, seed: int
) -> None:
    script = Script(seed)
    with ExitStack() as stack:
        call = Call(oracle, stack, f"call{seed}", script.known, script.flags)
        try:
            for _ in range(STEPS):
                script.step(call)
                call.answer(RTP)
                call.answer(RTCP)
        except AssertionError as error:
            raise AssertionError("\n".join(script.log)) from error
        finally:
            oracle.ask(f"D call{seed} f t")
