"""A stage for latches: a clock that the test moves, addresses of both families, talking parties."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch import Latch, StrictLatch
from tests.datagrams import SENDER_REPORT, rtp

RTP, RTCP = 1, 2


@dataclass(frozen=True)
class Net:
    """One address family's example hosts; no two of them are near each other."""

    public: str
    stranger: str
    private: str
    nat: str
    loopback: str
    nobody: tuple[str, ...]


V4 = Net(
    public="192.0.2.1",
    stranger="203.0.113.66",
    private="192.168.1.9",
    nat="198.51.100.7",
    loopback="127.0.0.1",
    nobody=("224.0.1.75", "255.255.255.255", "0.0.0.0"),
)
V6 = Net(
    public="2001:db8::1",
    stranger="2001:db8:66::66",
    private="fd00::9",
    nat="2001:db8:7::7",
    loopback="::1",
    nobody=("ff05::2", "::"),
)


class Stage:
    """One latch of a session that became complete at time 100, and those who talk to it.

    Each source sends its own stream: RTP with an SSRC and sequence numbers of its own, or RTCP.
    """

    def __init__(self, latch: Latch, component: int, signalled: Address | None) -> None:
        self.latch = latch
        self.component = component
        self.now = 100.0
        if signalled is not None:
            latch.signal(signalled, self.now)
        latch.complete(self.now)
        self._ssrcs = count(0x1000)
        self._streams: dict[Address, tuple[int, count[int]]] = {}

    def media(self, source: Address) -> bytes:
        """The next datagram of the stream that ``source`` sends."""
        if self.component == RTCP:
            return SENDER_REPORT
        if source not in self._streams:
            ssrc = next(self._ssrcs)
            self._streams[source] = ssrc, count(ssrc * 7919)
        ssrc, sequence = self._streams[source]
        return rtp(next(sequence), ssrc)

    def hear(self, source: Address, datagram: bytes | None = None) -> bool:
        """A datagram arrives now: the next of the stream of ``source`` unless given.

        The source is a fresh object each time, as sockets give it.
        """
        if datagram is None:
            datagram = self.media(source)
        return self.latch.hear((source[0], source[1]), datagram, self.now)

    def talk(self, source: Address, packets: int, gap: float = 0.02) -> int:
        """So many datagrams arrive, the first one now, time passing after each; how many pass."""
        return sum(self.talking(source, packets, gap))

    def talking(self, source: Address, packets: int, gap: float = 0.02) -> list[bool]:
        """Like ``talk``, one verdict for each datagram."""
        verdicts = []
        for _ in range(packets):
            verdicts.append(self.hear(source))
            self.now += gap
        return verdicts

    def converse(self, *sources: Address, packets: int, gap: float = 0.02) -> list[int]:
        """All of them talk at once, in this order in each gap; how many pass of each."""
        passed = [0] * len(sources)
        for _ in range(packets):
            for index, source in enumerate(sources):
                passed[index] += self.hear(source)
                self.now += gap / len(sources)
        return passed


def strict(component: int, signalled: Address | None, *, loopback: bool = False) -> Stage:
    """A strict latch on its stage."""
    latch = StrictLatch(component)
    latch.loopback = loopback
    return Stage(latch, component, signalled)


def asymmetric(component: int, signalled: Address | None) -> Stage:
    """A party that does not send from where it receives."""
    latch = StrictLatch(component)
    latch.asymmetric = True
    return Stage(latch, component, signalled)
