"""What a process that died left: descriptors somebody else kept, and what is written in some.

Nothing of it is trusted: a record that is damaged, a socket that is none, a descriptor that nobody
speaks of is left out, and all the rest is taken over.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.continuity import blocks
from rtpproxy_tw.continuity.channel import LONGEST_BODY, Message
from rtpproxy_tw.continuity.giving import PROTOCOL, boot
from rtpproxy_tw.continuity.heirlooms import KERNEL, Heirlooms
from rtpproxy_tw.continuity.safe import is_name
from rtpproxy_tw.continuity.taking import Taker
from rtpproxy_tw.continuity.testament import VERSION
from rtpproxy_tw.session import SessionKey, Side
from rtpproxy_tw.snapshot import records
from rtpproxy_tw.snapshot.kinds import Damaged

FIRST = 3
"""Of the descriptors that are passed (sd_listen_fds(3))."""

LISTENER = "listener "
"""What listening sockets are deposited for, before their names."""

Place = tuple[int, str, int]
"""Family, host and port."""


def passed(environment: Mapping[str, str], pid: int) -> list[tuple[str, int]]:
    """The descriptors that the ``environment`` says were passed to us, and their names."""
    if environment.get("LISTEN_PID") != str(pid):
        return []
    number = environment.get("LISTEN_FDS", "")
    if not number.isdecimal() or len(number) > 7:
        return []
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    return [(name, FIRST + index) for index, name in enumerate(names[: int(number)])]


class Inheritance:
    """What is behind the descriptors ``named``, as far as their names are the safe's."""

    _log = Logger()

    def __init__(self, named: Iterable[tuple[str, int]] = ()) -> None:
        """Those descriptors are ours from now on."""
        self.names: set[str] = set()
        self._sockets: dict[Place, tuple[str, int]] = {}
        self._others: dict[str, int] = {}
        self._deposits: dict[str, int] = {}
        self._wholes: list[tuple[str, Any]] = []
        self._sessions: dict[SessionKey, tuple[float, dict[str, Any]]] = {}
        memories: list[bytes] = []
        for name, descriptor in named:
            if not is_name(name):
                continue
            with suppress(OSError):
                os.set_inheritable(descriptor, False)
                self.names.add(name)
                self._sort(name, descriptor, memories)
        self._read(memories)

    def __len__(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def deposit(self, purpose: str) -> int | None:
        """The descriptor that was deposited for it, once; it is whoever's who asks."""
        return self._deposits.pop(purpose, None)

    @property
    def purposes(self) -> list[str]:
        """Of all deposits."""
        return list(self._deposits)

    def whole(self, name: str) -> Any:
        """What was written under that name last; None where there is nothing."""
        found = [value for each, value in self._wholes if each == name]
        return found[-1] if found else None

    def heirlooms(self) -> Heirlooms:
        """The listening sockets, which are its own from now on."""
        names = [each for each in self._deposits if each.startswith((LISTENER, KERNEL))]
        found = {each.removeprefix(LISTENER): self._deposits.pop(each) for each in names}
        return Heirlooms(found, self.whole("shape"))

    def bequeath(self, taker: Taker, now: float) -> None:
        """Have ``taker``, who is to be lenient, go on with all of it. Raises nothing."""
        taker.begin({"protocol": PROTOCOL, "clock": now, "boot": boot()})
        for name, value in self._wholes:
            if value is None:
                continue  # there was nothing to be said
            body = records.to_line({"value": value})
            taker.handle(Message("whole", {"name": name}, body))
        for at, record in self._sessions.values():
            descriptors = self._belonging(record)
            parts = record.setdefault("parts", {})
            if type(parts) is dict:
                parts["written"] = at
            taker.session(record, descriptors)
        taker.link()

    def close(self) -> None:
        """Let go of what nobody took. Idempotent."""
        for descriptor in (
            *(descriptor for _, descriptor in self._sockets.values()),
            *self._others.values(),
            *self._deposits.values(),
        ):
            with suppress(OSError):
                os.close(descriptor)
        self._sockets.clear()
        self._others.clear()
        self._deposits.clear()

    # Finding out what there is.

    def _sort(self, name: str, descriptor: int, memories: list[bytes]) -> None:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(mode) and (place := _place(descriptor)) is not None:
            if place not in self._sockets:
                self._sockets[place] = name, descriptor
                return
        elif stat.S_ISREG(mode):
            memories.append(_content(descriptor))
        elif name not in self._others:
            self._others[name] = descriptor
            return
        os.close(descriptor)

    def _read(self, memories: Sequence[bytes]) -> None:
        by_age = []
        for content in memories:
            values = self._values(content)
            head = values[0] if values else {}
            if head.get("kind") != "memory" or head.get("v") != VERSION:
                continue
            if head.get("boot") == boot() and type(head.get("began")) in (int, float):
                by_age.append((head["began"], values[1:]))
        for _, values in sorted(by_age, key=lambda found: found[0]):
            for value in values:
                self._sort_record(value)

    def _values(self, content: bytes) -> list[dict[str, Any]]:
        values = []
        for found in sorted(blocks.read(content), key=lambda found: (found.number > 0, found)):
            try:
                value = records.from_line(found.octets)
                if type(value) is not dict:
                    raise Damaged("no object")
                values.append(value)
            except Damaged as damage:
                self._left_out(damage)
        return values

    def _sort_record(self, value: dict[str, Any]) -> None:
        match value:
            case {"kind": "session", "at": int() | float() as at, "record": dict(record)}:
                with suppress(Damaged):
                    self._sessions[_key(record.get("key"))] = at, record
            case {"kind": "ended", "key": list(key)}:
                with suppress(Damaged):
                    self._sessions.pop(_key(key), None)
            case {"kind": "whole", "name": str(name), "value": found}:
                self._wholes.append((name, found))
            case {"kind": "deposit", "purpose": str(purpose), "name": str(name)}:
                descriptor = self._named(name)
                if descriptor is None:
                    return
                former = self._deposits.pop(purpose, None)
                if former is not None:
                    os.close(former)
                self._deposits[purpose] = descriptor
            case _:
                self._left_out(Damaged(f"{value!r:.80} is not known here"))

    def _named(self, name: str) -> int | None:
        if name in self._others:
            return self._others.pop(name)
        # A UDP control socket looks like one of a session.
        for place, (other, descriptor) in self._sockets.items():
            if other == name:
                del self._sockets[place]
                return descriptor
        return None

    def _belonging(self, record: dict[str, Any]) -> list[int]:
        """The sockets of that session, which the record then names."""
        descriptors: list[int] = []
        media: dict[str, list[int]] = {}
        kept: dict[str, str] = {}
        for side in Side:
            leg = record.get(side.value)
            places = _places(leg)
            found = [self._sockets.pop(place) for place in places if place in self._sockets]
            if found and len(found) == len(places):
                media[side.value] = [len(descriptors), len(descriptors) + 1]
                kept[side.value] = found[0][0]
            descriptors += [descriptor for _, descriptor in found]
        parts = record.setdefault("parts", {})
        if type(parts) is dict:
            parts["media"], parts["kept"] = media, kept
        record["descriptors"] = len(descriptors)
        return descriptors

    def _left_out(self, why: Damaged) -> None:
        self._log.error("left behind by a crash, and not gone on with: {why}", why=why)


def _place(descriptor: int) -> Place | None:
    """Where a UDP socket is bound; None for whatever is none, or listens for commands."""
    with socket.socket(fileno=os.dup(descriptor)) as made:
        if made.type != socket.SOCK_DGRAM or made.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        host, port = made.getsockname()[:2]
        return int(made.family), host, port


def _places(leg: Any) -> list[Place]:
    match leg:
        case {"port": int(port), "local": [str(host), *_]} if port:
            family = int(socket.AF_INET6 if ":" in host else socket.AF_INET)
            return [(family, host, port), (family, host, port + 1)]
    return []


def _key(value: Any) -> SessionKey:
    match value:
        case [str(call_id), str(from_tag)]:
            return SessionKey(call_id, from_tag)
    raise Damaged("a session without a key")


def _content(descriptor: int) -> bytes:
    length = os.fstat(descriptor).st_size
    return os.pread(descriptor, length, 0) if length <= LONGEST_BODY else b""
