"""Prompts played to parties: music on hold, announcements.

A party that hears a prompt hears nothing else: what the other one says is dropped meanwhile. A
prompt waits until it can be sent, that is until the party's address is known and the leg that
faces it has its sockets; it goes on wherever the party goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.errors import PromptRefused
from rtpproxy_tw.interfaces import IPlayers, ISessionObserver
from rtpproxy_tw.media.codecs import FRAMINGS, Framing
from rtpproxy_tw.media.pacer import Pacer
from rtpproxy_tw.media.processing import Processing
from rtpproxy_tw.media.prompts import Prompts, Track
from rtpproxy_tw.media.relay import SHORT
from rtpproxy_tw.session import Ending, Leg, Session
from rtpproxy_tw.statistics import Totals

_HEADER = Struct("!BBHII")
_MARKER = 0x80


@dataclass(slots=True, eq=False)
class Player:
    """One prompt on its way to one party; the numbers are those of the next packet."""

    leg: Leg
    track: Track
    name: str
    payload_type: int
    period: float
    """Seconds of a packet."""
    ticks: int
    """Timestamp steps of a packet."""
    ssrc: int
    sequence: int
    timestamp: int
    marker: int = _MARKER

    def packet(self, payload: bytes) -> bytes:
        """The next packet (RFC 3550 section 5.1); only the first one begins a talkspurt."""
        header = _HEADER.pack(
            0x80, self.payload_type | self.marker, self.sequence, self.timestamp, self.ssrc
        )
        self.marker = 0
        self.sequence = self.sequence + 1 & 0xFFFF
        self.timestamp = self.timestamp + self.ticks & 0xFFFFFFFF
        return header + payload


@implementer(IPlayers, ISessionObserver)
class Players:
    """All that is being played. ``random_bits`` gives a random number of so many bits.

    ``send_twice``: packets below 128 octets leave twice, as relayed ones do.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        prompts: Prompts,
        processing: Processing,
        totals: Totals,
        random_bits: Callable[[int], int],
        send_twice: bool = False,
    ) -> None:
        self._clock = clock
        self._pacer = Pacer(clock)
        self._prompts = prompts
        self._processing = processing
        self._totals = totals
        self._random_bits = random_bits
        self._send_twice = send_twice
        self._playing: dict[Leg, Player] = {}

    def __len__(self) -> int:
        """How many parties are being played to."""
        return len(self._playing)

    def stop_all(self) -> None:
        """Stop everything."""
        for leg in tuple(self._playing):
            self.stop(leg)
        self._pacer.stop()

    def play(
        self, leg: Leg, prompt: str, payload_types: Sequence[int], count: int, packet_ms: int
    ) -> None:
        """See IPlayers.

        A file for a payload type that cannot be played serves if there is no other: then nothing
        is heard, as with the original.
        """
        self.stop(leg)
        silent: str | None = None
        for payload_type in payload_types:
            name = f"{prompt}.{payload_type}"
            try:
                opened = self._prompts.open(name)
            except PromptRefused as refusal:
                self._log.info("{reason}", reason=str(refusal))
                continue
            framing = FRAMINGS.get(payload_type)
            if framing is not None:
                frames = max(1, -(-packet_ms // framing.milliseconds))
                track = Track(self._prompts, opened, frames * framing.octets, count)
                self._begin(leg, name, payload_type, framing, frames, track)
                return
            self._prompts.release(opened)
            silent = silent or name
        if silent is None:
            raise PromptRefused(f"prompt {prompt!r}: no file for payload types {payload_types}")
        self._log.warn("{name}: its payload type cannot be played", name=silent)

    def playing(self, leg: Leg) -> Player | None:
        """What is being played to the party of ``leg``."""
        return self._playing.get(leg)

    def go_on(
        self,
        leg: Leg,
        name: str,
        payload_type: int,
        frames: int,
        place: tuple[int, int],
        numbers: tuple[int, int, int, int],
    ) -> None:
        """Go on playing what another process has begun: SSRC, sequence, timestamp, marker.

        Raises PromptRefused.
        """
        framing = FRAMINGS.get(payload_type)
        if framing is None:
            raise PromptRefused(f"{name}: payload type {payload_type} cannot be played")
        track = Track(self._prompts, self._prompts.open(name), frames * framing.octets, place[1])
        track.go_to(*place)
        player = self._playing[leg] = Player(
            leg,
            track,
            name,
            payload_type,
            frames * framing.milliseconds / 1000,
            frames * framing.ticks,
            *numbers,
        )
        self._processing.mute(leg.opposite.rtp)
        self._pacer.add(lambda now: self._step(player, now))

    def stop(self, leg: Leg) -> bool:
        """See IPlayers."""
        player = self._playing.pop(leg, None)
        if player is None:
            return False
        self._processing.unmute(leg.opposite.rtp)
        self._prompts.release(player.track.prompt)
        self._totals.nplrs_destroyed += 1
        self._note(player, "ends")
        return True

    def created(self, session: Session) -> None:
        """See ISessionObserver."""

    def completed(self, session: Session) -> None:
        """See ISessionObserver."""

    def ended(self, session: Session, why: Ending) -> None:
        """Nothing is played to who is gone."""
        for leg in session.legs:
            self.stop(leg)

    def _begin(
        self,
        leg: Leg,
        name: str,
        payload_type: int,
        framing: Framing,
        frames: int,
        track: Track,
    ) -> None:
        player = self._playing[leg] = Player(
            leg,
            track,
            name,
            payload_type,
            frames * framing.milliseconds / 1000,
            frames * framing.ticks,
            ssrc=self._random_bits(32),
            sequence=self._random_bits(16),
            timestamp=self._random_bits(32),
        )
        self._processing.mute(leg.opposite.rtp)
        self._totals.nplrs_created += 1
        self._note(player, "begins")
        self._pacer.add(lambda now: self._step(player, now))

    def _step(self, player: Player, now: float) -> float | None:
        leg = player.leg
        if self._playing.get(leg) is not player:
            return None
        stream = leg.rtp
        to, sender = stream.latch.remote, stream.sender
        if to is None or sender is None:
            return player.period
        payload = player.track.take()
        if payload is None:
            return player.period
        if not payload:
            self.stop(leg)
            return None
        packet = player.packet(payload)
        if sender.send(packet, to):
            self._totals.npkts_played += 1
            stream.added += 1
            stream.added_octets += len(packet)
            if self._send_twice and len(packet) < SHORT:
                sender.send(packet, to)
        leg.last_active = now  # a prompt keeps its session alive
        return player.period

    def _note(self, player: Player, what: str) -> None:
        text = f"{player.leg.side.value}: {player.name} {what}"
        player.leg.session.timeline.add(self._clock.seconds(), "prompt", text)
