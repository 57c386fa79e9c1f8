"""The seams of the relay, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zope.interface import Attribute, Interface

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.commands import CatchDigits, Origin
from rtpproxy_tw.session import Ending, Leg, NotifySocket, Session, Stream


class IMediaPlane(Interface):
    """Opens and closes the sockets of legs; what arrives on them it relays by itself."""

    def open(leg: Leg, local: LocalAddress) -> None:
        """Give ``leg`` a fresh pair of ports on ``local``; sockets it had are closed.

        Sets ``leg.local``, ``leg.port`` and the streams' senders. Raises NoPortsLeft or
        AddressUnusable; the leg is then as it was.
        """

    def close(leg: Leg) -> None:
        """Close the sockets of ``leg``. Idempotent; the ports become free a little later."""

    def mark(leg: Leg) -> None:
        """Apply ``leg.tos`` to sockets that are open. Never raises."""

    def release(session: Session) -> None:
        """Something about ``session`` is about to change: pass every packet through here.

        To be called before the change. What can be carried by a faster path is given back to it
        by itself, later. Never raises; idempotent.
        """

    def refresh(session: Session) -> None:
        """Bring the counters and times of ``session`` up to date. Never raises."""

    def go_on(session: Session) -> bool:
        """The same of RTP that a fast path carries both ways and that has only gone on. It costs
        less than ``refresh``, which is to be called where this is False.
        """

    def stirred() -> Iterator[set[Session]]:
        """The sessions to which anything has happened, since this was asked last, but that a fast
        path goes on to carry their RTP as before: each packet the next one of the one before, or
        none where none came before. Of all that it carries packets are in the totals then.

        Some for each step, which takes a fraction of a millisecond. Never raises.
        """

    def refresh_all() -> None:
        """Bring those of all sessions up to date, but for RTP statistics, and the totals."""


class IFastPath(Interface):
    """Carries settled streams past this process. Never raises."""

    active: bool = Attribute("Whether it is worth considering streams at all.")
    shortcuts: bool = Attribute(
        "Whether a stream that is not carried may be quick: it is considered now and then only."
    )

    def consider(stream: Stream, now: float) -> None:
        """A packet of ``stream``, whose latch is settled, was passed on: carry it if possible.

        For a stream that is carried already: what came to its socket has been sent on.
        """

    def release(session: Session) -> None:
        """Carry none of its streams any more; their counters are complete then. Idempotent."""

    def recall(stream: Stream, now: float) -> None:
        """A packet came to the socket of ``stream`` although it is carried.

        What was carried before it is counted, and heard by taps, when this returns.
        """

    def refresh(session: Session) -> None:
        """Add what was carried to the counters of ``session``."""

    def disturb(session: Session) -> None:
        """Do so because a packet came to one of its sockets although it is carried."""

    def go_on(session: Session) -> bool:
        """See IMediaPlane."""

    def stirred() -> Iterator[set[Session]]:
        """See IMediaPlane."""

    def refresh_all() -> None:
        """The same for all sessions, but for RTP statistics."""


class ITap(Interface):
    """Wants a stream's packets too."""

    def heard(stream: Stream, datagram: bytes, source: Address) -> None:
        """``datagram`` was accepted on ``stream`` from ``source``. Must not block or raise."""


class IPatientTap(ITap):
    """A tap that may hear packets some milliseconds after they were relayed, many at once.

    Streams that only such taps listen to can be carried by a fast path.
    """

    def missed(stream: Stream, count: int) -> None:
        """So many packets of ``stream`` were relayed of which there are no copies."""


class IProcessor(Interface):
    """Stands between what a stream accepts and what is relayed of it."""

    def process(stream: Stream, datagram: bytes, source: Address, now: float) -> Sequence[bytes]:
        """What taps hear and the relay sends in place of ``datagram``, accepted at ``now``.

        What is held back for good is counted here. Must not block or raise.
        """


class IProcessing(Interface):
    """Gives streams their processors and takes them away again."""

    def repacketise(leg: Leg) -> None:
        """Apply ``leg.packet_ms`` to what the party of ``leg`` sends. Never raises."""

    def catch_digits(leg: Leg, wanted: CatchDigits) -> bool:
        """Tell of the keys the party of ``leg`` presses, in place of what was wanted before.

        False where the session has no notification socket to tell.
        """


class IPlayers(Interface):
    """Plays prompts to parties."""

    def play(
        leg: Leg, prompt: str, payload_types: Sequence[int], count: int, packet_ms: int
    ) -> None:
        """Play ``prompt`` to the party of ``leg``, in place of what is playing.

        ``payload_types`` are tried in order, the first with a file is taken; ``count`` is how
        often (negative: for ever), ``packet_ms`` the wanted length of packets. Raises
        PromptRefused; then nothing plays any more.
        """

    def stop(leg: Leg) -> bool:
        """Stop what is playing; False when nothing was."""


class IRecorders(Interface):
    """Starts and stops recordings; they are attached to streams as taps."""

    def record(leg: Leg, target: str | None, single: bool) -> None:
        """Record what the party of ``leg`` sends; ``target`` None: named after the session.

        A leg that is being recorded stays as it is. Raises RecordingRefused.
        """

    def copy(leg: Leg, target: Address) -> Address:
        """Send a copy of what the party of ``leg`` sends to ``target``, RTCP to the next port.

        The result is whence the copy comes. A leg that is being recorded or copied stays as it
        is. Raises RecordingRefused.
        """

    def stop(leg: Leg) -> bool:
        """End the recording or copy of ``leg``; False when there was none."""


class INotifier(Interface):
    """Tells SIP proxies of timed-out sessions."""

    enabled: bool = Attribute("Whether any notification socket is configured.")

    def resolve(text: str, origin: Origin) -> NotifySocket | None:
        """The socket a command named, None when it is not among those allowed."""

    def notify(socket: NotifySocket, line: bytes) -> None:
        """Send ``line`` and a newline there, now or when the listener is back. Never raises."""


class ISessionObserver(Interface):
    """Is told of the life of sessions. Methods must neither block nor raise."""

    def created(session: Session) -> None:
        """It exists and has its first ports."""

    def completed(session: Session) -> None:
        """It has got its second leg."""

    def ended(session: Session, why: Ending) -> None:
        """It is gone: its sockets are closing, its counters are final."""
