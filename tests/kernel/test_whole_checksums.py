"""Devices that give a checksum of the whole packet with it: it stays right when headers change.

No such device is here, but the kernel makes such checksums itself, of what comes out of a tunnel
that has checked the outer one: for outer packets of at most 76 octets from IP's payload on.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable

import pytest

from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel import layout
from tests.kernel.frames import Datagram, ones, rtp
from tests.kernel.network import CALLER, CALLER_SIDE, Namespace, until
from tests.kernel.relaying import PARTY, PORT, flow_of, relaying

pytestmark = pytest.mark.kernel

INNER, INNER_SIDE = "203.0.113.9", "203.0.113.1"

UPDATE = 40
"""The helper that adds to such a checksum, and tells it."""


def telling() -> tuple[int, Callable[[], int]]:
    """A program that notes the checksum of the last packet that had one; what it has noted."""
    noted = bpf.Map(bpf.ARRAY, 4, 8, 1)
    code = b"".join(
        struct.pack("<BBhi", *words)
        for words in (
            (0xB7, 0x02, 0, 0),  # r2 = 0
            (0x85, 0, 0, UPDATE),  # r0 = the checksum, or an error
            (0xC5, 0x00, 10, 0),  # if r0 < 0 skip ten
            (0x7B, 0x0A, -16, 0),  # *(u64 *)(r10 - 16) = r0
            (0x62, 0x0A, -4, 0),  # *(u32 *)(r10 - 4) = 0
            (0x18, 0x11, 0, noted.descriptor),  # r1 = the map
            (0, 0, 0, 0),
            (0xBF, 0xA2, 0, 0),  # r2 = r10
            (0x07, 0x02, 0, -4),  # r2 += -4
            (0x85, 0, 0, 1),  # r0 = look up
            (0x15, 0x00, 2, 0),  # if r0 == 0 skip two
            (0x79, 0xA1, -16, 0),  # r1 = *(u64 *)(r10 - 16)
            (0x7B, 0x10, 0, 0),  # *(u64 *)r0 = r1
            (0xB7, 0x00, 0, -1),  # r0 = next
            (0x95, 0, 0, 0),  # exit
        )
    )
    program = bpf.load(bpf.SCHED_CLS, code, "telling", "BSD-2-Clause")
    return program, lambda: int.from_bytes(noted[bytes(4)], "little")


def folded(sum32: int) -> int:
    """Sixteen bits of it, as an Internet checksum."""
    return ones(struct.pack("<I", sum32))


def tunnel(where: Namespace, device: str, ours: str, theirs: str, inner: str) -> None:
    where.ip(
        f"link add vx type vxlan id 7 local {ours} remote {theirs} dev {device}"
        " dstport 4789 udpcsum",
        f"address add {inner}/24 dev vx",
        "link set vx up",
    )


@pytest.mark.parametrize("checksum", [True, False])
def test_the_checksum_of_a_whole_packet_stays_right(checksum: bool) -> None:
    if shutil.which("ethtool") is None:
        pytest.skip("no ethtool here")
    with relaying() as relay:
        net = relay.net
        try:
            tunnel(net.caller, "ca", CALLER, CALLER_SIDE, INNER)
            tunnel(net.relay, "ra", CALLER_SIDE, CALLER, INNER_SIDE)
        except subprocess.CalledProcessError:
            pytest.skip("a kernel without VXLAN")
        with net.caller:
            for device in ("vx", "ca"):
                subprocess.run(["ethtool", "-K", device, "tx", "off"], check=True)
        relay.settle()
        _, _, out, callee = relay.parties()
        caller = net.socket(net.caller, INNER, PARTY)
        towards = net.socket(net.relay, INNER_SIDE, PORT + 2)
        if not checksum:
            caller.socket.setsockopt(1, 11, 1)  # SO_NO_CHECK
        id = relay.add(flow_of((caller, towards, out, callee)))
        program, noted = telling()
        with net.callee:
            link = bpf.attach(program, net.callee.device("cb"))
        payload = rtp(1, octets=6)
        caller.send(rtp(0, octets=6), towards.address)
        assert callee.hear()
        relay.settle()
        # Now the neighbour is known, and for a second no packet goes the kernel's way, which leaves
        # such a checksum as it was although the Ethernet header becomes another.
        at = (relay.path._flows[id].place & 0xFFFF) * layout.HOP.size // 8
        assert relay.path._neighbours._words[at]
        relay.path._neighbours._words[at + 2] = time.monotonic_ns()
        caller.send(payload, towards.address)
        heard = callee.hear()
        assert heard is not None
        assert heard.payload == payload
        assert relay.path.sample(id).packets == 2
        assert until(noted), "this kernel makes no such checksum"
        frame = bytes(Datagram(out.address, callee.address, payload, checksum=checksum))
        # Of IPv4's header the sum is 0 whatever it has.
        assert folded(noted()) % 0xFFFF == ones(frame[14:]) % 0xFFFF
        os.close(link)
        os.close(program)
