"""Payloads become samples: what is simple here, the rest in a process that may be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import rtpproxy_tw
from rtpproxy_tw.recording import pcm
from rtpproxy_tw.recording.codecs import SOUNDLESS, Codec

PATIENCE = 30.0
"""Seconds for the start of the process, or for one batch, which takes it a fraction of one."""

BATCH = 1500
"""Payloads of one request: half a minute of speech."""

MODULE = "rtpproxy_tw.recording.decoder_child"

LONGEST = 2 * 192_000
"""Octets of samples for one payload that are believed: a second."""


class Undecodable(Exception):
    """A codec cannot be decoded here; the text says why."""


class Decoding:
    """Decodes; to be closed. ``command`` starts the helping process, when it is first needed."""

    def __init__(
        self, command: Sequence[str] = (sys.executable, "-m", MODULE), patience: float = PATIENCE
    ) -> None:
        self._command = command
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()

    def __enter__(self) -> Decoding:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def decode(self, codec: Codec, payloads: Sequence[bytes]) -> list[bytes]:
        """Samples for each payload, in order; none for one that is damaged.

        All payloads are of one stream, in order. Raises Undecodable.
        """
        match codec.name:
            case "PCMU":
                return [pcm.from_mulaw(payload) for payload in payloads]
            case "PCMA":
                return [pcm.from_alaw(payload) for payload in payloads]
            case "L16":
                return [pcm.from_l16(payload, codec.channels) for payload in payloads]
            case name if name in SOUNDLESS:
                return [b""] * len(payloads)
        stream, found = next(self._numbers), list[bytes]()
        for at in range(0, len(payloads), BATCH):
            found += self._ask(stream, codec, payloads[at : at + BATCH])
        if payloads and not any(found):
            raise Undecodable(f"{codec.text}: nothing of it could be decoded")
        return found

    def close(self) -> None:
        """End the helping process. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _ask(self, stream: int, codec: Codec, payloads: Sequence[bytes]) -> list[bytes]:
        question = {
            "stream": stream,
            "codec": codec.name,
            "rate": codec.rate,
            "sizes": [len(payload) for payload in payloads],
        }
        process = self._started(codec)
        try:
            found = self._exchange(process, json.dumps(question).encode(), b"".join(payloads))
        except (OSError, ValueError, KeyError, EOFError) as error:
            self.close()
            raise Undecodable(
                f"{codec.text}: the decoder crashed or took longer than {self._patience:g} s"
            ) from error
        if isinstance(found, str):
            raise Undecodable(f"{codec.text}: {found}")
        return found

    def _exchange(
        self, process: subprocess.Popen[bytes], question: bytes, payloads: bytes
    ) -> list[bytes] | str:
        assert process.stdin is not None
        assert process.stdout is not None
        with self._watched(process):
            process.stdin.write(question + b"\n" + payloads)
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            if answer["error"] is not None:
                return str(answer["error"])
            sizes = [int(size) for size in answer["sizes"]]
            if not all(0 <= size <= LONGEST for size in sizes):
                raise ValueError(sizes)
            found = [process.stdout.read(size) for size in sizes]
        if [len(each) for each in found] != sizes:
            raise EOFError
        return found

    def _watched(self, process: subprocess.Popen[bytes]) -> _Watch:
        return _Watch(process, self._patience)

    def _started(self, codec: Codec) -> subprocess.Popen[bytes]:
        if self._process is not None:
            return self._process
        # The package may be run from a source tree, and from any directory.
        tree = str(Path(rtpproxy_tw.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (tree, os.environ.get("PYTHONPATH"))))
        try:
            process = self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError as error:
            raise Undecodable(f"{codec.text}: no decoder could be started: {error}") from error
        assert process.stdout is not None
        assert process.stderr is not None
        with self._watched(process):
            ready = process.stdout.readline()
        if ready != b"ready\n":
            told = process.stderr.read().decode(errors="replace").strip() or "did not start"
            self.close()
            reason = told.splitlines()[-1]
            raise Undecodable(
                f"{codec.text}: the decoder says: {reason}; pip install rtpproxy-tw[audio]"
            )
        return process


class _Watch:
    """Kills a process that is not done within ``seconds``."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._timer = threading.Timer(seconds, process.kill)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *exc_info: object) -> None:
        self._timer.cancel()
