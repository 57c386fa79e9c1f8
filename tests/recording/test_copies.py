"""C to another host: raw packets from a pair of ports of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.commands import Allocated, Copy, Number, Reply
from rtpproxy_tw.errors import AddressUnusable, CommandError, NoPortsLeft, RecordingRefused
from rtpproxy_tw.interfaces import IRecorders, ITap
from rtpproxy_tw.media.outlets import Outlet
from rtpproxy_tw.recording.copies import CopySink, CopyTap
from rtpproxy_tw.recording.recorders import FileRecorders
from rtpproxy_tw.recording.spool import Writer
from rtpproxy_tw.session import Component, Session
from tests.contracts import rtp
from tests.fakes import Bench, FakeHost
from tests.media.playing import CALLEE, CALLER, FACING_CALLEE, FACING_CALLER, Stage

TARGET = ("127.0.0.1", 9998)


class Copying:
    """A call whose recorders are real ones."""

    def __init__(self, folder: Path, *, directory: bool = False, rtcp: bool = True) -> None:
        self.stage = Stage(folder)
        self.bench: Bench = self.stage.bench
        self.writer = Writer()
        self.recorders = FileRecorders(
            directory=str(folder) if directory else None,
            spool=None,
            pcap=False,
            rtcp=rtcp,
            everything=False,
            writer=self.writer,
            wall=lambda: 0.0,
            local_host=lambda host: "127.0.0.1",
            outlet=lambda host: self.bench.plane.outlet("127.0.0.1"),
        )
        self.bench.dispatcher._recorders = self.recorders
        self.stage.call()

    @property
    def host(self) -> FakeHost:
        """Where the ports are."""
        return self.bench.host

    @property
    def session(self) -> Session:
        """The call's."""
        return self.stage.session

    def copy(self, target: str, *, show_port: bool = False) -> Reply:
        """C of what the caller sends."""
        return self.bench.do(Copy("c", target, "f", "t", show_port=show_port))

    def copies(self, port: int) -> list[tuple[bytes, Address]]:
        """What left there since the last call."""
        return self.host.sent(("127.0.0.1", port))


def test_the_interfaces_are_provided(tmp_path: Path) -> None:
    copying = Copying(tmp_path)
    assert verifyObject(IRecorders, copying.recorders)
    outlet = copying.bench.plane.outlet("127.0.0.1")
    assert verifyObject(ITap, CopyTap(CopySink(outlet, Component.RTP, TARGET)))


def test_what_the_party_sends_is_copied_rtcp_to_the_next_port(tmp_path: Path) -> None:
    copying = Copying(tmp_path)
    assert copying.copy("udp:127.0.0.1:9998") == Number(0)
    report = b"\x80\xc8\x00\x06" + bytes(24)
    copying.host.deliver(rtp(1), CALLER, FACING_CALLER)
    copying.host.deliver(report, (CALLER[0], CALLER[1] + 1), (FACING_CALLER[0], 40003))
    copying.host.deliver(rtp(2), CALLEE, FACING_CALLEE)
    assert copying.copies(40004) == [(rtp(1), TARGET)]
    assert copying.copies(40005) == [(report, ("127.0.0.1", 9999))]
    assert [datagram for datagram, _ in copying.host.sent(FACING_CALLEE)] == [rtp(1)]


def test_p_tells_whence_the_copy_comes(tmp_path: Path) -> None:
    copying = Copying(tmp_path)
    assert copying.copy("udp:127.0.0.1:9998", show_port=True) == Allocated(40004, "127.0.0.1")


def test_stopping_closes_the_ports_and_so_does_the_end(tmp_path: Path) -> None:
    copying = Copying(tmp_path)
    for _ in range(2):
        copying.copy("udp:127.0.0.1:9998")
        assert len(copying.host.ports) == 6
        assert copying.recorders.stop(copying.session.caller)
        assert len(copying.host.ports) == 4
    assert not copying.recorders.stop(copying.session.caller)
    copying.copy("udp:127.0.0.1:9998")
    session = copying.session
    copying.bench.registry.delete("c", "f", None, weak=False)
    copying.recorders.ended(session, session.ended)  # type: ignore[arg-type]  # it has one
    assert copying.host.ports == {}


def test_a_party_is_copied_or_recorded_once_the_first_stays(tmp_path: Path) -> None:
    copying = Copying(tmp_path, directory=True)
    copying.copy("udp:127.0.0.1:9998")
    again = copying.copy("udp:127.0.0.1:7000", show_port=True)
    assert isinstance(again, Allocated)
    assert copying.copy("file") == Number(0)
    assert len(copying.host.ports) == 6
    copying.host.deliver(rtp(1), CALLER, FACING_CALLER)
    assert copying.copies(40004) == [(rtp(1), TARGET)]
    assert list(tmp_path.iterdir()) == []


def test_without_rtcp_recordings_have_none(tmp_path: Path) -> None:
    copying = Copying(tmp_path, rtcp=False)
    copying.copy("udp:127.0.0.1:9998")
    assert copying.session.caller.rtcp.plain
    assert not copying.session.caller.rtp.plain


@pytest.mark.parametrize(
    "target",
    [
        *("udp:", "udp:127.0.0.1", "udp:127.0.0.1:", "udp:127.0.0.1:0", "udp:127.0.0.1:65535"),
        *("udp:127.0.0.1:99999", "udp:127.0.0.1:abc", "udp::99", "udp:name:99", "udp:0.0.0.0:9"),
        *("udp:239.0.0.1:99", "udp:255.255.255.255:99", "udp:127.0.0.1:-5"),
    ],
)
def test_targets_that_are_no_address_of_one_host_are_refused(tmp_path: Path, target: str) -> None:
    copying = Copying(tmp_path)
    with pytest.raises(CommandError) as caught:
        copying.copy(target)
    assert caught.value.code == 65
    assert len(copying.host.ports) == 4


@pytest.mark.parametrize("target", ["udp:::1:9998", "udp:[::1]:9998"])
def test_ipv6_targets_may_be_in_brackets(tmp_path: Path, target: str) -> None:
    assert Copying(tmp_path).copy(target) == Number(0)


def test_a_port_cannot_be_told_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        Copying(tmp_path, directory=True).copy("file", show_port=True)
    assert caught.value.code == 65


@pytest.mark.parametrize("error", [NoPortsLeft("none"), AddressUnusable("no route")])
def test_without_ports_or_a_route_a_copy_is_refused(tmp_path: Path, error: Exception) -> None:
    copying = Copying(tmp_path)

    def outlet(host: str) -> Outlet:
        raise error

    copying.recorders._outlet = outlet
    with pytest.raises(RecordingRefused, match=str(error)):
        copying.recorders.copy(copying.session.caller, TARGET)


def test_an_outlet_that_is_closed_sends_nothing(tmp_path: Path) -> None:
    outlet = Copying(tmp_path).bench.plane.outlet("127.0.0.1")
    outlet.close()
    outlet.close()
    assert not outlet.send(Component.RTP, b"x", TARGET)
