"""A relay on fakes as a fuzzer wants it: commands as bytes, and what must hold after each."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.commands import Origin
from rtpproxy_tw.control.render import INTERNAL_ERROR, MAX_REPLY
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.session import Session, Stream
from tests.fakes import Bench

ORIGIN = Origin(transport="udp", peer="127.0.0.1:9")

BROKEN = b"E%d\n" % INTERNAL_ERROR

LONGEST_LIFE = 4_000_000_000.0
"""Seconds: more than any time to live that a command can ask for."""


@implementer(ILogObserver)
class Faults:
    """Remembers what the relay logs as its own fault."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """Observe one event."""
        if event.get("log_failure") is not None:
            self.events.append(event)


PLAYERS_TURN = 1.0
"""Seconds: longer than any packet of a prompt lasts."""


class World:
    """``bench`` and a responder that speaks to it."""

    def __init__(self, **options: object) -> None:
        self.bench = Bench(**options)  # type: ignore[arg-type]  # as a target wants it
        self.responder = Responder(
            dialect=RtpproxyDialect(),
            executor=self.bench.dispatcher,
            totals=self.bench.totals,
            clock=self.bench.clock,
            detailed=lambda: False,
        )
        self._faults = Faults()
        self._cut: set[Stream] = set()
        """Streams that are, or were, re-packetised."""
        self._free = self.bench.plane.free_pairs()

    def __enter__(self) -> World:
        globalLogPublisher.addObserver(self._faults)
        return self

    def __exit__(self, *error: object) -> None:
        globalLogPublisher.removeObserver(self._faults)

    def ask(self, command: bytes) -> bytes:
        """The reply, which is no fault of the relay's, and one line unless a list was asked for."""
        reply = self.responder.respond(command, ORIGIN)
        self.unbroken()
        assert reply != BROKEN, "a fault of the relay itself"
        assert reply.endswith(b"\n")
        if command.strip()[:1] not in (b"I", b"i"):
            assert reply.count(b"\n") == 1, "only a list has more than one line"
            assert len(reply) <= MAX_REPLY
        return reply

    def unbroken(self) -> None:
        """Nothing was logged that is the relay's own fault. Raises that, where there was one."""
        for event in self._faults.events:
            raise AssertionError(event["log_failure"].getTraceback())

    def sessions(self) -> list[Session]:
        """All there are."""
        return list(self.bench.registry)

    def check(self) -> None:
        """What must hold at any time."""
        self.unbroken()
        bench = self.bench
        open_ports: set[Address] = set()
        for session in self.sessions():
            assert session.ended is None
            for leg in session.legs:
                assert leg.opposite.opposite is leg
                if leg.port:
                    assert leg.local is not None
                    assert leg.port % 2 == 0
                    open_ports |= {(leg.local.host, leg.port), (leg.local.host, leg.port + 1)}
                for stream in leg.streams:
                    for name in ("accepted", "relayed", "dropped", "ignored", "octets", "added"):
                        assert getattr(stream, name) >= 0, name
                    if leg.packet_ms:
                        self._cut.add(stream)  # one that comes may be several that leave
                    if stream not in self._cut:
                        assert stream.relayed + stream.dropped <= stream.accepted
        assert open_ports == set(bench.host.ports), "sockets and sessions differ"
        assert len(bench.registry) == len(self.sessions())

    def end(self) -> None:
        """``X``: nothing is left of anything."""
        assert self.ask(b"X") == b"0\n"
        self.check()
        assert not self.sessions()
        assert not self.bench.host.ports, "sockets are left over"
        assert self.bench.plane.free_pairs() == self._free, "ports are left over"
        # Whoever plays is told at the next packet's turn that there is nobody to play to.
        self.bench.clock.advance(PLAYERS_TURN)
        left = [call for call in self.bench.clock.getDelayedCalls() if call.active()]
        assert not left, f"timers are left over: {left}"
