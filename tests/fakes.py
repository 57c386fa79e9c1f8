"""Stand-ins for sockets and collaborators, no kinder than the real ones."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twisted.internet import defer
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from zope.interface import implementer

from rtpproxy_tw.addresses import Address, LocalAddress, LocalAddresses
from rtpproxy_tw.commands import Command, Origin, Reply
from rtpproxy_tw.control.dispatcher import Dispatcher
from rtpproxy_tw.control.later import Later
from rtpproxy_tw.control.locals import LocalChooser
from rtpproxy_tw.control.negotiation import Negotiator
from rtpproxy_tw.errors import RecordingRefused
from rtpproxy_tw.interfaces import IFastPath, INotifier, IRecorders, ISessionObserver
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.media.fastpath import NullFastPath, Offloader
from rtpproxy_tw.media.kernel.path import KernelPath
from rtpproxy_tw.media.player import Players
from rtpproxy_tw.media.ports import AscendingPool
from rtpproxy_tw.media.processing import Processing
from rtpproxy_tw.media.prompt_files import PromptDirectories
from rtpproxy_tw.media.prompts import Prompts
from rtpproxy_tw.media.relay import Relay
from rtpproxy_tw.media.userspace import UserspacePlane
from rtpproxy_tw.registry import SessionRegistry
from rtpproxy_tw.session import Ending, Leg, NotifySocket, Session
from rtpproxy_tw.statistics import Totals


class FakePort:
    """One bound UDP port of a :class:`FakeHost`."""

    def __init__(self, host: FakeHost, protocol: DatagramProtocol, address: Address, tos: int):
        self.host = host
        self.protocol = protocol
        self.address = address
        self.tos = tos
        self.sent: list[tuple[bytes, Address]] = []
        self.refusing = False

    @property
    def socket(self) -> socket.socket:
        """There is none."""
        raise OSError(errno.EBADF, "a fake port has no socket")

    def send(self, datagram: bytes, to: Address) -> bool:
        """Remember it; a kernel refuses port 0 and the other family."""
        if self.refusing or to[1] == 0 or (":" in to[0]) != (":" in self.address[0]):
            return False
        self.sent.append((datagram, to))
        return True

    def fold(self) -> None:
        """See Sender."""

    def drain(self) -> None:
        """Nothing ever waits."""

    def mark(self, tos: int) -> None:
        """Change the TOS."""
        self.tos = tos

    def stopListening(self) -> defer.Deferred[None]:
        """Close."""
        del self.host.ports[self.address]
        return defer.succeed(None)


@dataclass
class FakeHost:
    """The UDP side of a kernel: which ports are bound, and what errors binding meets."""

    addresses: Sequence[str] = ("127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::")
    ports: dict[Address, FakePort] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    """Ports bound by other programs."""
    descriptors: int = 1000

    def listen(self, protocol: DatagramProtocol, host: str, port: int, tos: int) -> FakePort:
        """Bind as the real plane's listener does. Raises OSError."""
        if host not in self.addresses:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        if len(self.ports) >= self.descriptors:
            raise OSError(errno.EMFILE, "Too many open files")
        if port in self.taken or (host, port) in self.ports:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        made = self.ports[host, port] = FakePort(self, protocol, (host, port), tos)
        return made

    def deliver(self, datagram: bytes, source: Address, to: Address) -> None:
        """A datagram arrives; to a closed port it is lost."""
        port = self.ports.get(to)
        if port is not None:
            port.protocol.datagramReceived(datagram, source)

    def sent(self, local: Address) -> list[tuple[bytes, Address]]:
        """What left ``local`` since the last call."""
        port = self.ports[local]
        out, port.sent = port.sent, []
        return out


@implementer(INotifier)
class FakeNotifier:
    """Knows the sockets in ``allowed`` and remembers what it was to tell them."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self.allowed = tuple(allowed)
        self.enabled = bool(allowed)
        self.told: list[tuple[NotifySocket, bytes]] = []

    def resolve(self, text: str, origin: Origin) -> NotifySocket | None:
        """See INotifier."""
        return NotifySocket("unix", text) if text in self.allowed else None

    def notify(self, socket: NotifySocket, line: bytes) -> None:
        """See INotifier."""
        self.told.append((socket, line))


@implementer(IRecorders)
class FakeRecorders:
    """Remembers which legs are being recorded; refuses when it has no directory."""

    def __init__(self, directory: bool = True) -> None:
        self.directory = directory
        self.recording: dict[Leg, str | None] = {}
        self.copies: dict[Leg, Address] = {}

    def record(self, leg: Leg, target: str | None, single: bool) -> None:
        """See IRecorders."""
        if not self.directory:
            raise RecordingRefused("no recording directory")
        self.recording.setdefault(leg, target)

    def copy(self, leg: Leg, target: Address) -> Address:
        """See IRecorders."""
        self.copies.setdefault(leg, target)
        return "127.0.0.1", 40100

    def stop(self, leg: Leg) -> bool:
        """See IRecorders."""
        missing = object()
        return self.recording.pop(leg, missing) is not missing


class FakeReader:
    """Reads at once, or when told to while ``slow``."""

    def __init__(self) -> None:
        self.slow = False
        self.reads = 0
        self._waiting: list[Callable[[], None]] = []

    def read(self, fd: int, size: int, at: int, done: Callable[[bytes | None], None]) -> None:
        """See Reader."""
        self._waiting.append(lambda: done(os.pread(fd, size, at)))
        if not self.slow:
            self.work()

    def work(self) -> None:
        """Read what was asked for."""
        waiting, self._waiting = self._waiting, []
        for read in waiting:
            self.reads += 1
            read()


@implementer(ISessionObserver)
class MemoryObserver:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Session]] = []
        self.endings: list[Ending] = []

    def created(self, session: Session) -> None:
        """See ISessionObserver."""
        self.events.append(("created", session))

    def completed(self, session: Session) -> None:
        """See ISessionObserver."""
        self.events.append(("completed", session))

    def ended(self, session: Session, why: Ending) -> None:
        """See ISessionObserver."""
        self.events.append(("ended", session))
        self.endings.append(why)


class Bench:
    """A whole relay on fakes: commands in, datagrams in, sent datagrams out."""

    def __init__(
        self,
        *,
        addresses: LocalAddresses | None = None,
        low: int = 40000,
        high: int = 40100,
        latching: str = "strict",
        notify: Sequence[str] = (),
        recording: bool = True,
        route: Callable[[str], str | None] = lambda host: "127.0.0.1",
        setup_ttl: float = 60.0,
        asymmetric: bool = False,
        send_twice: bool = False,
        prompts: Sequence[str] = (),
        kernel: KernelPath | None = None,
        later: Later | None = None,
        **limits: float,
    ) -> None:
        self.clock = Clock()
        self.host = FakeHost()
        self.totals = Totals()
        self.observer = MemoryObserver()
        self.notifier = FakeNotifier(notify)
        self.recorders = FakeRecorders(recording)
        self.fast_path: IFastPath = NullFastPath()
        if kernel is not None:
            self.fast_path = Offloader(
                path=kernel, now=self.clock.seconds, totals=self.totals, tos=0xB8
            )
        self.relay = Relay(
            self.clock.seconds, self.totals, fast_path=self.fast_path, send_twice=send_twice
        )
        self.pools = {family: AscendingPool(low, high) for family in (2, 10)}
        self.plane = UserspacePlane(
            listen=self.host.listen,
            pools=self.pools,
            relay=self.relay,
            tos=0xB8,
            fast_path=self.fast_path,
        )
        self.processing = Processing(self.notifier, self.totals, self.clock.seconds)
        self.reader = FakeReader()
        self.players = Players(
            clock=self.clock,
            prompts=Prompts(PromptDirectories(prompts), self.reader),
            processing=self.processing,
            totals=self.totals,
            random_bits=random.Random(3).getrandbits,
            send_twice=send_twice,
        )
        self.registry = SessionRegistry(
            clock=self.clock,
            plane=self.plane,
            totals=self.totals,
            observers=(self.observer, self.players),
            **limits,  # type: ignore[arg-type]  # a test names the limits it is about
        )
        self.negotiator = Negotiator(
            clock=self.clock,
            registry=self.registry,
            plane=self.plane,
            processing=self.processing,
            notifier=self.notifier,
            locals_=LocalChooser(addresses or LocalAddresses((LocalAddress("127.0.0.1"),)), route),
            latch=latch_factory(latching),
            setup_ttl=setup_ttl,
            asymmetric=asymmetric,
            later=later,
        )
        self.dispatcher = Dispatcher(
            registry=self.registry,
            plane=self.plane,
            negotiator=self.negotiator,
            recorders=self.recorders,
            players=self.players,
            notifier=self.notifier,
            totals=self.totals,
            later=later,
        )

    def do(self, command: Command, origin: Origin | None = None) -> Reply:
        """Execute ``command``; raises what the dispatcher raises."""
        return self.dispatcher.execute(command, origin or Origin())
