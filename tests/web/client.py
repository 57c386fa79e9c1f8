"""The HTTP interface on fakes, and a client of it that keeps all bytes in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from rtpproxy_tw.capacity import Capacity
from rtpproxy_tw.commands import Allocated, Lookup, MediaOptions, Remote, Update
from rtpproxy_tw.recording.trace import HeaderRings
from rtpproxy_tw.reporting.metrics import Metrics
from rtpproxy_tw.tools.logs import DebuggedCalls
from rtpproxy_tw.web.api import Api
from rtpproxy_tw.web.feed import Feed
from rtpproxy_tw.web.guard import Guard, Reach
from rtpproxy_tw.web.recent import Recent
from rtpproxy_tw.web.requests import BoundedSite
from rtpproxy_tw.web.site import Interface
from tests.fakes import Bench

WALL = 1_000_000_000.0
"""The time of day when a bench's clock is at zero."""

CALLER = ("192.0.2.1", 4000)
CALLEE = ("198.51.100.1", 5000)

NASTY = [
    "plain@host",
    "../../etc/passwd",
    "a/b?c=d#e%2F",
    ".",
    "..",
    "<script>alert(1)</script>",
    '"quoted"\\',
    "\x1b[31mred\x07",
    "bytes\udcff\udc80",
    "ünï\N{SMILING FACE WITH SUNGLASSES}",
    "\u2028\u202e\ufeff",
    "x" * 4000,
    "__proto__",
    "{}{0}%s%n$(reboot)`id`",
    "a'b;c&d|e",
]
"""Call-ids that somebody may hope to do something with."""


@dataclass
class FakeDraining:
    """A relay that refuses new sessions when told to."""

    draining: bool = False
    ending: bool = False
    to_end: int = 0
    seconds_left: float | None = None

    def drain(self) -> None:
        """See Draining."""
        self.draining = self.ending = True

    def limit(self, seconds: float) -> None:
        """See Draining."""
        self.seconds_left = seconds

    def refuse(self) -> None:
        """See Draining."""
        self.draining = True

    def resume(self) -> None:
        """See Draining."""
        self.draining = False


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


class Served:
    """A relay on fakes with its HTTP interface; ``bench`` takes the commands."""

    def __init__(
        self,
        *,
        guard: Guard | None = None,
        trace: float = 0.0,
        recording: bool = True,
        ports: int = 200,
    ) -> None:
        self.bench = bench = Bench(recording=recording, low=40000, high=40000 + ports)
        bench.host.descriptors = 1_000_000
        self.draining = FakeDraining()
        self.recent = Recent(bench.clock.seconds)
        self.metrics = Metrics(clock=bench.clock, totals=bench.totals, version="1.2.3")
        self.metrics.registry = bench.registry
        self.rings = HeaderRings(
            seconds=trace,
            now=bench.clock.seconds,
            wall=lambda: WALL + bench.clock.seconds(),
            local_host=lambda host: "127.0.0.1",
        )
        self.feed = Feed(bench.clock, lambda: WALL + bench.clock.seconds())
        self.feed.registry = bench.registry
        bench.registry._observers += (self.recent, self.metrics, self.rings, self.feed)
        self.listening = True
        self.debugging = DebuggedCalls()
        self.api = Api(
            registry=bench.registry,
            recorders=bench.recorders,
            totals=bench.totals,
            clock=bench.clock,
            wall=lambda: WALL + bench.clock.seconds(),
            version="1.2.3",
            capacity=lambda: Capacity(42, "limited by a test"),
            ports=lambda: [("ipv4", 100, 99)],
            draining=self.draining,
            tracing=self.rings,
            debugging=self.debugging,
            recent=self.recent,
            feed=self.feed,
            listening=lambda: self.listening,
        )
        self.feed.overview = self.api.overview
        self.interface = Interface(
            api=self.api,
            guard=guard or Guard(Reach.UNIX),
            clock=bench.clock,
            metrics=self.metrics.text,
        )
        self.site = BoundedSite(self.interface, bench.clock)

    def call(self, call_id: str = "call", from_tag: str = "a", *, answered: bool = True) -> None:
        """Set a call up."""
        made = self.bench.do(Update(call_id, from_tag, None, Remote(CALLER), MediaOptions()))
        assert isinstance(made, Allocated)
        if answered:
            self.bench.do(Lookup(call_id, from_tag, "b", Remote(CALLEE), MediaOptions()))

    def media(self, call_id: str = "call", *, packets: int = 1, first: int = 0) -> None:
        """Both parties of a call send RTP from where they said."""
        (session,) = self.bench.registry.of_call(call_id)
        for number in range(first, first + packets):
            for leg, source in zip(session.legs, (CALLER, CALLEE), strict=True):
                datagram = b"\x80\x00" + number.to_bytes(2, "big") + bytes(4) + b"ssrc" + bytes(160)
                self.bench.host.deliver(datagram, source, ("127.0.0.1", leg.port))
            self.bench.clock.advance(0.02)

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = Connection(self)
        connection.send(request(path, method, body, headers))
        return connection.answer()


PAUSE, PAUSES = 0.01, 100
"""Seconds at a time, and how often, that the rest of an answer is waited for. A slice and the pause
after it last as long as the machine takes."""


class Connection:
    """One connection; its client reads as fast as it can unless told otherwise."""

    def __init__(self, served: Served) -> None:
        self._clock = served.bench.clock
        self.transport = StringTransport(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 80),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 40000),
        )
        self.protocol = served.site.buildProtocol(None)
        assert self.protocol is not None
        self.protocol.makeConnection(self.transport)

    def send(self, octets: bytes) -> None:
        """Bytes of the client."""
        self.protocol.dataReceived(octets)

    def run(self, turns: int = 10_000) -> None:
        """Let the reactor do what it has to do now."""
        for _ in range(turns):
            due = [call for call in self._clock.getDelayedCalls() if call.getTime() <= self.now]
            if not due:
                return
            self._clock.advance(0)

    @property
    def now(self) -> float:
        """The time on the clock."""
        return self._clock.seconds()

    def answer(self) -> Answer:
        """What has come back when all is done, the pauses of a long answer included."""
        self.run()
        for _ in range(PAUSES):
            if is_whole(self.transport.value()):
                break
            self._clock.advance(PAUSE)
            self.run()
        return parsed(self.transport.value())


def request(
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a request; JSON where there is a body."""
    fields = {"Host": "localhost", "Connection": "close", **(headers or {})}
    if body is not None:
        fields = {"Content-Type": "application/json", **fields}
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def is_whole(octets: bytes) -> bool:
    """Whether an answer in chunks has its last one; any other is taken to be."""
    head = octets.partition(b"\r\n\r\n")[0].lower()
    return b"transfer-encoding: chunked" not in head or octets.endswith(b"\r\n0\r\n\r\n")


def parsed(octets: bytes) -> Answer:
    """An answer out of its bytes."""
    head, _, body = octets.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join(_chunks(body))
    return Answer(int(first.split()[1]), headers, body)


def _chunks(body: bytes) -> Iterator[bytes]:
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return
        yield body[:length]
        body = body[length + 2 :]
