"""Who has which address: every test run has a loopback network of its own.

All of 127.0.0.0/8 reaches this host, so a /24 picked by the process id keeps test runs on one
machine apart, and every party can have its usual ports.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from rtpproxy_tw.addresses import Address

_PID = os.getpid()
_NETWORK = f"127.{64 + (_PID >> 8) % 128}.{_PID % 256}"


def host(number: int) -> str:
    """Address ``number`` (1 to 254) of this run's network."""
    return f"{_NETWORK}.{number}"


PROXY = host(10)
"""The SIP proxy."""
TRUSTING_PROXY = host(15)
"""Another one, which believes the addresses in SDPs."""
CALLER = host(11)
CALLEE = host(12)
OTHER_CALLER = host(13)
OTHER_CALLEE = host(14)
RELAY = host(20)
OTHER_RELAY = host(30)
LISTENER = host(40)
"""Whoever waits for notifications."""

SIP_PORT = 5060


def is_bound(address: Address) -> bool:
    """Whether some UDP socket of this host is bound to exactly ``address`` (IPv4)."""
    packed = struct.unpack("=I", socket.inet_aton(address[0]))[0]
    wanted = f"{packed:08X}:{address[1]:04X}"
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(line.split()[1] == wanted for line in lines)
