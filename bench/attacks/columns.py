"""The relays that are attacked: the columns of the matrix."""

from __future__ import annotations

import ctypes
import re
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bench.attacks.field import HOSTS
from bench.namespaces import Namespace
from bench.relays import Engine, Ours, Relay

PR_SET_PDEATHSIG = 1

_FEW_PORTS = range(36000, 37000)
_ALL_PORTS = range(35000, 65001)


class Column:
    """How one relay is started; ``versions`` are the IP versions it has."""

    ports = _FEW_PORTS
    versions: Sequence[int] = (4, 6)
    strict = False
    kernel = False

    def __init__(self, name: str) -> None:
        self.name = name

    def missing(self) -> str | None:
        """Why it cannot take part here, None where it can."""
        return None

    def relay(self, where: Namespace) -> Relay:
        """The relay, to be started with its block."""
        raise NotImplementedError

    def carried(self, relay: Relay) -> int:
        """How many streams the kernel carries at this moment."""
        return 0


class Policy(Column):
    """This relay with a policy and a path."""

    def __init__(self, name: str, policy: str, plane: str, path: str) -> None:
        super().__init__(name)
        self.strict = policy == "strict"
        self.kernel = path == "ebpf"
        self._options = (
            *("--latching", policy, "--media-plane", plane, "--fast-path", path),
            *("-6", f"six@{HOSTS[6].relay}", "-m", str(self.ports[0]), "-M", str(self.ports[-1])),
        )

    def relay(self, where: Namespace) -> Relay:
        """See Column."""
        return _Ours(self.name, into(where), self._options)

    def carried(self, relay: Relay) -> int:
        """See Column."""
        assert isinstance(relay, _Ours)
        return relay.carried()


class Original(Column):
    """The engine, with the defaults it comes with."""

    ports = _ALL_PORTS
    versions = (4,)

    def missing(self) -> str | None:
        """See Column."""
        return Engine.missing()

    def relay(self, where: Namespace) -> Relay:
        """See Column."""
        return _Engine(self.name, into(where))


class _Ours(Ours):
    host = HOSTS[4].relay

    def __init__(self, name: str, prepare: Callable[[], None], options: Sequence[str]) -> None:
        super().__init__(name, prepare)
        self._wanted = options

    def _start(self, stack: ExitStack) -> socket.socket:
        self.options = (*self._wanted, "--http", f"unix:{self.folder}/http")
        return super()._start(stack)

    def carried(self) -> int:
        """As its metrics tell."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(f"{self.folder}/http")
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            told = b""
            while part := client.recv(65536):
                told += part
        found = re.search(rb"^relay_streams_offloaded (\d+)", told, re.MULTILINE)
        return int(found[1]) if found else 0


class _Engine(Engine):
    host = HOSTS[4].relay


def into(where: Namespace) -> Callable[[], None]:
    """What a child calls to become a process of ``where`` that dies with this one."""
    libc = ctypes.CDLL(None)

    def enter() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        where.enter()

    return enter


COLUMNS: tuple[Column, ...] = (
    Policy("strict, epoll", "strict", "epoll", "none"),
    Policy("strict, plain", "strict", "plain", "none"),
    Policy("strict, kernel", "strict", "epoll", "ebpf"),
    Policy("rtpproxy, epoll", "rtpproxy", "epoll", "none"),
    Policy("rtpproxy, plain", "rtpproxy", "plain", "none"),
    Policy("rtpproxy, kernel", "rtpproxy", "epoll", "ebpf"),
    Original("rtp.io"),
)
