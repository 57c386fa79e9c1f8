"""Replies leave at once where the transport lets them, and always in order and whole."""

from __future__ import annotations

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactor, StringTransport

from rtpproxy_tw.control.framing import send


class Socket(FileDescriptor):
    """Takes ``room`` octets at a time; ``broken``: the connection is lost."""

    TLS = False

    def __init__(self, room: int = 1000) -> None:
        self.writers = MemoryReactor()
        super().__init__(self.writers)
        self.connected = 1
        self.room = room
        self.broken = False
        self.taken = b""

    def writeSomeData(self, data: bytes) -> int | Exception:
        """What a socket's does."""
        if self.broken:
            return ConnectionLost()
        part = bytes(data[: self.room])
        self.taken += part
        return len(part)


def over(socket: Socket, *replies: bytes) -> None:
    """Send them one after the other."""
    for reply in replies:
        send(socket, reply)


def test_a_reply_leaves_at_once() -> None:
    """Without another turn of the reactor."""
    socket = Socket()
    over(socket, b"1\n")
    assert socket.taken == b"1\n"
    assert not socket.writers.writers


def test_what_the_kernel_does_not_take_follows_in_order() -> None:
    """A client that does not read; replies after it wait behind it."""
    socket = Socket(room=3)
    over(socket, b"first\n", b"second\n")
    assert socket.taken == b"fir"
    while socket.writers.writers:
        socket.doWrite()
    assert socket.taken == b"first\nsecond\n"


def test_a_lost_connection_is_found_out_by_the_transport() -> None:
    """It has its own way to tell."""
    socket = Socket()
    socket.broken = True
    over(socket, b"1\n")
    assert socket.taken == b""
    assert isinstance(socket.doWrite(), ConnectionLost)


@pytest.mark.parametrize("tls", [False, True])
def test_nothing_goes_past_encryption(tls: bool) -> None:
    """A transport that encrypts by itself has what is written in its own hands."""
    socket = Socket()
    socket.TLS = tls
    over(socket, b"1\n")
    assert (socket.taken == b"") is tls


def test_other_transports_are_written_to() -> None:
    """Pipes, TLS, those of tests."""
    transport = StringTransport()
    send(transport, b"1\n")
    assert transport.value() == b"1\n"
