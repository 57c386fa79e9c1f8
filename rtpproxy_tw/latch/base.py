"""What every latching policy offers to the rest of the relay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.latch.late import Stragglers


class LatchState(Enum):
    """How far a stream has come, for logs and verdicts; as of the last datagram or command."""

    EXPECTING = "expecting"
    """Nobody is believed yet; media goes to the signalled address."""
    PROVISIONAL = "provisional"
    """Somebody is believed, but may still be displaced without a further command."""
    LATCHED = "latched"
    """Somebody is believed beyond doubt."""


class Latch(ABC):
    """The state machine of one stream. Time is monotonic seconds given by the caller; no I/O.

    ``signalled`` is what the last command said, ``remote`` where to send now (None: nowhere),
    ``source`` the believed source (None: none yet). ``settled`` tells that no datagram of another
    source, nor the mere passing of time, has anything to decide any more: only a command, or the
    falling silent of the source, does. Such a stream may be taken over by the kernel, which lets
    ``source`` alone pass, sends to ``remote``, and hands datagrams of others to :meth:`hear`.

    The ``source`` of RTP is set, other than to None, only by a :meth:`hear` that returns True. It
    is another object whenever it was believed anew, under a changed address for instance, even if
    it is equal; so compare with ``is``.
    """

    __slots__ = (
        "asymmetric",
        "last_heard",
        "loopback",
        "payload_types",
        "relatches",
        "remote",
        "settled",
        "signalled",
        "source",
    )

    def __init__(self) -> None:
        self.signalled: Address | None = None
        self.remote: Address | None = None
        self.source: Address | None = None
        self.settled = False
        self.asymmetric = False
        """The party does not send from where it receives; set before :meth:`signal`."""
        self.loopback = False
        """We take media on loopback here, so a signalled loopback address tells nothing."""
        self.payload_types: tuple[int, ...] = ()
        """What the party offered: a score, never a condition."""
        self.relatches = 0
        """How often another source was believed in place of a believed one."""
        self.last_heard = 0.0
        """When ``source`` was last heard, for policies that care; whoever relays a settled stream
        without asking here moves it."""

    @property
    def state(self) -> LatchState:
        """How far the stream has come."""
        if self.settled:
            return LatchState.LATCHED
        return LatchState.EXPECTING if self.source is None else LatchState.PROVISIONAL

    @abstractmethod
    def signal(self, address: Address, now: float) -> None:
        """A command gave the party's address."""

    @abstractmethod
    def complete(self, now: float) -> None:
        """The session now has both legs; media is relayed from here on."""

    @abstractmethod
    def hear(self, source: Address, datagram: bytes, now: float) -> bool:
        """Judge one datagram: True when it comes from the believed party.

        Never raises, whatever the bytes.
        """

    def shun(self, stragglers: Stragglers) -> None:  # noqa: B027
        """The port was another call's: what its parties still send is not this one's.

        To be called before anything is heard. A policy need not care.
        """

    def carried(self, ssrc: int, sequence: int, at: float) -> None:  # noqa: B027
        """RTP only: others relayed packets of ``source``, the last one ``at`` that time.

        A policy that knows streams by SSRC and sequence number keeps up by it.
        """

    @abstractmethod
    def follow(self, rtp: Address, now: float) -> None:
        """RTCP only: the RTP stream of the same leg now believes ``rtp``.

        To be called after each call of its :meth:`hear` that made its ``source`` another object.
        """
