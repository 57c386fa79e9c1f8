"""Netlink messages, written and read (RFC 3549 sections 2.3 and 3.1). Pure.

A message is a header, a fixed body per kind, and attributes; all numbers are in host order.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import NamedTuple

HEADER = Struct("IHHII")
ATTRIBUTE = Struct("HH")

ERROR = 2
DONE = 3

REQUEST = 0x01
ACKNOWLEDGE = 0x04
EXCLUSIVE = 0x200
CREATE = 0x400
DUMP = 0x300

_FLAGS_OF_KIND = 0x3FFF
"""Without "nested" and "in network order"."""


class Message(NamedTuple):
    """One message without its header."""

    kind: int
    sequence: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded to four octets."""
    padding = -len(value) % 4
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(padding)


def attributes(data: bytes) -> dict[int, bytes]:
    """By kind; of several of one kind the last. What is damaged ends the list."""
    found = {}
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        size, kind = ATTRIBUTE.unpack_from(data, at)
        if not ATTRIBUTE.size <= size <= len(data) - at:
            break
        found[kind & _FLAGS_OF_KIND] = data[at + ATTRIBUTE.size : at + size]
        at += size + 3 & ~3
    return found


def request(kind: int, sequence: int, flags: int, body: bytes) -> bytes:
    """A whole message."""
    return HEADER.pack(HEADER.size + len(body), kind, flags | REQUEST, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """Those of one datagram. What is damaged ends it."""
    at = 0
    while at + HEADER.size <= len(data):
        size, kind, _flags, sequence, _port = HEADER.unpack_from(data, at)
        if not HEADER.size <= size <= len(data) - at:
            return
        yield Message(kind, sequence, data[at + HEADER.size : at + size])
        at += size + 3 & ~3


def raise_for(message: Message) -> None:
    """Raises OSError where it is an error, and not the acknowledgement of success."""
    code = -int.from_bytes(message.body[:4], "little", signed=True)
    if code:
        raise OSError(code, os.strerror(code))


def number(found: Mapping[int, bytes], kind: int) -> int:
    """The attribute as an unsigned number, 0 where there is none."""
    return int.from_bytes(found.get(kind, b""), "little")


def text(found: Mapping[int, bytes], kind: int) -> str:
    """The attribute as text without its final zero."""
    return found.get(kind, b"").rstrip(b"\0").decode(errors="replace")


NOTHING_THERE = frozenset((errno.ENOENT, errno.ENODEV, errno.EINVAL))
"""What the kernel says where there is nothing to remove."""
