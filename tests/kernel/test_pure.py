"""Bytes in, values out: netlink messages, slots, what the machine is told to be."""

from __future__ import annotations

import errno
import os
import platform
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.media.kernel import capabilities, layout, netlink, program, rtnetlink
from rtpproxy_tw.media.kernel.attach import is_left_over
from rtpproxy_tw.media.kernel.path import RtpState, Unavailable

numbers = st.integers(0, 2**32 - 1)
counts = st.integers(0, 2**63 - 1)
ticks = st.integers(0, 2**40).map(lambda it: it / layout.JITTER_UNIT)

states = st.builds(
    RtpState,
    received=counts,
    duplicates=counts,
    errors=counts,
    ssrc=numbers,
    ssrc_changes=counts,
    payload_type=st.integers(0, 127),
    earlier=counts,
    offset=st.integers(0, 2**40).map(lambda it: it << 16),
    lowest=st.integers(-600, 2**40),
    highest=st.integers(-1, 2**40),
    seen=st.integers(0, 2**64 - 1),
    jitter_last=ticks,
    jitter_peak=ticks,
    jitter_total=ticks,
    jitter_samples=counts,
    source_samples=numbers,
    clock_rate=numbers,
    ticks=counts,
    timestamp=numbers,
    recent=st.lists(numbers, max_size=10).map(tuple),
)


@given(states)
def test_rtp_statistics_come_back_as_they_went(state: RtpState) -> None:
    near, far = layout.pack_rtp(state)
    slot = (bytes(layout.RTP_AT) + near).ljust(layout.SLOT_SIZE + layout.REST_RTP_AT, b"\0") + far
    assert layout.unpack_rtp(slot) == state


def test_no_statistics_come_back_as_none() -> None:
    near, far = layout.pack_rtp(RtpState())
    slot = (bytes(layout.RTP_AT) + near).ljust(layout.SLOT_SIZE + layout.REST_RTP_AT, b"\0") + far
    assert layout.unpack_rtp(slot) == RtpState()


def test_no_two_ports_have_the_same_place() -> None:
    hosts = ("192.0.2.1", "2001:db8::1")
    places = {layout.port_place((host, port)) for host in hosts for port in range(65_536)}
    assert places == set(range(layout.PORTS))


def test_slots_lie_in_whole_cache_lines() -> None:
    assert layout.SLOT_SIZE == 4 * 64
    assert layout.REST_SIZE % 64 == 0
    # Of a rest, IPv6 needs but the first.
    assert layout.SERIAL_AT == 64


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=6))
def test_attributes_come_back_as_they_went(found: dict[int, bytes]) -> None:
    data = b"".join(netlink.attribute(kind, value) for kind, value in found.items())
    assert netlink.attributes(data) == found


@given(st.binary(max_size=200))
def test_damaged_messages_are_read_as_far_as_they_go(data: bytes) -> None:
    netlink.attributes(data)
    for message in netlink.messages(data):
        assert len(message.body) <= len(data)


def test_several_messages_may_come_at_once() -> None:
    data = netlink.request(16, 1, 0, b"12345678") + netlink.request(3, 2, 0, b"")
    assert list(netlink.messages(data)) == [
        netlink.Message(16, 1, b"12345678"),
        netlink.Message(3, 2, b""),
    ]


def test_an_error_is_raised_and_an_acknowledgement_is_not() -> None:
    netlink.raise_for(netlink.Message(2, 1, bytes(20)))
    with pytest.raises(FileNotFoundError):
        netlink.raise_for(netlink.Message(2, 1, struct.pack("i", -errno.ENOENT) + bytes(16)))


def test_a_gateway_may_be_of_the_other_family() -> None:
    body = rtnetlink.ROUTE.pack(2, 32, 0, 0, 0, 0, 0, rtnetlink.UNICAST, 0)
    body += netlink.attribute(4, struct.pack("I", 7))
    body += netlink.attribute(18, struct.pack("H", 10) + bytes.fromhex("fe80" + "00" * 13 + "01"))
    body += netlink.attribute(7, bytes((192, 0, 2, 1)))
    body += netlink.attribute(8, netlink.attribute(2, struct.pack("I", 1400)))
    way = rtnetlink.parse_way(body, "198.51.100.9")
    assert way == rtnetlink.Way(rtnetlink.UNICAST, 7, "192.0.2.1", "fe80::1", 1400, 0)


def test_a_filter_is_left_over_when_its_process_is_gone() -> None:
    pid = os.getpid()
    born = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert not is_left_over(f"rtpproxy-tw {pid} {born} 0")
    assert is_left_over(f"rtpproxy-tw {pid} 1 0"), "another process had that number"
    assert is_left_over("rtpproxy-tw 4194305 1 0")
    for name in ("", "cil_from_netdev", "rtpproxy-tw", "rtpproxy-tw x 1 0"):
        assert not is_left_over(name)


@pytest.mark.parametrize(
    "attribute, value, word",
    [("release", "5.4.0-generic", "5.10"), ("system", "Darwin", "Linux")],
)
def test_a_machine_that_cannot_is_told_so(
    monkeypatch: pytest.MonkeyPatch, attribute: str, value: str, word: str
) -> None:
    monkeypatch.setattr(platform, attribute, lambda: value)
    with pytest.raises(Unavailable, match=word):
        program.check_machine()


@pytest.mark.parametrize("release", ["5.10.0-28-amd64", "6.18.44", "10.0-rc1"])
def test_a_new_enough_kernel_is_tried(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "release", lambda: release)
    monkeypatch.setattr(sys, "byteorder", "little")
    program.check_machine()


@pytest.mark.parametrize(
    "code, has, reason, remedy",
    [
        (errno.ENOSYS, True, "no bpf system call", "CONFIG_BPF_SYSCALL"),
        (errno.EPERM, False, "may not load", "AmbientCapabilities"),
        (errno.EPERM, True, "seccomp", "container"),
        (errno.ENOMEM, True, "memory", "LimitMEMLOCK"),
        (errno.EINVAL, True, "Invalid argument", ""),
    ],
)
def test_a_refusal_is_explained(
    monkeypatch: pytest.MonkeyPatch, code: int, has: bool, reason: str, remedy: str
) -> None:
    monkeypatch.setattr(capabilities, "has_needed", lambda: has)
    explained = program.explain(OSError(code, os.strerror(code)))
    assert reason in explained.reason
    assert remedy in explained.remedy
