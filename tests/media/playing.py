"""A call on a fake host in which prompts are played."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.commands import (
    Lookup,
    MediaOptions,
    Number,
    Play,
    Remote,
    Reply,
    StopPlay,
    Update,
)
from rtpproxy_tw.rtp import peek
from rtpproxy_tw.session import Session
from tests.fakes import Bench

CALLER, CALLEE = ("127.0.0.1", 5000), ("127.0.0.1", 6000)
FACING_CALLEE, FACING_CALLER = ("127.0.0.1", 40000), ("127.0.0.1", 40002)


class Heard(NamedTuple):
    """One packet of a prompt."""

    when: float
    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


class Stage:
    """A relay with one call, and the folder ``prompts`` where its prompts are."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.bench = Bench(prompts=[str(folder)], **options)
        self.log: list[Heard] = []

    def prompt(self, name: str, octets: int) -> bytes:
        """Make a prompt of so many octets; its content."""
        content = bytes(n * 7 % 251 for n in range(octets))
        (self.folder / name).write_bytes(content)
        return content

    def offer(self, remote: Address | None = CALLER, **options: Any) -> Reply:
        """U of the caller."""
        made = MediaOptions(**options)
        return self.bench.do(Update("c", "f", "t", Remote(remote), made))

    def answer(self, remote: Address | None = CALLEE, **options: Any) -> Reply:
        """L of the callee."""
        made = MediaOptions(**options)
        return self.bench.do(Lookup("c", "f", "t", Remote(remote), made))

    def call(self, **options: Any) -> Stage:
        """Offer and answer."""
        self.offer(**options)
        self.answer(**options)
        return self

    @property
    def session(self) -> Session:
        """The call's only session."""
        (session,) = self.bench.registry
        return session

    def play(self, prompt: str = "p", codecs: str | None = "0", count: int = 1) -> Reply:
        """P to the caller."""
        return self.bench.do(Play("c", prompt, codecs, "f", "t", count))

    def stop(self) -> Reply:
        """S to the caller."""
        return self.bench.do(StopPlay("c", "f", "t"))

    def run(self, seconds: float) -> list[Heard]:
        """Let time pass, a millisecond at a time; what the caller heard meanwhile."""
        heard = []
        for _ in range(round(seconds * 1000)):
            self.bench.clock.advance(0.001)
            heard += self.caller_heard()
        return heard

    def caller_heard(self) -> list[Heard]:
        """What was sent to the caller since the last call."""
        if FACING_CALLER not in self.bench.host.ports:
            return []
        heard = []
        for datagram, to in self.bench.host.sent(FACING_CALLER):
            assert to == CALLER
            header = peek(datagram)
            assert header is not None
            heard.append(
                Heard(
                    self.bench.clock.seconds(),
                    header.marker,
                    header.payload_type,
                    header.sequence,
                    header.timestamp,
                    header.ssrc,
                    datagram[header.start :],
                )
            )
        return heard

    def callee_says(self, datagram: bytes) -> None:
        """A packet of the callee arrives."""
        self.bench.host.deliver(datagram, CALLEE, FACING_CALLEE)


def done(reply: Reply) -> bool:
    """Whether it is a plain 0."""
    return reply == Number(0)


def open_files() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))
