"""Suites that every provider of a seam must pass, fake or real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest
from zope.interface import implementer

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.errors import AddressUnusable, NoPortsLeft
from rtpproxy_tw.interfaces import IMediaPlane, ITap
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.session import Leg, Session, SessionKey, Stream, new_session
from tests.conftest import LoggedFailures

FOUR = LocalAddress("127.0.0.1")
SIX = LocalAddress("::1")


def rtp(sequence: int = 1, ssrc: int = 0x1234, payload: bytes = b"p" * 20) -> bytes:
    """A plain RTP packet of payload type 0."""
    return (
        b"\x80\x00"
        + sequence.to_bytes(2, "big")
        + (160 * sequence).to_bytes(4, "big")
        + ssrc.to_bytes(4, "big")
        + payload
    )


class Peer(Protocol):
    """A party's socket."""

    address: Address

    def send(self, datagram: bytes, to: Address) -> None:
        """Send from ``address``; it has been relayed when this returns."""

    def received(self) -> list[tuple[bytes, Address]]:
        """What arrived since the last call, with its source."""


class PlaneBench(Protocol):
    """A plane on a host, with parties around it."""

    plane: IMediaPlane
    low: int

    def peer(self, host: str) -> Peer:
        """A party at ``host``."""

    def tos(self, leg: Leg) -> int:
        """The TOS its RTP socket sends with."""

    def occupy(self, port: int) -> None:
        """Another program takes ``port`` on 127.0.0.1."""

    def close(self) -> None:
        """Release everything."""


def session(number: int = 1) -> Session:
    """A session with no ports, strict latching."""
    made = new_session(SessionKey(f"call{number}", "f"), 0.0, 60.0, latch_factory("strict"))
    for leg in made.legs:
        for stream in leg.streams:
            stream.latch.loopback = True
    return made


@implementer(ITap)
class Broken:
    """A tap with a bug."""

    def heard(self, stream: Stream, datagram: bytes, source: Address) -> None:
        """Fail."""
        raise ZeroDivisionError


class MediaPlaneContract:
    """What IMediaPlane promises. A subclass provides ``bench``."""

    @pytest.fixture
    def bench(self) -> Iterator[PlaneBench]:
        """A plane whose range is three pairs."""
        raise NotImplementedError

    def call(
        self, bench: PlaneBench, caller: str = "127.0.0.1", callee: str = "127.0.0.1"
    ) -> tuple[Session, Peer, Peer]:
        """A complete session between two parties at the hosts given, both signalled."""
        made = session()
        parties = []
        for leg, host in ((made.caller, caller), (made.callee, callee)):
            bench.plane.open(leg, SIX if ":" in host else FOUR)
            party = bench.peer(host)
            leg.rtp.latch.signal(party.address, 0.0)
            parties.append(party)
        made.complete = True
        for leg in made.legs:
            for stream in leg.streams:
                stream.latch.complete(0.0)
        return made, parties[0], parties[1]

    def test_a_leg_gets_an_even_port_of_the_range_and_the_next_one(self, bench: PlaneBench) -> None:
        """RTP even, RTCP one above (RFC 3550 section 11)."""
        made = session()
        bench.plane.open(made.callee, FOUR)
        assert made.callee.port in range(bench.low, bench.low + 6, 2)
        assert made.callee.rtcp.port == made.callee.port + 1
        assert made.callee.local is FOUR
        assert made.callee.rtp.sender is not None
        assert made.caller.port == 0

    def test_packets_pass_both_ways_unchanged_from_the_port_that_was_told(
        self, bench: PlaneBench
    ) -> None:
        """Each party hears the other from the very address it sends to itself."""
        made, caller, callee = self.call(bench)
        to_callee, to_caller = ("127.0.0.1", made.callee.port), ("127.0.0.1", made.caller.port)
        caller.send(rtp(1), to_caller)
        assert callee.received() == [(rtp(1), to_callee)]
        callee.send(rtp(2, 77), to_callee)
        assert caller.received() == [(rtp(2, 77), to_caller)]
        assert made.caller.rtp.relayed == made.callee.rtp.relayed == 1

    @pytest.mark.parametrize("size", [0, 1, 12, 1500, 9000, 65507])
    def test_any_datagram_of_a_believed_party_passes_whole(
        self, bench: PlaneBench, size: int
    ) -> None:
        """Nothing is parsed, cut or padded."""
        made, caller, callee = self.call(bench)
        datagram = bytes(n % 251 for n in range(size))
        caller.send(datagram, ("127.0.0.1", made.caller.port))
        assert [got for got, _ in callee.received()] == [datagram]

    def test_a_half_session_relays_nothing(self, bench: PlaneBench) -> None:
        """Nobody is believed before both legs are there."""
        made = session()
        bench.plane.open(made.callee, FOUR)
        party = bench.peer("127.0.0.1")
        party.send(rtp(), ("127.0.0.1", made.callee.port))
        assert party.received() == []
        assert made.callee.rtp.accepted == 0
        assert made.callee.rtp.latch.source is None

    def test_ipv4_and_ipv6_parties_hear_each_other(self, bench: PlaneBench) -> None:
        """A gateway between the families."""
        made, caller, callee = self.call(bench, "127.0.0.1", "::1")
        caller.send(rtp(1), ("127.0.0.1", made.caller.port))
        assert callee.received() == [(rtp(1), ("::1", made.callee.port))]
        callee.send(rtp(2, 9), ("::1", made.callee.port))
        assert caller.received() == [(rtp(2, 9), ("127.0.0.1", made.caller.port))]

    def test_a_closed_port_is_silent_and_closing_again_does_nothing(
        self, bench: PlaneBench
    ) -> None:
        """Nothing passes after the end."""
        made, caller, callee = self.call(bench)
        to_caller = ("127.0.0.1", made.caller.port)
        for leg in made.legs:
            bench.plane.close(leg)
            bench.plane.close(leg)
            assert leg.port == 0
            assert leg.rtp.sender is None
        caller.send(rtp(), to_caller)
        assert callee.received() == []

    def test_all_pairs_can_be_used_and_a_freed_one_at_once(self, bench: PlaneBench) -> None:
        """No pair is lost by closing."""
        sessions = [session(number) for number in range(3)]
        for made in sessions:
            bench.plane.open(made.callee, FOUR)
        late = session(4)
        for _ in range(3):
            with pytest.raises(NoPortsLeft):
                bench.plane.open(late.callee, FOUR)
        assert late.callee.port == 0
        assert late.callee.local is None
        port = sessions[1].callee.port
        bench.plane.close(sessions[1].callee)
        bench.plane.open(late.callee, FOUR)
        assert late.callee.port == port

    def test_a_pair_with_one_port_taken_is_passed_over_and_kept(self, bench: PlaneBench) -> None:
        """The RTP port is given back when its RTCP port cannot be had."""
        bench.occupy(bench.low + 1)
        first, second, third = (session(number) for number in range(3))
        bench.plane.open(first.callee, FOUR)
        bench.plane.open(second.callee, FOUR)
        assert {first.callee.port, second.callee.port} == {bench.low + 2, bench.low + 4}
        with pytest.raises(NoPortsLeft):
            bench.plane.open(third.callee, FOUR)

    def test_an_address_of_another_host_is_refused(self, bench: PlaneBench) -> None:
        """And costs no port."""
        made = session()
        with pytest.raises(AddressUnusable, match=r"192\.0\.2\.1"):
            bench.plane.open(made.callee, LocalAddress("192.0.2.1"))
        for number in range(3):
            bench.plane.open(session(number).callee, FOUR)

    def test_opening_again_moves_the_leg_to_new_ports(self, bench: PlaneBench) -> None:
        """The old pair is free again."""
        made = session()
        bench.plane.open(made.callee, FOUR)
        first = made.callee.port
        bench.plane.open(made.callee, FOUR)
        assert made.callee.port != first
        others = [session(number) for number in range(2)]
        for other in others:
            bench.plane.open(other.callee, FOUR)
        assert first in {other.callee.port for other in others}

    @pytest.mark.parametrize("local", [FOUR, SIX], ids=["IPv4", "IPv6"])
    def test_sockets_carry_the_default_tos_and_a_commanded_one(
        self, bench: PlaneBench, local: LocalAddress
    ) -> None:
        """On open sockets and on ones opened later."""
        made = session()
        bench.plane.open(made.callee, local)
        assert bench.tos(made.callee) == 0xB8
        made.callee.tos = 0x20
        bench.plane.mark(made.callee)
        assert bench.tos(made.callee) == 0x20
        made.caller.tos = 0x40
        bench.plane.mark(made.caller)
        bench.plane.open(made.caller, local)
        assert bench.tos(made.caller) == 0x40

    def test_sending_where_nobody_can_be_is_counted_not_raised(self, bench: PlaneBench) -> None:
        """Port 0 of a refused medium, for one."""
        made, caller, _ = self.call(bench)
        made.callee.rtp.latch.remote = ("127.0.0.1", 0)
        caller.send(rtp(), ("127.0.0.1", made.caller.port))
        assert made.caller.rtp.dropped == 1

    def test_a_bug_in_a_tap_harms_no_other_packet(
        self, bench: PlaneBench, logged_failures: LoggedFailures
    ) -> None:
        """It is told once, and the port stays open."""
        made, caller, callee = self.call(bench)
        made.caller.rtp.taps = (Broken(),)
        for sequence in range(5):
            caller.send(rtp(sequence), ("127.0.0.1", made.caller.port))
        assert len(logged_failures.take()) == 1
        made.caller.rtp.taps = ()
        caller.send(rtp(6), ("127.0.0.1", made.caller.port))
        assert [got for got, _ in callee.received()] == [rtp(6)]
