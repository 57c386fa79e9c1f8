"""Accounting: one line for each session that ended, however it ended, written once.

Lines go through a thread, so that no packet waits for a disk. They are in the file when the relay
has stopped; after a crash the next relay writes those of the sessions that were alive, with the
figures of some seconds before.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection
from itertools import count

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.interfaces import ISessionObserver
from rtpproxy_tw.reporting.acct_files import CsvFile, Journal, owed_calls, recover
from rtpproxy_tw.reporting.acct_record import record
from rtpproxy_tw.session import Ending, Session

NAME = "rtpproxy_acct.csv"

SLICE = 50
"""Sessions whose figures are journalled at each tick: about a millisecond."""

STOP_SECONDS = 5.0
"""How long the end of the process waits for the disk."""

MOST_WAITING = 100_000
"""Records kept in memory while the disk refuses them."""


class Books:
    """The thread's side: keeps the file and its journal."""

    def __init__(self, path: str) -> None:
        self._file = CsvFile(path)
        self._journal = Journal(self._file, os.getpid())
        self._owed: deque[tuple[int, str]] = deque(maxlen=MOST_WAITING)
        self.complaints: deque[str] = deque()
        self.recovered = 0
        self.owed_calls: list[str] | None = None
        """Of crashed relays, once :meth:`look` has looked."""

    @property
    def behind(self) -> bool:
        """Whether the disk has refused records, which wait."""
        return bool(self._owed)

    def open(self) -> None:
        """See that the file can be written."""
        self._try(lambda: self._file.append(""))

    def recover(self, elsewhere: Collection[str] = ()) -> None:
        """Write what crashed relays owe, but for calls that others have gone on with."""
        self._try(lambda: self._recover(elsewhere))

    def _recover(self, elsewhere: Collection[str]) -> None:
        self.recovered += recover(self._file, elsewhere)

    def look(self) -> None:
        """Which calls are owed."""
        self._try(self._look)

    def _look(self) -> None:
        self.owed_calls = owed_calls(self._file)

    def note(self, changes: dict[int, str]) -> None:
        """These sessions are alive."""
        self._try(lambda: self._journal.note(changes))

    def write(self, ended: list[tuple[int, str]]) -> None:
        """These have ended."""
        self._owed.extend(ended)
        if self._owed and self._try(self._append):
            for number, _ in self._owed:
                self._journal.forget(number)
            self._owed.clear()

    def forget(self, numbers: list[int]) -> None:
        """These are not ours any more."""
        for number in numbers:
            self._journal.forget(number)

    def _append(self) -> None:
        self._file.append("".join(line for _, line in self._owed))

    def close(self) -> None:
        """That was all."""
        self.write([])
        self._journal.close()

    def _try(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except OSError as error:
            self.complaints.append(str(error))
            return False
        return True


@implementer(ISessionObserver)
class Accounting:
    """Writes into ``path``. ``now`` gives the relay's seconds, ``wall`` those since 1970.

    ``elsewhere``, where there are other relays, tells which of some calls they may have gone on
    with after a crash: those are theirs to tell of. Until it knows, it fails.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        path: str,
        node: str,
        now: Callable[[], float],
        wall: Callable[[], float],
        elsewhere: Callable[[list[str]], Deferred[set[str]]] | None = None,
    ) -> None:
        self._path = path
        self._node = node
        self._now = now
        self._wall = wall
        self._numbers = count()
        self._alive: dict[Session, int] = {}
        self._turn: deque[Session] = deque()
        self._jobs: queue.SimpleQueue[Callable[[Books], None] | None] = queue.SimpleQueue()
        self._books: Books | None = None
        self._thread: threading.Thread | None = None
        self._elsewhere = elsewhere
        self._asked = False

    def start(self) -> None:
        """Begin; not before the process is the one that stays, for no thread survives a fork."""
        self._books = Books(self._path)
        # A daemon, so that a disk that hangs for ever cannot keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="accounting", daemon=True)
        self._jobs.put(Books.open)
        self._jobs.put(Books.recover if self._elsewhere is None else Books.look)
        self._thread.start()

    def stop(self) -> None:
        """Write everything; takes :data:`STOP_SECONDS` at most."""
        if self._thread is None:
            return
        self._jobs.put(None)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            self._log.error("the disk hangs: {path} lacks records", path=self._path)
        self._thread = None
        self._report()

    def leave(self) -> None:
        """Another process accounts for those that live, from now on; the rest is written."""
        left = list(self._alive.values())
        self._alive.clear()
        self._turn.clear()
        self._jobs.put(lambda books: books.forget(left))
        self.stop()

    def created(self, session: Session) -> None:
        """See ISessionObserver."""
        self._alive[session] = next(self._numbers)
        self._turn.append(session)
        self._note([session])

    def completed(self, session: Session) -> None:
        """See ISessionObserver."""

    def ended(self, session: Session, why: Ending) -> None:
        """See ISessionObserver."""
        if session in self._alive and why is Ending.MOVED:
            moved = [self._alive.pop(session)]
            self._jobs.put(lambda books: books.forget(moved))
        elif session in self._alive:
            ended = [(self._alive[session], self._record(session))]
            del self._alive[session]
            self._jobs.put(lambda books: books.write(ended))

    def tick(self) -> None:
        """Now and then: journal the figures of some sessions, and tell what went wrong."""
        some = []
        for _ in range(min(SLICE, len(self._turn))):
            session = self._turn.popleft()
            if session in self._alive:
                some.append(session)
                self._turn.append(session)
        self._note(some)
        self._settle()
        if self._books is not None and self._books.behind:
            self._jobs.put(lambda books: books.write([]))
        self._report()

    def _settle(self) -> None:
        """Whom crashed relays owe records, where others may have gone on with the calls."""
        calls = None if self._books is None else self._books.owed_calls
        if calls is None or self._elsewhere is None or self._asked:
            return
        self._asked = True

        def known(found: set[str]) -> None:
            self._jobs.put(lambda books: books.recover(found))

        def unknown(failure: object) -> None:
            self._asked = False  # at the next tick

        self._elsewhere(calls).addCallbacks(known, unknown)

    def _note(self, sessions: list[Session]) -> None:
        if sessions:
            changes = {self._alive[each]: self._record(each) for each in sessions}
            self._jobs.put(lambda books: books.note(changes))

    def _record(self, session: Session) -> str:
        now = self._now()
        return record(
            session,
            node=self._node,
            pid=os.getpid(),
            uid=self._alive[session],
            now=now,
            epoch=self._wall() - now,
        )

    def _report(self) -> None:
        books = self._books
        if books is None:
            return
        while books.complaints:
            self._log.error("{path}: {why}", path=self._path, why=books.complaints.popleft())
        if books.recovered:
            self._log.info(
                "{count} records of a relay that crashed are in {path}",
                count=books.recovered,
                path=self._path,
            )
            books.recovered = 0

    # In the thread.

    def _work(self) -> None:
        books = self._books
        assert books is not None
        while (job := self._jobs.get()) is not None:
            job(books)
        books.close()
