"""Commands as single datagrams (``udp: udp6:``), each behind a cookie that tells its reply.

As datagrams get lost, clients repeat them: see :mod:`rtpproxy_tw.control.replies`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.commands import Origin
from rtpproxy_tw.control.access import AMPLIFICATION, Access
from rtpproxy_tw.control.factories import stranger_sentence
from rtpproxy_tw.control.framing import MAX_COMMAND, host_of, numeric_host
from rtpproxy_tw.control.replies import ReplyCache
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.tokens import split_cookie

OCTETS_PER_TURN = 16 * 1024
"""Octets of commands executed in a row, about 200 commands; then media has its turn."""

TOO_LONG = 25
"""The original's error for an answer that does not fit."""

_REPLY = re.compile(rb"[ \t]*(?:E[0-9]{1,3}|[0-9]+)(?:[ \t\r\n]|$)")


class Datagrams(DatagramProtocol):
    """Answers each datagram to where it came from.

    What reads like a reply is not answered: a datagram with a forged source could otherwise make
    two proxies answer each other's answers for ever. Nor is anything from outside the networks
    that may command, or beyond a source's budget.
    """

    noisy = False

    def __init__(
        self,
        *,
        responder: Responder,
        kind: str,
        clock: IReactorTime,
        cache: ReplyCache | None = None,
        access: Access | None = None,
    ) -> None:
        self._access = Access() if access is None else access
        self._responder = responder
        self._kind = kind
        self._clock = clock
        self._cache = ReplyCache() if cache is None else cache
        self._local: str | None = None
        self._asked: set[tuple[Address, bytes]] = set()
        """What another node is asked for, by source and cookie."""
        self.unsent = 0
        """Replies that the kernel refused to send."""
        self.unanswered = 0
        """Datagrams that read like a reply."""

    @property
    def cache(self) -> ReplyCache:
        """What was answered lately."""
        return self._cache

    def startProtocol(self) -> None:
        assert self.transport is not None, "a port starts its protocol with itself as transport"
        host = host_of(self.transport.getHost())
        self._local = None if host in ("0.0.0.0", "::") else host
        if isinstance(self.transport, Port):
            self.transport.maxThroughput = OCTETS_PER_TURN  # 256 KiB otherwise

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        host = numeric_host(addr[0])
        if not self._is_heard(host):
            return
        cookie, command = split_cookie(datagram)
        if _REPLY.match(command):
            self.unanswered += 1
            return

        def answer(reply: bytes) -> None:
            self._answer(reply, datagram, cookie, addr, host)

        self._serve(cookie, command, addr, host, answer)

    def _answer(
        self, reply: bytes, datagram: bytes, cookie: bytes | None, addr: Address, host: str
    ) -> None:
        if len(reply) > AMPLIFICATION * len(datagram) and self._access.is_stranger(host):
            reply = self._cut_short(cookie, host)
            if len(reply) > AMPLIFICATION * len(datagram):
                return
        self._send(reply, addr)

    def _is_heard(self, host: str) -> bool:
        """Whether a command of ``host`` is to be looked at; before anything is parsed."""
        access = self._access
        if not access.admits(host):
            access.refusals.stranger += 1
            self._responder.warn("stranger", stranger_sentence(self._kind, host))
            return False
        if access.spend(host, self._clock.seconds()):
            access.refusals.budget += 1
            self._responder.warn(
                "budget", f"more commands from {host} than --control-rate allows; not answered"
            )
            return False
        return True

    def _cut_short(self, cookie: bytes | None, host: str) -> bytes:
        self._access.refusals.amplification += 1
        self._responder.warn(
            "amplification",
            f"a reply to {host} was too long for a source nobody named; if that is a SIP proxy of"
            f" yours, start with --control-allow {host}",
        )
        return b"E%d\n" % TOO_LONG if cookie is None else b"%b E%d\n" % (cookie, TOO_LONG)

    def _serve(
        self,
        cookie: bytes | None,
        command: bytes,
        source: Address,
        host: str,
        answer: Callable[[bytes], None],
    ) -> None:
        origin = Origin(self._kind, host, self._local, self._access.denied)
        if len(command) > MAX_COMMAND:
            command = b""  # it may have lost its end, and would then be another command
        if cookie is None:
            waiting = self._responder.serve(command, origin, answer)
            if waiting is not None:
                waiting.addCallback(answer)
            return
        if (source, cookie) in self._asked:
            return  # another node is being asked for it already
        now = self._clock.seconds()
        reply = self._cache.find(source, cookie, command, now)
        if reply is not None:
            self._responder.repeated(command, origin)
            answer(reply)
            return

        def remember(reply: bytes) -> None:
            self._cache.store(source, cookie, command, reply, now)
            answer(reply)

        waiting = self._responder.serve(command, origin, remember, cookie)
        if waiting is not None:
            self._asked.add((source, cookie))
            waiting.addCallback(self._answered, source, cookie, command).addCallback(answer)

    def _answered(self, reply: bytes, source: Address, cookie: bytes, command: bytes) -> bytes:
        self._asked.discard((source, cookie))
        self._cache.store(source, cookie, command, reply, self._clock.seconds())
        return reply

    def _send(self, reply: bytes, to: Address) -> None:
        try:
            if self.transport is not None:
                self.transport.write(reply, to)
        except Exception as error:
            # Forged or unreachable sources; nobody is there to hear of it.
            self.unsent += 1
            self._responder.complain("unsent", f"reply to {to[0]} port {to[1]} not sent: {error}")
