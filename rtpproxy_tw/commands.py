"""What a SIP proxy can ask for and what it is told: plain values, no text.

A dialect turns bytes into one of the command classes and a reply class back into bytes; the
dispatcher only ever sees these.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from rtpproxy_tw.addresses import Address


class LocalByHost(NamedTuple):
    """Use the local address ``host`` (modifier ``l`` with an address)."""

    host: str


class LocalByLabel(NamedTuple):
    """Use the local address configured with ``label`` (modifier ``l{label}``)."""

    label: str


class LocalByRoute(NamedTuple):
    """Use the local address from which the kernel would reach ``remote`` (modifier ``r``)."""

    remote: str


LocalChoice: TypeAlias = LocalByHost | LocalByLabel | LocalByRoute


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """The modifiers of an update or a lookup."""

    asymmetric: bool | None = None
    """The named party's sending address is not where it wants to receive; None: the default."""
    weak: bool = False
    family: int = socket.AF_INET
    """Address family of the remote address (``socket.AF_INET`` or ``AF_INET6``)."""
    local: LocalChoice | None = None
    sides: tuple[str, ...] = ()
    """Up to two of ``"e"`` and ``"i"``: first the caller's leg, then the callee's."""
    new_port: bool = False
    codecs: tuple[int, ...] | None = None
    """Payload types the named party offered, or None when the command named none."""
    packet_ms: int = 0
    """Re-packetise what the named party sends to so many milliseconds; 0: leave it."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a party says it receives media.

    ``address`` is None when nothing usable was said; ``hold`` when the null address was.
    """

    address: Address | None = None
    hold: bool = False


class NotifyTarget(NamedTuple):
    """Whom to tell when a session times out: the socket as written in the command, the tag."""

    socket: str
    tag: bytes


# Sub-commands, in the order they follow "&&".


@dataclass(frozen=True, slots=True)
class SetTtl:
    """``S ttl=N``; ``reverse``: the other party's direction (matters with one TTL each)."""

    seconds: int
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class SetTos:
    """``S tos=N`` for the sockets facing the named party, or with ``reverse`` the other."""

    tos: int
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class SubDelete:
    """``D`` or ``Dw`` of the session the main command found."""

    weak: bool = False


@dataclass(frozen=True, slots=True)
class SubLookup:
    """``L`` with the main command's call-id and tags."""

    options: MediaOptions
    remote: Remote


@dataclass(frozen=True, slots=True)
class Outlet:
    """``C``: this session becomes an outlet for the media of another one."""

    call_id: str
    from_tag: str
    to_tag: str


@dataclass(frozen=True, slots=True)
class CatchDigits:
    """``M3:1``: tell of the keys the named party presses (RFC 4733 events).

    ``tag`` begins each notice, ``payload_type`` is that of the events, ``hide`` keeps them from
    the other party. ``tag`` is None where the arguments make no sense: that is a failure of this
    sub-command only.
    """

    tag: bytes | None
    payload_type: int = 101
    hide: bool = False


SubCommand: TypeAlias = SetTtl | SetTos | SubDelete | SubLookup | Outlet | CatchDigits


# Commands.


@dataclass(frozen=True, slots=True)
class Update:
    """``U``: create a session, or change the address of the party that owns ``from_tag``."""

    call_id: str
    from_tag: str
    to_tag: str | None
    remote: Remote
    options: MediaOptions = field(default_factory=MediaOptions)
    notify: NotifyTarget | None = None
    subs: tuple[SubCommand, ...] = ()


@dataclass(frozen=True, slots=True)
class Lookup:
    """``L``: the answering party's address; ``from_tag`` is still the asking party's."""

    call_id: str
    from_tag: str
    to_tag: str | None
    remote: Remote
    options: MediaOptions = field(default_factory=MediaOptions)
    subs: tuple[SubCommand, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """``D``."""

    call_id: str
    from_tag: str
    to_tag: str | None
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Play:
    """``P``: ``count`` repetitions (negative: endless, 0: only stop what is playing).

    ``codecs`` is the list as written, or None for the word ``session``.
    """

    call_id: str
    prompt: str
    codecs: str | None
    from_tag: str
    to_tag: str | None
    count: int = 1


@dataclass(frozen=True, slots=True)
class StopPlay:
    """``S``."""

    call_id: str
    from_tag: str
    to_tag: str | None


@dataclass(frozen=True, slots=True)
class Record:
    """``R``; ``single``: both directions in one file where the format allows."""

    call_id: str
    from_tag: str
    to_tag: str | None
    single: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """``C``: record to a named file, or send to ``udp:HOST:PORT``; ``show_port`` is ``p``."""

    call_id: str
    target: str
    from_tag: str
    to_tag: str | None
    single: bool = False
    show_port: bool = False


@dataclass(frozen=True, slots=True)
class StopRecord:
    """``N``; ``both``: both directions."""

    call_id: str
    from_tag: str
    to_tag: str | None
    both: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """``Q``. ``bad_modifier`` is judged only after the session was found (E19)."""

    call_id: str
    from_tag: str
    to_tag: str | None
    counters: tuple[str, ...] = ()
    verbose: bool = False
    bad_modifier: str | None = None
    subs: tuple[SubCommand, ...] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """``G``."""

    counters: tuple[str, ...]
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Info:
    """``I``; ``load``: with the load line."""

    load: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """``V``."""


@dataclass(frozen=True, slots=True)
class Feature:
    """``VF``: is the protocol extension of that date known?"""

    date: str


@dataclass(frozen=True, slots=True)
class DeleteAll:
    """``X``."""


Command: TypeAlias = (
    Update
    | Lookup
    | Delete
    | Play
    | StopPlay
    | Record
    | Copy
    | StopRecord
    | Query
    | Statistics
    | Info
    | Version
    | Feature
    | DeleteAll
)


# Replies.


@dataclass(frozen=True, slots=True)
class Number:
    """A plain number: ``0``, ``1``, the version."""

    value: int


@dataclass(frozen=True, slots=True)
class NotFound:
    """The ``0`` of a lookup that found nothing; counted as an error."""


@dataclass(frozen=True, slots=True)
class Failed:
    """``E<code>``."""

    code: int


@dataclass(frozen=True, slots=True)
class Allocated:
    """A port and, unless the local address is a wildcard, the address to put into the SDP."""

    port: int
    host: str | None = None
    ipv6: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """One or more ready lines, without the last line's end.

    ``overflow`` is the code answered when it does not fit into a reply.
    """

    text: str
    overflow: int | None = None


Plain: TypeAlias = Number | NotFound | Failed | Allocated | Text


@dataclass(frozen=True, slots=True)
class WithResults:
    """A reply and the results of its sub-commands: ints (0 done, -1 failed) or allocations."""

    main: Number | Allocated | Text
    results: tuple[int | Allocated, ...]


Reply: TypeAlias = Plain | WithResults


@dataclass(frozen=True, slots=True)
class Origin:
    """Whence a command came, as far as its execution may depend on it.

    ``peer`` and ``local`` are numeric hosts where the transport is TCP or UDP.
    """

    transport: str = "unix"
    peer: str | None = None
    local: str | None = None
    denied: frozenset[str] = frozenset()
    """The letters of commands that are not taken there."""
