"""The wiring: from settings to a running relay."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, Service
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw.addresses import LocalAddress
from rtpproxy_tw.assembly import assemble
from rtpproxy_tw.capacity import PER_CALL_DESCRIPTORS, Capacity, capacity
from rtpproxy_tw.configuration.options import Options
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.continuity.heirlooms import KERNEL, Heirlooms
from rtpproxy_tw.continuity.safe import Safe
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.media.carrier import choose
from rtpproxy_tw.media.kernel.left import Left
from rtpproxy_tw.memory_room import MemoryRoom
from rtpproxy_tw.service import RelayService
from rtpproxy_tw.statistics import Totals
from rtpproxy_tw.supervision import Supervision, Supervisor, supervisor_of
from rtpproxy_tw.tools.privileges import confine

__all__ = ["Options", "RelayService", "build", "makeService"]


def build(
    settings: Settings,
    reactor: Any,
    wall: Callable[[], float] = time.time,
    supervisor: Supervisor | None = None,
    heirlooms: Heirlooms | None = None,
    confining: bool = False,
    safe: Safe | None = None,
) -> RelayService:
    """Everything that ``settings`` ask for, wired to ``reactor`` and not yet started.

    ``wall`` gives seconds since the epoch, for stamps in recordings; ``supervisor`` is told how
    the relay is; ``heirlooms`` are the listening sockets of a relay before us. With ``confining``
    the calling thread gives up the capabilities that only the start has needed, so threads must
    be started later. ``safe`` holds what is to outlive a crash. Raises ConfigError.
    """
    for name, path in (("record_dir", settings.record_dir), ("spool_dir", settings.spool_dir)):
        if path is not None and not os.path.isdir(path):
            raise ConfigError(f"{spelled(name)} {path}: is not a directory")
    _check_spool(settings)
    totals = Totals()
    heirlooms = heirlooms or Heirlooms()
    left = Left(heirlooms.shape, heirlooms.take_all(KERNEL))
    carrier = choose(
        settings.fast_path,
        reactor,
        totals,
        settings.tos,
        _flows(settings),
        left=left,
        processes=settings.media_processes,
        # By the original's rules a source may change without a pause.
        connecting=settings.latching == "strict",
    )
    if confining and not settings.keep_capabilities:
        carrier.confine()
    try:
        relay = assemble(settings, reactor, wall, totals, carrier, heirlooms, safe)
    except BaseException:
        carrier.stopService()  # it is in the kernel already
        raise
    memory = MemoryRoom(reactor)
    memory.setServiceParent(relay)
    relay.registry.short_of_memory = lambda: memory.short
    if supervisor is not None:
        Supervision(supervisor, relay.state, reactor).setServiceParent(relay)
    _announce(settings)
    return relay


def _check_spool(settings: Settings) -> None:
    """A file is moved out of the spool by a rename, which no other file system takes.

    Else every recording would fail, and be found missing when somebody wants to hear it. Raises
    ConfigError.
    """
    spool, final = settings.spool_dir, settings.record_dir
    if spool is None or final is None:
        return
    if os.stat(spool).st_dev != os.stat(final).st_dev:
        raise ConfigError(
            f"{spelled('spool_dir')} {spool}: is on another file system than"
            f" {spelled('record_dir')} {final}, to which no recording could be moved"
        )


def monotonic(reactor: Any) -> Any:
    """``reactor``, from now on reckoning in monotonic time.

    Twisted's reactors go by the wall clock: set forward by an hour, it would end every call, and
    set back it would keep the dead ones. To be done before anything is scheduled.
    """
    reactor.seconds = time.monotonic
    return reactor


def makeService(options: Options) -> IService:
    """What ``twistd rtpproxy`` runs."""
    from twisted.internet import reactor

    monotonic(reactor)
    confine(core_dumps=options.settings.core_dumps)
    for note in options.notes:
        RelayService.log.warn("{note}", note=note)
    supervisor = supervisor_of(os.environ, os.getpid())
    relay = build(options.settings, reactor, supervisor=supervisor, confining=True)
    UnderTwistd(relay, reactor, supervisor).setServiceParent(relay)
    # twistd changes the user after that, by which the kernel forgets the second half of it.
    core_dumps = options.settings.core_dumps
    reactor.callWhenRunning(lambda: confine(core_dumps=core_dumps))
    return relay


class UnderTwistd(Service):
    """What twistd does not do for the relay: HUP, an end when it cannot start, word to systemd.

    A child of the relay that starts after all others.
    """

    def __init__(self, relay: RelayService, reactor: Any, supervisor: Supervisor) -> None:
        self._relay = relay
        self._reactor = reactor
        self._supervisor = supervisor

    def startService(self) -> None:
        """Raises SystemExit, which twistd lets pass, where a control socket cannot listen."""
        super().startService()
        for listener in self._relay.listeners:
            result = getattr(listener.listening, "result", None)
            if isinstance(result, Failure):
                raise SystemExit(f"rtpproxy: {result.getErrorMessage()}")
        self._relay.drained.addCallback(lambda _: self._reactor.stop())
        self._reactor.callWhenRunning(self._install_signals)
        # Only then twistd has changed to another user and written its pid file.
        self._reactor.callWhenRunning(self._supervisor.tell, "READY=1")

    def _install_signals(self) -> None:
        signal.signal(signal.SIGHUP, self._hang_up)
        for number, act in ((signal.SIGUSR1, self._refuse), (signal.SIGUSR2, self._ignore)):
            if signal.getsignal(number) is signal.SIG_DFL:  # twistd may rotate its log by USR1
                signal.signal(number, act)

    def _hang_up(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._relay.drain)

    def _refuse(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._relay.refuse)

    def _ignore(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._relay.ignored_signal, signal.Signals(number).name)


def _capacity(settings: Settings, ranges: int = 1) -> Capacity:
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    pairs = (settings.max_port - settings.min_port) // 2 + 1
    return capacity(ranges * pairs, descriptors, settings.max_sessions)


def _flows(settings: Settings) -> int:
    """How many sockets there can be at once, each of which has a flow at best."""
    families = {local.family for local in settings.addresses.all()}
    return _capacity(settings, len(families)).calls * PER_CALL_DESCRIPTORS


def _announce(settings: Settings) -> None:
    log = Logger()
    found = _capacity(settings)
    log.info("can carry {calls} calls at once, {why}", calls=found.calls, why=found.why)
    for local in settings.addresses.all():
        if (why := _missing(local)) is not None:
            log.warn(
                "media address {host} cannot be used: {why}; calls there are refused until it can",
                host=local.host,
                why=why,
            )
        if local.wildcard and local.advertised is None:
            log.warn(
                "media is taken on {host}: replies name no address, so the SIP proxy puts its own"
                " into the SDP; use -l ADDRESS or -A ADDRESS where that is wrong",
                host=local.host,
            )


def _missing(local: LocalAddress) -> str | None:
    """Why this host cannot take media there now, None where it can."""
    try:
        with socket.socket(local.family, socket.SOCK_DGRAM) as probe:
            probe.bind((local.host, 0))
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return None
