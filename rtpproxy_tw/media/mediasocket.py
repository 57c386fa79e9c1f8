"""A port of the epoll plane that sends; what arrives there is thrown away. Streams have more."""

from __future__ import annotations

import socket

from twisted.logger import Logger

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.mediaset import BUFFER, MediaSet
from rtpproxy_tw.media.udpport import BACKLOG, mark


class MediaSocket:
    """A bound, non-blocking UDP socket in ``media``.

    ``send_errors`` counts what the kernel refused to send.
    """

    _log = Logger()

    __slots__ = ("_fd", "_media", "send_errors", "socket")

    def __init__(self, media: MediaSet, sock: socket.socket) -> None:
        self.socket = sock
        self.send_errors = 0
        self._media = media
        self._fd = sock.fileno()
        media.add(self._fd, self)

    def send(self, datagram: bytes | memoryview, to: Address) -> bool:
        """Send; False, and counted, where the kernel refuses."""
        try:
            self.socket.sendto(datagram, to)
        except ConnectionError:
            # What became of an earlier packet (ICMP), told in place of sending this one.
            return self._send_again(datagram, to)
        except (OSError, OverflowError):
            self.send_errors += 1
            return False
        return True

    def drain(self) -> None:
        """Have what waits handled now, until nothing does or BACKLOG datagrams were read."""
        for _ in range(BACKLOG):
            if not self._take():
                return

    def fold(self) -> None:
        """See Sender: they always are."""

    def mark(self, tos: int) -> None:
        """Change the TOS of what is sent from now on."""
        try:
            mark(self.socket, tos)
        except OSError as error:
            self._log.warn("cannot set TOS {tos}: {error}", tos=tos, error=error)

    def stopListening(self) -> None:
        """Neither receive nor send any more, and close soon. Idempotent."""
        if self._fd >= 0:
            self._fd = -1
            self._media.retire(self.socket)

    def read(self) -> None:
        """Something can be received: take one datagram."""
        self._take()

    def _take(self) -> bool:
        """Receive one datagram; False where there is none."""
        try:
            self.socket.recvfrom_into(BUFFER)
        except OSError:
            return False
        return True

    def _send_again(self, datagram: bytes | memoryview, to: Address) -> bool:
        try:
            self.socket.sendto(datagram, to)
        except OSError:
            self.send_errors += 1
            return False
        return True
