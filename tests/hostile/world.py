"""A network of namespaces with a relay in it, calls that go on, and parties for the tests.

The calls that go on, two of them, are what an attack on another call must leave alone: 50 packets a
second each way, all counted.
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.attacks.field import HOSTS, Field
from bench.namespaces import Namespace
from rtpproxy_tw.tools.ctl_client import call_path
from tests.hostile.relay import Relay

if TYPE_CHECKING:
    from tests.hostile.local import Local

Address = tuple[str, int]

BYSTANDERS = 2
TICK = 0.02
NOTICES = ("notices-late", "notices-line", "notices-key")
"""Sockets that may be told of timeouts, each for one test: a notice may come twice."""

RELAY, CALLER, CALLEE, STRANGER = HOSTS[4][:4]
_RTP = struct.Struct("!BBHII")
_calls = itertools.count()
_ports = itertools.count(21000, 2)


def rtp(number: int, ssrc: int = 7, mark: bytes = b"", kind: int = 0) -> bytes:
    """A packet of PCMU, or another kind; ``mark`` ends it."""
    stamp = number * 160 & 0xFFFFFFFF
    head = _RTP.pack(0x80, kind, number & 0xFFFF, stamp, ssrc & 0xFFFFFFFF)
    return head + b"\xff" * (160 - len(mark)) + mark


Place = AbstractContextManager[object]
"""Where somebody lives: a namespace, or here."""


def udp(where: Place, address: Address) -> socket.socket:
    """A socket of that address in there."""
    with where:
        made = socket.socket(
            socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM
        )
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind(address)
    made.settimeout(2)
    return made


class Party:
    """Somebody with a port for RTP and the next one for RTCP; ``to`` is where its RTP goes."""

    def __init__(self, where: Place, host: str, ssrc: int = 0, port: int = 0) -> None:
        self.where = where
        self.ssrc = ssrc or next(_calls) + 0x1000
        port = port or next(_ports)
        self.socket, self.control = (udp(where, (host, port + n)) for n in (0, 1))
        self.address: Address = (host, port)
        self.to: Address = ("", 0)
        self.number = 100

    def say(self, count: int = 1, gap: float = 0.0, mark: bytes = b"") -> list[bytes]:
        """So many packets of RTP, and what they are."""
        said = []
        for _ in range(count):
            self.number += 1
            said.append(rtp(self.number, self.ssrc, mark))
            self.send(said[-1])
            if gap:
                time.sleep(gap)
        return said

    def send(self, datagram: bytes, control: bool = False) -> None:
        """Anything, to the relay's port for this party; ``control``: of RTCP."""
        host, port = self.to
        sock = self.control if control else self.socket
        try:
            sock.sendto(datagram, (host, port + control))
        except ConnectionError:
            # What the network says of an earlier packet.
            sock.sendto(datagram, (host, port + control))

    def hear(self, quiet: float = 0.15, control: bool = False) -> list[bytes]:
        """Everything, until nothing has come for ``quiet`` seconds."""
        sock = self.control if control else self.socket
        heard: list[bytes] = []
        sock.settimeout(quiet)
        while True:
            try:
                heard.append(sock.recv(65535))
            except TimeoutError:
                return heard
            except ConnectionError:
                continue

    def hears(self, datagram: bytes, patience: float = 5.0) -> bool:
        """Whether that comes, whatever comes before it."""
        self.socket.settimeout(patience)
        while True:
            try:
                if self.socket.recv(65535) == datagram:
                    return True
            except TimeoutError:
                return False
            except ConnectionError:
                continue

    def listen(self, count: int, patience: float = 5.0, control: bool = False) -> list[bytes]:
        """So many datagrams, fewer where they do not come."""
        sock = self.control if control else self.socket
        heard: list[bytes] = []
        sock.settimeout(patience)
        while len(heard) < count:
            try:
                heard.append(sock.recv(65535))
            except TimeoutError:
                break
        return heard

    def close(self) -> None:
        """Close both."""
        self.socket.close()
        self.control.close()


class Call:
    """Two parties and their session; ``with`` ends it."""

    def __init__(
        self,
        world: World | Local,
        *,
        caller_says: Address | None = None,
        callee_says: Address | None = None,
        letters: str = "c0,8,101",
        name: str | None = None,
        answered: bool = True,
        caller: Party | None = None,
        callee: Party | None = None,
        relay: Relay | None = None,
    ) -> None:
        self.relay = relay or world.relay
        self.name = name or f"hostile-{next(_calls)}@198.51.100.7"
        self.letters = letters
        self.caller = caller or Party(*world.caller)
        self.callee = callee or Party(*world.callee)
        self.callee.to = self.offer(caller_says)
        if answered:
            self.caller.to = self.answer(callee_says)

    def offer(self, says: Address | None = None, more: str = "") -> Address:
        """U; where the callee is to send."""
        host, port = says or self.caller.address
        return self._told(f"U{self.letters} {self.name} {host} {port} f{more}")

    def answer(self, says: Address | None = None, more: str = "") -> Address:
        """L; where the caller is to send."""
        host, port = says or self.callee.address
        return self._told(f"L{self.letters} {self.name} {host} {port} f t{more}")

    def _told(self, command: str) -> Address:
        words = self.relay.ask(command).split()
        assert int(words[0]) > 0, (command, words)
        return words[1], int(words[0])

    def settle(self) -> Call:
        """Both speak until they are heard."""
        ways = (self.caller, self.callee), (self.callee, self.caller)
        for _ in range(5):
            last = [here.say(1)[0] for here, _ in ways]
            time.sleep(0.02)
        for said, (_, there) in zip(last, ways, strict=True):
            assert there.hears(said), "the parties of a call must hear each other"
        self.callee.hear(0.01)
        self.caller.hear(0.01)
        return self

    def goes_on(self, count: int = 20) -> None:
        """Both hear all the other one says from now on."""
        for here, there in ((self.caller, self.callee), (self.callee, self.caller)):
            there.hear(0.01)
            said = here.say(count, 0.001)
            assert there.listen(count) == said

    def end(self) -> str:
        """D."""
        return self.relay.ask(f"D {self.name} f t")

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.relay.running:
                self.end()
        finally:
            self.caller.close()
            self.callee.close()


class Bystanders:
    """Calls that go on in a thread, and must not lose anything."""

    def __init__(
        self,
        world: World | Local,
        count: int = BYSTANDERS,
        letters: str = "c0",
        name: str = "bystander",
    ) -> None:
        self.calls = [Call(world, letters=letters, name=f"{name}-{n}") for n in range(count)]
        for call in self.calls:
            world.relay.ask(f"Q {call.name} f t && S ttl=600")
            call.settle()
        self.sent = 0
        self.heard: list[set[int]] = [set() for _ in range(2 * count)]
        self.delays: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ways = [
            way
            for call in self.calls
            for way in ((call.caller, call.callee), (call.callee, call.caller))
        ]
        self._thread.start()

    def _run(self) -> None:
        for _, there in self._ways:
            there.socket.setblocking(False)
        due = time.monotonic()
        while not self._stopping.is_set():
            if time.monotonic() >= due:
                due += TICK
                now = time.monotonic()
                for here, _ in self._ways:
                    here.number += 1
                    here.send(rtp(here.number, here.ssrc, struct.pack("!Id", self.sent, now)))
                self.sent += 1
            self._listen()
            time.sleep(0.001)

    def _listen(self) -> None:
        for heard, (_, there) in zip(self.heard, self._ways, strict=True):
            while True:
                try:
                    datagram = there.socket.recv(2048)
                except OSError:
                    break
                number, sent = struct.unpack("!Id", datagram[-12:])
                heard.add(number)
                self.delays.append(time.monotonic() - sent)

    def lost(self, since: int = 0) -> int:
        """How many of those said from then until now never arrived."""
        until = self.sent
        wanted = set(range(since, until))

        def missing() -> int:
            return sum(len(wanted - set(heard)) for heard in map(set.copy, self.heard))

        end = time.monotonic() + 10
        while missing() and time.monotonic() < end:
            time.sleep(0.01)
        return missing()

    def close(self) -> None:
        """Stop talking."""
        self._stopping.set()
        self._thread.join()
        for call in self.calls:
            call.__exit__()


class World:
    """The field, a relay on it, and the calls that go on. Needs root."""

    def __init__(self, folder: Path, *options: str) -> None:
        for name in ("recordings", "prompts"):
            (folder / name).mkdir(parents=True)
        with ExitStack() as stack:
            self.field = stack.enter_context(Field())
            self.relay = stack.enter_context(
                Relay(
                    folder,
                    RELAY,
                    [
                        *("-s", f"unix:{folder}/oneshot", "-s", f"udp:{RELAY}:22222"),
                        *("-s", f"tcp:{RELAY}:22222", "--control-allow", "198.18.0.0/15"),
                        *("-6", f"six@{HOSTS[6].relay}"),
                        *(word for each in NOTICES for word in ("-n", f"unix:{folder}/{each}")),
                        *("--control-policy", f"tcp:{RELAY}:22222=-X"),
                        *("--http", "tcp:8080:interface=127.0.0.1"),
                        *("-r", f"{folder}/recordings", "--record-min-free", "0"),
                        *("--prompt-dir", f"{folder}/prompts"),
                        *options,
                    ],
                    where=self.field.relay,
                )
            )
            self.caller = self.field.caller, CALLER
            self.callee = self.field.callee, CALLEE
            self.bystanders = Bystanders(self)
            self.memory = self.relay.memory()
            stack.callback(self.bystanders.close)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Away with it all."""
        self._stack.close()

    def call(self, **options: object) -> Call:
        """A call of a test."""
        return Call(self, **options)  # type: ignore[arg-type]

    def view(self, call: Call) -> dict[str, Any]:
        """The session of a call, as HTTP tells it."""
        found = json.loads(call.relay.get(call_path(call.name)))["sessions"][0]
        assert isinstance(found, dict)
        return found

    def stranger(self, port: int = 0) -> Party:
        """Somebody else."""
        return Party(self.field.stranger, STRANGER, port=port)

    def raw(self, where: Namespace | None = None) -> socket.socket:
        """A socket that can write any source address."""
        with where or self.field.stranger:
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
