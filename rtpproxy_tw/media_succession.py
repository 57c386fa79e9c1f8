"""Sockets and prompts of sessions, in another process."""

from __future__ import annotations

import socket
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.errors import PromptRefused
from rtpproxy_tw.media.codecs import FRAMINGS
from rtpproxy_tw.media.player import Players
from rtpproxy_tw.media.userspace import UserspacePlane
from rtpproxy_tw.session import Leg, Session
from rtpproxy_tw.snapshot.kinds import COUNT, Damaged, integer, row, text


class MediaPart:
    """The sockets of a session."""

    name = "media"

    def __init__(self, plane: UserspacePlane) -> None:
        self._plane = plane

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        found = {}
        for leg in session.legs:
            sockets = self._plane.sockets(leg)
            if sockets is not None:
                found[leg.side.value] = [luggage.add(each.fileno()) for each in sockets]
        return found

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        if type(value) is not dict:
            raise Damaged("no object")
        found: dict[Leg, tuple[socket.socket, socket.socket]] = {}
        try:
            for leg in session.legs:
                if leg.port:
                    found[leg] = _pair(leg, value.get(leg.side.value), luggage)
        except BaseException:
            for pair in found.values():
                for each in pair:
                    each.close()
            raise
        try:
            self._plane.adopt(found)
        except OSError as error:
            raise Damaged(f"its sockets cannot be read: {error}") from None


def _pair(leg: Leg, numbers: Any, luggage: Luggage) -> tuple[socket.socket, socket.socket]:
    local = leg.local
    if type(numbers) is not list or len(numbers) != 2 or local is None:
        raise Damaged("a port without sockets")
    kind = socket.SOCK_DGRAM
    rtp = luggage.socket(numbers[0], local.family, kind, (local.host, leg.port))
    try:
        rtcp = luggage.socket(numbers[1], local.family, kind, (local.host, leg.port + 1))
    except BaseException:
        rtp.close()
        raise
    return rtp, rtcp


class PromptPart:
    """What is being played to the parties of a session."""

    _log = Logger()
    name = "prompts"

    def __init__(self, players: Players) -> None:
        self._players = players

    def pack(self, session: Session, luggage: Luggage) -> Any:
        """See Part."""
        found = {}
        for leg in session.legs:
            player = self._players.playing(leg)
            if player is not None:
                frames = player.ticks // FRAMINGS[player.payload_type].ticks
                numbers = [player.ssrc, player.sequence, player.timestamp, player.marker]
                place = list(player.track.place)
                found[leg.side.value] = [player.name, player.payload_type, frames, place, numbers]
        return found or None

    def unpack(self, session: Session, value: Any, luggage: Luggage, shift: float) -> None:
        """See Part."""
        if type(value) is not dict:
            raise Damaged("no object")
        for leg in session.legs:
            if leg.side.value in value:
                try:
                    self._players.go_on(leg, *PLAYING.unpack(value[leg.side.value], shift))
                except PromptRefused as refusal:
                    self._log.error("a prompt does not go on: {reason}", reason=str(refusal))


_U32 = integer(0, 0xFFFFFFFF)
PLAYING = row(
    text(4096),
    integer(0, 127),
    integer(1, 1000),
    row(COUNT, integer()),
    row(_U32, integer(0, 0xFFFF), _U32, integer(0, 0x80)),
)
"""File, payload type, frames a packet, place in the file, numbers of the next packet."""
