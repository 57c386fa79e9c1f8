"""One command, bytes to reply: parse, execute, render, and what is counted and logged of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtpproxy_tw.commands import Command, Failed, NotFound, Origin, Reply
from rtpproxy_tw.control.access import Refusals, letters_of
from rtpproxy_tw.control.escape import Escaped
from rtpproxy_tw.control.later import Later
from rtpproxy_tw.control.logbudget import LogBudget
from rtpproxy_tw.control.render import INTERNAL_ERROR
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.statistics import Totals

DENIED = 3
"""The error for a command that is not taken where it came."""

NO_SESSION = 50
"""The error that is no news: proxies ask for sessions long gone as a matter of course."""


Route = Callable[[Command, bytes, Origin], "Deferred[bytes | None] | None"]
"""(command, its line, origin) -> another node's reply; None, or a Deferred of it: do it here."""


class Executor(Protocol):
    """What does the commands."""

    def execute(self, command: Command, origin: Origin) -> Reply:
        """Do it. Raises CommandError where that cannot be done."""


class Responder:
    """Answers commands, whatever they came over; the same one serves all control sockets.

    ``detailed`` tells whether anybody wants to read of every command and reply: to make an event
    and throw it away costs as much as to parse a command. ``later`` is the executor's.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        dialect: RtpproxyDialect,
        executor: Executor,
        totals: Totals,
        clock: IReactorTime,
        detailed: Callable[[], bool] = lambda: True,
        later: Later | None = None,
    ) -> None:
        self.refusals = Refusals()
        """What is not answered; the listeners count theirs there, too."""
        self._dialect = dialect
        self._executor = executor
        self._totals = totals
        self._clock = clock
        self._detailed = detailed
        self._later = Later() if later is None else later
        self._budget = LogBudget()
        self.route: Route | None = None
        """Finds out whether another node is to do a command."""

    def respond(self, command: bytes, origin: Origin, cookie: bytes | None = None) -> bytes:
        """The reply to ``command``, with the cookie in front if there is one. Never raises."""
        self._totals.ncmds_rcvd += 1
        detailed = self._detailed()
        if detailed:
            self._log.debug(
                'received command "{command}" over {transport} from {peer}',
                command=Escaped(command),
                transport=origin.transport,
                peer=origin.peer,
            )
        reply, line = self._dialect.tell(self._reply(command, origin), cookie)
        if isinstance(reply, Failed | NotFound):
            self._totals.ncmds_errs += 1
        else:
            self._totals.ncmds_succd += 1
        self._totals.ncmds_repld += 1
        if detailed:
            self._log.debug(
                'sending reply "{reply}"', reply=Escaped(line), command=Escaped(command)
            )
        return line

    def serve(
        self,
        command: bytes,
        origin: Origin,
        deliver: Callable[[bytes], object],
        cookie: bytes | None = None,
    ) -> Deferred[bytes] | None:
        """Give ``deliver`` the reply; only then do what need not be done before it is sent.

        The reply may be another node's: then a Deferred of it is returned instead.
        """
        waiting = None if self.route is None else self._routed(command, origin)
        if waiting is None:
            with self._later:
                deliver(self.respond(command, origin, cookie))
            return None

        def relayed(reply: bytes | None) -> bytes:
            if reply is None:
                return self.respond(command, origin, cookie)
            return reply if cookie is None else b"%b %b" % (cookie, reply)

        return waiting.addCallback(relayed)

    def _routed(self, command: bytes, origin: Origin) -> Deferred[bytes | None] | None:
        assert self.route is not None, "asked before"
        try:
            parsed = self._dialect.parse(command)
        except CommandError:
            return None  # to be refused here
        if origin.denied and letters_of(parsed) & origin.denied:
            return None
        waiting = self.route(parsed, command, origin)
        return None if waiting is None else waiting.addErrback(self._not_routed)

    def _not_routed(self, failure: Failure) -> None:
        self._log.failure("a command was not given to another node", failure)

    def repeated(self, command: bytes, origin: Origin) -> None:
        """``command`` came again and is answered as before."""
        self._totals.ncmds_rcvd_ndups += 1
        self._log.debug(
            'received command "{command}" over {transport} from {peer} again',
            command=Escaped(command),
            transport=origin.transport,
            peer=origin.peer,
        )

    def complain(self, kind: str, sentence: str) -> None:
        """Log something about a control connection, unless there was much of that kind lately."""
        suppressed = self._budget.admit(kind, self._clock.seconds())
        if suppressed is not None:
            self._log.info(
                "{sentence}{suppressed}", sentence=sentence, suppressed=_besides(suppressed)
            )

    def warn(self, kind: str, sentence: str) -> None:
        """The same, about something the operator may have to change."""
        suppressed = self._budget.admit(kind, self._clock.seconds())
        if suppressed is not None:
            self._log.warn(
                "{sentence}{suppressed}", sentence=sentence, suppressed=_besides(suppressed)
            )

    def _reply(self, command: bytes, origin: Origin) -> Reply:
        try:
            parsed = self._dialect.parse(command)
            if origin.denied:
                self._check_allowed(parsed, origin)
            reply = self._executor.execute(parsed, origin)
        except CommandError as error:
            self._refused(command, error.code, error.reason)
            return Failed(error.code)
        except Exception:
            self._broke(command)
            return Failed(INTERNAL_ERROR)
        if isinstance(reply, Failed):
            self._refused(command, reply.code, "refused")
        return reply

    def _check_allowed(self, command: Command, origin: Origin) -> None:
        """Raises CommandError 3 for a command that is not taken where it came."""
        denied = sorted(letters_of(command) & origin.denied)
        if denied:
            self.refusals.denied += 1
            raise CommandError(
                DENIED, f"{', '.join(denied)} is not taken on this {origin.transport} socket"
            )

    def _refused(self, command: bytes, code: int, reason: str) -> None:
        if code == NO_SESSION:
            return  # the debug lines of command and reply say it all
        suppressed = self._budget.admit(code, self._clock.seconds())
        if suppressed is not None:
            self._log.warn(
                'E{code}: {reason}, in "{command}"{suppressed}',
                code=code,
                reason=reason,
                command=Escaped(command),
                suppressed=_besides(suppressed),
            )

    def _broke(self, command: bytes) -> None:
        suppressed = self._budget.admit("broke", self._clock.seconds())
        if suppressed is not None:
            self._log.failure(
                'a fault of the relay itself, in "{command}"{suppressed}',
                command=Escaped(command),
                suppressed=_besides(suppressed),
            )


def _besides(suppressed: int) -> str:
    return f" ({suppressed} more like this were not logged)" if suppressed else ""
