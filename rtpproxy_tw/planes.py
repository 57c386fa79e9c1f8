"""Which media plane this host gets, wired."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import DatagramProtocol

from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.interfaces import IFastPath
from rtpproxy_tw.media import epollplane
from rtpproxy_tw.media.chance import Chance
from rtpproxy_tw.media.epollplane import EpollPlane
from rtpproxy_tw.media.ports import AscendingPool, PortPool, ShuffledPool
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.media.udpport import MediaPort, bind_media
from rtpproxy_tw.media.userspace import UserspacePlane
from rtpproxy_tw.statistics import Totals


def make_plane(
    settings: Settings,
    reactor: Any,
    totals: Totals,
    fast_path: IFastPath,
    available: Callable[[], bool] = epollplane.is_available,
) -> UserspacePlane:
    """The plane that ``settings`` ask for, or the best there is. Raises ConfigError."""
    relay = Relay(reactor.seconds, totals, fast_path=fast_path, send_twice=settings.send_twice)
    pools: dict[int, PortPool] = {
        family: _pool(settings) for family in (socket.AF_INET, socket.AF_INET6)
    }
    if settings.media_plane == "plain" or (settings.media_plane == "auto" and not available()):
        return UserspacePlane(
            listen=_listener(reactor, settings.redis is not None),
            wrap=_wrapper(reactor),
            pools=pools,
            relay=relay,
            fast_path=fast_path,
            tos=settings.tos,
        )
    if not available():
        raise ConfigError(f"{spelled('media_plane')} epoll: this system has no epoll")
    # What the kernel could carry must be offered to it, and what is sent twice is sent by hand.
    quickening = fast_path.shortcuts and not settings.send_twice
    return EpollPlane(
        reactor=reactor,
        now=reactor.seconds,
        pools=pools,
        relay=relay,
        totals=totals,
        fast_path=fast_path,
        tos=settings.tos,
        quickening=quickening,
        # By the original's rules a source may change without a pause.
        connecting=quickening and settings.latching == "strict",
        free=settings.redis is not None,
    )


def _pool(settings: Settings) -> PortPool:
    if settings.sequential:
        return AscendingPool(settings.min_port, settings.max_port)
    return ShuffledPool(settings.min_port, settings.max_port, Chance(os.urandom).below)


def _listener(reactor: Any, free: bool) -> Callable[[DatagramProtocol, str, int, int], MediaPort]:
    wrap = _wrapper(reactor)

    def listen(protocol: DatagramProtocol, host: str, port: int, tos: int) -> MediaPort:
        return wrap(protocol, bind_media(host, port, tos, free))

    return listen


def _wrapper(reactor: Any) -> Callable[[DatagramProtocol, socket.socket], MediaPort]:
    def wrap(protocol: DatagramProtocol, sock: socket.socket) -> MediaPort:
        made = MediaPort(sock, protocol, reactor)
        made.startListening()
        return made

    return wrap
