"""How objects are written as JSON: a table of attributes and their kinds for each class.

A reader leaves attributes that are missing as a new object has them, and passes over words it does
not know. So a record may be read by the version before and by the one after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rtpproxy_tw.snapshot.kinds import Damaged, Kind
from rtpproxy_tw.snapshot.quick import Field, reader, writer


class Shape:
    """Writes objects that ``make`` makes new ones of. ``left_out``: attributes not written."""

    def __init__(
        self,
        make: Callable[[], Any],
        fields: dict[str, Kind],
        left_out: Iterable[str] = (),
    ) -> None:
        self._make = make
        self.left_out = frozenset(left_out)
        self.names = tuple(fields)
        # Attributes of the implementation are written without their underscore.
        self._fields = [Field(name, name.lstrip("_"), kind) for name, kind in fields.items()]
        # Made at the first need: a start needs none of them.
        self._write: Callable[[Any], dict[str, Any]] | None = None
        self._read: Callable[[Any, dict[str, Any], float], None] | None = None

    def pack(self, thing: Any) -> dict[str, Any]:
        """What JSON can be made of."""
        write = self._write
        if write is None:
            write = self._write = writer(self._fields)
        return write(thing)

    def fill(self, thing: Any, record: Any, shift: float) -> Any:
        """``thing`` with what ``record`` says. Raises Damaged."""
        if type(record) is not dict:
            raise Damaged(f"{record!r:.80} is no object")
        read = self._read
        if read is None:
            read = self._read = reader(self._fields)
        try:
            read(thing, record, shift)
        except Damaged:
            self._say_where(record, shift)
            raise
        return thing

    def _say_where(self, record: dict[str, Any], shift: float) -> None:
        for _, word, kind in self._fields:
            if word in record:
                try:
                    kind.unpack(record[word], shift)
                except Damaged as damage:
                    raise Damaged(f"{word}: {damage}") from None

    def unpack(self, record: Any, shift: float) -> Any:
        """A new object as ``record`` says. Raises Damaged."""
        return self.fill(self._make(), record, shift)

    @property
    def kind(self) -> Kind:
        """As a value of other shapes."""
        return Kind(self.pack, self.unpack)
