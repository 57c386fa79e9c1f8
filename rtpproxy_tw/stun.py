"""STUN Binding (RFC 8489), as far as one's own public address is learnt by it: octets and values.

Neither sockets nor time: whoever asks brings the transaction id, which must be random (section 6),
since it is all that tells an answer from an invention.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

from rtpproxy_tw.addresses import Address

PORT = 3478
"""Where servers listen (section 18.6)."""

MAGIC = 0x2112A442
ID_OCTETS = 12
HEADER = struct.Struct("!HHI12s")
"""Type, length of what follows, magic cookie, transaction id (section 5)."""

REQUEST, RESPONSE = 0x0001, 0x0101
"""Binding request and success response."""

USERNAME, NONCE, MAPPED, XOR_MAPPED, PADDING, SOFTWARE = (
    0x0006,
    0x0015,
    0x0001,
    0x0020,
    0x0026,
    0x8022,
)
"""Attributes (section 14; PADDING is RFC 5780's)."""

RESEND = (0.5, 1.0, 2.0)
"""Seconds after which a request is sent again, and at last given up (section 6.2.1 goes on for
39.5 s, which nobody here would wait)."""

Attributes = dict[int, bytes]


class NotStun(ValueError):
    """Octets that are no STUN message, or not of the kind that was looked for."""


def message(kind: int, transaction: bytes, attributes: Attributes) -> bytes:
    """A whole message. ``transaction`` has 12 octets."""
    body = b"".join(
        struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)
        for number, value in attributes.items()
    )
    return HEADER.pack(kind, len(body), MAGIC, transaction) + body


def parse(octets: bytes) -> tuple[int, bytes, Attributes]:
    """Type, transaction id and attributes, of each the first. Raises NotStun."""
    if len(octets) < HEADER.size:
        raise NotStun("too short")
    kind, length, magic, transaction = HEADER.unpack_from(octets)
    if kind & 0xC000 or magic != MAGIC or length % 4 or length != len(octets) - HEADER.size:
        raise NotStun("not a header")
    found: Attributes = {}
    at = HEADER.size
    while at < len(octets):
        number, size = struct.unpack_from("!HH", octets, at)
        at += 4
        if at + size > len(octets):
            raise NotStun("an attribute is cut")
        found.setdefault(number, octets[at : at + size])
        at += size + -size % 4
    return kind, transaction, found


def request(transaction: bytes, attributes: Attributes | None = None) -> bytes:
    """A Binding request."""
    return message(REQUEST, transaction, attributes or {})


def response(transaction: bytes, source: Address, attributes: Attributes | None = None) -> bytes:
    """The success response to a request that came from ``source``."""
    mapped = {XOR_MAPPED: _pack(source, transaction)}
    return message(RESPONSE, transaction, {**mapped, **(attributes or {})})


def mapped_in(octets: bytes, transaction: bytes) -> Address:
    """The address that a response says our request came from. Raises NotStun."""
    kind, told, attributes = parse(octets)
    if kind != RESPONSE or told != transaction:
        raise NotStun("not the response to this request")
    if XOR_MAPPED in attributes:
        return _unpack(attributes[XOR_MAPPED], transaction)
    if MAPPED in attributes:  # servers of RFC 3489
        return _unpack(attributes[MAPPED], None)
    raise NotStun("a response without an address")


def _pack(address: Address, transaction: bytes) -> bytes:
    host = ip_address(address[0])
    family = 1 if host.version == 4 else 2
    octets = _mixed(host.packed, transaction)
    return struct.pack("!BBH", 0, family, address[1] ^ (MAGIC >> 16)) + octets


def _unpack(value: bytes, transaction: bytes | None) -> Address:
    if len(value) not in (8, 20) or value[1] != (1 if len(value) == 8 else 2):
        raise NotStun("not an address")
    (port,) = struct.unpack_from("!H", value, 2)
    octets = value[4:]
    if transaction is not None:
        port ^= MAGIC >> 16
        octets = _mixed(octets, transaction)
    return str(ip_address(octets)), port


def _mixed(octets: bytes, transaction: bytes) -> bytes:
    """XOR with the magic cookie and the transaction id (section 14.2); undoes itself."""
    return bytes(
        one ^ other
        for one, other in zip(octets, struct.pack("!I", MAGIC) + transaction, strict=False)
    )


def server(text: str) -> Address:
    """``HOST``, ``HOST:PORT``, ``[ADDRESS]:PORT``. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.endswith("]")):
        host, port = text, str(PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or not host.isprintable() or " " in host or "/" in host:
        raise ValueError(f"{text}: must be HOST or HOST:PORT")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{text}: {port} is not a port")
    return host, int(port)
