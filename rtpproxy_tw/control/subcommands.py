"""What may follow ``&&``.

=======  ========  ============================================================================
``S``    U L Q     ``S[r] ttl=SECONDS`` or ``S[r] tos=VALUE``
``D``    U L Q     ``D[w]``
``L``    U         ``L[modifiers] remote_ip remote_port``, if the U carries a to-tag
``C``    U         ``C call_id from_tag to_tag``, likewise
``M``    U L Q     ``M3:1 tag [payload_type [h]]``; there are no other modules
=======  ========  ============================================================================

Whatever is wrong here is error 3, and the main command is then not executed either.
"""

from __future__ import annotations

from rtpproxy_tw.commands import (
    CatchDigits,
    Outlet,
    SetTos,
    SetTtl,
    SubCommand,
    SubDelete,
    SubLookup,
)
from rtpproxy_tw.control.escape import token
from rtpproxy_tw.control.modifiers import media_options
from rtpproxy_tw.control.remote import remote
from rtpproxy_tw.control.tokens import integer, text, url_decode
from rtpproxy_tw.errors import CommandError

MAX_TTL = 2**31 - 1
MAX_TOS = 255
MAX_PAYLOAD_TYPE = 127

EVENTS = 101
"""The payload type of events where a command names none."""


def sub_command(words: list[bytes], *, both_tags: bool, bridging: bool) -> SubCommand:
    """One sub-command. Raises CommandError 3.

    ``both_tags`` tells whether the main command is a U with a to-tag.
    """
    letter, modifiers, arguments = words[0][:1].upper(), words[0][1:].lower(), words[1:]
    match letter:
        case b"S" if len(modifiers) <= 1 and len(arguments) == 1:
            return _set(arguments[0], reverse=modifiers == b"r")
        case b"D" if not modifiers.strip(b"w") and not arguments:
            return SubDelete(weak=bool(modifiers))
        case b"L" if both_tags and len(arguments) == 2:
            return _lookup(words[0][1:], *arguments, bridging=bridging)
        case b"C" if both_tags and not modifiers and len(arguments) == 3:
            return Outlet(*map(text, arguments))
        case b"M" if _is_digit_catcher(modifiers):
            return _catch_digits(arguments)
        case b"M":
            raise CommandError(3, f"no module answers to {token(words[0])} after '&&'")
        case _:
            line = b" ".join(words)
            raise CommandError(3, f"{token(line)} cannot follow '&&' here")


def _set(assignment: bytes, *, reverse: bool) -> SetTtl | SetTos:
    name, _, given = assignment.partition(b"=")
    value = integer(given)
    if value is not None and value > 0:
        if name == b"ttl" and value <= MAX_TTL:
            return SetTtl(value, reverse)
        if name == b"tos" and value <= MAX_TOS:
            return SetTos(value, reverse)
    raise CommandError(3, f"S after '&&' cannot set {token(assignment)}")


def _is_digit_catcher(number: bytes) -> bool:
    module, _, instance = number.partition(b":")
    return integer(module) == 3 and integer(instance) == 1


def _catch_digits(arguments: list[bytes]) -> CatchDigits:
    """What is wrong with arguments for a module fails the sub-command, not the command."""
    tag, given, option = (*arguments, b"", b"", b"")[:3]
    payload_type = integer(given) if given else EVENTS
    if (
        not 1 <= len(arguments) <= 3
        or payload_type is None
        or not 0 <= payload_type <= MAX_PAYLOAD_TYPE
        or option.lower() not in (b"", b"h")
    ):
        return CatchDigits(None)
    try:
        return CatchDigits(url_decode(tag), payload_type, hide=bool(option))
    except CommandError:
        return CatchDigits(None)


def _lookup(modifiers: bytes, host: bytes, port: bytes, *, bridging: bool) -> SubLookup:
    try:
        options = media_options(modifiers, bridging=bridging)
        return SubLookup(options, remote(host, port, options.family))
    except CommandError as error:
        raise CommandError(3, f"L after '&&': {error.reason}") from error
