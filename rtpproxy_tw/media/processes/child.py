"""One media process as the relay sees it: started, spoken to, replaced when it dies."""

from __future__ import annotations

import array
import mmap
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.media.processes import layout

MODULE = "rtpproxy_tw.media.processes.worker"

PATIENCE = 1.0
"""Seconds within which a process must have let go of a flow. One that has not is killed: a SIP
proxy is waiting."""

AT_ONCE = 64
"""Messages handled before others have their turn."""

HUNG = 2.0
"""Seconds without a sign of life from a process that has flows."""

LEAST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a process that died is replaced; twice as long each time, if it died soon."""

LIVED = 60.0
"""Seconds after which a process has not died soon."""

_KEPT_BACK = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID")
"""What the supervisor tells the relay alone."""

Spawn = Callable[[int, int], "subprocess.Popen[bytes]"]
"""(descriptor of the control socket, of the memory) -> a media process that has inherited both."""


def spawn(control: int, memory: int) -> subprocess.Popen[bytes]:
    """A real one. Raises OSError."""
    home = str(Path(__file__).resolve().parents[3])
    environment = {name: it for name, it in os.environ.items() if name not in _KEPT_BACK}
    # Of a source tree, which is not installed, and may not be where the relay is by now.
    environment["PYTHONPATH"] = os.pathsep.join(
        (home, *filter(None, (environment.get("PYTHONPATH"),)))
    )
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, str(control), str(memory), str(os.getpid())],
        pass_fds=(control, memory),
        stdin=subprocess.DEVNULL,
        env=environment,
    )


@implementer(IReadDescriptor)
class Child:
    """A media process, or the place of one that is being replaced.

    ``heard`` gets its messages but READY and DONE; ``died`` is called when it is gone for whatever
    reason but :meth:`stop`. The memory, ``capacity`` slots, outlives it.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        number: int,
        reactor: Any,
        capacity: int,
        heard: Callable[[Child, bytes], None],
        died: Callable[[Child], None],
        spawn: Spawn = spawn,
    ) -> None:
        self.number = number
        self.ready = False
        """Whether it takes flows."""
        self.flows = 0
        """How many it has been given."""
        self.free = deque(range(capacity))
        """Slots."""
        self._capacity = capacity
        self._reactor = reactor
        self._heard = heard
        self._died = died
        self._spawn = spawn
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._memory: mmap.mmap | None = None
        self._memory_fd = -1
        self._again: Any = None
        self._pause = LEAST_PAUSE
        self._started = 0.0
        self._stopped = False
        self._silent = 0

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, unless it runs or is about to be started. Never raises."""
        if self._process is not None or self._again is not None or self._stopped:
            return
        self._started = self._reactor.seconds()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._map()
            self._process = self._spawn(its.fileno(), self._memory_fd)
        except OSError as error:
            ours.close()
            self._log.error("media process {number}: {error}", number=self.number, error=error)
            self._try_again()
            return
        finally:
            its.close()
        ours.setblocking(False)
        self._control = ours
        self._reactor.addReader(self)

    def _map(self) -> None:
        if self._memory is None:
            self._memory_fd = os.memfd_create("rtpproxy-media", os.MFD_CLOEXEC)
            size = self._capacity * layout.SLOT_SIZE + layout.TAIL_SIZE
            os.ftruncate(self._memory_fd, size)
            self._memory = mmap.mmap(self._memory_fd, size)
            octets = memoryview(self._memory)
            self.octets = octets.cast("B")
            self.words = octets.cast("Q")
            self.times = octets.cast("d")

    def check(self) -> None:
        """Kill a process that does nothing any more; to be called every second.

        Twice in a row it must have shown no sign of life: the whole machine may have stood still.
        """
        silent = self.ready and self.flows and self._reactor.seconds() - self.times[-1] > HUNG
        self._silent = self._silent + 1 if silent else 0
        if self._silent >= 2:
            self._lose("hangs")
            self._silent = 0

    def stop(self) -> None:
        """End it for good. Idempotent."""
        self._stopped = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._end()

    def take_slot(self) -> int:
        """A slot, empty. There must be one."""
        slot = self.free.popleft()
        start = slot * layout.SLOT_SIZE
        self.octets[start : start + layout.SLOT_SIZE] = bytes(layout.SLOT_SIZE)
        return slot

    def tell(self, message: bytes, descriptors: Sequence[int] = ()) -> bool:
        """Send ``message``; False where it cannot be sent now."""
        if self._control is None:
            return False
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            self._control.sendmsg([message], rights if descriptors else [])
        except OSError:
            return False
        return True

    def settle(self, message: bytes) -> list[bytes]:
        """Send ``message`` and wait until it is DONE; what else was said before that, in order.

        A process that does not answer is killed: it does nothing any more when this returns.
        """
        said: list[bytes] = []
        control = self._control
        if control is None:
            return said
        try:
            control.settimeout(PATIENCE)
            control.send(message)
            while True:
                answer = control.recv(layout.LONGEST)
                if not answer:
                    raise ConnectionResetError
                if answer[0] == layout.DONE:
                    control.setblocking(False)
                    return said
                said.append(answer)
        except OSError as error:
            self._lose("does not answer" if isinstance(error, TimeoutError) else "died")
            return said

    # IReadDescriptor.

    def fileno(self) -> int:
        """Of the control socket."""
        return -1 if self._control is None else self._control.fileno()

    def logPrefix(self) -> str:
        """Whom the reactor's messages are about."""
        return "media process"

    def connectionLost(self, reason: object = None) -> None:
        """The reactor is shutting down, or found the socket broken."""

    def doRead(self) -> None:
        """It has something to say."""
        for _ in range(AT_ONCE):
            if self._control is None:
                return
            try:
                message = self._control.recv(layout.LONGEST)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._lose("died")
                return
            if message[0] == layout.READY:
                self.ready = True
                self._log.info(
                    "media process {number} is ready, pid {pid}", number=self.number, pid=self.pid
                )
            else:
                self._heard(self, message)

    # The end.

    def _end(self) -> int | None:
        self.ready = False
        if self._control is not None:
            self._reactor.removeReader(self)
            self._control.close()
            self._control = None
        process, self._process = self._process, None
        if process is None:
            return None
        with suppress(OSError):
            process.kill()
        # It has to be gone before anybody else reads its sockets; a killed one is in no time.
        return process.wait()

    def _lose(self, why: str) -> None:
        pid, lived = self.pid, self._reactor.seconds() - self._started
        status = self._end()
        self._pause = LEAST_PAUSE if lived > LIVED else min(self._pause * 2, LONGEST_PAUSE)
        self._log.critical(
            "media process {number}, pid {pid}, {why} (status {status}): its {flows} streams pass"
            " through the relay itself; another one follows in {pause:.0f} s",
            number=self.number,
            pid=pid,
            why=why,
            status=status,
            flows=self.flows,
            pause=self._pause,
        )
        self._try_again()
        self._died(self)

    def _try_again(self) -> None:
        if not self._stopped:
            self._again = self._reactor.callLater(self._pause, self._start_again)

    def _start_again(self) -> None:
        self._again = None
        self.start()
