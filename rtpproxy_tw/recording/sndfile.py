"""Kinds of sound files that libsndfile makes: what the original's ``extractaudio`` knows.

Names are the original's, which are libsndfile's own in lower case. What a kind can contain, at
which number of channels, is libsndfile's knowledge and is asked for.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

CONTAINERS = (
    *("wav", "aiff", "au", "raw", "paf", "svx", "nist", "voc", "ircam", "w64", "mat4", "mat5"),
    *("pvf", "xi", "htk", "sds", "avr", "wavex", "flac", "caf", "wve", "ogg", "mpc2k"),
    "rf64",
)
"""All but ``sd2``, half of which is a second file of a kind only old Macintoshes have."""

CODINGS = (
    *("pcm_s8", "pcm_16", "pcm_24", "pcm_32", "pcm_u8", "float", "double", "ulaw", "alaw"),
    *("ima_adpcm", "ms_adpcm", "gsm610", "vox_adpcm", "g721_32", "g723_24", "g723_40"),
    *("dwvw_12", "dwvw_16", "dwvw_24", "dwvw_n", "dpcm_8", "dpcm_16", "vorbis"),
)


class Unavailable(Exception):
    """Such a file cannot be made; the text says why."""


def _library() -> Any:
    try:
        return import_module("soundfile")
    except (ImportError, OSError) as error:
        raise Unavailable(
            "files of this kind are made by libsndfile: pip install rtpproxy-tw[sndfile]"
        ) from error


def coding_of(container: str, coding: str | None) -> str:
    """What is to be in the file: ``coding`` if it can be, by default 16-bit samples where they can.

    Raises Unavailable.
    """
    library = _library()
    kind = container.upper()
    if coding is not None:
        if library.check_format(kind, coding.upper()):
            return coding
        able = [each for each in CODINGS if library.check_format(kind, each.upper())]
        raise Unavailable(f"{coding}: what is in a {container} file can be {', '.join(able)}")
    if library.check_format(kind, "PCM_16"):
        return "pcm_16"
    default: str = library.default_subtype(kind)
    return default.lower()


def made(samples: bytes, rate: int, channels: int, container: str, coding: str | None) -> bytes:
    """The file, of interleaved 16-bit samples in host order. Raises Unavailable."""
    library = _library()
    chosen = coding_of(container, coding)
    file = io.BytesIO()
    try:
        with library.SoundFile(
            file, "w", rate, channels, chosen.upper(), None, container.upper()
        ) as sound:
            sound.buffer_write(samples, "int16")
    except (library.SoundFileError, ValueError) as error:
        many = " of two channels" if channels == 2 else ""
        raise Unavailable(
            f"libsndfile makes no {container} file with {chosen}{many}: {error}"
        ) from error
    return file.getvalue()
