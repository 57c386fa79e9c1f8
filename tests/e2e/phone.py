"""A party of a call: what it says in its SDPs, and doing what the other side's SDPs say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rtpproxy_tw.addresses import Address
from tests.e2e.media import Endpoint
from tests.e2e.sip import Medium, Message, write_sdp

MEDIA_PORT = 16384


@dataclass(slots=True, eq=False)
class Phone:
    """An endpoint for each medium; SIPp, which is not here, does the signalling.

    Each endpoint sends where the last SDP told it to, from the answer on, whoever gave it.
    ``says`` is the host its SDPs name, ``off`` what they add to the true ports. ``refuses`` are
    the kinds of media it answers with port 0.
    """

    host: str
    kinds: tuple[str, ...] = ("audio",)
    refuses: tuple[str, ...] = ()
    says: str | None = None
    off: int = 0
    endpoints: list[Endpoint] = field(init=False)
    told: list[set[Address]] = field(init=False)
    """For each medium the addresses it was ever told to send RTP to."""
    told_rtcp: list[set[Address]] = field(init=False)
    _read: int = 0

    def __post_init__(self) -> None:
        ssrc = int(self.host.rpartition(".")[2]) << 8
        count = len(self.kinds)
        self.endpoints = [
            Endpoint(self.host, MEDIA_PORT + 2 * i, ssrc + i, muted=True) for i in range(count)
        ]
        self.told = [set() for _ in range(count)]
        self.told_rtcp = [set() for _ in range(count)]

    def describe(
        self,
        *,
        version: int = 1,
        direction: str = "sendrecv",
        null: bool = False,
        moved: int = 0,
    ) -> str:
        """An SDP of it; ``null``: with the null address; ``moved``: with so much higher ports.

        Its endpoints move when SIPp has sent that SDP.
        """
        media = [
            (kind, 0 if kind in self.refuses else endpoint.port + self.off + moved)
            for kind, endpoint in zip(self.kinds, self.endpoints, strict=True)
        ]
        host = "0.0.0.0" if null else self.says or self.host
        return write_sdp(host, media, version=version, direction=direction)

    def follow(self, messages: Sequence[Message]) -> None:
        """Act on what its SIPp has seen since the last time, out of all it has seen."""
        for message in messages[self._read :]:
            if message.sent:
                self._keep_word(message)
            else:
                self.obey(message.media)
            if message.method == "INVITE" and message.status == 200:
                self.start()
        self._read = len(messages)

    def _keep_word(self, message: Message) -> None:
        for endpoint, medium in zip(self.endpoints, message.media, strict=bool(message.media)):
            if medium.address[1]:
                endpoint.move(medium.address[1] - self.off)

    def start(self) -> None:
        """The call is answered: speak from now on."""
        for endpoint, kind in zip(self.endpoints, self.kinds, strict=True):
            endpoint.muted = kind in self.refuses

    def obey(self, media: Sequence[Medium]) -> None:
        """Send where the other side's SDP says from now on."""
        for i, medium in enumerate(media):
            self.endpoints[i].target = medium.address if medium.wanted else None
            if medium.wanted:
                host, port = medium.address
                self.told[i].add(medium.address)
                self.told_rtcp[i].add((host, medium.rtcp or port + 1))

    def close(self) -> None:
        """Close its sockets."""
        for endpoint in self.endpoints:
            endpoint.close()
