"""File names of recordings, made of bytes a stranger chose.

A Call-ID may legally contain ``/`` and ``.`` (RFC 3261 section 25.1, ``word``), so what is not
plain becomes ``%XX``, byte by byte. A plain name is the one the original would use:

=========================  ===============================================================
``CALLID=FROMTAG.o.rtp``   what the caller sent (``.a.``: the callee; ``.rtcp``: its RTCP)
``CALLID=FROMTAG.pcap``    everything of a session in one file
``TARGET.rtp``             a name the command gave, with ``.rtcp`` beside it
``TARGET``                 the same with everything in one file
=========================  ===============================================================

Two recordings never share a file by accident. Three marks see to it; ``+`` and ``~`` are never
plain, and nothing but a digest makes a stem longer than 120 bytes:

* ``+N`` after FROMTAG: medium N of the call, unless it is the first. The original leaves the
  number out, so that the media of one call overwrite each other.
* ``~N`` at the end of the stem: the N-th recording at this moment that wants the name.
* A stem longer than 120 bytes is cut there and ends in ``-`` and half of its SHA-256.

A ``=`` in FROMTAG is encoded too, so the last one always ends the Call-ID.
"""

from __future__ import annotations

import re
from collections.abc import Container
from hashlib import sha256
from itertools import chain, count

from rtpproxy_tw.session import SessionKey, Side

MAX_STEM = 120
"""Bytes of a stem; with digest, mark and ending a name stays below the usual limit of 255."""

_DIGEST = 32
"""Hexadecimal digits of SHA-256 kept: 128 bits, out of reach of a deliberate collision."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@=-")
_LETTERS = {Side.CALLER: "o", Side.CALLEE: "a"}
"""Originator and answerer."""


def encode(text: str) -> str:
    """``text`` as part of a file name: plain bytes as they are, others as ``%XX``.

    ``text`` is a token of a command, undecodable bytes surrogate-escaped.
    """
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)


def session_stem(key: SessionKey) -> str:
    """The stem of a recording named after its session."""
    tag, semicolon, medium = key.from_tag.rpartition(";")
    if not (semicolon and medium.isascii() and medium.isdigit()):
        tag, medium = key.from_tag, "1"
    mark = "" if medium == "1" else f"+{medium}"
    party = encode(tag).replace("=", "%3D")
    return _tame(f"{encode(key.call_id)}={party}{mark}")


def target_stem(target: str) -> str:
    """The stem of a recording to which a command gave the name."""
    return _tame(encode(target))


def session_endings(side: Side, *, rtcp: bool, single: bool) -> tuple[str, ...]:
    """What is appended to a session's stem: one ending for each file, RTP first."""
    if single:
        return (".pcap",)
    letter = _LETTERS[side]
    return (f".{letter}.rtp", f".{letter}.rtcp")[: 1 + rtcp]


def target_endings(*, rtcp: bool, single: bool) -> tuple[str, ...]:
    """What is appended to a target's stem: one ending for each file, RTP first."""
    return ("",) if single else (".rtp", ".rtcp")[: 1 + rtcp]


def unused(stem: str, endings: tuple[str, ...], taken: Container[str]) -> tuple[str, ...]:
    """The names with these endings, the stem marked where one of them is ``taken``."""
    marks = chain([""], (f"~{number}" for number in count(2)))
    candidates = (tuple(stem + mark + ending for ending in endings) for mark in marks)
    return next(names for names in candidates if not any(name in taken for name in names))


def _tame(stem: str) -> str:
    """No hidden file, no ``..``, no name longer than file systems take."""
    if stem.startswith("."):
        stem = "%2E" + stem[1:]
    if len(stem) <= MAX_STEM:
        return stem
    head = re.sub("%[0-9A-F]?$", "", stem[:MAX_STEM])
    return f"{head}-{sha256(stem.encode()).hexdigest()[:_DIGEST]}"
