"""A relay of a row's own, with a call beside the row, and the check at the end of it."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.namespaces import Namespace
from tests.e2e import loopback
from tests.hostile.exemptions import Exemption
from tests.hostile.relay import Relay
from tests.hostile.watch import Watch
from tests.hostile.world import Bystanders, Call, Place

_names = itertools.count()


class Local:
    """A relay alone on this host's loopback network, checked and ended with its block.

    A call beside the row goes on all the time, unless an exemption says that there can be none.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        where: Namespace | None = None,
        host: str = "",
        exempt: tuple[Exemption, ...] = (),
        **how: Any,
    ) -> None:
        place: Place = where or nullcontext()
        six = ":" in host
        here = ("::1", "::1") if six else (loopback.host(11), loopback.host(12))
        self.caller, self.callee = ((place, address) for address in here)
        with ExitStack() as stack:
            self.relay = stack.enter_context(
                Relay(folder, host or loopback.host(77), options, where=where, **how)
            )
            self.memory = self.relay.memory()
            self.bystanders: Bystanders | None = None
            if not any(each.alone for each in exempt):
                name = f"bystander-{next(_names)}"
                self.bystanders = Bystanders(self, 1, "6c0" if six else "c0", name)
                stack.callback(self.leave)
            self._watch = Watch(self, exempt)
            self._stack = stack.pop_all()

    def call(self, **options: Any) -> Call:
        """A call through it."""
        return Call(self, **options)

    def sessions(self) -> int:
        """How many it has, without the one beside the row."""
        return int(self.relay.metric("relay_sessions")) - (self.bystanders is not None)

    def check(self) -> None:
        """The invariants, now and not at the end: for rows that end the relay themselves."""
        self._watch.check()

    def leave(self) -> None:
        """End the call beside the row."""
        if self.bystanders is not None:
            self.bystanders.close()
            self.bystanders = None

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if kind is not None:
                # The row has failed already, and shall say why itself.
                self.relay.checked = True
            elif not self.relay.checked:
                self.check()
