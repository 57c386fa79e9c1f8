"""What a SIP proxy tells a relay about one call between two phones behind NATs.

Each phone signals a private address that is not its own. On a relay that takes media on all
addresses of this machine the call asks for a loopback address: what the relay sends to the
pretended addresses before it has learned the real ones then cannot leave the machine, because
the kernel lets nothing out that comes from a loopback address. A relay with an address of its own
sends them a packet or two, as in any such call.
"""

from __future__ import annotations

import secrets
import socket
from typing import NamedTuple

from rtpproxy_tw.addresses import Address, family_of
from rtpproxy_tw.tools.control_client import Control, NoAnswer
from rtpproxy_tw.tools.error_codes import Refused

VERSION = "20040107"
"""What every relay of this protocol answers to ``V``."""

PRETENDED_PORT = 4000

WRONG_FAMILY = 36
"""The error of a relay that takes no media on IPv4."""

OPENING = "0,101"
"""The codecs offered: PCMU and telephone events."""


class Network(NamedTuple):
    """One address family: its modifier, the pretended hosts, the loopback address asked for."""

    modifier: str
    caller: str
    callee: str
    loopback: str
    any_local: str


IPV4 = Network("", "192.168.1.20", "10.0.0.7", "127.0.0.1", "l127.0.0.1")
IPV6 = Network("6", "fd00:1::20", "fd00:2::7", "::1", "l[::1]")


class Signalling:
    """One call at the relay behind ``control``. Methods raise NoAnswer and Refused."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._call_id = f"{secrets.token_hex(8)}@demo"
        self._caller, self._callee = f"{secrets.token_hex(4)};1", f"{secrets.token_hex(4)};1"
        self.network = IPV4
        self.alive = False
        """Whether the relay has a session of this call."""

    def greet(self) -> None:
        """See that it is a relay of this protocol that answers."""
        version = self._ask("V")
        if version != VERSION:
            raise NoAnswer(f"what listens there is no such relay: it said {version[:40]!r}")

    def invite(self) -> tuple[Address, Address]:
        """The RTP addresses that caller and callee are told to send to. Raises OSError, too."""
        local = ""
        try:
            for_callee = self._offer(local)
        except Refused as refused:
            if refused.code != WRONG_FAMILY:
                raise
            self.network = IPV6
            for_callee = self._offer(local)
        if for_callee[0] is None and self._near:
            self.bye()
            local = self.network.any_local
            for_callee = self._offer(local)
        for_caller = self._allocated(
            "L", local, self.network.callee, f"{self._caller} {self._callee}"
        )
        return self._address(for_caller), self._address(for_callee)

    def query(self) -> tuple[str, str]:
        """The relay's own figures as the caller would ask and as the callee would."""
        return (
            self._ask(f"Q {self._call_id} {self._caller} {self._callee}"),
            self._ask(f"Q {self._call_id} {self._callee} {self._caller}"),
        )

    def bye(self) -> None:
        """Delete the call."""
        self.alive = False
        self._ask(f"D {self._call_id} {self._caller} {self._callee}")

    def _offer(self, local: str) -> tuple[str | None, int]:
        place = self._allocated("U", local, self.network.caller, self._caller)
        self.alive = True
        return place

    def _allocated(self, letter: str, local: str, host: str, tags: str) -> tuple[str | None, int]:
        """The host, None where the relay does not say one, and the port it has allocated."""
        modifiers = f"{letter}{self.network.modifier}{local}c{OPENING}"
        reply = self._ask(f"{modifiers} {self._call_id} {host} {PRETENDED_PORT} {tags}")
        port, *rest = reply.split() or [""]
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65535):
            raise NoAnswer(f"the command {letter} was answered {reply[:40]!r}, which is no port")
        return (rest[0] if rest else None), int(port)

    @property
    def _near(self) -> bool:
        """Whether the relay is surely on this machine."""
        url = self._control.url
        return url.unix or url.host in ("127.0.0.1", "::1", "localhost")

    def _address(self, place: tuple[str | None, int]) -> Address:
        """A numeric address; a relay that says no host has its media where its control is."""
        host, port = place
        if host is None:
            host = self.network.loopback if self._near else self._control.url.host
        family = family_of(self.network.loopback)
        where = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)[0][4]
        return str(where[0]), int(where[1])

    def _ask(self, command: str) -> str:
        reply = self._control.ask(command)
        if reply.startswith("E"):
            raise Refused(command.split(maxsplit=1)[0], reply)
        return reply
