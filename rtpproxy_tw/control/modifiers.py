"""The letters behind ``U`` and ``L``, and the parameters some of them carry.

A parameter is read as far as its characters allow, then the next letter follows at once:
``Uc0,8z20a`` is ``c0,8``, ``z20`` and ``a``.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache

from rtpproxy_tw.commands import (
    LocalByHost,
    LocalByLabel,
    LocalByRoute,
    LocalChoice,
    MediaOptions,
)
from rtpproxy_tw.control.escape import token
from rtpproxy_tw.control.remote import numeric
from rtpproxy_tw.control.tokens import integer, text
from rtpproxy_tw.errors import CommandError

MAX_PACKET_MS = 999

_LIST = re.compile(rb"[0-9,]+")
_NUMBER = re.compile(rb"[+-]?[0-9]+")
_HOST = re.compile(rb"(?P<v4>[0-9.]+)|\[(?P<v6>[0-9a-fA-F:]+)\]")
_LABEL = re.compile(rb"\{([^}]+)\}")


@lru_cache(maxsize=256)
def media_options(letters: bytes, *, bridging: bool) -> MediaOptions:
    """What ``letters`` ask for. Raises CommandError 11 to 16, 31, 32 or 35.

    Remembered, as a SIP proxy writes the same few combinations all day.
    """
    return _Modifiers(letters, bridging).read()


class _Modifiers:
    """Reads the letters from left to right."""

    __slots__ = ("_at", "_bridging", "_letters", "codecs", "local", "packet_ms", "sides")

    def __init__(self, letters: bytes, bridging: bool) -> None:
        self._letters = letters
        self._at = 0
        self._bridging = bridging
        self.codecs: tuple[int, ...] | None = None
        self.local: LocalChoice | None = None
        self.packet_ms = 0
        self.sides: tuple[str, ...] = ()

    def read(self) -> MediaOptions:
        asymmetric: bool | None = None
        flags = set()
        while self._at < len(self._letters):
            letter = self._letters[self._at : self._at + 1].lower()
            self._at += 1
            match letter:
                case b"a" | b"s":
                    asymmetric = letter == b"a"
                case b"w" | b"n" | b"6":
                    flags.add(letter)
                case b"e" | b"i":
                    self._side(letter)
                case b"c":
                    self._codecs()
                case b"z":
                    self._repacketise()
                case b"l":
                    self._local()
                case b"r":
                    self._route()
                case _:
                    raise CommandError(
                        35, f"unknown modifier {token(letter)} in {token(self._letters)}"
                    )
        return MediaOptions(
            asymmetric=asymmetric,
            weak=b"w" in flags,
            family=socket.AF_INET6 if b"6" in flags else socket.AF_INET,
            local=self.local,
            sides=self.sides,
            new_port=b"n" in flags,
            codecs=self.codecs,
            packet_ms=self.packet_ms,
        )

    def _parameter(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self._letters, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _rest(self) -> str:
        return token(self._letters[self._at :])

    def _side(self, letter: bytes) -> None:
        code = 11 if letter == b"e" else 12
        if not self._bridging:
            raise CommandError(code, f"modifier {token(letter)}, but no bridging pair is set up")
        if len(self.sides) == 2:
            raise CommandError(code, f"modifier {token(letter)} names a third side")
        self.sides += (letter.decode(),)

    def _codecs(self) -> None:
        found = self._parameter(_LIST)
        if found is None or self.codecs is not None:
            why = "given twice" if self.codecs is not None else f"without a list: {self._rest()}"
            raise CommandError(14, f"modifier 'c' {why}")
        # A payload type has three digits at most; whatever is longer can match nothing.
        items = (item for item in found[0].split(b",") if 0 < len(item) <= 3)
        self.codecs = tuple(int(item) for item in items)

    def _repacketise(self) -> None:
        found = self._parameter(_NUMBER)
        value = integer(found[0]) if found is not None else None
        if value is None or not 1 <= value <= MAX_PACKET_MS:
            given = token(found[0]) if found is not None else self._rest()
            raise CommandError(13, f"modifier 'z' wants 1 to {MAX_PACKET_MS}, got {given}")
        self.packet_ms = value

    def _local(self) -> None:
        label = self._parameter(_LABEL)
        if label is not None:
            self.local = LocalByLabel(text(label[1]))
        else:
            self.local = LocalByHost(self._host("l", missing=15, wrong=31))

    def _route(self) -> None:
        self.local = LocalByRoute(self._host("r", missing=16, wrong=32))

    def _host(self, letter: str, *, missing: int, wrong: int) -> str:
        found = self._parameter(_HOST)
        if found is None:
            raise CommandError(missing, f"modifier '{letter}' without address: {self._rest()}")
        if found["v4"] is not None:
            host = numeric(found["v4"], socket.AF_INET)
        else:
            host = numeric(found["v6"], socket.AF_INET6)
        if host is None:
            raise CommandError(wrong, f"modifier '{letter}' with the bad address {token(found[0])}")
        return host
