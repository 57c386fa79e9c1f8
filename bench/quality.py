"""What knowing why costs: the look at every call once a second, against relaying those calls.

``python -m bench.quality [CALLS]``. All in memory, by the processor's clock: sockets would only
make relaying dearer. The calls speak as phones do: 50 packets a second from each side, one packet
in a hundred lost, a sender report of each party every 5 s. What is compared is one second of
relaying all of them with one round of looking at all of them, in which each is judged too.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from twisted.internet.task import Clock

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.quality.report import report
from rtpproxy_tw.quality.verdict import assess
from rtpproxy_tw.reporting.sampling import Sampler
from rtpproxy_tw.rtp import FIXED_HEADER
from rtpproxy_tw.session import Session, SessionKey, Stream, new_session
from rtpproxy_tw.statistics import Totals

CALLS = 1000
SECONDS = 12
"""So that an interval of 10 s ends within."""

RATE = 50
"""Packets a second and direction."""


class Nowhere:
    """A socket that costs nothing."""

    def send(self, datagram: bytes, to: Address) -> bool:
        """Sent, as far as anybody knows."""
        return True

    def fold(self) -> None:
        """See Sender."""

    def drain(self) -> None:
        """Nothing waits."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one processor for a second of ``calls`` calls."""

    calls: int
    relaying: float
    looking: float
    longest_slice: float
    """Of one slice of looking, the longest but for one in a hundred."""
    asking: float
    """Verdicts and figures of one call, on demand."""

    @property
    def ratio(self) -> float:
        """Looking over relaying."""
        return self.looking / self.relaying

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"relaying {self.calls} calls      {100 * self.relaying:7.2f} % of a processor",
            f"looking at them, and judging {100 * self.looking:7.2f} % of a processor",
            f"ratio                        {100 * self.ratio:7.2f} %",
            f"longest slice (of 100)       {1000 * self.longest_slice:7.2f} ms",
            f"asking for one call          {1e6 * self.asking:7.0f} us",
        ]


def make_sessions(calls: int, clock: Clock) -> list[tuple[Session, list[tuple[Stream, Address]]]]:
    """Answered calls, with where each party sends from."""
    made = []
    for number in range(calls):
        key = SessionKey(f"call-{number}", "from")
        session = new_session(key, clock.seconds(), 60.0, latch_factory("strict"))
        sources: list[tuple[Stream, Address]] = []
        for side, leg in enumerate(session.legs):
            port = 2000 + 4 * number % 60000 + 2 * side
            leg.local, leg.port = LocalAddress("203.0.113.5"), port
            leg.codecs = (0, 8, 101)
            address = (f"192.0.2.{1 + side}", port)
            leg.rtp.latch.signal(address, clock.seconds())
            leg.rtcp.latch.signal((address[0], port + 1), clock.seconds())
            for stream in leg.streams:
                stream.sender = Nowhere()
            sources.append((leg.rtp, address))
        session.complete, session.completed_at = True, clock.seconds()
        made.append((session, sources))
    return made


def measure(calls: int = CALLS, seconds: int = SECONDS) -> Costs:
    """Let ``calls`` calls go on for ``seconds``."""
    clock = Clock()
    clock.advance(1000.0)
    relay = Relay(clock.seconds, Totals())
    made = make_sessions(calls, clock)
    sampler = Sampler(clock=clock, is_local=lambda host: False)
    sampler.sessions = [session for session, _ in made]
    relaying = looking = 0.0
    slices: list[float] = []
    for second in range(seconds):
        for frame in range(RATE):
            clock.advance(1 / RATE)
            number = second * RATE + frame
            if number % 100 == 99:
                continue
            datagram = FIXED_HEADER.pack(0x80, 0, number, number * 160, 7) + bytes(160)
            began = time.thread_time()
            for _, sources in made:
                for stream, address in sources:
                    relay.received(stream, datagram, address)
            relaying += time.thread_time() - began
        if second % 5 == 0:
            report_all(relay, made, second)
        looking += look(sampler, clock, slices)
    slices.sort()
    began = time.thread_time()
    for session, _ in made[:100]:
        assess(session, clock.seconds())
        report(session, clock.seconds())
    asking = (time.thread_time() - began) / min(100, calls)
    longest = slices[int(0.99 * (len(slices) - 1))]
    return Costs(calls, relaying / seconds, looking / seconds, longest, asking)


def report_all(
    relay: Relay, made: list[tuple[Session, list[tuple[Stream, Address]]]], second: int
) -> None:
    """Each party sends a report about the other."""
    for _, sources in made:
        for stream, (host, port) in sources:
            body = FIXED_HEADER.pack(0x81, 200, 12, 7, second << 8) + bytes(16)
            block = (7).to_bytes(4, "big") + bytes(20)
            relay.received(stream.leg.rtcp, body[:12] + body[12:28] + block, (host, port + 1))


def look(sampler: Sampler, clock: Clock, slices: list[float]) -> float:
    """One round; seconds of the processor, each slice noted in ``slices``."""
    spent = 0.0
    began = time.thread_time()
    sampler.tick()
    slices.append(time.thread_time() - began)
    spent += slices[-1]
    while clock.getDelayedCalls():
        began = time.thread_time()
        clock.advance(clock.getDelayedCalls()[0].getTime() - clock.seconds())
        slices.append(time.thread_time() - began)
        spent += slices[-1]
    return spent


def main() -> int:
    """Print the costs; 1 where looking costs more than 5 % of a processor for 1,000 calls."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    costs = measure(calls)
    print("\n".join(costs.lines()))
    return int(costs.looking > 0.05 * max(1.0, calls / CALLS))


if __name__ == "__main__":
    sys.exit(main())
