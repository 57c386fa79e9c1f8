"""On which of the relay's own addresses a leg takes media."""

from __future__ import annotations

from collections.abc import Callable

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.commands import LocalByHost, LocalByLabel, LocalByRoute, MediaOptions
from rtpproxy_tw.errors import CommandError

REMEMBERED = 64
"""Addresses brought in by ``l`` and ``r`` that are remembered; a host has fewer of its own."""


class LocalChooser:
    """Applies the modifiers ``l r 6 e i`` to the configured addresses.

    ``route(host)`` is the local host from which the kernel would reach ``host``, None without a
    route. ``current`` gives an address with what is to be told of it now.
    """

    def __init__(
        self,
        addresses: LocalAddresses,
        route: Callable[[str], str | None],
        current: Callable[[LocalAddress], LocalAddress] = lambda local: local,
    ) -> None:
        self.current = current
        self._addresses = addresses
        self._route = route
        self._brought: dict[str, LocalAddress] = {}

    def chosen(self, options: MediaOptions) -> LocalAddress | None:
        """The address the command asks for, None when it leaves it to us. Raises CommandError."""
        found = self._chosen(options)
        return None if found is None else self.current(found)

    def _chosen(self, options: MediaOptions) -> LocalAddress | None:
        match options.local:
            case LocalByLabel(label):
                found = self._addresses.labelled(label)
                if found is None:
                    raise CommandError(31, f"no listen address has the label {label!r}")
                return found
            case LocalByHost(host):
                return self._bring(host)
            case LocalByRoute(remote):
                routed = self._route(remote)
                if routed is None:
                    raise CommandError(32, f"no route to {remote!r}")
                return self._bring(routed)
            case None:
                return self._by_family(options)

    def sides(self, options: MediaOptions) -> tuple[LocalAddress, LocalAddress]:
        """Where a new session's legs go by ``e`` and ``i``: the caller's, the callee's."""
        by_letter = {"e": self._addresses.external, "i": self._addresses.default}
        letters = (*options.sides, "i", "i")
        caller, callee = (by_letter[letter] or self._addresses.default for letter in letters[:2])
        return self.current(caller), self.current(callee)

    def _by_family(self, options: MediaOptions) -> LocalAddress | None:
        if options.sides or options.family == self._addresses.default.family:
            return None
        found = next(
            (local for local in reversed(self._brought.values()) if local.family == options.family),
            None,
        ) or self._addresses.of_family(options.family)
        if found is None:
            raise CommandError(36, "no listen address of the family the command asks for")
        return found

    def _bring(self, host: str) -> LocalAddress:
        known = self._brought.get(host)
        if known is None:
            known = self._addresses.for_host(host)
            if known not in self._addresses.all() and len(self._brought) < REMEMBERED:
                self._brought[host] = known
        return known
