"""Prompts as players read them: in slices that are read ahead by a thread and shared.

A prompt is a file of raw frames of one codec. However many players play it, and wherever in it
they are, each slice is read once as long as it stays in the cache, and no packet and no command
waits for a disk.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from twisted.logger import Logger

from rtpproxy_tw.errors import PromptRefused
from rtpproxy_tw.media.prompt_files import PromptDirectories

SLICE = 65_536
"""Octets read at once: eight seconds of PCMU."""

CACHE = 64 * 1024 * 1024
"""Octets of slices kept."""

Done = Callable[[bytes | None], None]
"""Called with what was read, None for an error."""


class Reader(Protocol):
    """Reads from files."""

    def read(self, fd: int, size: int, at: int, done: Done) -> None:
        """Call ``done`` later, or at once, with at most ``size`` octets from ``at`` on."""


class Identity(NamedTuple):
    """Tells files apart, and a file from what it was before it was written to."""

    device: int
    inode: int
    size: int
    modified: int


class Prompt:
    """An open file."""

    __slots__ = ("failed", "fd", "identity", "users")

    def __init__(self, fd: int, identity: Identity) -> None:
        self.fd = fd
        self.identity = identity
        self.users = 0
        """Tracks and reads that need the descriptor."""
        self.failed = False
        """The disk could not be read."""


class Prompts:
    """Opens prompts and keeps their slices. ``cache`` is in octets."""

    _log = Logger()

    def __init__(self, directories: PromptDirectories, reader: Reader, cache: int = CACHE) -> None:
        self._directories = directories
        self._reader = reader
        self._room = cache
        self._open: dict[Identity, Prompt] = {}
        self._slices: OrderedDict[tuple[Identity, int], bytes] = OrderedDict()
        self._reading: set[tuple[Identity, int]] = set()

    def open(self, name: str) -> Prompt:
        """The prompt in the file ``name``, to be released. Raises PromptRefused."""
        fd = self._directories.open(name)
        try:
            about = os.fstat(fd)
        except OSError as error:
            os.close(fd)
            raise PromptRefused(f"prompt {name!r}: {error.strerror}") from error
        identity = Identity(about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
        prompt = self._open.get(identity)
        if prompt is None:
            prompt = self._open[identity] = Prompt(fd, identity)
        else:
            os.close(fd)
        prompt.users += 1
        return prompt

    def release(self, prompt: Prompt) -> None:
        """One user less; the last one closes the file."""
        prompt.users -= 1
        if not prompt.users:
            del self._open[prompt.identity]
            os.close(prompt.fd)

    def slice(self, prompt: Prompt, number: int) -> bytes | None:
        """Octets from ``number`` times SLICE on; None while they are being read."""
        key = prompt.identity, number
        data = self._slices.get(key)
        if data is not None:
            self._slices.move_to_end(key)
        elif key not in self._reading:
            self._reading.add(key)
            prompt.users += 1
            self._reader.read(
                prompt.fd, SLICE, number * SLICE, lambda data: self._read(prompt, number, data)
            )
            data = self._slices.get(key)
        return data

    def _read(self, prompt: Prompt, number: int, data: bytes | None) -> None:
        key = prompt.identity, number
        self._reading.discard(key)
        if data is None:
            prompt.failed = True
        else:
            self._slices[key] = data
            self._room -= len(data)
            while self._room < 0 and len(self._slices) > 1:
                _, oldest = self._slices.popitem(last=False)
                self._room += len(oldest)
        self.release(prompt)


class Track:
    """One player's way through a prompt: ``count`` times its whole packets of ``octets`` each.

    A negative ``count`` is for ever. What is left at the end of the file and fills no packet is
    passed over.
    """

    __slots__ = ("_at", "_end", "_left", "_number", "_octets", "_prompts", "_slice", "prompt")

    def __init__(self, prompts: Prompts, prompt: Prompt, octets: int, count: int) -> None:
        self._prompts = prompts
        self.prompt = prompt
        self._octets = octets
        self._left = count
        self._at = 0
        self._end = prompt.identity.size // octets * octets
        self._slice = b""
        self._number = -1
        prompts.slice(prompt, 0)

    @property
    def place(self) -> tuple[int, int]:
        """How far it is: octets into the prompt, and how often that is still to be played."""
        return self._at, self._left

    def go_to(self, at: int, left: int) -> None:
        """Go on from a ``place``; one that no packet begins at is moved back to where one does."""
        self._at, self._left = at // self._octets * self._octets, left

    def take(self) -> bytes | None:
        """The next packet's payload, empty when that was all; None while it is being read."""
        while True:
            if self._at >= self._end:
                if self._end == 0 or self._left in (0, 1):
                    return b""
                self._left -= 1
                self._at = 0
            if self.prompt.failed:
                return b""
            payload = self._payload()
            if payload is None or len(payload) == self._octets:
                return payload
            self._end = self._at  # the file has been cut short since it was opened

    def _payload(self) -> bytes | None:
        number, offset = divmod(self._at, SLICE)
        if number != self._number:
            data = self._prompts.slice(self.prompt, number)
            if data is None:
                return None
            self._slice, self._number = data, number
            following = number + 1 if (number + 1) * SLICE < self._end else 0
            if following or self._left not in (0, 1):
                self._prompts.slice(self.prompt, following)
        payload = self._slice[offset : offset + self._octets]
        missing = offset + self._octets - SLICE
        if missing > 0:
            rest = self._prompts.slice(self.prompt, number + 1)
            if rest is None:
                return None
            payload += rest[:missing]
        self._at += self._octets if len(payload) == self._octets else 0
        return payload


class ThreadReader:
    """Reads in a thread of its own, which starts at the first need. ``reactor`` gets the results.

    A daemon thread: a disk that hangs must not keep the process from ending.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._jobs: queue.SimpleQueue[tuple[int, int, int, Done] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def read(self, fd: int, size: int, at: int, done: Done) -> None:
        """See Reader."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="prompts", daemon=True)
            self._thread.start()
        self._jobs.put((fd, size, at, done))

    def stop(self) -> None:
        """End the thread once it has done what it was asked."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(1.0)
            self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            fd, size, at, done = job
            data: bytes | None
            try:
                data = os.pread(fd, size, at)
            except OSError:
                data = None
            # The reactor hears of it with its next turn though it cannot be woken for that.
            with suppress(OSError):
                self._reactor.callFromThread(done, data)


__all__ = ["Prompt", "PromptRefused", "Prompts", "Reader", "ThreadReader", "Track"]
