"""Examines one media address: slice after slice of its ports, with somebody outside."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple, Protocol

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.doctor import sockets
from rtpproxy_tw.doctor.observed import Observed
from rtpproxy_tw.host_networks import route_device
from rtpproxy_tw.probing import COOKIE_OCTETS, PORTS_AT_ONCE, RATE, read_probe

SAMPLE = 4
"""Ports of a slice that ask how they are seen."""

FEW = 16
"""The same of all ports, where a public server is asked."""

LATE = 0.7
"""Seconds after the last probe in which no other one comes any more."""

SIZES = (1500, 1420, 1280, 576)
"""IP packets that are tried, in octets: Ethernet, a tunnel, IPv6's least, IPv4's least."""

IP_HEADER = {socket.AF_INET: 28, socket.AF_INET6: 48}
"""With UDP's, in octets."""

REQUEST = 20 + 4 + 32 + 4
"""Octets of a STUN request with the name of an examination and an empty PADDING."""

TRIED = 4
"""Ports that try to reach the other end, before it is given up."""


class Proved(NamedTuple):
    """That what is sent to ``host`` comes here: its ``proof``, and the port that asked for it."""

    port: int
    outside: int
    """The same as it was seen."""
    host: str
    proof: bytes


Say = Callable[[str], object]


class Helper(Protocol):
    """Another relay that is the outside."""

    name: str
    server: Address
    closed: Address

    def probe(self, host: str, proof: bytes, cookie: bytes, ports: Sequence[int], size: int) -> int:
        """Have probes sent; how many are waiting there."""


def examine(
    local: LocalAddress,
    host: str,
    ports: tuple[int, int],
    *,
    server: Address,
    helper: Helper | None,
    width: int,
    say: Say = lambda sentence: None,
) -> Observed:
    """Look at all ``ports``, both included, of ``host``. ``width`` is how many at a time.

    Raises OSError where ``host`` cannot be bound at all; what ``helper`` raises passes through.
    """
    seen = Observed(host, local.host, local.advertised, local.label, server)
    misrouted = dropped_as_misrouted()
    whole = range(ports[0], ports[1] + 1)
    if helper is None:
        _ask_a_few(seen, whole, server)
    else:
        _with_help(seen, whole, helper, width, say)
    seen.misrouted = dropped_as_misrouted() - misrouted
    device = route_device(server[0], host)
    seen.device_out = None if device is None else _name(device)
    return seen


def _with_help(seen: Observed, ports: range, helper: Helper, width: int, say: Say) -> None:
    """All that takes somebody who sends."""
    proved = _proved(seen, ports, helper)
    if proved is None:
        return
    _long_packets(seen, helper, proved)
    width = max(1, min(width, PORTS_AT_ONCE))
    for first in ports[::width]:
        some = range(first, min(first + width, ports.stop))
        say(f"{seen.host}: ports {some[0]}-{some[-1]}")
        _look_at(seen, some, helper, proved)
    seen.icmp = sockets.errors_come(seen.host, helper.closed)


def _ask_a_few(seen: Observed, ports: range, server: Address) -> None:
    """How some ports, from all over the range, are seen."""
    step = max(1, len(ports) // FEW)
    with sockets.slice_of(seen.host, ports[::step]) as these:
        seen.taken += these.taken
        answers = sockets.ask(these, list(these.sockets), server)
        seen.asked += len(these.sockets)
        _note(seen, answers)


def _look_at(seen: Observed, ports: range, helper: Helper, proved: Proved) -> None:
    """Everything about one slice."""
    with sockets.slice_of(seen.host, ports) as these:
        seen.taken += these.taken
        # Who has asked has made a hole into firewalls.
        silent = [port for port in these.sockets if port not in seen.mapped]
        seen.probed = [*(seen.probed or ()), *silent]
        _probe(seen, these, silent, helper, proved)
        asking = silent[:: max(1, len(silent) // SAMPLE)][:SAMPLE]
        seen.asked += len(asking)
        _note(seen, sockets.ask(these, asking, helper.server, helper.name))


def _probe(
    seen: Observed, these: sockets.Slice, ports: list[int], helper: Helper, proved: Proved
) -> None:
    cookie = secrets.token_bytes(COOKIE_OCTETS)
    for _ in range(2):
        lacking = [port for port in ports if port not in seen.arrived]
        if not lacking:
            return
        waiting = helper.probe(proved.host, proved.proof, cookie, lacking, 0)
        heard = sockets.probes(these, cookie, lacking, LATE + waiting / RATE)
        seen.arrived.update(heard)
        for each in heard.values():
            seen.device_in = _name(each.device)
        if not heard:  # a lost packet is worth another one, a closed range is not
            return


def _note(seen: Observed, answers: dict[int, sockets.Seen]) -> None:
    for port, answer in answers.items():
        seen.mapped[port] = answer.address
        seen.device_in = _name(answer.device)


def _proved(seen: Observed, ports: range, helper: Helper) -> Proved | None:
    """Have one port ask, which proves where we are; None where none of a few is answered."""
    for port in ports[:: max(1, len(ports) // TRIED)][:TRIED]:
        with sockets.slice_of(seen.host, (port,)) as these:
            seen.asked += len(these.sockets)
            answers = sockets.ask(these, [port], helper.server, helper.name)
            _note(seen, answers)
            for (host, outside), proof, _ in answers.values():
                return Proved(port, outside, host, proof)
    return None


def _long_packets(seen: Observed, helper: Helper, proved: Proved) -> None:
    """The longest packets that pass in one piece, there and back."""
    port = proved.port
    header = IP_HEADER[socket.AF_INET6 if ":" in seen.host else socket.AF_INET]
    with sockets.slice_of(seen.host, (port,)) as these:
        if port not in these.sockets:
            return
        sockets.tell_errors(these.sockets[port])
        seen.longest_out = seen.longest_in = 0
        for size in SIZES:
            padding = size - header - REQUEST
            if sockets.ask(these, [port], helper.server, helper.name, padding):
                seen.longest_out = size
                break
            seen.too_big = sockets.told_too_big(these.sockets[port]) or seen.too_big
        # To the very port that has asked, to which a firewall lets answers through.
        for size in SIZES:
            cookie = secrets.token_bytes(COOKIE_OCTETS)
            helper.probe(proved.host, proved.proof, cookie, [proved.outside], size - header)
            if _comes(these, port, proved.outside, cookie):
                seen.longest_in = size
                break


def _comes(these: sockets.Slice, port: int, outside: int, cookie: bytes) -> bool:
    found: list[int] = []
    for at, heard in these.hear(LATE, lambda: bool(found)):
        if at == port and read_probe(heard.octets, cookie) == outside:
            found.append(at)
    return bool(found)


def dropped_as_misrouted(path: str = "/proc/net/netstat") -> int:
    """``IPReversePathFilter``: packets that came by a device that does not lead back."""
    try:
        with open(path, encoding="ascii") as file:
            rows = [line.split() for line in file if line.startswith("TcpExt:")]
        return int(rows[1][rows[0].index("IPReversePathFilter")])
    except (OSError, ValueError, LookupError):
        return 0


def _name(device: int) -> str | None:
    try:
        return socket.if_indextoname(device) if device else None
    except OSError:
        return None


class Remote:
    """Another relay, by its HTTP interface."""

    def __init__(self, client: Any, family: int) -> None:
        """Raises what the client raises, OSError where its host has no such address."""
        self._client = client
        wanted = {"family": "ipv6" if family == socket.AF_INET6 else "ipv4"}
        told = client.ask("/api/v1/outside", "POST", wanted)
        self.name: str = told["id"]
        host = told["host"] or client.target.host
        found = socket.getaddrinfo(host, told["port"], family, socket.SOCK_DGRAM)
        numeric = str(found[0][4][0])
        self.server: Address = numeric, told["port"]
        self.closed: Address = numeric, told["closed"]

    def probe(self, host: str, proof: bytes, cookie: bytes, ports: Sequence[int], size: int) -> int:
        """See Helper; ``size`` 0: as short as can be."""
        wanted: dict[str, object] = {
            "host": host,
            "proof": proof.hex(),
            "cookie": cookie.hex(),
            "ports": list(ports),
        }
        if size:
            wanted["size"] = size
        path = f"/api/v1/outside/{self.name}/probes"
        return int(self._client.ask(path, "POST", wanted)["waiting"])

    def end(self) -> None:
        """It is over; the other end would find out by itself."""
        self._client.ask(f"/api/v1/outside/{self.name}", "DELETE")


def container(
    read: Callable[[str], str | None], exists: Callable[[str], bool], variables: Container[str]
) -> str | None:
    """What kind of container this is, if its network is its own.

    ``read`` gives a file's text or None, ``variables`` are those of the environment.
    """
    if not _own_network(read):
        return None
    if "KUBERNETES_SERVICE_HOST" in variables or exists("/var/run/secrets/kubernetes.io"):
        return "kubernetes"
    groups = read("/proc/1/cgroup") or ""
    mounts = read("/proc/1/mountinfo") or ""
    if exists("/.dockerenv") or "docker" in groups or "/docker/containers/" in mounts:
        return "docker"
    if exists("/run/.containerenv") or "libpod" in groups:
        return "podman"
    if "kubepods" in groups:
        return "kubernetes"
    return None


def _own_network(read: Callable[[str], str | None]) -> bool:
    """Whether the device of the default route is one end of a pair (veth), as in containers."""
    for line in (read("/proc/net/route") or "").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 2 and fields[1] == "00000000":
            one = read(f"/sys/class/net/{fields[0]}/ifindex")
            other = read(f"/sys/class/net/{fields[0]}/iflink")
            return one is not None and other is not None and one != other
    return False


def here() -> str | None:
    """The container that this process is in."""

    def read(path: str) -> str | None:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read(1 << 20).strip()
        except OSError:
            return None

    return container(read, os.path.exists, os.environ)
