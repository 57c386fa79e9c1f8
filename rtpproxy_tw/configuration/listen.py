"""The media addresses as operators write them (``-l``, ``-6``, ``-A``), and what they mean."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses, canonical, family_of
from rtpproxy_tw.advertising import policy_of
from rtpproxy_tw.configuration.settings import MAX_LISTEN
from rtpproxy_tw.configuration.switches import Given, spelled
from rtpproxy_tw.errors import ConfigError

Resolve = Callable[[str, int], str]
"""Turns a name into a numeric address of that family; raises OSError or ValueError."""

_LABEL = re.compile(r"[!-.0-<>-z|~]{1,64}")
"""Printable; braces enclose the label in a command, ``=`` and ``/`` mean other things here."""
_ADVERTISED = re.compile(r"[!-~]{1,255}")
"""Goes into replies as it is, where a space would end it."""


class Advertised(NamedTuple):
    """The two halves of ``-A``; without bridging only the first one matters."""

    first: str
    second: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """One ``-l`` or ``-6``, cut but not resolved.

    ``external`` is None where there was no ``/``, ``internal`` where nothing was before it.
    """

    option: str
    family: int
    label: str | None
    advertised: str | None
    internal: str | None
    external: str | None


def advertised(text: str) -> Advertised:
    """Read the value of ``-A``. Raises ConfigError."""
    first, slash, second = text.partition("/")
    for part in (first, second) if slash else (first,):
        _check_advertised(spelled("advertised"), text, part)
    return Advertised(first, second if slash else None)


def local_addresses(
    given: Sequence[Given], advertise: Advertised | None, resolve: Resolve
) -> LocalAddresses:
    """The media addresses of the ``listen`` and ``listen6`` options, in their order.

    None at all stands for every IPv4 address of the host. One address needs no label, every
    further one does. The first one of either family may be a pair ``INT/EXT``, or lack one half
    that the first one of the other family has: then the relay bridges. Raises ConfigError.
    """
    entries = [_entry(item) for item in given or (Given("listen", "*"),)]
    if len(entries) > MAX_LISTEN:
        raise ConfigError(
            f"{spelled('listen')}, {spelled('listen6')}: {len(entries)} addresses are too many,"
            f" there can be {MAX_LISTEN}"
        )
    _check_unique(entries)
    if any(entry.external is not None for entry in entries):
        return _bridge(entries, advertise, resolve)
    _check_labelled(entries[1:])
    told = advertise.first if advertise else None
    found = [_resolved(entry, entry.internal, resolve) for entry in entries]
    return LocalAddresses(
        tuple(replace(local, advertised=local.advertised or told) for local in found)
    )


def _bridge(
    entries: list[_Entry], advertise: Advertised | None, resolve: Resolve
) -> LocalAddresses:
    firsts = [_first_of(socket.AF_INET, entries), _first_of(socket.AF_INET6, entries)]
    pair = [entry for entry in firsts if entry is not None]
    further = [entry for entry in entries if entry not in pair]
    _check_bridge(pair, further)
    if advertise is not None and advertise.second is None:
        raise ConfigError(
            f"{spelled('advertised')} {advertise.first}: bridging needs two advertised addresses,"
            " internal and external"
        )
    told_inside, told_outside = advertise or (None, None)
    inside = next(entry for entry in pair if entry.internal is not None)
    outside = next(entry for entry in pair if entry.external is not None)
    internal = _resolved(inside, inside.internal, resolve)
    external = _resolved(outside, outside.external, resolve)
    others = [_resolved(entry, entry.internal, resolve) for entry in further]
    return LocalAddresses(
        (replace(internal, advertised=told_inside), *others),
        replace(external, advertised=told_outside),
    )


def _check_bridge(pair: list[_Entry], further: list[_Entry]) -> None:
    both = f"{spelled('listen')}, {spelled('listen6')}"
    for what, count in (
        ("internal", sum(entry.internal is not None for entry in pair)),
        ("external", sum(entry.external is not None for entry in pair)),
    ):
        if count != 1:
            raise ConfigError(
                f"{both}: bridging takes exactly one {what} address, IPv4 or IPv6;"
                f" {count} were given"
            )
    for entry in pair:
        if entry.label is not None or entry.advertised is not None:
            raise ConfigError(
                f"{spelled(entry.option)}: the addresses of a bridge take neither a label nor"
                f" an advertised address of their own; use {spelled('advertised')}"
            )
    for entry in further:
        if entry.external is not None:
            raise ConfigError(
                f"{spelled(entry.option)} /{entry.external}: only the first address of a family"
                " can have an external half"
            )
    _check_labelled(further)


def _first_of(family: int, entries: list[_Entry]) -> _Entry | None:
    return next((entry for entry in entries if entry.family == family), None)


def cut(text: str) -> tuple[str | None, str, str | None]:
    """The parts of ``[LABEL@]ADDR[=ADVERTISED]``, where ``ADDR`` may be ``[INT]/EXT``."""
    before, at, after = text.partition("@")
    host, equals, told = (after if at else before).partition("=")
    return before if at else None, host, told if equals else None


def _entry(given: Given) -> _Entry:
    where = spelled(given.name)
    label, host, told = cut(given.text)
    if label is not None and not _LABEL.fullmatch(label):
        raise ConfigError(
            f"{where} {given.text}: a label is 1 to 64 printable characters, none of {{}}=/"
        )
    if told is not None:
        _check_advertised(where, given.text, told)
    internal, slash, external = host.partition("/")
    if (not internal and not slash) or (slash and not external):
        raise ConfigError(f"{where} {given.text}: an address is missing")
    return _Entry(
        option=given.name,
        family=socket.AF_INET6 if given.name == "listen6" else socket.AF_INET,
        label=label,
        advertised=told,
        internal=internal or None,
        external=external if slash else None,
    )


def _check_advertised(where: str, text: str, part: str) -> None:
    if not _ADVERTISED.fullmatch(part):
        raise ConfigError(
            f"{where} {text}: an advertised address is 1 to 255 printable characters, no spaces"
        )
    try:
        policy_of(part)
    except ValueError as error:
        raise ConfigError(f"{where} {text}: {error}") from error


def _check_labelled(entries: Sequence[_Entry]) -> None:
    for entry in entries:
        if entry.label is None:
            raise ConfigError(f"{spelled(entry.option)} {entry.internal}: address label is missing")


def _check_unique(entries: Sequence[_Entry]) -> None:
    labels = [entry.label for entry in entries if entry.label is not None]
    for entry in entries:
        if labels.count(entry.label or "") > 1:
            raise ConfigError(f"{spelled(entry.option)} {entry.label}@: this label is given twice")


def _resolved(entry: _Entry, host: str | None, resolve: Resolve) -> LocalAddress:
    assert host is not None
    numeric = numeric_host(entry.option, host, entry.family, resolve)
    return LocalAddress(numeric, entry.advertised, entry.label)


def numeric_host(option: str, host: str, family: int, resolve: Resolve) -> str:
    """The address that ``host`` means, ``*`` being all of that family. Raises ConfigError."""
    if host == "*":
        return "::" if family == socket.AF_INET6 else "0.0.0.0"
    kind = "IPv6" if family == socket.AF_INET6 else "IPv4"
    try:
        numeric = canonical(host)
    except ValueError:
        try:
            numeric = canonical(resolve(host, family))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{spelled(option)} {host}: no {kind} address is known for this ({error})"
            ) from error
    if family_of(numeric) != family:
        raise ConfigError(f"{spelled(option)} {host}: this is not an {kind} address")
    return numeric
