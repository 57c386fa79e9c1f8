"""How objects are written as JSON: a table of attributes and their kinds for each class.

A reader leaves attributes that are missing as a new object has them, and passes over words it does
not know. So a record may be read by the version before and by the one after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from rtpproxy_tw.snapshot.kinds import Damaged, Kind


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
        self._words = tuple(name.lstrip("_") for name in fields)
        # A pair of attributes at least makes attrgetter answer with a tuple.
        self._get = attrgetter(*self.names, *self.names[:1])
        self._packed = [
            (word, kind.pack)
            for word, kind in zip(self._words, fields.values(), strict=True)
            if kind.pack is not None
        ]
        self._fields = [
            (word, name, kind.unpack)
            for word, (name, kind) in zip(self._words, fields.items(), strict=True)
        ]

    def pack(self, thing: Any) -> dict[str, Any]:
        """What JSON can be made of."""
        made = dict(zip(self._words, self._get(thing), strict=False))
        for word, pack in self._packed:
            made[word] = pack(made[word])
        return made

    def fill(self, thing: Any, record: Any, shift: float) -> Any:
        """``thing`` with what ``record`` says. Raises Damaged."""
        if type(record) is not dict:
            raise Damaged(f"{record!r:.80} is no object")
        for word, name, unpack in self._fields:
            if word in record:
                try:
                    setattr(thing, name, unpack(record[word], shift))
                except Damaged as damage:
                    raise Damaged(f"{word}: {damage}") from None
        return thing

    def unpack(self, record: Any, shift: float) -> Any:
        """A new object as ``record`` says. Raises Damaged."""
        return self.fill(self._make(), record, shift)

    @property
    def kind(self) -> Kind:
        """As a value of other shapes."""
        return Kind(self.pack, self.unpack)
