"""Replies as bytes: one line each, ended by a line feed, within the size clients read."""

from __future__ import annotations

from rtpproxy_tw.commands import Allocated, Failed, NotFound, Number, Reply, Text, WithResults

MAX_REPLY = 1024
"""Octets of a reply with its cookie and line feed. The original's buffer; clients read no more."""

INTERNAL_ERROR = 81
"""Answered where the relay itself is at fault.

The original's numbers from 81 on are those of failures inside the proxy. Never 7 to 10, by which
OpenSIPS takes the whole relay out of service, nor 98, which speaks of overload.
"""

_FAILURE = b" && -1"


def fit(reply: Reply, room: int = MAX_REPLY) -> Reply:
    """``reply``, or what is answered in its place where it is longer than ``room`` octets."""
    if isinstance(reply, WithResults):
        told = _told(reply.results)
        main = fit(reply.main, room - len(_FAILURE) if told else room)
        return main if isinstance(main, Failed) else _shortened(reply.main, told, room)
    return reply if len(render(reply)) <= room else too_long(reply)


def too_long(reply: Reply) -> Failed:
    """What is answered in place of ``reply``, which is longer than there is room."""
    overflow = reply.overflow if isinstance(reply, Text) else None
    return Failed(INTERNAL_ERROR if overflow is None else overflow)


def render(reply: Reply) -> bytes:
    """The line that tells ``reply``, without cookie."""
    if isinstance(reply, WithResults):
        told = b"".join(map(_result, _told(reply.results)))
        return render(reply.main)[:-1] + told + b"\n"
    return _plain(reply).encode("utf-8", "surrogateescape") + b"\n"


def _plain(reply: Number | NotFound | Failed | Allocated | Text) -> str:
    match reply:
        case Allocated(port, None):
            return str(port)
        case Allocated(port, host, ipv6):
            return f"{port} {host} 6" if ipv6 else f"{port} {host}"
        case Number(value):
            return str(value)
        case NotFound():
            return "0"
        case Failed(code):
            return f"E{code}"
        case Text(text):
            return text


def _result(result: int | Allocated) -> bytes:
    told = str(result) if isinstance(result, int) else _plain(result)
    return b" && " + told.encode("utf-8", "surrogateescape")


def _told(results: tuple[int | Allocated, ...]) -> tuple[int | Allocated, ...]:
    # Nothing after a failure; and clients take missing results at the end for 0.
    for at, result in enumerate(results):
        if isinstance(result, int) and result != 0:
            return results[: at + 1]
    end = len(results)
    while end and results[end - 1] == 0:
        end -= 1
    return results[:end]


def _shortened(
    main: Number | Allocated | Text, told: tuple[int | Allocated, ...], room: int
) -> WithResults:
    # A result that does not fit is told as failed, for which there must always be room.
    used = len(render(main))
    for at, result in enumerate(told):
        used += len(_result(result))
        last = at == len(told) - 1
        if used + (0 if last else len(_FAILURE)) > room:
            return WithResults(main, (*told[:at], -1))
    return WithResults(main, told)
