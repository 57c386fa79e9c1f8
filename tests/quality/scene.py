"""One call with everything in it but sockets: packets in, a second at a time, verdicts out."""

from __future__ import annotations

import struct
from contextvars import ContextVar

from twisted.internet.task import Clock

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.quality.verdict import LegVerdict, assess
from rtpproxy_tw.reporting.sampling import Sampler
from rtpproxy_tw.session import Ending, Leg, SessionKey, Stream, new_session
from rtpproxy_tw.statistics import Totals

RELAY = "203.0.113.5"
CALLER: Address = ("198.51.100.7", 4000)
CALLEE: Address = ("192.0.2.9", 6000)
STRANGER: Address = ("192.0.2.66", 7000)

FRAMES = 50
"""Packets a second."""

POLICY = ContextVar("POLICY", default="strict")
"""The latching policy of scenes that are made."""


class Sink:
    """A socket that takes everything."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Address]] = []

    def send(self, datagram: bytes, to: Address) -> bool:
        """Remember it."""
        self.sent.append((datagram, to))
        return True

    def fold(self) -> None:
        """See Sender."""

    def drain(self) -> None:
        """Nothing ever waits."""


def rtp(
    number: int, *, ssrc: int = 0xABCD, payload_type: int = 0, payload: bytes | None = None
) -> bytes:
    """Packet ``number`` of a stream of 20 ms of sound."""
    header = struct.pack(
        "!BBHII", 0x80, payload_type, number & 0xFFFF, number * 160 & 0xFFFFFFFF, ssrc
    )
    return header + (
        bytes((number + each) % 97 for each in range(160)) if payload is None else payload
    )


class Party:
    """One phone: where it sends from and what."""

    def __init__(self, scene: Scene, leg: Leg, at: Address, ssrc: int) -> None:
        self.scene, self.leg = scene, leg
        self.at = at
        self.ssrc = ssrc
        self.payload_type = 0
        self.payload: bytes | None = None
        self.number = 0
        self.to: Stream = leg.rtp
        """Which of the relay's ports it sends to."""
        self.sends = True

    def frame(self) -> None:
        """Send one packet."""
        self.number += 1
        datagram = rtp(
            self.number, ssrc=self.ssrc, payload_type=self.payload_type, payload=self.payload
        )
        self.scene.relay.received(self.to, datagram, self.at)


class Scene:
    """A relay with one session in it; both parties have told their addresses."""

    def __init__(
        self,
        caller: Address = CALLER,
        callee: Address = CALLEE,
        *,
        complete: bool = True,
        advertised: str | None = None,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.relay = Relay(self.clock.seconds, Totals())
        self.session = new_session(SessionKey("c", "f"), 100.0, 60.0, latch_factory(POLICY.get()))
        for leg, port in ((self.session.callee, 20110), (self.session.caller, 20112)):
            leg.local, leg.port = LocalAddress(RELAY, advertised), port
            for stream in leg.streams:
                stream.sender = Sink()
        self.sampler = Sampler(clock=self.clock, is_local=lambda host: host == RELAY)
        self.sampler.sessions = [self.session]
        self.caller = Party(self, self.session.caller, caller, 0xA)
        self.callee = Party(self, self.session.callee, callee, 0xB)
        self.tell(self.session.caller, caller)
        self.sampler.created(self.session)
        if complete:
            self.tell(self.session.callee, callee)
            self.complete()

    @property
    def parties(self) -> tuple[Party, Party]:
        """Caller, callee."""
        return self.caller, self.callee

    def tell(self, leg: Leg, address: Address) -> None:
        """A command gives the party's address."""
        leg.rtp.latch.signal(address, self.clock.seconds())
        leg.rtcp.latch.signal((address[0], address[1] + 1), self.clock.seconds())

    def complete(self) -> None:
        """The answer has come."""
        now = self.clock.seconds()
        self.session.complete, self.session.completed_at = True, now
        for leg in self.session.legs:
            for stream in leg.streams:
                stream.latch.complete(now)
        self.sampler.completed(self.session)

    def run(self, seconds: int) -> None:
        """Let parties that send do so, and the sampler look, for so long."""
        for _ in range(seconds):
            for _ in range(FRAMES):
                self.clock.advance(1 / FRAMES)
                for party in self.parties:
                    if party.sends:
                        party.frame()
            self.sampler.tick()

    def end(self) -> None:
        """The session ends as in the registry."""
        self.session.ended = Ending.DELETED
        for leg in self.session.legs:
            leg.former_port, leg.port = leg.port, 0
        self.sampler.ended(self.session, Ending.DELETED)

    def verdicts(self) -> tuple[LegVerdict, LegVerdict]:
        """On the caller's and the callee's leg, now."""
        return assess(self.session, self.clock.seconds())

    def codes(self) -> tuple[str, str]:
        """Their codes."""
        caller, callee = self.verdicts()
        return caller.code, callee.code

    def kinds(self) -> list[str]:
        """The kinds of the timeline's entries."""
        return [entry.kind for entry in self.session.timeline]
