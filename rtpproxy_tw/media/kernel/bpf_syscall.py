"""The bpf(2) system call by ctypes: maps, programs, links, test runs. Nothing of libbpf.

Attributes are packed by hand after ``union bpf_attr`` of ``linux/bpf.h``; the kernel takes shorter
ones than it knows as if the rest were zero, so what is here fits every kernel.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from typing import NamedTuple

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "armv7l": 386}
"""Of the system call, by machine."""

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE = range(4)
_PROG_LOAD = 5
_PROG_TEST_RUN = 10
_PROG_QUERY = 16
_LINK_CREATE = 28

HASH = 1
ARRAY = 2
RINGBUF = 27

MMAPABLE = 1 << 10

SCHED_CLS = 3
"""The program type of TC."""

TCX_INGRESS, TCX_EGRESS = 46, 47

MESSAGES = 1 << 16
"""Octets kept of what the verifier says about a refused program."""

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """The call's result, and the attributes as the kernel left them. Raises OSError."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"no number of bpf(2) known for {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = _syscall(number, command, ctypes.byref(buffer), ctypes.c_uint(len(attributes)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result, buffer.raw


def _name(text: str) -> bytes:
    return text.encode()[:15]


class Map:
    """One map; ``descriptor`` refers to it."""

    def __init__(
        self,
        kind: int,
        key: int,
        value: int,
        entries: int,
        flags: int = 0,
        name: str = "",
        descriptor: int | None = None,
    ) -> None:
        """``key`` and ``value`` are sizes in octets. Raises OSError.

        ``descriptor``: of a map that is there already and was made the same way.
        """
        if descriptor is None:
            attributes = struct.pack("7I16s", kind, key, value, entries, flags, 0, 0, _name(name))
            descriptor, _ = bpf(_MAP_CREATE, attributes)
        self.descriptor = descriptor
        self.size = entries * (value + 7 & ~7)
        # One buffer for single elements: an update then allocates nothing.
        self._key = ctypes.create_string_buffer(max(key, 1))
        self._value = ctypes.create_string_buffer(max(value, 1))
        self._attributes = struct.pack(
            "IIQQQ",
            self.descriptor,
            0,
            ctypes.addressof(self._key),
            ctypes.addressof(self._value),
            0,
        )

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Put ``value`` at ``key``. Raises OSError: E2BIG where the map is full."""
        self._key.raw, self._value.raw = key, value
        bpf(_MAP_UPDATE, self._attributes)

    def __getitem__(self, key: bytes) -> bytes:
        """A copy. Raises KeyError."""
        self._key.raw = key
        try:
            bpf(_MAP_LOOKUP, self._attributes)
        except FileNotFoundError:
            raise KeyError(key) from None
        return self._value.raw

    def __delitem__(self, key: bytes) -> None:
        """Raises KeyError."""
        self._key.raw = key
        try:
            # The kernel insists that what follows the key in the attributes is zero.
            bpf(_MAP_DELETE, self._attributes[:16])
        except FileNotFoundError:
            raise KeyError(key) from None

    def map(self) -> mmap.mmap:
        """The elements of a mappable array as memory. Raises OSError."""
        size = -(-self.size // mmap.PAGESIZE) * mmap.PAGESIZE
        return mmap.mmap(self.descriptor, size)

    def close(self) -> None:
        """Let go of it. The map lives as long as a program or a mapping uses it."""
        os.close(self.descriptor)


def load(kind: int, code: bytes, name: str, licence: str) -> int:
    """The descriptor of a loaded program. Raises OSError, with the verifier's last words."""
    instructions = ctypes.create_string_buffer(code, len(code))
    text = ctypes.create_string_buffer(licence.encode())

    def attempt(messages: ctypes.Array[ctypes.c_char] | None) -> int:
        attributes = struct.pack(
            "IIQQIIQII16s",
            kind,
            len(code) // 8,
            ctypes.addressof(instructions),
            ctypes.addressof(text),
            0 if messages is None else 1,
            0 if messages is None else len(messages),
            0 if messages is None else ctypes.addressof(messages),
            0,
            0,
            _name(name),
        )
        return bpf(_PROG_LOAD, attributes)[0]

    try:
        return attempt(None)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS):
            raise
        number = error.errno or 0
    messages = ctypes.create_string_buffer(MESSAGES)
    try:
        return attempt(messages)
    except OSError:
        said = messages.value.decode(errors="replace").strip().splitlines()[-3:]
        raise OSError(number, " / ".join([os.strerror(number), *said])) from None


def attach(program: int, device: int, where: int = TCX_INGRESS) -> int:
    """The descriptor of a link; the program is attached while it is open. Raises OSError."""
    return bpf(_LINK_CREATE, struct.pack("IIII", program, device, where, 0) + bytes(48))[0]


def attached(device: int, where: int) -> int:
    """How many programs are attached there. Raises OSError: EPERM without CAP_NET_ADMIN, EINVAL
    where the kernel knows of no such place."""
    _, told = bpf(_PROG_QUERY, struct.pack("IIII", device, where, 0, 0) + bytes(48))
    return int(struct.unpack_from("I", told, 24)[0])


class Run(NamedTuple):
    """What a program did with a packet."""

    verdict: int
    packet: bytes
    ns: int
    """The mean time of one run."""


def run(program: int, packet: bytes, *, device: int = 0, mark: int = 0, times: int = 1) -> Run:
    """Give the program an Ethernet frame, as if received on ``device`` (0: lo). Raises OSError."""
    came = ctypes.create_string_buffer(packet, len(packet))
    left = ctypes.create_string_buffer(len(packet) + 256)
    # struct __sk_buff: the third word is the mark, the eleventh the device it came in on.
    context = bytearray(192)
    struct.pack_into("I", context, 8, mark)
    struct.pack_into("I", context, 36, device)
    around = ctypes.create_string_buffer(bytes(context), len(context))
    attributes = struct.pack(
        "IIIIQQIIIIQQ",
        program,
        0,
        len(packet),
        len(left),
        ctypes.addressof(came),
        ctypes.addressof(left),
        times,
        0,
        len(context) if device or mark else 0,
        0,
        ctypes.addressof(around) if device or mark else 0,
        0,
    )
    _, told = bpf(_PROG_TEST_RUN, attributes)
    verdict, _, length = struct.unpack_from("III", told, 4)
    (ns,) = struct.unpack_from("I", told, 36)
    return Run(ctypes.c_int(verdict).value, left.raw[:length], ns)
