"""How the control language cuts a command into words, and what it takes for a number."""

from __future__ import annotations

import re

from rtpproxy_tw.control.escape import token
from rtpproxy_tw.errors import CommandError

MAX_WORDS = 23
"""Words of a command or of one sub-command; the original has no room for more."""

MAX_SUBS = 15
"""Sub-commands of one command; likewise."""

MAX_COOKIE = 512
"""Octets of a cookie. It is echoed into the reply, of which half is left for the answer."""

HUGE = 2**63 - 1
"""What a number too long to be meant seriously is taken for."""

_WORD = re.compile(rb"[^ \t\r\n]+")
_INTEGER = re.compile(rb"([+-]?)([0-9]+)")
_ESCAPE = re.compile(rb"%(?P<octet>[0-9a-fA-F]{2})|%|\+")
_KEPT = (b"\0", b"\r", b"\n")


def split(command: bytes) -> list[list[bytes]]:
    """The words of the main command, then those of each sub-command; none of them is empty.

    Raises CommandError 5 where there is nothing to execute, or more than the language allows.
    """
    if b"\0" in command:
        raise CommandError(5, "a NUL byte in the command")
    if b"&&" not in command and b"\v" not in command and b"\f" not in command:
        words = command.split()  # which takes more for white space than the language does
        if 0 < len(words) <= MAX_WORDS:
            return [words]
    parts: list[list[bytes]] = [[]]
    for word in _WORD.findall(command):
        if word == b"&&":
            parts.append([])
        else:
            parts[-1].append(word)
    if not all(parts):
        raise CommandError(5, "an empty command" if len(parts) == 1 else "nothing beside a '&&'")
    if len(parts) > MAX_SUBS + 1:
        raise CommandError(5, f"{len(parts) - 1} sub-commands, at most {MAX_SUBS} are taken")
    for part in parts:
        if len(part) > MAX_WORDS:
            raise CommandError(5, f"{len(part)} words, at most {MAX_WORDS} are taken")
    return parts


def split_cookie(datagram: bytes) -> tuple[bytes | None, bytes]:
    """The cookie in front of a command and the command.

    The cookie is None where there is none that could be echoed: no word at all, or a first word
    with a NUL byte or of more than ``MAX_COOKIE`` octets; the command is then empty.
    """
    found = _WORD.search(datagram)
    if found is None or len(found[0]) > MAX_COOKIE or b"\0" in found[0]:
        return None, b""
    return found[0], datagram[found.end() :]


def text(word: bytes) -> str:
    """A word as the rest of the relay sees it; undecodable bytes are surrogate-escaped."""
    return word.decode("utf-8", "surrogateescape")


def integer(word: bytes) -> int | None:
    """A decimal integer with or without sign; None for anything else.

    Those of more than 18 digits saturate at ``HUGE``: converting a long run of digits takes time
    that grows with its square.
    """
    if len(word) <= 18 and word.isdigit():
        return int(word)
    found = _INTEGER.fullmatch(word)
    if found is None:
        return None
    digits = found[2].lstrip(b"0")
    value = HUGE if len(digits) > 18 else int(digits or b"0")
    return -value if found[1] == b"-" else value


def url_decode(word: bytes) -> bytes:
    """A tag with ``%XX`` and ``+`` decoded. Raises CommandError 10 on a stray ``%``.

    CR, LF and NUL stay encoded: the tag is later sent as one line.
    """

    def decoded(found: re.Match[bytes]) -> bytes:
        if found[0] == b"+":
            return b" "
        if found["octet"] is None:
            raise CommandError(10, f"notify tag {token(word)} is not valid URL encoding")
        octet = bytes((int(found["octet"], 16),))
        return found[0] if octet in _KEPT else octet

    return _ESCAPE.sub(decoded, word)
