"""ICMP errors: read from any bytes, heard from a real kernel."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.reporting.icmp import IcmpListener, unreachable, unreachable6

LOCAL, REMOTE = ("203.0.113.5", 20110), ("192.0.2.9", 6000)
LOCAL6, REMOTE6 = ("2001:db8::5", 20110), ("2001:db8::9", 6000)


def ip4(protocol: int, payload: bytes, *, options: bytes = b"") -> bytes:
    """An IPv4 packet from LOCAL to REMOTE."""
    words = 5 + len(options) // 4
    header = struct.pack("!BBHIBBH", 0x40 | words, 0, 0, 0, 64, protocol, 0)
    hosts = socket.inet_aton(LOCAL[0]) + socket.inet_aton(REMOTE[0])
    return header + hosts + options + payload


def udp() -> bytes:
    """A UDP header."""
    return struct.pack("!HHHH", LOCAL[1], REMOTE[1], 100, 0)


def error(sent: bytes, kind: int = 3, code: int = 3, *, options: bytes = b"") -> bytes:
    """An ICMP error about ``sent``, as a raw socket hears it."""
    return ip4(1, struct.pack("!BBHI", kind, code, 0, 0) + sent, options=options)


def test_an_error_tells_whence_and_where_to() -> None:
    """With and without IP options in either header."""
    expected = (LOCAL, REMOTE)
    assert unreachable(error(ip4(17, udp()))) == expected
    assert unreachable(error(ip4(17, udp(), options=bytes(8)), options=bytes(4))) == expected


@pytest.mark.parametrize("code", [0, 1, 3, 9, 10, 13])
def test_every_kind_of_unreachable_counts(code: int) -> None:
    """Network, host, port, and prohibited by an administrator."""
    assert unreachable(error(ip4(17, udp()), code=code)) is not None


def test_other_messages_say_nothing() -> None:
    """Echoes, time exceeded, path MTU, errors about TCP."""
    assert unreachable(error(ip4(17, udp()), kind=8)) is None
    assert unreachable(error(ip4(17, udp()), kind=11)) is None
    assert unreachable(error(ip4(17, udp()), code=4)) is None
    assert unreachable(error(ip4(6, udp()))) is None


def error6(kind: int = 1, protocol: int = 17) -> bytes:
    """An ICMPv6 error, as a raw socket hears it."""
    hosts = socket.inet_pton(socket.AF_INET6, LOCAL6[0])
    hosts += socket.inet_pton(socket.AF_INET6, REMOTE6[0])
    sent = struct.pack("!IHBB", 0x60000000, 8, protocol, 64) + hosts + udp()
    return struct.pack("!BBHI", kind, 4, 0, 0) + sent


def test_ipv6_tells_the_same() -> None:
    """Type 1."""
    assert unreachable6(error6()) == (LOCAL6, REMOTE6)
    assert unreachable6(error6(kind=2)) is None
    assert unreachable6(error6(protocol=6)) is None


@given(st.binary(max_size=120))
def test_any_bytes_are_survived(message: bytes) -> None:
    """Anybody may send us ICMP."""
    unreachable(message)
    unreachable6(message)


@given(st.integers(0, 80))
def test_messages_cut_short_are_survived(length: int) -> None:
    """At any place."""
    unreachable(error(ip4(17, udp()))[:length])
    unreachable6(error6()[:length])


class FakeReactor:
    """Remembers readers."""

    def __init__(self) -> None:
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        """As IReactorFDSet."""
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        """As IReactorFDSet."""
        self.readers.remove(reader)


@pytest.mark.network
def test_a_real_kernel_is_heard() -> None:
    """A datagram to a closed port of this host."""
    told: list[tuple[Address, Address]] = []
    reactor = FakeReactor()
    listener = IcmpListener(reactor, lambda local, remote: told.append((local, remote)))
    listener.startService()
    try:
        if not listener.hearing:
            pytest.skip("raw sockets need CAP_NET_RAW")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            nobody: Address = closed.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            sender.sendto(b"x" * 30, nobody)
            for reader in reactor.readers:
                reader.doRead()  # type: ignore[attr-defined]  # whatever it is, it reads
            # Kernels limit how many they send; other tests may have used that up.
            if told:
                assert (sender.getsockname(), nobody) in told
    finally:
        listener.stopService()
    assert not reactor.readers


def test_without_the_privilege_nothing_is_heard_and_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line in the log, no more."""

    def refuse(*_: object) -> socket.socket:
        raise PermissionError

    monkeypatch.setattr(socket, "socket", refuse)
    listener = IcmpListener(FakeReactor(), lambda local, remote: None)
    listener.startService()
    assert not listener.hearing
    listener.stopService()
