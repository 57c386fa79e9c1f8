"""The side that takes over; see :mod:`rtpproxy_tw.continuity.giving` for the messages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.logger import Logger

from rtpproxy_tw.continuity.belongings import Luggage, Part, Whole
from rtpproxy_tw.continuity.channel import LONGEST_BODY, Channel, HandoverError, Message
from rtpproxy_tw.continuity.giving import PROTOCOL, UNDERSTOOD, boot
from rtpproxy_tw.session import Session, SessionKey
from rtpproxy_tw.snapshot import records
from rtpproxy_tw.snapshot.kinds import Damaged

KINDS = ("whole", "ahead", "same", "rest", "gone", "sessions", "end")
"""Of messages."""


class Taker:
    """Makes sessions and all the rest out of what comes.

    ``now`` gives our clock's seconds; ``admit`` makes a session, whose parts are there, one of
    ours, and raises Damaged where it cannot be; ``abandon`` undoes parts; ``find`` finds admitted
    ones; ``prepared`` is called when all that goes ahead has come: there is time then, as the other
    relay writes down what has changed. With ``strict`` one damaged record is the end, without it
    only that record is left out.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        parts: Sequence[Part],
        wholes: Sequence[Whole],
        now: Callable[[], float],
        admit: Callable[[Session], None],
        abandon: Callable[[Session], None],
        find: Callable[[SessionKey], Session | None],
        strict: bool,
        prepared: Callable[[], object] = lambda: None,
    ) -> None:
        self._parts = {part.name: part for part in parts}
        self._wholes = {whole.name: whole for whole in wholes}
        self._now = now
        self._admit = admit
        self._abandon = abandon
        self._find = find
        self._strict = strict
        self._prepared = prepared
        self._shift = 0.0
        self._links: list[records.Link] = []
        self._ahead: dict[int, tuple[Session, records.Link]] = {}
        """What came while its relay still went on with it: it may change, or be gone."""
        self.taken = 0
        """Sessions."""
        self.refused = 0

    def take(
        self, channel: Channel, version: str, kernel: Mapping[str, object] | None = None
    ) -> None:
        """Take everything, up to the ``end``; ``kernel`` is of what kind our part of it is.

        Raises HandoverError or Damaged.
        """
        about = {"version": version, "protocol": PROTOCOL, "pid": os.getpid(), "kernel": kernel}
        channel.send("hello", b"", (), **about)
        begin = channel.receive("begin")
        self.begin(begin.fields)
        ahead = True
        while (message := channel.receive(*KINDS)).kind != "end":
            try:
                self.handle(message)
            finally:
                message.close()
            channel.send("got")
            if ahead and message.kind != "ahead":
                ahead = False
                self._prepared()
        self.link()

    def begin(self, fields: dict[str, Any]) -> None:
        """What clock the records are of. Raises HandoverError."""
        if fields.get("protocol") not in UNDERSTOOD:
            raise HandoverError(f"protocol {fields.get('protocol')!r:.20} is not known here")
        clock = fields.get("clock")
        if not isinstance(clock, int | float):
            raise HandoverError("no time is told")
        # The monotonic clock is the same for all processes until the machine starts anew.
        same = fields.get("boot") == boot() != ""
        self._shift = 0.0 if same else self._now() - clock

    def handle(self, message: Message) -> None:
        """One message. Raises Damaged, or HandoverError."""
        match message.kind:
            case "whole":
                self._whole(message)
            case "same":
                self._same(message)
            case "gone":
                self._gone(message)
            case kind:
                handle = {"ahead": self._come_ahead, "rest": self._rest}.get(kind, self._session)
                self._each(handle, message.body.splitlines(), message.descriptors)

    def _whole(self, message: Message) -> None:
        name = message.fields.get("name")
        whole = self._wholes.get(str(name))
        if whole is None:
            return  # of another version, or not configured here any more
        luggage, message.descriptors = Luggage(message.descriptors), []
        try:
            value = records.from_line(message.body, LONGEST_BODY)
            if type(value) is not dict:
                raise Damaged("no object")
            whole.unpack(value.get("value"), luggage, self._shift)
        except Damaged as damage:
            self._refuse(f"{name}: {damage}")
        finally:
            _close(luggage.rest())

    def _each(
        self,
        handle: Callable[[Any, list[int]], None],
        lines: Iterable[bytes],
        descriptors: list[int],
    ) -> None:
        """Some records, with the descriptors of them all, which are taken. Raises Damaged."""
        for line in lines:
            try:
                handle(records.from_line(line), descriptors)
            except Damaged as damage:
                self._refuse(f"a session: {damage}")

    def session(self, record: Any, descriptors: list[int]) -> None:
        """One session, whose record is read already. Raises Damaged."""
        try:
            self._session(record, descriptors)
        except Damaged as damage:
            self._refuse(f"a session: {damage}")

    def _session(self, record: Any, descriptors: list[int]) -> None:
        session, link = self._made(record, descriptors)
        try:
            self._is_new(session)
            self._admit(session)
        except BaseException:
            self._abandon(session)
            raise
        self._links.append(link)
        self.taken += 1

    def _come_ahead(self, record: Any, descriptors: list[int]) -> None:
        number = record.get("number") if type(record) is dict else None
        if type(number) is not int or number in self._ahead:
            raise Damaged("a session that came ahead without a number of its own")
        self._ahead[number] = self._made(record, descriptors)

    def _rest(self, record: Any, descriptors: list[int]) -> None:
        """What has become of a session that came ahead."""
        luggage = _luggage(record, descriptors)

        def change(session: Session) -> None:
            records.amend(session, record.get("changed"), self._shift)
            self._unpack_parts(session, record, luggage)

        try:
            self._go_on(record.get("number"), change)
        finally:
            _close(luggage.rest())

    def _same(self, message: Message) -> None:
        for number in _numbers(message):
            try:
                self._go_on(number, lambda session: None)
            except Damaged as damage:
                self._refuse(f"a session: {damage}")

    def _go_on(self, number: Any, change: Callable[[Session], None]) -> None:
        """A session that came ahead is ours now, changed like this. Raises Damaged."""
        try:
            session, link = self._ahead.pop(number)
        except (KeyError, TypeError):
            raise Damaged("changes of a session that did not come") from None
        try:
            self._is_new(session)
            change(session)
            self._admit(session)
        except BaseException:
            self._abandon(session)
            raise
        self._links.append(link)
        self.taken += 1

    def _gone(self, message: Message) -> None:
        for number in _numbers(message):
            if number in self._ahead:
                self._abandon(self._ahead.pop(number)[0])

    def _made(self, record: Any, descriptors: list[int]) -> tuple[Session, records.Link]:
        """A session with its parts."""
        luggage = _luggage(record, descriptors)
        try:
            session, link = records.unpack(record, self._shift)
            self._is_new(session)
            try:
                self._unpack_parts(session, record, luggage)
            except BaseException:
                self._abandon(session)
                raise
        finally:
            _close(luggage.rest())
        return session, link

    def _is_new(self, session: Session) -> None:
        if self._find(session.key) is not None:
            raise Damaged(f"{session.key!r:.200} is there already")

    def _unpack_parts(self, session: Session, record: Any, luggage: Luggage) -> None:
        for name, value in records.parts_of(record).items():
            part = self._parts.get(name)
            if part is not None:
                part.unpack(session, value, luggage, self._shift)

    def link(self) -> None:
        """All sessions are there. Raises Damaged where one came ahead and was then forgotten."""
        forgotten, self._ahead = self._ahead, {}
        for session, _ in forgotten.values():
            self._abandon(session)
            self._refuse(f"{session.key!r:.200} came ahead, and nothing was said of it after that")
        for link in self._links:
            link.make(self._find)
        self._links.clear()

    def _refuse(self, why: str) -> None:
        self.refused += 1
        if self._strict:
            raise Damaged(why)
        self._log.error("not taken over: {why}", why=why)


def _numbers(message: Message) -> list[int]:
    """What sessions that came ahead a message names."""
    value = records.from_line(message.body, LONGEST_BODY)
    numbers = value.get("numbers") if type(value) is dict else None
    return [each for each in numbers if type(each) is int] if type(numbers) is list else []


def _luggage(record: Any, descriptors: list[int]) -> Luggage:
    """The descriptors of a record, taken from the front. Raises Damaged."""
    count = record.get("descriptors", 0) if type(record) is dict else None
    if type(count) is not int or not 0 <= count <= len(descriptors):
        raise Damaged("fewer descriptors came than belong to it")
    luggage = Luggage(descriptors[:count])
    del descriptors[:count]
    return luggage


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
