"""The new relay's side of a hand-over, as its start sees it."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Protocol

from twisted.logger import Logger

from rtpproxy_tw.continuity.channel import Channel, HandoverError
from rtpproxy_tw.continuity.heirlooms import Heirlooms, receive
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.snapshot.kinds import Damaged
from rtpproxy_tw.succession import Succession
from rtpproxy_tw.tools.upgrade import VARIABLE


class Starter(Protocol):
    """Whoever waits for the outcome of a start."""

    def ready(self) -> None:
        """Commands are answered."""

    def failed(self, sentence: str) -> None:
        """They never will be."""


class Successor:
    """What a relay that takes over has in place of a starter: the relay before it."""

    _log = Logger()

    def __init__(self, channel: Channel) -> None:
        self._channel: Channel | None = channel
        self.predecessor = os.getppid()
        """The process that hands over."""

    def heirlooms(self) -> Heirlooms:
        """Its listening sockets. Raises ConfigError."""
        try:
            return receive(self._open)
        except HandoverError as error:
            raise ConfigError(f"nothing to take over: {error}") from error

    def take(self, relay: object) -> None:
        """All the rest, for ``relay``. Raises ConfigError."""
        succession: Succession | None = getattr(relay, "succession", None)
        if succession is None:
            raise ConfigError("this relay takes nothing over")
        try:
            count = succession.take(self._open)
        except (HandoverError, Damaged) as error:
            raise ConfigError(f"cannot take over: {error}") from error
        self._log.info("{count} sessions taken over", count=count)

    def ready(self) -> None:
        """Tell it that we serve, which is the end of its service."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.send("serving")
            channel.close()

    def failed(self, sentence: str) -> None:
        """Tell it why it has to go on."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.refuse(sentence)
            channel.close()

    @property
    def _open(self) -> Channel:
        assert self._channel is not None, "it is over"
        return self._channel


def successor_in(environment: MutableMapping[str, str]) -> Successor | None:
    """The one ``environment`` speaks of, and will not speak of again. None: nobody is before us."""
    text = environment.pop(VARIABLE, "")
    if not text.isdecimal():
        return None
    with suppress(OSError):
        channel = socket.socket(fileno=int(text))
        channel.set_inheritable(False)
        return Successor(Channel(channel))
    return None
