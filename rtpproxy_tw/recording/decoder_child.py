"""A process that decodes for another one, and may come to grief: ``python -m`` this module.

Payloads come from strangers, and the library that decodes them is written in C. So it runs where
it can do no harm: in a process of its own with little memory, little time and no files, which is
killed when it takes too long. It is asked through its standard input and answers on its standard
output: a line of JSON each time, then octets, the lengths of which are in the line.
"""

from __future__ import annotations

import io
import json
import resource
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Protocol

from rtpproxy_tw.recording.codecs import amr_frames, amr_is_aligned, frames
from rtpproxy_tw.recording.comfort import SID_OCTETS, noise, sid_loudness

MEMORY = 1 << 30
"""Octets of address space; the library's code alone takes a fifth of it."""

CPU_SECONDS = 600

_SID_SAMPLES = 80
"""Those of a G.729 frame; the noise afterwards is made where its end is known."""

_CONTEXTS = {
    "G722": "g722",
    "G729": "g729",
    "GSM": "gsm",
    "G723": "g723_1",
    "SPEEX": "speex",
    "OPUS": "opus",
    "AMR": "amrnb",
    "AMR-WB": "amrwb",
}
"""The library's names of codecs that take a frame at a time."""


class Decoder(Protocol):
    """Keeps what a codec knows of the past of one stream."""

    def decode(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Samples for each payload, none for one that cannot be decoded."""


class FrameDecoder:
    """Codecs that take one frame at a time."""

    def __init__(self, av: Any, name: str, rate: int) -> None:
        self._av = av
        self._name = name
        self._rate = rate
        self._context = av.CodecContext.create(_CONTEXTS[name], "r")
        self._context.sample_rate = rate
        if name != "OPUS":
            self._context.layout = "mono"
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        self._aligned: bool | None = None

    def decode(self, payloads: Sequence[bytes]) -> list[bytes]:
        """See Decoder."""
        if self._name.startswith("AMR") and self._aligned is None:
            self._aligned = amr_is_aligned(payloads, wideband=self._name == "AMR-WB")
        return [self._payload(payload) for payload in payloads]

    def _payload(self, payload: bytes) -> bytes:
        if self._name.startswith("AMR"):
            wideband = self._name == "AMR-WB"
            each = amr_frames(payload, wideband=wideband, aligned=bool(self._aligned)) or []
            return b"".join(
                bytes(640 if wideband else 320) if frame[0] >> 3 & 15 > 13 else self._frame(frame)
                for frame in each
            )
        return b"".join(
            noise(sid_loudness(frame), _SID_SAMPLES)
            if self._name == "G729" and len(frame) == SID_OCTETS
            else self._frame(frame)
            for frame in frames(self._name, payload)
        )

    def _frame(self, frame: bytes) -> bytes:
        found = []
        try:
            for sound in self._context.decode(self._av.Packet(frame)):
                sound.pts = None
                for part in self._resampler.resample(sound):
                    found.append(bytes(part.planes[0])[: 2 * part.samples])
        except self._av.FFmpegError:
            return b""
        return b"".join(found)


class FileDecoder:
    """Codecs the library takes as files only: all payloads of a request become one.

    What was before the request is forgotten, which cannot be heard.
    """

    def __init__(
        self,
        av: Any,
        kind: Callable[[Sequence[bytes]], tuple[str, bytes, dict[str, str]]],
        octets: Callable[[bytes], int],
    ) -> None:
        self._av = av
        self._kind = kind
        self._octets = octets

    def decode(self, payloads: Sequence[bytes]) -> list[bytes]:
        """See Decoder."""
        kind, head, options = self._kind(payloads)
        file = io.BytesIO(head + b"".join(payloads))
        found = []
        try:
            with self._av.open(file, format=kind, options=options) as container:
                for sound in container.decode(audio=0):
                    found.append(bytes(sound.planes[0])[: 2 * sound.samples])
        except self._av.FFmpegError:
            pass
        whole, at, parts = b"".join(found), 0, []
        for payload in payloads:
            size = self._octets(payload)
            parts.append(whole[at : at + size])
            at += size
        return parts


def _ilbc(payloads: Sequence[bytes]) -> tuple[str, bytes, dict[str, str]]:
    long = all(len(payload) % 50 == 0 for payload in payloads)
    return "ilbc", b"#!iLBC30\n" if long else b"#!iLBC20\n", {}


def _ilbc_octets(payload: bytes) -> int:
    return len(payload) // 50 * 480 if len(payload) % 50 == 0 else len(payload) // 38 * 320


def decoder(av: Any, name: str, rate: int) -> Decoder:
    """A fresh one. Raises ValueError or an error of the library where there is none."""
    if name in _CONTEXTS:
        return FrameDecoder(av, name, rate)
    if name == "ILBC":
        return FileDecoder(av, _ilbc, _ilbc_octets)
    if name.startswith("G726-"):
        bits = int(name[5:]) // 8
        options = {"code_size": str(bits), "sample_rate": str(rate)}
        return FileDecoder(
            av,
            lambda payloads: ("g726le", b"", options),
            lambda payload: len(payload) * 8 // bits * 2,
        )
    raise ValueError(f"{name} cannot be decoded")


def serve(asked: BinaryIO, told: BinaryIO, av: Any) -> None:
    """Answer requests until there are no more."""
    stream, current = None, None
    while line := asked.readline():
        wanted = json.loads(line)
        payloads = [asked.read(size) for size in wanted["sizes"]]
        try:
            if wanted["stream"] != stream or current is None:
                stream, current = wanted["stream"], decoder(av, wanted["codec"], wanted["rate"])
            found, error = current.decode(payloads), None
        except Exception as problem:
            found, error = [], f"{type(problem).__name__}: {problem}"
        answer = {"sizes": [len(pcm) for pcm in found], "error": error}
        told.write(json.dumps(answer).encode() + b"\n" + b"".join(found))
        told.flush()


def confine() -> None:
    """Give up what decoding does not need."""
    for what, limit in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(what, (limit, limit))


def main() -> None:
    """Serve the process that started this one."""
    try:
        import av
        import av.error
    except ImportError as error:
        sys.exit(f"PyAV is not installed ({error})")
    av.logging.set_level(None)
    # What the library loads at the first use it cannot load any more later.
    decoder(av, "ILBC", 8000).decode([bytes(38)])
    confine()
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    serve(sys.stdin.buffer, sys.stdout.buffer, av)


if __name__ == "__main__":
    main()
