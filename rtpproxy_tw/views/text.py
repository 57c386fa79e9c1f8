"""Names that came from the network, as they appear in JSON and in addresses of resources.

Call-ids and tags are bytes to the relay, kept as text with surrogates for what is not UTF-8. JSON
has no place for those, so a text is *shown* with replacement characters, and *identified* by a
percent-encoding (RFC 3986 section 2.1) from which the very bytes can be had again.
"""

from __future__ import annotations

import json
from urllib.parse import quote, unquote_to_bytes

MAX_SHOWN = 1024
"""Characters of one name in an answer; no command can carry more than eight times as many."""


def shown(text: str) -> str:
    """``text`` for people: Unicode, of bounded length; control characters are JSON's business."""
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "…"
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def identifier(text: str) -> str:
    """``text`` as one segment of a path, from which :func:`identified` finds it again."""
    return quote(text.encode("utf-8", "surrogateescape"), safe="@!$'*,;:=~")


def identified(segment: bytes) -> str:
    """The name whose bytes, percent-encoding undone, are ``segment``."""
    return segment.decode("utf-8", "surrogateescape")


def unescaped(text: str) -> str:
    """What was given to :func:`identifier`."""
    return identified(unquote_to_bytes(text))


def to_json(value: object) -> bytes:
    """One JSON text (RFC 8259) in ASCII, safe to be put into HTML, too.

    NaN and infinity, which JSON lacks, are a mistake of ours: raises ValueError.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").encode()
