"""The relays that are compared, each in the relay's namespace: ours, the original, rtpengine."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from bench.calls import Call, CallError, Route, set_up
from bench.load import Load
from bench.machine import Cpus, mover
from bench.namespaces import Namespace
from bench.relays import PATIENCE, Engine, Ours, Relay

PORTS = (10_000, 60_000)


def prepare(where: Namespace, cpus: Cpus, niceness: int) -> Callable[[], None]:
    """What a child calls before it becomes a relay."""
    move = mover(cpus, niceness)

    def run() -> None:
        where.enter()
        move()

    return run


class OurKernel(Ours):
    """This relay, settled streams being relayed in the kernel."""

    def __init__(self, name: str, before: Callable[[], None], host: str, *options: str) -> None:
        super().__init__(name, before)
        self.host = host
        ports = ("-m", str(PORTS[0]), "-M", str(PORTS[1]))
        self.options = ("--fast-path=ebpf", *ports, *options)


class Original(Engine):
    """The original, as ``rtp.io`` packs it."""

    def __init__(self, name: str, before: Callable[[], None], host: str) -> None:
        super().__init__(name, before)
        self.host = host


class Rtpengine(Relay):
    """Debian's rtpengine in user space, commanded in its own language (ng over UDP)."""

    def __init__(self, name: str, before: Callable[[], None], host: str, where: Namespace) -> None:
        super().__init__(name, before)
        self.host = host
        self._where = where
        self._cookie = 0

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot take part here, None where it can."""
        return None if shutil.which("rtpengine") else "no rtpengine here (rtpengine-daemon)"

    def _start(self, stack: ExitStack) -> socket.socket:
        configuration = self.folder / "rtpengine.conf"
        configuration.write_text("[rtpengine]\n")
        self._run(
            stack,
            [
                *("rtpengine", f"--config-file={configuration}", "-f", "-E", "--table=-1"),
                *(f"--interface=here/{self.host}", "--listen-ng=127.0.0.1:22223"),
                *(f"--port-min={PORTS[0]}", f"--port-max={PORTS[1]}", "--log-level=3"),
                *("--num-threads=2", "--endpoint-learning=immediate"),
                *("--timeout=3600", "--silent-timeout=3600"),
            ],
        )
        with self._where:
            control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        control.connect(("127.0.0.1", 22223))
        control.settimeout(0.5)
        self._control = control
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            if b"pong" in self._ask({"command": "ping"}):
                return control
            time.sleep(0.1)
        control.close()
        raise self._complaint("did not start")

    def call(self, number: int, caller: tuple[str, int], callee: tuple[str, int]) -> Route:
        """Make a call between the two addresses. Raises CallError."""
        common = {
            "call-id": f"call-{number}",
            "from-tag": f"f{number}",
            "replace": ["origin"],
            "ICE": "remove",
            "flags": ["trust-address"],
        }
        offered = self._port({"command": "offer", "sdp": _sdp(*caller), **common})
        answered = self._port(
            {"command": "answer", "to-tag": f"t{number}", "sdp": _sdp(*callee), **common}
        )
        return Route(self.host, answered, self.host, offered)

    def _port(self, request: Mapping[str, object]) -> int:
        for _ in range(5):
            reply = self._ask(request)
            found = re.search(rb"m=audio (\d+)", reply)
            if found:
                return int(found[1])
        raise CallError(f"rtpengine gave no port: {reply!r}")

    def _ask(self, request: Mapping[str, object]) -> bytes:
        self._cookie += 1
        cookie = b"c%d " % self._cookie
        try:
            self._control.send(cookie + _bencode(request))
            while not (reply := self._control.recv(65536)).startswith(cookie):
                pass
        except (TimeoutError, ConnectionError):
            return b""
        return reply


def routes_through(relay: Relay, load: Load, count: int) -> list[Route]:
    """So many calls between the load's two ends. Raises CallError or OSError."""
    if isinstance(relay, Rtpengine):
        return [relay.call(number, load.caller, load.callee) for number in range(count)]
    return [
        set_up(relay.client, Call("kernel", number, relay.host), load.caller, load.callee)
        for number in range(count)
    ]


def _sdp(host: str, port: int) -> str:
    lines = (
        *("v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"),
        *(f"m=audio {port} RTP/AVP 18 0", "a=rtpmap:18 G729/8000", "a=rtpmap:0 PCMU/8000"),
        f"a=rtcp:{port + 1}",
    )
    return "\r\n".join(lines) + "\r\n"


def _bencode(value: object) -> bytes:
    if isinstance(value, Mapping):
        items = (_bencode(key) + _bencode(value[key]) for key in sorted(value))
        return b"d" + b"".join(items) + b"e"
    if isinstance(value, str):
        octets = value.encode()
        return b"%d:%s" % (len(octets), octets)
    assert isinstance(value, Sequence)
    return b"l" + b"".join(map(_bencode, value)) + b"e"
