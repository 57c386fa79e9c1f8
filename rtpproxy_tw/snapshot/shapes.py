"""How objects are written as JSON: a table of attributes and their kinds for each class.

A reader leaves attributes that are missing as a new object has them, and passes over words it does
not know. So a record may be read by the version before and by the one after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any

from rtpproxy_tw.snapshot.kinds import Damaged, Kind
from rtpproxy_tw.snapshot.quick import Field, reader, writer

SIMPLE = (int, float, str, bytes, tuple, list, dict, deque, NoneType)
"""Values that are told from others by comparing them."""


class Shape:
    """Writes objects that ``make`` makes new ones of. ``left_out``: attributes not written.

    ``sparse``: nor are those written which are as in a new object, but for those ``always`` are.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        fields: dict[str, Kind],
        left_out: Iterable[str] = (),
        *,
        sparse: bool = False,
        always: Iterable[str] = (),
    ) -> None:
        self._make = make
        self._sparse = sparse
        self._always = frozenset(always)
        self.left_out = frozenset(left_out)
        self.names = tuple(fields)
        # Attributes of the implementation are written without their underscore.
        self._fields = [Field(name, name.lstrip("_"), kind) for name, kind in fields.items()]
        # Made at the first need: a start needs none of them.
        self._write: Callable[[Any], dict[str, Any]] | None = None
        self._defaults: dict[str, Any] | None = None
        self._read: Callable[[Any, dict[str, Any], float], None] | None = None

    def pack(self, thing: Any) -> dict[str, Any]:
        """What JSON can be made of."""
        write = self._write
        if write is None:
            write = self._write = writer(self._fields, self._usual())
        return write(thing)

    def usual(self, word: str) -> Any:
        """What stands for an attribute that was not written. Raises KeyError."""
        if self._defaults is None:
            usual = self._usual()
            fields = [field for field in self._fields if field.name in usual]
            write = writer(fields)
            self._defaults = write(self._make())
        return self._defaults[word]

    def _usual(self) -> dict[str, Any]:
        """The values that are not written, by attribute."""
        if not self._sparse:
            return {}
        new = self._make()
        found = {name: getattr(new, name) for name in self.names if name not in self._always}
        return {name: value for name, value in found.items() if isinstance(value, SIMPLE)}

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
