"""Commands as single datagrams (``udp: udp6:``), each behind a cookie that tells its reply.

As datagrams get lost, clients repeat them: see :mod:`rtpproxy_tw.control.replies`.
"""

from __future__ import annotations

import re

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.commands import Origin
from rtpproxy_tw.control.framing import MAX_COMMAND, host_of, numeric_host
from rtpproxy_tw.control.replies import ReplyCache
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.tokens import split_cookie

OCTETS_PER_TURN = 16 * 1024
"""Octets of commands executed in a row, about 200 commands; then media has its turn."""

_REPLY = re.compile(rb"[ \t]*(?:E[0-9]{1,3}|[0-9]+)(?:[ \t\r\n]|$)")


class Datagrams(DatagramProtocol):
    """Answers each datagram to where it came from.

    What reads like a reply is not answered: a datagram with a forged source could otherwise make
    two proxies answer each other's answers for ever.
    """

    noisy = False

    def __init__(
        self,
        *,
        responder: Responder,
        kind: str,
        clock: IReactorTime,
        cache: ReplyCache | None = None,
    ) -> None:
        self._responder = responder
        self._kind = kind
        self._clock = clock
        self._cache = ReplyCache() if cache is None else cache
        self._local: str | None = None
        self.unsent = 0
        """Replies that the kernel refused to send."""
        self.unanswered = 0
        """Datagrams that read like a reply."""

    def startProtocol(self) -> None:
        assert self.transport is not None, "a port starts its protocol with itself as transport"
        host = host_of(self.transport.getHost())
        self._local = None if host in ("0.0.0.0", "::") else host
        if isinstance(self.transport, Port):
            self.transport.maxThroughput = OCTETS_PER_TURN  # 256 KiB otherwise

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        cookie, command = split_cookie(datagram)
        if _REPLY.match(command):
            self.unanswered += 1
            return
        self._send(self._reply(cookie, command, addr), addr)

    def _reply(self, cookie: bytes | None, command: bytes, source: Address) -> bytes:
        origin = Origin(self._kind, numeric_host(source[0]), self._local)
        if len(command) > MAX_COMMAND:
            command = b""  # it may have lost its end, and would then be another command
        if cookie is None:
            return self._responder.respond(command, origin)
        now = self._clock.seconds()
        reply = self._cache.find(source, cookie, command, now)
        if reply is not None:
            self._responder.repeated(command, origin)
            return reply
        reply = self._responder.respond(command, origin, cookie)
        self._cache.store(source, cookie, command, reply, now)
        return reply

    def _send(self, reply: bytes, to: Address) -> None:
        try:
            if self.transport is not None:
                self.transport.write(reply, to)
        except Exception as error:
            # Forged or unreachable sources; nobody is there to hear of it.
            self.unsent += 1
            self._responder.complain("unsent", f"reply to {to[0]} port {to[1]} not sent: {error}")
