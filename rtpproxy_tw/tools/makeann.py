"""Makes prompts: one sound file in, a file of raw frames for each codec out.

``rtpproxy-makeann [-l LIMIT [-L]] infile [outfile_template]`` as with the original's makeann, but
for the input, which may be WAV of any rate, or anything PyAV reads.
"""

from __future__ import annotations

import argparse
import os
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from rtpproxy_tw.tools.audio import (
    HOW,
    AudioError,
    Sound,
    alaw,
    big_endian,
    encoder,
    library,
    mulaw,
    read,
    resampled,
)
from rtpproxy_tw.tools.libgsm import gsm_encoder

CLOCK = 8000
"""Samples a second in which limits are counted, as the original counts them."""

Encode: TypeAlias = "Callable[[array[int]], bytes]"


class Codec(NamedTuple):
    """One kind of prompt. ``frame`` is in samples, the last one is filled up with silence."""

    payload_type: int
    rate: int
    frame: int
    encode: Encode | None = None
    names: tuple[str, ...] = ()
    """In PyAV, the best first."""
    bit_rate: int = 0


CODECS = {
    "pcmu": Codec(0, 8000, 1, mulaw),
    "pcma": Codec(8, 8000, 1, alaw),
    "g722": Codec(9, 16000, 320, names=("g722",), bit_rate=64_000),
    "gsm": Codec(3, 8000, 160, names=("libgsm", "gsm"), bit_rate=13_000),
    "g723": Codec(4, 8000, 240, names=("g723_1",), bit_rate=6_300),
    "g729": Codec(18, 8000, 80),
    "l16": Codec(11, 44_100, 441, big_endian),
}

BY_DEFAULT = ("pcmu", "pcma", "g722", "gsm", "g723")
"""Those of them that can be had; L16 has to be asked for, as it takes eleven times the room."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    asked = _parser().parse_args(arguments)
    if asked.loop and not asked.limit:
        return _failed("-L needs a limit, -l")
    template = asked.template or asked.infile
    status = 0
    try:
        for name in asked.codecs or BY_DEFAULT:
            codec = CODECS[name]
            encode = _encoder(name)
            if encode is None:
                _complain(f"no {name}: {_why_not(name)}")
                status = status or int(bool(asked.codecs))
                continue
            sound = read(asked.infile, codec.rate, raw=asked.raw)
            samples = _prepared(sound, codec, asked.limit, loop=asked.loop)
            path = f"{template}.{codec.payload_type}"
            _write(path, encode(samples))
            print(f"{path}: {len(samples) / codec.rate:.2f} s of {name}")
    except AudioError as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}")
    return status


def _encoder(name: str) -> Encode | None:
    codec = CODECS[name]
    found = codec.encode or encoder(codec.names, codec.rate, codec.bit_rate)
    return found or (gsm_encoder() if name == "gsm" else None)


def _prepared(sound: Sound, codec: Codec, limit: int, *, loop: bool) -> array[int]:
    """At the codec's rate, as long as asked for, and of whole frames."""
    samples = resampled(sound, codec.rate)
    if limit:
        wanted = limit * codec.rate // CLOCK
        if loop and samples:
            samples = samples * -(-wanted // len(samples))
        samples = samples[:wanted]
    missing = -len(samples) % codec.frame
    return samples + array("h", bytes(2 * missing)) if missing else samples


def _write(path: str, octets: bytes) -> None:
    # A relay may be playing what has the name now, and is to go on doing so.
    part = f"{path}.part"
    with open(part, "wb") as file:
        file.write(octets)
    os.replace(part, path)


def _why_not(name: str) -> str:
    if name == "g729":
        return "PyAV has no encoder for G.729, and there is no free one to be had elsewhere"
    if name == "gsm":
        return "that takes libgsm (Debian's package libgsm1), or a PyAV built with it"
    if library() is None:
        return f"that takes PyAV ({HOW})"
    return "the PyAV that is installed was built without an encoder for it"


def _complain(sentence: str) -> None:
    print(f"rtpproxy-makeann: {sentence}", file=sys.stderr)


def _failed(sentence: str) -> int:
    _complain(sentence)
    return 1


def _codecs(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(","))
    for name in names:
        if name not in CODECS:
            raise argparse.ArgumentTypeError(f"{name}: must be one of {', '.join(CODECS)}")
    return names


def _limit(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: must be a number of samples")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtpproxy-makeann",
        description="Makes prompts for P, one file for each codec: TEMPLATE.0, TEMPLATE.8, ...",
    )
    add = parser.add_argument
    add("-l", dest="limit", type=_limit, default=0, metavar="LIMIT", help="at most so many samples")
    add("-L", dest="loop", action="store_true", help="repeat the input up to the limit")
    add("-v", dest="vad", action="store_true", help="accepted; it was for G.729 only")
    add(
        "-c",
        "--codecs",
        type=_codecs,
        metavar="LIST",
        help=f"of {', '.join(CODECS)}; by default {', '.join(BY_DEFAULT)}, as far as can be",
    )
    add("--raw", action="store_true", help="the input is signed 16 bits at 8 kHz, as for makeann")
    add("infile", help="WAV, raw (.raw, .sln, .s16, .pcm), or anything PyAV reads")
    add("template", nargs="?", help="names of the output without payload type (infile)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
