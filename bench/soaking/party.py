"""All callers and all callees: they send numbered packets and count what of it arrives."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

Address = tuple[str, int]

PACKETS = 3
"""Each way, of a call with media."""

BUFFER = 8 << 20

_SO_RCVBUFFORCE = 33
"""Linux's option, which the socket module does not name: beyond what all may have."""

_NUMBER = struct.Struct("!BBHIII")
"""An RTP header, and the call's number as SSRC and as the beginning of the payload."""

_SPEECH = bytes([0xD5]) * 156


class Parties:
    """A socket for all callers, one for all callees, one for callers that have moved."""

    def __init__(self, caller: str, callee: str) -> None:
        self.sockets = _bound(caller), _bound(callee), _bound(caller)
        self.sent = self.heard = self.foreign = 0
        first, second, third = (each.getsockname()[:2] for each in self.sockets)
        self.addresses: tuple[Address, Address, Address] = first, second, third
        """The callers', the callees', and that of callers who have moved."""
        self._expected: dict[int, int] = {}

    def talk(self, number: int, ports: tuple[Address, Address], moved: bool, first: int) -> None:
        """Packets of that call from both parties; ``ports`` is where each of them sends.

        They begin with sequence number ``first``.
        """
        caller, callee, other = self.sockets
        for sock, to in zip((other if moved else caller, callee), ports, strict=True):
            for index in range(first, first + PACKETS):
                head = _NUMBER.pack(0x80, 0, index, 160 * index, number, number)
                sock.sendto(head + _SPEECH, to)
        self.sent += 2 * PACKETS
        self._expected[number] = self._expected.get(number, 0) + 2 * PACKETS

    def listen(self) -> None:
        """Count what has come."""
        for sock in self.sockets:
            _each(sock, self._count)

    def waits(self, number: int) -> bool:
        """Whether something said in that call has not been heard."""
        return bool(self._expected.get(number))

    def over(self, number: int) -> None:
        """That call is to be heard no more."""
        self._expected.pop(number, None)

    def close(self) -> None:
        """Close both sockets."""
        for each in self.sockets:
            each.close()

    def _count(self, datagram: bytes) -> None:
        if len(datagram) < _NUMBER.size:
            self.foreign += 1
            return
        *_, number, again = _NUMBER.unpack_from(datagram)
        left = self._expected.get(again)
        if number != again or not left:
            self.foreign += 1  # a prompt's, as a rule
            return
        self._expected[again] = left - 1
        self.heard += 1


def _each(sock: socket.socket, do: Callable[[bytes], None]) -> None:
    while True:
        try:
            datagram = sock.recv(2048)
        except (BlockingIOError, ConnectionRefusedError):
            return
        do(datagram)


def _bound(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.bind((host, 0))
    made.setblocking(False)
    return made
