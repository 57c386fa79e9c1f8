"""Messages between two relays on one host, with descriptors (SCM_RIGHTS) and of any length.

A message is one packet of a UNIX socket of the kind SEQPACKET: a JSON object that says what it is,
and descriptors. What may be long, its *body*, is in memory that the first descriptor stands for
(memfd_create(2)). Calls wait, though never longer than ``patience``: while a relay hands over, it
is not to do anything else.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rtpproxy_tw.errors import RelayError

MOST_DESCRIPTORS = 252
"""In one message besides the body; the kernel takes 253 (SCM_MAX_FD)."""

LONGEST_HEAD = 65_536
"""Octets."""

LONGEST_BODY = 1 << 28
"""Octets: more than all there is to tell of 65,536 ports."""

GONE = "the other process is gone, its log says why"

PATIENCE = 10.0
"""Seconds for one message: the other side may share its processor with much else."""


class HandoverError(RelayError):
    """The other relay cannot, or does not, go on; the text says why."""


@dataclass(slots=True)
class Message:
    """What came. Its descriptors belong to whoever takes them out."""

    kind: str
    fields: dict[str, Any]
    body: bytes = b""
    descriptors: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close what nobody has taken out. Idempotent."""
        while self.descriptors:
            os.close(self.descriptors.pop())


class Channel:
    """One end."""

    def __init__(self, sock: socket.socket, patience: float = PATIENCE) -> None:
        sock.settimeout(patience)
        self._socket = sock

    def fileno(self) -> int:
        """Its descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Say no more; the other side learns of it. Idempotent."""
        self._socket.close()

    def send(
        self, kind: str, body: bytes = b"", descriptors: Sequence[int] = (), **fields: Any
    ) -> None:
        """Send a message. Raises HandoverError."""
        head = json.dumps({"kind": kind, "body": bool(body), **fields}).encode("ascii")
        try:
            if body:
                with _memory(body) as memory:
                    self._send(head, [memory.fileno(), *descriptors])
            else:
                self._send(head, list(descriptors))
        except (OSError, ValueError) as error:
            raise HandoverError(f"{kind!r} could not be sent: {error}") from error

    def _send(self, head: bytes, descriptors: list[int]) -> None:
        if len(head) > LONGEST_HEAD:
            raise ValueError("too long")
        if descriptors:
            socket.send_fds(self._socket, [head], descriptors)
        else:
            self._socket.send(head)

    def receive(self, *kinds: str) -> Message:
        """The next message, which must be of one of ``kinds``. Raises HandoverError."""
        try:
            head, descriptors, flags = receive_with_descriptors(self._socket, LONGEST_HEAD)
        except ConnectionError as error:
            raise HandoverError(GONE) from error
        except OSError as error:
            raise HandoverError(f"nothing came: {error}") from error
        message = Message("", {}, b"", descriptors)
        try:
            if not head:
                raise HandoverError(GONE)
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise HandoverError("a message was cut: too few descriptors may be open")
            self._read(message, head)
        except BaseException:
            message.close()
            raise
        if message.kind == "refused":
            message.close()
            raise HandoverError(str(message.fields.get("why", "for no reason given"))[:1000])
        if message.kind not in kinds:
            message.close()
            raise HandoverError(f"{message.kind!r} came in place of {' or '.join(kinds)}")
        return message

    def _read(self, message: Message, head: bytes) -> None:
        try:
            fields = json.loads(head)
            message.kind, has_body = str(fields.pop("kind")), fields.pop("body")
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            raise HandoverError("what came is no message") from error
        message.fields = fields
        if has_body:
            if not message.descriptors:
                raise HandoverError("a message came without its body")
            message.body = _content(message.descriptors.pop(0))

    def refuse(self, why: str) -> None:
        """Tell the other side why this one does not go on; whether it hears is not known."""
        with suppress(HandoverError):
            self.send("refused", why=why[:1000])


def receive_with_descriptors(
    sock: socket.socket, octets: int, flags: int = 0
) -> tuple[bytes, list[int], int]:
    """A message, its descriptors, which no program that is started inherits, and its flags.

    In place of ``socket.recv_fds``, which passes no flags on to the kernel. Raises OSError.
    """
    found = array.array("i")
    room = socket.CMSG_SPACE((MOST_DESCRIPTORS + 1) * found.itemsize)
    head, ancillary, told, _ = sock.recvmsg(octets, room, flags | socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return head, list(found), told


def _memory(body: bytes) -> Any:
    made = os.fdopen(os.memfd_create("handover", os.MFD_CLOEXEC), "r+b", buffering=0)
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[made.write(rest) :]
    except BaseException:
        made.close()
        raise
    return made


def _content(descriptor: int) -> bytes:
    try:
        length = os.fstat(descriptor).st_size
        if length > LONGEST_BODY:
            raise HandoverError(f"a body of {length} octets")
        found = b""
        while len(found) < length:
            part = os.pread(descriptor, length - len(found), len(found))
            if not part:
                raise HandoverError("a body is shorter than it should be")
            found += part
        return found
    except OSError as error:
        raise HandoverError(f"a body cannot be read: {error}") from error
    finally:
        os.close(descriptor)
