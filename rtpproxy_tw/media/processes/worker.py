"""A media process: ``python -m rtpproxy_tw.media.processes.worker CONTROL MEMORY PARENT``.

It has nothing of the relay's but what it is told over the socket CONTROL, an inherited descriptor,
and the shared MEMORY, another one; it begins with READY and ends with the relay, the process
PARENT. It knows no Twisted: it is small and starts fast, so one that died is soon replaced.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from rtpproxy_tw.media.processes import layout
from rtpproxy_tw.media.processes.lanes import (
    BEGINNINGS,
    BUFFER,
    DRAINED,
    FIXED,
    PUBLISH_EVERY,
    USUAL,
    WHOLE,
    Lane,
    Memory,
    Port,
)
from rtpproxy_tw.media.shortcut import HEADER

GROUP = 32
"""Descriptors served together, as in ``media/mediaset.py``."""

LEAST = GROUP // 2
"""So many of them are worth to be asked whether they have more."""

DEEP = 4
"""Packets of one descriptor in a row, when all are behind. After so many of each descriptor of a
group the relay is heard again, which may be waiting: within a millisecond."""

TURN = 0.005
"""Seconds between two looks at a share of the lanes."""

SHARES = 50
"""So many of them until all have been looked at."""

PAUSE = 0.0005
"""Seconds that a busy process lets packets gather before it looks for them again. To be woken costs
as much as relaying some packets, and whoever it is taken from pays again. Network cards wait, too.
"""

BUSY = 10_000
"""Packets a second from which on a process is busy; fewer hardly ever wait for each other."""

COUNTED = 0.05
"""Seconds over which they are counted."""

DIRTY_EVERY = 0.05
"""Seconds until a disturbance is told."""

PR_SET_PDEATHSIG = 1


class Over(Exception):
    """The relay is gone."""


class Worker:
    """Relays. ``now`` gives monotonic seconds."""

    def __init__(
        self, control: socket.socket, memory: Memory, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._control = control
        self._memory = memory
        self._now = now
        self._epoll = select.epoll()
        self._epoll.register(control.fileno(), select.EPOLLIN)
        self._lanes: list[Lane | None] = [None] * (control.fileno() + 1)
        """By descriptor."""
        self._by_id: dict[int, Lane] = {}
        self._ports: dict[int, Port] = {}
        self._to_watch: list[Lane] = []
        self._share = 0
        self._dirty: list[Lane] = []
        self._turn_at = self._dirty_at = 0.0
        self._failures = 0
        self._unheard = 0
        """How often there was no packet after all."""
        self._busy = False
        self._served = 0
        """Since they were last counted."""
        self._counted_at = now()
        control.setblocking(False)

    def run(self) -> None:
        """Until the relay is gone: raises Over."""
        self._say(layout.pack_word(layout.READY))
        while True:
            self.step()

    def step(self) -> None:
        """Wait for packets or the relay, and do what there is to be done. Raises Over."""
        poll, now = self._epoll.poll, self._now
        events = poll(TURN if self._by_id else None, GROUP)
        at = now()
        self._serve(events, at)
        self._served += len(events)
        if len(events) == GROUP:
            self._serve_more(events)
            self._listen()  # as it may have come last, far behind
        elif self._busy:
            # The relay, who waits for answers, ends the pause.
            select.select((self._control,), (), (), PAUSE)
        if at >= self._turn_at:
            self._turn_at = at + TURN
            self._look(at)
            self._count(at)

    def _serve_more(self, events: Sequence[tuple[int, int]]) -> None:
        """Relay further packets of the same descriptors as long as nearly all have some.

        That is cheaper than to return to each later. Two of them are asked first.
        """
        for _ in range(DEEP - 1):
            lanes, now = self._lanes, self._now()
            events = [event for event in events if lanes[event[0]] is not None]
            if len(events) < LEAST:
                return
            unheard = self._unheard
            self._serve((events[0], events[-1]), now)
            if self._unheard > unheard:
                return
            self._serve(events[1:-1], now)

    def _serve(self, events: Sequence[tuple[int, int]], now: float) -> None:
        """Relay one packet of each descriptor.

        Long, and without calls where there is a choice: here the process spends its time.
        """
        lanes, buffer, fixed, beginnings = self._lanes, BUFFER, FIXED, BEGINNINGS
        number = int.from_bytes
        for fd, _ in events:
            lane = lanes[fd]
            if lane is None:  # else it was dropped a moment ago
                if fd == self._control.fileno():
                    self._listen()
                continue
            try:
                source = lane.source
                try:
                    if source is None:
                        size = lane.receive(buffer)
                    else:
                        size, sender = lane.receive(buffer)
                        if sender != source and sender[:2] != source:
                            self._hear_stranger(lane, size, sender, now)
                            continue
                except OSError:
                    self._unheard += 1
                    continue  # an ICMP error, or nothing there after all
                if number(fixed, "big") == lane.expected and size >= HEADER:
                    lane.expected += lane.step
                    lane.arrivals.append(now)
                    if size != lane.size:
                        lane.extra += size - lane.size
                else:
                    self._unusual(lane, size, now)
                datagram = beginnings[size] if size < USUAL else WHOLE[:size]
                out = lane.out
                try:
                    if out.connected:
                        out.transmit(datagram)
                    else:
                        out.sendto(datagram, lane.to)
                except OSError as error:
                    self._send_again(lane, datagram, error)
            except Over:
                raise
            except Exception:
                self._failed()

    def _unusual(self, lane: Lane, size: int, now: float) -> None:
        if lane.steady:
            self._memory.disturb(lane)
        lane.count(size, now)
        self._mark(lane)

    def _send_again(self, lane: Lane, datagram: memoryview, error: OSError) -> None:
        """What became of an earlier packet (ICMP) is told in place of sending this one."""
        if isinstance(error, ConnectionError):
            try:
                lane.out.socket.sendto(datagram, lane.to)
            except OSError:
                pass
            else:
                return
        if lane.steady:
            self._memory.disturb(lane)
        lane.not_sent(len(datagram))
        self._mark(lane)

    def _mark(self, lane: Lane) -> None:
        """What is published of ``lane`` is to be published again, soon."""
        if not lane.dirty:
            lane.dirty = True
            self._dirty.append(lane)

    def _hear_stranger(self, lane: Lane, size: int, sender: tuple[str, int], now: float) -> None:
        if lane.admits(now):
            self._memory.count(lane)  # how long the party has been silent will be asked
            told = layout.pack_stranger(lane.id, sender[:2], WHOLE[:size])
            try:
                self._control.send(told)
            except BlockingIOError:
                lane.refused += 1  # the relay is busy with others
                lane.foreign -= 1
            except OSError:
                raise Over from None
        self._mark(lane)

    def _failed(self) -> None:
        # A bug, not a stranger's doing. Not for every packet: a stream must not fill a log.
        self._failures += 1
        if self._failures in (1, 10, 100) or self._failures % 1000 == 0:
            traceback.print_exc()
            print(f"media process: {self._failures} such packets", file=sys.stderr)

    # What is not done for each packet.

    def _count(self, now: float) -> None:
        """Find out whether the process is busy."""
        passed = now - self._counted_at
        if passed >= COUNTED:
            self._busy = self._served >= BUSY * passed
            self._served, self._counted_at = 0, now

    def _look(self, now: float) -> None:
        self._memory.times[-1] = now
        if self._dirty and now >= self._dirty_at:
            self._dirty_at = now + DIRTY_EVERY
            dirty, self._dirty = self._dirty, []
            for lane in dirty:
                if lane.dirty and lane.id in self._by_id:
                    self._memory.publish(lane)
        if not self._to_watch:
            self._to_watch = list(self._by_id.values())
            self._share = -(-len(self._to_watch) // SHARES)
        for lane in self._to_watch[: self._share]:
            if lane.id in self._by_id:
                self._watch(lane, now)
        del self._to_watch[: self._share]

    def _watch(self, lane: Lane, now: float) -> None:
        if lane.arrivals:
            if now >= lane.publish_at:
                lane.publish_at = now + PUBLISH_EVERY
                self._memory.publish(lane)
            else:
                self._memory.count(lane)
        if lane.port.connected and lane.source is not None:
            self._drain(lane, now)
        lane.watch(now)

    def _drain(self, lane: Lane, now: float) -> None:
        """What others sent before the port was connected may still be in its queue."""
        fd = lane.port.fd
        for _ in range(DRAINED):
            try:
                lane.port.socket.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                lane.rely()
                return
            except OSError:
                continue
            self._serve([(fd, 0)], now)

    # The relay.

    def _listen(self) -> None:
        """Do what the relay has asked for by now. Raises Over."""
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(
                    self._control, layout.LONGEST, 2, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                raise Over from None
            if not message:
                raise Over
            if message[0] == layout.ADD:
                self._add(layout.unpack_add(message), descriptors)
            elif message[0] == layout.DROP:
                for id in layout.unpack_ids(message):
                    self._drop(id)
                self._say(layout.pack_word(layout.DONE))
            elif message[0] == layout.TELL:
                for id in layout.unpack_ids(message):
                    lane = self._by_id.get(id)
                    if lane is not None:
                        self._memory.publish(lane)
                self._say(layout.pack_word(layout.DONE))

    def _say(self, message: bytes) -> None:
        """To the relay, which is waiting for it. Raises Over."""
        while True:
            try:
                self._control.send(message)
                return
            except BlockingIOError:
                select.select([], [self._control], [], 1.0)
            except OSError:
                raise Over from None

    def _add(self, told: layout.Lane, descriptors: list[int]) -> None:
        for flag, name in ((layout.FRESH_IN, told.port), (layout.FRESH_OUT, told.out)):
            if told.flags & flag and descriptors:
                self._ports[name] = Port(name, socket.socket(fileno=descriptors.pop(0)))
        try:
            lane = Lane(told, self._ports[told.port], self._ports[told.out])
            fd = lane.port.fd
            self._epoll.register(fd, select.EPOLLIN)
        except (OSError, KeyError):
            # Descriptors that had no room here did not come.
            self._say(layout.pack_word(layout.GIVEN_UP, told.id))
            return
        if fd >= len(self._lanes):
            self._lanes += [None] * (fd + 1 - len(self._lanes))
        self._lanes[fd] = self._by_id[told.id] = lane
        lane.port.lane = lane
        lane.port.users += 1
        lane.out.users += 1
        self._memory.publish(lane)

    def _drop(self, id: int) -> None:
        lane = self._by_id.pop(id, None)
        if lane is None:
            return
        self._lanes[lane.port.fd] = None
        self._epoll.unregister(lane.port.fd)
        for port in (lane.port, lane.out):
            port.loosen()  # others are to be heard again, and to be sent to
            port.users -= 1
        lane.port.lane = None
        self._memory.publish(lane)
        for port in (lane.port, lane.out):
            if not port.users:
                self._ports.pop(port.name, None)
                port.socket.close()


def main(arguments: Sequence[str]) -> int:
    """Be a media process; the exit status."""
    control, memory, parent = map(int, arguments)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if os.getppid() != parent:
        return 0
    view = memoryview(mmap.mmap(memory, 0))
    # A relay with many calls has numbers beyond what select(2) takes.
    low = os.dup(control)
    os.close(control)
    worker = Worker(socket.socket(fileno=low), Memory(view))
    gc.collect()
    gc.freeze()
    gc.disable()  # lanes and ports are taken apart by hand; nothing else makes cycles
    try:
        worker.run()
    except Over:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
