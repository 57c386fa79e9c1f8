"""Media ports bound for a moment, and what goes out of them and comes in."""

from __future__ import annotations

import errno
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rtpproxy_tw import stun
from rtpproxy_tw.addresses import Address, canonical, family_of
from rtpproxy_tw.outside import whole
from rtpproxy_tw.probing import read_probe

PATIENCE = 0.6
"""Seconds until what has not come is asked for again, or taken not to come."""

ROUNDS = 3
"""How often the same is asked; a packet may get lost."""

BATCH = 32
"""Requests that are sent before answers are read."""

IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50
IP_RECVERR, IPV6_RECVERR = 11, 25
_PKTINFO4 = struct.Struct("=I8x")
_PKTINFO6 = struct.Struct("=16xI")


class Heard(NamedTuple):
    """A datagram and the number of the device it came by."""

    octets: bytes
    source: Address
    device: int


class Slice:
    """Sockets on some ports of one host."""

    def __init__(self, host: str, ports: Iterable[int]) -> None:
        self.host = host
        self.sockets: dict[int, socket.socket] = {}
        self.taken: list[int] = []
        """Ports that could not be had."""
        for port in ports:
            try:
                self.sockets[port] = bound(host, port)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    self.close()
                    raise
                self.taken.append(port)

    def close(self) -> None:
        """Give the ports back."""
        for made in self.sockets.values():
            made.close()

    def hear(self, seconds: float, until: Callable[[], bool]) -> Iterator[tuple[int, Heard]]:
        """What comes within ``seconds`` or ``until`` enough has, with the port it came to."""
        poll = select.poll()
        ports = {made.fileno(): port for port, made in self.sockets.items()}
        for descriptor in ports:
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + seconds
        while not until():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            for descriptor, _ in poll.poll(1000 * left):
                heard = receive(self.sockets[ports[descriptor]])
                if heard is not None:
                    yield ports[descriptor], heard


@contextmanager
def slice_of(host: str, ports: Iterable[int]) -> Iterator[Slice]:
    """A slice that is closed at the end. Raises OSError where ``host`` is not of this machine."""
    made = Slice(host, ports)
    try:
        yield made
    finally:
        made.close()


def bound(host: str, port: int) -> socket.socket:
    """A socket that sends nothing in pieces and tells devices. Raises OSError."""
    made = socket.socket(family_of(host), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        whole(made)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def receive(made: socket.socket) -> Heard | None:
    """The next datagram; None where there is none, or an error."""
    try:
        octets, ancillary, _, source = made.recvmsg(2048, 64)
    except OSError:
        return None
    device = 0
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO) and len(data) >= _PKTINFO4.size:
            (device,) = _PKTINFO4.unpack_from(data)
        elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO) and len(data) >= _PKTINFO6.size:
            (device,) = _PKTINFO6.unpack_from(data)
    return Heard(octets, (canonical(source[0]), source[1]), device)


class Seen(NamedTuple):
    """How the server saw a port of ours; ``proof`` is empty where it gave none."""

    address: Address
    proof: bytes
    device: int


def ask(
    these: Slice, ports: Iterable[int], server: Address, name: str | None = None, padding: int = 0
) -> dict[int, Seen]:
    """STUN requests from ``ports`` and what came back; ``padding`` octets make them longer.

    ``server`` is numeric. Ports without an answer are missing.
    """
    wanted = [port for port in ports if port in these.sockets]
    ids = {port: secrets.token_bytes(stun.ID_OCTETS) for port in wanted}
    found: dict[int, Seen] = {}
    for _ in range(ROUNDS):
        lacking = [port for port in wanted if port not in found]
        if not lacking:
            break
        for first in range(0, len(lacking), BATCH):
            batch = lacking[first : first + BATCH]
            for port in batch:
                request = stun.request(ids[port], _attributes(name, padding))
                send(these.sockets[port], request, server)
            _collect(these, batch, ids, server, found)
    return found


def _attributes(name: str | None, padding: int) -> stun.Attributes:
    # A server answers with a NONCE, which must not make its answer the longer one.
    attributes = {} if name is None else {stun.USERNAME: name.encode()}
    return attributes if not padding else {**attributes, stun.PADDING: bytes(padding)}


def _collect(
    these: Slice,
    batch: list[int],
    ids: dict[int, bytes],
    server: Address,
    found: dict[int, Seen],
) -> None:
    for port, heard in these.hear(PATIENCE, lambda: all(port in found for port in batch)):
        if heard.source != server or port not in ids:
            continue
        try:
            address = stun.mapped_in(heard.octets, ids[port])
            proof = stun.parse(heard.octets)[2].get(stun.NONCE, b"")
        except stun.NotStun:
            continue
        found[port] = Seen(address, proof, heard.device)


def send(made: socket.socket, octets: bytes, to: Address) -> bool:
    """Send; False where that is refused at once."""
    try:
        made.sendto(octets, to)
    except OSError:
        return False
    return True


def probes(these: Slice, cookie: bytes, ports: Iterable[int], seconds: float) -> dict[int, Heard]:
    """The probes that come to ``ports`` within ``seconds`` of silence, by port."""
    wanted = set(ports)
    found: dict[int, Heard] = {}
    silence = time.monotonic() + seconds
    while wanted - found.keys() and time.monotonic() < silence:
        before = len(found)
        for port, heard in these.hear(0.1, lambda: not wanted - found.keys()):
            if read_probe(heard.octets, cookie) == port:
                found[port] = heard
        if len(found) > before:
            silence = time.monotonic() + seconds
    return found


def errors_come(host: str, closed: Address, seconds: float = 1.2) -> bool:
    """Whether a closed port of the other end makes an ICMP error that arrives here."""
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as made:
        made.bind((host, 0))
        made.connect(closed)
        for _ in range(ROUNDS):
            made.settimeout(seconds)
            try:
                # Those errors are rationed: one a second (icmp(7), icmp_ratelimit).
                made.send(b"\x52")
                made.recv(1)
            except ConnectionRefusedError:
                return True
            except OSError:
                continue
    return False


def told_too_big(made: socket.socket) -> bool:
    """Whether an ICMP error has said that a packet was too long for the path."""
    try:
        while True:
            _, ancillary, _, _ = made.recvmsg(64, 512, socket.MSG_ERRQUEUE)
            for _, kind, data in ancillary:
                if kind in (IP_RECVERR, IPV6_RECVERR) and len(data) >= 5:
                    number, origin = struct.unpack_from("=IB", data)
                    # 2 and 3: SO_EE_ORIGIN_ICMP and its IPv6 brother.
                    if number == errno.EMSGSIZE and origin in (2, 3):
                        return True
    except OSError:
        return False


def tell_errors(made: socket.socket) -> None:
    """Keep ICMP errors for ``told_too_big``."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
