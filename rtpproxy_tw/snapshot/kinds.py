"""How single values are written as JSON, and checked when they are read back.

A *kind* packs a value into what JSON has and unpacks it again. Unpacking trusts nothing: whatever
is not of the kind raises Damaged. Points in time are monotonic; read on another clock they are
moved by ``shift`` seconds.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as BadBase64
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from math import inf, isfinite
from operator import attrgetter
from re import sub
from typing import Any, NamedTuple

from rtpproxy_tw.addresses import canonical
from rtpproxy_tw.errors import RelayError

GREATEST = 1 << 63
"""No counter comes near it."""

LONGEST_TEXT = 65_536
"""Characters; no command is longer."""

LONGEST_BITMAP = 4096
"""Bits."""


class Damaged(RelayError):
    """A record is not what was written; the text says where."""


class Kind(NamedTuple):
    """``pack`` None: JSON takes the value as it is. ``unpack`` is given the shift of time."""

    pack: Callable[[Any], Any] | None
    unpack: Callable[[Any, float], Any]
    written: str = ""
    """An expression of ``value``: where it is true, ``pack`` leaves the value as it is."""
    taken: str = ""
    """One of ``value`` and ``shift``: where it is true, ``unpack`` does. See ``quick``."""


def _flag(value: Any, shift: float) -> bool:
    if value is True or value is False:
        return bool(value)
    raise Damaged(f"{value!r:.80} is neither true nor false")


def integer(low: int = -GREATEST, high: int = GREATEST) -> Kind:
    """Whole numbers from ``low`` to ``high``."""

    def unpack(value: Any, shift: float) -> int:
        if type(value) is int and low <= value <= high:
            return value
        raise Damaged(f"{value!r:.80} is no whole number from {low} to {high}")

    return Kind(None, unpack, taken=f"type(value) is int and {low} <= value <= {high}")


def _number(value: Any, shift: float) -> float:
    if type(value) in (int, float) and -GREATEST < value < GREATEST:
        return float(value)
    raise Damaged(f"{value!r:.80} is no number")


def _pack_time(value: float) -> float | str:
    return value if isfinite(value) else ("inf" if value > 0 else "-inf")


def _time(value: Any, shift: float) -> float:
    if type(value) in (int, float) and -GREATEST < value < GREATEST:
        # 0 stands for "not yet" in many places.
        return value + shift if value else 0.0
    if value == "inf":
        return inf
    if value == "-inf":
        return -inf
    raise Damaged(f"{value!r:.80} is no point in time")


def text(longest: int = LONGEST_TEXT) -> Kind:
    """Text of at most so many characters."""

    def unpack(value: Any, shift: float) -> str:
        if type(value) is str and len(value) <= longest:
            return value
        raise Damaged(f"{value!r:.80} is no text of at most {longest} characters")

    return Kind(None, unpack, taken=f"type(value) is str and len(value) <= {longest}")


def _pack_octets(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode("ascii")


def _octets(value: Any, shift: float) -> bytes:
    if type(value) is str and len(value) <= 2 * LONGEST_TEXT:
        try:
            return b64decode(value, validate=True)
        except (BadBase64, ValueError):
            pass
    raise Damaged(f"{value!r:.80} is no octets")


def _bitmap(value: Any, shift: float) -> int:
    if type(value) is str and 0 < len(value) <= LONGEST_BITMAP // 4:
        try:
            found = int(value, 16)
        except ValueError:
            found = -1
        if found >= 0:
            return found
    raise Damaged(f"{value!r:.80} is no bitmap")


@lru_cache(maxsize=8192)
def _is_host(host: str) -> bool:
    try:
        return canonical(host) == host
    except ValueError:
        return False


def _address(value: Any, shift: float) -> tuple[str, int]:
    if type(value) is list and len(value) == 2:
        host, port = value
        if type(host) is str and type(port) is int and 0 <= port <= 65535 and _is_host(host):
            return host, port
    raise Damaged(f"{value!r:.80} is no address")


def _host(value: Any, shift: float) -> str:
    if type(value) is str and _is_host(value):
        return value
    raise Damaged(f"{value!r:.80} is no numeric host")


def either(kind: Kind) -> Kind:
    """A value of ``kind``, or none."""
    pack, unpack, written, taken = kind

    def packed(value: Any) -> Any:
        return None if value is None else value if pack is None else pack(value)

    def unpacked(value: Any, shift: float) -> Any:
        return None if value is None else unpack(value, shift)

    return Kind(
        None if pack is None else packed,
        unpacked,
        written=f"value is None or {written}" if written else "value is None",
        taken=f"value is None or {taken}" if taken else "value is None",
    )


def listed(kind: Kind, most: int, into: Callable[[list[Any]], Any] = list) -> Kind:
    """At most ``most`` values of ``kind``, in what ``into`` makes of a list of them."""
    pack = kind.pack

    def packed(values: Sequence[Any]) -> list[Any]:
        return list(values) if pack is None else [pack(value) for value in values]

    take = _taker([kind], lambda each: [f"return [{each} for value0 in values]"])

    def unpacked(value: Any, shift: float) -> Any:
        if type(value) is not list or len(value) > most:
            raise Damaged(f"{value!r:.80} is no list of at most {most}")
        return into(take(value, shift))

    return Kind(packed, unpacked)


def row(*kinds: Kind, into: Callable[[list[Any]], Any] = tuple) -> Kind:
    """One value of each of ``kinds``, in what ``into`` makes of a list of them."""

    def packed(values: Sequence[Any]) -> list[Any]:
        return [
            value if kind.pack is None else kind.pack(value)
            for kind, value in zip(kinds, values, strict=True)
        ]

    names = "".join(f"value{number}, " for number in range(len(kinds)))
    take = _taker(kinds, lambda *each: [f"{names}= values", f"return [{', '.join(each)}]"])

    def unpacked(value: Any, shift: float) -> Any:
        if type(value) is not list or len(value) != len(kinds):
            raise Damaged(f"{value!r:.80} is no list of {len(kinds)}")
        return into(take(value, shift))

    return Kind(packed, unpacked)


Take = Callable[[list[Any], float], list[Any]]


def _taker(kinds: Sequence[Kind], body: Callable[..., list[str]]) -> Take:
    """A function of ``values`` and ``shift`` whose ``body`` has an expression for each of kinds.

    Those are of ``value0``, ``value1`` …; made at the first need, as a start needs none.
    """
    made: Take | None = None

    def take(values: list[Any], shift: float) -> list[Any]:
        nonlocal made
        if made is None:
            known = {f"unpack{number}": kind.unpack for number, kind in enumerate(kinds)}
            lines = body(*(taking(kind, str(number)) for number, kind in enumerate(kinds)))
            made = spelled_out("values, shift", lines, known)
        return made(values, shift)

    return take


def taking(kind: Kind, number: str) -> str:
    """An expression: what ``valueN`` is when it is unpacked by ``unpackN``."""
    unpacked = f"unpack{number}(value{number}, shift)"
    if not kind.taken:
        return unpacked
    taken = sub(r"\bvalue\b", f"value{number}", kind.taken)
    return f"(value{number} if {taken} else {unpacked})"


def spelled_out(parameters: str, lines: Sequence[str], known: dict[str, Any]) -> Any:
    """A function made of the ``lines`` of its body, in which ``known`` names are known."""
    exec("\n ".join([f"def made({parameters}):", *lines]), known)
    return known["made"]


def as_it_is(kind: Kind) -> Kind:
    """The same, where the values are tuples of what JSON has, which it writes as lists."""
    return kind._replace(pack=None)


def one_of(words: type[Enum]) -> Kind:
    """A member of an enumeration, by its value."""

    def unpack(value: Any, shift: float) -> Enum:
        try:
            return words(value)
        except (ValueError, TypeError):
            raise Damaged(f"{value!r:.80} is no {words.__name__}") from None

    return Kind(attrgetter("value"), unpack)


FLAG = Kind(None, _flag, taken="value is True or value is False")
INTEGER = integer()
COUNT = integer(0)
_IS_NUMBER = f"type(value) is float and -{GREATEST} < value < {GREATEST}"
NUMBER = Kind(None, _number, taken=_IS_NUMBER)
TIME = Kind(
    _pack_time,
    _time,
    written=f"-{GREATEST} < value < {GREATEST}",
    # On the same clock, as it nearly always is.
    taken=f"not shift and {_IS_NUMBER}",
)
"""A point in monotonic time, infinities included."""
TEXT = text()
OCTETS = Kind(_pack_octets, _octets)
BITMAP = Kind(lambda value: f"{value:x}", _bitmap)
MOMENT = TIME._replace(pack=None)
"""A finite one."""
ADDRESS = Kind(None, _address)
HOST = Kind(None, _host)
