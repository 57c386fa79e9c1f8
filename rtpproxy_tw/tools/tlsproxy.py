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
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import TLSVersion, optionsForClientTLS, trustRootFromCertificates
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from zope.interface import implementer

from rtpproxy_tw.configuration.values import CONTROL_PORT
from rtpproxy_tw.control.access import LOOPBACK, Networks, network
from rtpproxy_tw.control.tls import TlsFiles, certificates, private_key
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tap import monotonic
from rtpproxy_tw.tools.courier import PATIENCE, Courier, Datagrams, OneShot, Relay
from rtpproxy_tw.tools.paths import claim_socket_path


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
