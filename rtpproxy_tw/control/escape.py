"""What came from the network, made fit for a log line."""

from __future__ import annotations

MAX_SHOWN = 256
"""Characters of a command or reply that are logged; more says nothing and fills disks."""

MAX_TOKEN = 64
"""Characters of one token quoted in a sentence about it."""


def escaped(data: bytes, limit: int = MAX_SHOWN) -> str:
    """``data`` as one line: control and invisible characters escaped, at most ``limit`` long.

    Bytes that are no UTF-8 become ``\\xNN``; what was cut off is marked by an ellipsis.
    """
    text = data[: limit + 1].decode("utf-8", "backslashreplace")
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    if len(data) <= limit and len(shown) <= limit:
        return shown
    return shown[:limit] + "…"


def token(data: bytes) -> str:
    """A token as it is quoted in an error's sentence."""
    return f"'{escaped(data, MAX_TOKEN)}'"


class Escaped:
    """Bytes in a log event, escaped only if the event is really written."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __contains__(self, octets: bytes) -> bool:
        return octets in self._data

    def __str__(self) -> str:
        return escaped(self._data)
