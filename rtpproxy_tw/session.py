"""The state of one relayed medium, and the words the whole project uses for it.

==========  ====================================================================================
Call        all sessions with one Call-ID; an index in the registry, not a class
Session     one relayed medium (one ``m=`` line) with its RTCP (RFC 3550 section 3: each medium is
            carried in a separate RTP session); key = call-id and the creator's from-tag
Leg         one party's side of a session. *A leg faces a party*: its local ports are those that
            party sends to, its remote address is that party's
caller      the party that owns the session's from-tag
callee      the other party
Component   RTP = 1, RTCP = 2 (RFC 8445 section 13)
Stream      one component of one leg: a local port, the party's address, counters. Both
            directions; RFC 7656 uses the word for one direction only
latch       to believe the source of packets over the signalled address
==========  ====================================================================================

In the original's sources the leg facing the callee is index 0 (it is allocated by the creating
command) and the leg facing the caller is index 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.latch import Latch
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.quality.letters import Letters, keep
from rtpproxy_tw.quality.monitor import Monitor
from rtpproxy_tw.quality.refusals import Refusals
from rtpproxy_tw.quality.timeline import Timeline

if TYPE_CHECKING:
    from rtpproxy_tw.interfaces import IProcessor, ITap


class Side(Enum):
    """Which party a leg faces."""

    CALLER = "caller"
    CALLEE = "callee"


class Component(IntEnum):
    """What a port carries."""

    RTP = 1
    RTCP = 2


class SessionKey(NamedTuple):
    """What names a session: exact bytes of the command, undecodable ones surrogate-escaped."""

    call_id: str
    from_tag: str


class Ending(Enum):
    """Why a session ended."""

    DELETED = "deleted"
    TIMEOUT = "timeout"
    MAX_DURATION = "max-duration"
    SHUTDOWN = "shutdown"
    DRAINED = "drained"
    """The relay was to be empty by then."""
    MOVED = "moved"
    """Another node goes on with it: it has ended here only, and nobody is to be told so."""


class NotifySocket(NamedTuple):
    """A listening socket that is told of timeouts: ``kind`` is ``unix`` or ``tcp``.

    ``address`` is a path or a host, ``bind`` the local host to connect from, where it matters.
    """

    kind: str
    address: str
    port: int = 0
    bind: str | None = None


class Sender(Protocol):
    """A bound UDP socket as the relay path sees it: it may send, and never raises."""

    def send(self, datagram: bytes, to: Address) -> bool:
        """Send; False when the kernel refused (counted there, never logged per packet)."""

    def drain(self) -> None:
        """Have what waits handled now."""

    def fold(self) -> None:
        """Bring the counters of the stream that it receives up to date. Idempotent."""


class RecordingState(Protocol):
    """A recording of what a party sends, for whoever asks how it goes."""

    @property
    def name(self) -> str:
        """Of its first file."""

    @property
    def packets(self) -> int:
        """How many packets it has."""

    @property
    def lost(self) -> int:
        """How many it should have and has not, as the disk did not take them."""

    @property
    def failed(self) -> bool:
        """Whether nothing more will be written."""

    @property
    def paused(self) -> bool:
        """Whether the party is not recorded just now."""


@dataclass(slots=True, eq=False)
class Stream:
    """One component of one leg. Counters count what is received here, from the faced party."""

    leg: Leg
    component: Component
    latch: Latch
    sender: Sender | None = None
    """The socket, once the media plane has opened it."""
    analyzer: Analyzer | None = None
    """RTP statistics; only on RTP streams, from the first packet on."""
    taps: tuple[ITap, ...] = ()
    """Who else wants what is relayed: recorders, copies."""
    stranger: ITap | None = None
    """Wants what is not accepted: what comes too early, or from a source that is not believed."""
    feeds: tuple[Stream, ...] = ()
    """Streams of other sessions out of which the same packets are sent too."""
    processor: IProcessor | None = None
    """What changes or holds back the packets before they are relayed; for nearly all: none."""
    accepted: int = 0
    relayed: int = 0
    dropped: int = 0
    nowhere: int = 0
    """Of those, how many had nowhere to go: the other party's address was not known."""
    ignored: int = 0
    octets: int = 0
    withheld: int = 0
    """Octets accepted that were not passed on, less what was added to packets on the way."""
    carried: int = 0
    carried_octets: int = 0
    """Of what was accepted, and passed on, how much a fast path carried."""
    added: int = 0
    added_octets: int = 0
    """What was sent to the party although the other one had not sent it: prompts, feeds."""
    first_heard: float = 0.0
    last_heard: float = 0.0
    longest_gap: float = 0.0
    early: int = 0
    """Datagrams that came before the session was complete; they go nowhere."""
    latest: bytes = b""
    """The last datagram accepted, until whoever looks once a second has taken it."""
    letters: Letters | None = None
    """RTCP since whoever looks once a second has taken it, on RTCP streams only."""
    refusals: Refusals | None = None
    """Whose datagrams are not accepted."""
    unreachable: int = 0
    """How often the network said that what is sent from here to the party cannot arrive."""
    unreachable_at: float = 0.0
    looped: bool = False
    """The party's address is a port of this relay."""
    ours: Address | None = None
    """An address of this relay that was given as the party's; nothing is sent there."""
    offloaded: bool = False
    """A fast path carries what the party sends; the counters here are as of the last refresh."""
    offload_after: float = 0.0
    """Not before that time is it worth asking the fast path."""

    @property
    def plain(self) -> bool:
        """Whether its packets are passed on as they are, and nobody else wants them."""
        return not (self.taps or self.feeds or self.processor or self.leg.session.outlet_of)

    @property
    def peer(self) -> Stream:
        """The stream out of which this one's packets leave."""
        other = self.leg.opposite
        return other.rtp if self.component is Component.RTP else other.rtcp

    def keep_letter(self, when: float, datagram: bytes) -> None:
        """Keep RTCP that came at ``when`` for whoever looks once a second."""
        if self.letters is None:
            self.letters = []
        keep(self.letters, when, datagram)

    @property
    def port(self) -> int:
        """The local port, 0 while there is none."""
        return self.leg.port + self.component - 1 if self.leg.port else 0


@dataclass(slots=True, eq=False)
class Leg:
    """One party's side of a session."""

    session: Session = field(repr=False)
    side: Side
    rtp: Stream = field(init=False, repr=False)
    rtcp: Stream = field(init=False, repr=False)
    local: LocalAddress | None = None
    """Where its ports are, or will be when it gets any."""
    port: int = 0
    """The RTP port; RTCP is the next one. 0: no sockets yet."""
    former_port: int = 0
    """The port it had when the session ended, for whoever tells of it then."""
    tos: int | None = None
    """IP TOS asked for by a command; None: the relay's default."""
    weak: bool = False
    held: bool = False
    holds: int = 0
    """How often the party was put on hold."""
    codecs: tuple[int, ...] = ()
    """Payload types the party last offered."""
    packet_ms: int = 0
    """Re-packetise what the party sends; 0: off."""
    ttl: float = 60.0
    last_active: float = 0.0
    """When a packet from this party last reached the relay stage."""
    verdict: str | None = None
    """The code at the session's end; None until somebody has asked for it then."""
    recording: RecordingState | None = None
    monitor: Monitor | None = None
    """What is remembered from second to second; made at the first look."""

    @property
    def opposite(self) -> Leg:
        """The session's other leg."""
        session = self.session
        return session.callee if self is session.caller else session.caller

    @property
    def streams(self) -> tuple[Stream, Stream]:
        """RTP first, then RTCP."""
        return self.rtp, self.rtcp


LatchFactory = Callable[[Component], Latch]


@dataclass(slots=True, eq=False)
class Session:
    """One relayed medium. Made by :func:`new_session`; owned by the registry."""

    key: SessionKey
    created: float
    caller: Leg = field(init=False)
    callee: Leg = field(init=False)
    strong: bool = False
    complete: bool = False
    completed_at: float = 0.0
    touched: float = 0.0
    """When a command last found it."""
    ttl_set: bool = False
    """Whether a command fixed the TTL, so that completion leaves it alone."""
    notify: tuple[NotifySocket, bytes] | None = None
    outlet_of: Session | None = None
    """The session whose media leaves through this one; its own is then not relayed."""
    to_tag: str | None = None
    """The callee's tag as commands last had it."""
    ended: Ending | None = None
    timeline: Timeline = field(default_factory=Timeline, repr=False)
    """What happened to it, bounded."""

    @property
    def legs(self) -> tuple[Leg, Leg]:
        """Caller's, callee's."""
        return self.caller, self.callee

    @property
    def deletable(self) -> bool:
        """Whether nothing, strong or weak, holds it any more."""
        return not (self.strong or self.caller.weak or self.callee.weak)

    def expires(self, *, independent: bool, hold_timeout: float) -> float:
        """When it dies if nothing more happens.

        With ``independent`` each direction has its own time to live; ``hold_timeout`` (seconds,
        0: none) replaces a shorter one while a party is on hold.
        """
        caller, callee = self.caller, self.callee
        if independent:
            deadline = min(
                max(self.touched, caller.last_active) + caller.ttl,
                max(self.touched, callee.last_active) + callee.ttl,
            )
        else:
            deadline = max(self.touched, caller.last_active, callee.last_active) + caller.ttl
        if hold_timeout and (caller.held or callee.held):
            latest = max(self.touched, caller.last_active, callee.last_active)
            deadline = max(deadline, latest + hold_timeout)
        return deadline


def new_session(key: SessionKey, now: float, ttl: float, latch: LatchFactory) -> Session:
    """A session with both legs and no sockets; ``latch`` makes each stream's state machine."""
    session = Session(key, created=now, touched=now)
    for side in Side:
        leg = Leg(session, side, ttl=ttl)
        leg.rtp = Stream(leg, Component.RTP, latch(Component.RTP))
        leg.rtcp = Stream(leg, Component.RTCP, latch(Component.RTCP))
        if side is Side.CALLER:
            session.caller = leg
        else:
            session.callee = leg
    return session


def take_apart(session: Session) -> None:
    """Nobody will look into ``session``, which has ended, any more.

    Its parts refer to each other in circles, which only a collection of garbage would free. A leg
    that somebody still holds knows its session, whose timeline is whole, but neither its streams
    nor the other leg.
    """
    for leg in session.legs:
        del leg.rtp, leg.rtcp
    del session.caller, session.callee
