"""``rtpproxy-tlsproxy``: takes commands over UDP and UNIX sockets and gives them over TLS.

For SIP proxies that speak neither TCP nor TLS, as Kamailio and OpenSIPS, and a relay that is not
on their host. It runs beside the proxy and listens on loopback or at a path; one connection to
the relay carries everything.

Replies come in the order of the commands, so no cookie is needed on the way: each client's is put
in front of its reply again. A repeated datagram is answered from memory, or left to the answer
that is on its way, as the relay itself would do it. A command that was on its way when the
connection broke is *not* sent again, since it may have been executed; the SIP proxy repeats it,
if it still wants it. While the relay is away UDP clients hear nothing, by which they notice, and
UNIX clients are disconnected.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple

from OpenSSL import SSL
from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHandshakeListener, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.internet.ssl import TLSVersion, optionsForClientTLS, trustRootFromCertificates
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.configuration.values import CONTROL_PORT
from rtpproxy_tw.control.access import LOOPBACK, Networks, network
from rtpproxy_tw.control.framing import MAX_COMMAND
from rtpproxy_tw.control.replies import ReplyCache
from rtpproxy_tw.control.tls import TlsFiles, certificates, private_key, why_of
from rtpproxy_tw.control.tokens import split_cookie
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tap import monotonic
from rtpproxy_tw.tools.paths import claim_socket_path

PATIENCE = 4.0
"""Seconds a command waits for its reply or for a connection; SIP proxies wait 1 to 5."""

MOST_WAITING = 5000
"""Commands that wait at a time; further ones are not answered."""

MAX_REPLY = 65_536
"""Octets of a reply; the relay's longest are 1024."""

Answer = Callable[[bytes | None], None]
"""Takes the reply without its end, or None where there will be none."""


_END = re.compile(rb"E?[0-9]+\r?$")
"""The reply to ``V``, which ends the lines of another reply."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A command, and what has come of its reply.

    All replies are one line, but for that of ``I``. So a ``V`` follows each ``I``, whose reply
    cannot be mistaken for a further line of it.
    """

    line: bytes
    answer: Answer
    deadline: float
    lines: list[bytes] = field(default_factory=list)

    @property
    def sent(self) -> bytes:
        """What goes to the relay."""
        return self.line + b"\nV" if self._has_more else self.line

    def take(self, line: bytes) -> bool:
        """A line of the reply; whether it was the last one."""
        if self._has_more and self.lines and _END.match(line):
            return True
        self.lines.append(line)
        return not self._has_more

    @property
    def _has_more(self) -> bool:
        return self.line[:1] in b"Ii"


@implementer(IHandshakeListener)
class Relay(Protocol):
    """The connection to the relay: lines out, replies in, in the same order."""

    transport: Any

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._partial = b""

    def connectionMade(self) -> None:
        """It is not yet known who is there."""
        assert self.transport is not None
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def handshakeCompleted(self) -> None:
        """It is the relay. It wants a command soon, and so do we want to know that it answers."""
        self._courier.connected(self)

    def dataReceived(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._courier.replied(line)
        if len(self._partial) > MAX_REPLY:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._courier.disconnected(reason)

    def send(self, line: bytes) -> None:
        """One command."""
        assert self.transport is not None
        self.transport.write(line + b"\n")

    def abort(self) -> None:
        """Give the connection up; another one will be made."""
        assert self.transport is not None
        self.transport.abortConnection()


class Courier:
    """Commands that wait for the connection, and those that wait for their replies.

    ``clock`` calls :meth:`tick` by itself while anything waits.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._relay: Relay | None = None
        self._unsent: deque[_Waiting] = deque()
        self._sent: deque[_Waiting] = deque()
        self._ticking = False

    def send(self, line: bytes, answer: Answer) -> None:
        """Have ``line`` executed; ``answer`` is called once."""
        if len(self._unsent) + len(self._sent) >= MOST_WAITING:
            answer(None)
            return
        waiting = _Waiting(line, answer, self._clock.seconds() + PATIENCE)
        if self._relay is None:
            self._unsent.append(waiting)
        else:
            self._sent.append(waiting)
            self._relay.send(waiting.sent)
        self._tick_later()

    def connected(self, relay: Relay) -> None:
        """There is a connection: what waited for it goes out."""
        self._log.info("connected to the relay")
        self._relay = relay
        while self._unsent:
            waiting = self._unsent.popleft()
            self._sent.append(waiting)
            relay.send(waiting.sent)

    def replied(self, reply: bytes) -> None:
        """A line of the reply to the oldest command that was sent."""
        if not self._sent:
            self._log.error("the relay answers what nobody asked; connecting anew")
            if self._relay is not None:
                self._relay.abort()
            return
        if self._sent[0].take(reply):
            waiting = self._sent.popleft()
            waiting.answer(b"\n".join(waiting.lines))

    def disconnected(self, reason: Failure) -> None:
        """What was on its way may have been executed: it gets no answer."""
        self._log.warn("the relay is gone, or refuses us: {why}", why=_why(reason))
        self._relay = None
        lost, self._sent = self._sent, deque()
        for waiting in lost:
            waiting.answer(None)

    def tick(self) -> None:
        """Look whether something waited too long."""
        self._ticking = False
        now = self._clock.seconds()
        while self._unsent and self._unsent[0].deadline <= now:
            self._unsent.popleft().answer(None)
        if self._sent and self._sent[0].deadline <= now and self._relay is not None:
            # Replies come in order: without this one no later one could be told apart.
            self._log.error("the relay does not answer; connecting anew")
            self._relay.abort()
        self._tick_later()

    def _tick_later(self) -> None:
        if not self._ticking and (self._unsent or self._sent):
            self._ticking = True
            self._clock.callLater(PATIENCE / 8, self.tick)


class Datagrams(DatagramProtocol):
    """Commands over UDP, with a cookie in front."""

    noisy = False

    def __init__(self, courier: Courier, clock: IReactorTime, allowed: Networks) -> None:
        self._courier = courier
        self._clock = clock
        self._allowed = allowed
        self._replies = ReplyCache()
        self._pending: dict[tuple[Address, bytes], bytes] = {}

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        if addr[0] not in self._allowed:
            return
        cookie, command = split_cookie(datagram)
        command = command.strip()
        # Without a cookie nobody could tell whose the answer is; nor is a line end a command.
        if cookie is None or not command or len(command) > MAX_COMMAND or b"\n" in command:
            return
        known = self._replies.find(addr, cookie, command, self._clock.seconds())
        if known is not None:
            self._send(known, addr)
        elif self._pending.get((addr, cookie)) != command:
            self._pending[addr, cookie] = command
            self._courier.send(command, lambda reply: self._answer(cookie, command, addr, reply))

    def _answer(self, cookie: bytes, command: bytes, addr: Address, reply: bytes | None) -> None:
        if self._pending.get((addr, cookie)) == command:
            del self._pending[addr, cookie]
        if reply is None:
            return
        whole = b"%b %b\n" % (cookie, reply)
        self._replies.store(addr, cookie, command, whole, self._clock.seconds())
        self._send(whole, addr)

    def _send(self, reply: bytes, addr: Address) -> None:
        if self.transport is not None:
            self.transport.write(reply, addr)


class OneShot(Protocol):
    """``unix:`` one command, one reply, end."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._asked = False
        self._gone = False

    def dataReceived(self, data: bytes) -> None:
        if self._asked:
            return
        self._asked = True
        line = data.strip()
        if not line or len(line) > MAX_COMMAND or b"\n" in line:
            self._answer(b"E5")
        else:
            self._courier.send(line, self._answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True

    def _answer(self, reply: bytes | None) -> None:
        if self._gone or self.transport is None:
            return
        if reply is not None:
            self.transport.write(reply + b"\n")
        self.transport.loseConnection()


def _why(reason: Failure) -> str:
    value = reason.value
    return why_of(value) if isinstance(value, SSL.Error) else reason.getErrorMessage()


@implementer(IStreamClientEndpoint)
class Secured:
    """An endpoint that connects to the relay by TLS; the files are read for each connection."""

    def __init__(self, reactor: Any, host: str, port: int, files: TlsFiles) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._files = files

    def connect(self, factory: Any) -> Deferred[Any]:
        """See IStreamClientEndpoint; also fails with ConfigError."""
        return maybeDeferred(self._connect, factory)

    def _connect(self, factory: Any) -> Deferred[Any]:
        plain = HostnameEndpoint(self._reactor, self._host, self._port, PATIENCE)
        secured: Deferred[Any] = wrapClientTLS(
            connection_maker(self._files, self._host), plain
        ).connect(factory)
        return secured


def connection_maker(files: TlsFiles, host: str) -> Any:
    """TLS from 1.2 on with ``host``, whose certificate must name it, showing ours.

    Raises ConfigError.
    """
    assert files.authority is not None, "the command line wants one"
    own, *chain = certificates(files.certificate)
    return optionsForClientTLS(
        host,
        trustRoot=trustRootFromCertificates(certificates(files.authority)),
        extraCertificateOptions={
            "privateKey": private_key(files.key),
            "certificate": own.original,
            "extraCertChain": [each.original for each in chain],
            "raiseMinimumTo": TLSVersion.TLSv1_2,
        },
    )


class Listening(NamedTuple):
    """Where commands are taken: ``udp`` with host and port, ``unix`` with a path."""

    kind: str
    host: str
    port: int = 0


def listening(text: str) -> Listening:
    """``udp:HOST:PORT`` or ``unix:PATH``. Raises ValueError."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return Listening(kind, rest)
    host, _, port = rest.rpartition(":")
    if kind != "udp" or not 0 < int(port) < 65536:
        raise ValueError(text)
    return Listening(kind, str(ip_address(host.strip("[]"))), int(port))


def place(text: str) -> tuple[str, int]:
    """``HOST[:PORT]`` of the relay. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (text.count(":") > 1 and not text.startswith("[")):
        host, port = text, str(CONTROL_PORT)
    if not host or not 0 < int(port) < 65536:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="rtpproxy-tlsproxy",
        description="Take commands of SIP proxies on this host, and give them to a relay by TLS.",
    )
    parser.add_argument(
        "--listen",
        action="append",
        required=True,
        type=listening,
        metavar="SOCKET",
        help="udp:HOST:PORT or unix:PATH, where the SIP proxy sends commands; repeatable",
    )
    parser.add_argument(
        "--to", required=True, type=place, metavar="HOST[:PORT]", help="the relay's tls: socket"
    )
    parser.add_argument("--cert", required=True, metavar="FILE", help="our certificate (PEM)")
    parser.add_argument("--key", metavar="FILE", help="its key, if in a file of its own")
    parser.add_argument("--ca", required=True, metavar="FILE", help="who vouches for the relay")
    parser.add_argument(
        "--allow",
        action="append",
        type=network,
        metavar="NET",
        help="who may send commands over UDP; repeatable (loopback)",
    )
    return parser


def start(reactor: Any, options: argparse.Namespace) -> ClientService:
    """Listen and connect. Raises ConfigError or CannotListenError where that cannot be."""
    host, port = options.to
    files = TlsFiles(options.cert, options.key or options.cert, options.ca)
    connection_maker(files, host)  # that the files are of use is to be known at once
    courier = Courier(reactor)
    allowed = Networks(options.allow or LOOPBACK)
    for kind, where, number in options.listen:
        if kind == "udp":
            reactor.listenUDP(number, Datagrams(courier, reactor, allowed), where, 65535)
        else:
            claim_socket_path(where)
            reactor.listenUNIX(where, Factory.forProtocol(lambda: OneShot(courier)), 32, 0o660)
    factory = Factory.forProtocol(lambda: Relay(courier))
    factory.noisy = False
    service = ClientService(
        Secured(reactor, host, port, files),
        factory,
        backoffPolicy(initialDelay=0.2, maxDelay=5.0),
        clock=reactor,
        prepareConnection=None,
    )
    service.startService()
    return service


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    options = make_parser().parse_args(arguments)
    from twisted.internet import reactor

    monotonic(reactor)
    globalLogBeginner.beginLoggingTo(
        [
            FilteringLogObserver(
                textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.info)]
            )
        ],
        redirectStandardIO=False,
    )
    try:
        service = start(reactor, options)
    except (ConfigError, CannotListenError) as error:
        print(f"rtpproxy-tlsproxy: {error}", file=sys.stderr)
        return 1
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
