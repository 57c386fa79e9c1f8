"""Prompts, re-packetisation, copies, recordings, digits: the same packets as from the original.

Both relays are real and run at the same time; each gets the same commands and packets, and what
comes out of it is compared.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
import wave
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.rtp import peek
from rtpproxy_tw.tools.extractaudio import main as extractaudio
from tests.e2e import loopback
from tests.e2e.relay import Relay
from tests.media.test_dtmf import press
from tests.media.test_resizer import packet, speech
from tests.oracle import Oracle, needs_oracle
from tests.recording.talking import Talker, power

pytestmark = [pytest.mark.e2e, needs_oracle]

PROMPTS = {0: 1000, 8: 500, 3: 33 * 6, 4: 24 * 5, 9: 1000, 18: 100}
"""Octets of the prompt ``p``, by payload type."""

PLAYERS = ("nplrs_created", "nplrs_destroyed", "npkts_played")
PACKETS = ("npkts_relayed", "npkts_discard")
RESIZER = ("npkts_resizer_in", "npkts_resizer_out", "npkts_resizer_discard")


class Relayed:
    """One of the two relays, with a call between two sockets."""

    def __init__(
        self,
        ask: Callable[[str], str],
        host: str,
        folder: Path,
        notify: str,
        notices: Callable[[], bytes],
    ) -> None:
        self.ask = ask
        self.host = host
        self.folder = folder
        self.notify = notify
        self.notices = notices
        self.caller, self.callee, self.third = (self._socket() for _ in range(3))

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((self.host, 0))
        return sock

    def address(self, sock: socket.socket) -> str:
        """As commands name it."""
        return "{} {}".format(*sock.getsockname())

    def call(self, name: str, offer: str = "", answer: str = "", rest: str = "") -> None:
        """A call with these modifiers; ``rest`` is appended to the offer."""
        to = [
            self.ask(f"U{offer} {name} {self.address(self.caller)} f t {rest}"),
            self.ask(f"L{answer} {name} {self.address(self.callee)} f t"),
        ]
        facing_callee, facing_caller = (int(reply.split()[0]) for reply in to)
        self.callee.connect((self.host, facing_callee))
        self.caller.connect((self.host, facing_caller))

    def say(self, sock: socket.socket, *datagrams: bytes) -> None:
        """Send them, some time apart."""
        for datagram in datagrams:
            sock.send(datagram)
            time.sleep(0.01)

    def hear(self, sock: socket.socket, pause: float = 0.2) -> list[bytes]:
        """All that comes until there is a pause."""
        heard: list[bytes] = []
        sock.settimeout(pause)
        while len(heard) < 1000:
            try:
                heard.append(sock.recv(9000))
            except TimeoutError:
                break
        return heard

    def counted(self, *names: str) -> list[int]:
        """What G says of them."""
        return [int(value) for value in self.ask("G " + " ".join(names)).split()]

    def close(self) -> None:
        """Close the sockets and end the call."""
        for sock in (self.caller, self.callee, self.third):
            sock.close()
        self.ask("X")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], list[Relayed]]]:
    """Makes a call's ends at the original's engine and at our relay."""
    folder = tmp_path_factory.mktemp("functions")
    with Oracle() as oracle, socket.create_server((loopback.LISTENER, 0)) as listener:
        notify = "tcp:{}:{}".format(*listener.getsockname())
        listener.settimeout(5)
        connections: list[socket.socket] = []
        for directory in (oracle.directory, folder):
            for payload_type, octets in PROMPTS.items():
                content = bytes(n * 7 % 251 for n in range(octets))
                (directory / f"p.{payload_type}").write_bytes(content)

        def notices() -> bytes:
            if not connections:
                connections.append(listener.accept()[0])
                connections[0].settimeout(5)
            return connections[0].recv(4096)

        options = ["-r", str(folder), "--prompt-dir", str(folder), "-n", notify]
        with Relay(loopback.RELAY, folder, options=options) as relay:

            def make() -> list[Relayed]:
                theirs = Relayed(
                    oracle.ask,
                    "127.0.0.1",
                    oracle.directory,
                    oracle.notify_spec,
                    lambda: oracle.notifications.recv(4096),
                )
                return [
                    theirs,
                    Relayed(relay.ask, loopback.RELAY, folder, notify, notices),
                ]

            yield make
            for connection in connections:
                connection.close()
            assert relay.end() == 0
            relay.assert_had_no_accident()


@pytest.fixture
def both(engines: Callable[[], list[Relayed]]) -> Iterator[list[Relayed]]:
    made = engines()
    yield made
    for each in made:
        each.close()


def compared(both: list[Relayed], script: Callable[[Relayed], object]) -> object:
    """What ``script`` found, which must be the same with both."""
    theirs, ours = (script(each) for each in both)
    assert ours == theirs
    return ours


def shape(datagrams: list[bytes]) -> list[object]:
    """Packets of a prompt, but for the random numbers."""
    told: list[object] = []
    first = None
    for datagram in datagrams:
        header = peek(datagram)
        assert header is not None
        first = first or header
        told.append(
            (
                header.payload_type,
                header.marker,
                header.sequence - first.sequence & 0xFFFF,
                header.timestamp - first.timestamp & 0xFFFFFFFF,
                header.ssrc == first.ssrc,
                datagram[header.start :],
            )
        )
    return told


@pytest.mark.parametrize("payload_type", PROMPTS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_prompt_is_sent_in_the_same_packets(
    both: list[Relayed], payload_type: int, count: int
) -> None:
    def script(relay: Relayed) -> object:
        relay.call("prompt")
        before = relay.counted(*PLAYERS)
        reply = relay.ask(f"P{count} prompt p {payload_type} f t")
        heard = shape(relay.hear(relay.caller))
        after = relay.counted(*PLAYERS)
        return reply, heard, [b - a for a, b in zip(before, after, strict=True)]

    assert compared(both, script)


@pytest.mark.parametrize("packet_ms", [5, 20, 25, 40])
@pytest.mark.parametrize("payload_type", [0, 3, 4, 18])
def test_with_the_sessions_codecs_packets_are_as_long(
    both: list[Relayed], payload_type: int, packet_ms: int
) -> None:
    def script(relay: Relayed) -> object:
        relay.call("session", f"c101,{payload_type}", f"z{packet_ms}")
        return relay.ask("P session p session f t"), shape(relay.hear(relay.caller))

    compared(both, script)


def test_while_a_prompt_plays_the_other_party_is_not_heard(both: list[Relayed]) -> None:
    def script(relay: Relayed) -> object:
        relay.call("muted")
        before = relay.counted(*PACKETS)
        replies = [relay.ask("P-1 muted p 0 f t")]
        relay.say(relay.callee, *speech(3))
        relay.say(relay.caller, *speech(2, first=50))
        to_callee = relay.hear(relay.callee)
        replies += [relay.ask("Q muted f t"), relay.ask("P0 muted nosuch 0 f t")]
        relay.hear(relay.caller, 0.1)
        relay.say(relay.callee, *speech(4)[3:])
        after = relay.counted(*PACKETS)
        counted = [b - a for a, b in zip(before, after, strict=True)]
        replies.append(re.sub("^[0-9]+", "", relay.ask("Q muted f t")))
        return replies, to_callee, relay.hear(relay.caller), counted

    compared(both, script)


@pytest.mark.parametrize(
    "command",
    [
        *("P x p abc f t", "P x p , f t", "P x p 0,abc f t", "P x nosuch 0 f t", "P x p 200 f t"),
        *("P x p session f t", "P0 x p session f t", "P0 x nosuch 0 f t", "Px x p 0 f t", "S x f"),
        *("P nocall p 0 f t", "S nocall f", "C x udp:127.0.0.1:9 f t", "C x udp:name: f t"),
        *("Cp x file f t", "C x udp:127.0.0.1 f t", "C x udp:127.0.0.1:99999 f t", "N x f t"),
    ],
)
def test_commands_are_answered_alike(both: list[Relayed], command: str) -> None:
    def script(relay: Relayed) -> object:
        relay.call("x")
        return relay.ask(command)

    compared(both, script)


@pytest.mark.parametrize(
    "packet_ms, datagrams",
    [
        (40, speech(6, first=100)),
        (20, speech(2, ms=60)),
        (25, speech(6)),
        (30, [packet(n, 160 * n, bytes([n]) * 33, payload_type=3) for n in range(4)]),
        (20, [packet(n, 240 * n, bytes([4 * n]) * 24, payload_type=4) for n in range(4)]),
        (40, [packet(n, 160 * n, bytes([n]) * 20, payload_type=18) for n in range(4)]),
        (40, [*speech(2), *speech(6)[3:]]),
        (20, [*speech(3), *speech(1)]),
        (40, [packet(65533 + n, 2**32 - 320 + 160 * n, bytes([n]) * 160) for n in range(6)]),
        (20, [b"no rtp at all", b"", packet(1, 2, b"x" * 20, payload_type=96)]),
    ],
)
def test_packets_are_joined_and_cut_alike(
    both: list[Relayed], packet_ms: int, datagrams: list[bytes]
) -> None:
    def script(relay: Relayed) -> object:
        relay.call("resized", f"z{packet_ms}")
        before = relay.counted(*PACKETS, *RESIZER)
        relay.say(relay.caller, *datagrams)
        heard = relay.hear(relay.callee)
        after = relay.counted(*PACKETS, *RESIZER)
        query = relay.ask("Q resized f t npkts_ina nrelayed ndropped rtpa_nrcvd rtpa_perrs")
        return heard, [b - a for a, b in zip(before, after, strict=True)], query

    compared(both, script)


def test_copies_are_the_same_packets(both: list[Relayed]) -> None:
    def script(relay: Relayed) -> object:
        relay.call("copied")
        target = "udp:{}:{}".format(*relay.third.getsockname())
        first = relay.ask(f"Cp copied {target} f t")
        relay.say(relay.caller, *speech(3))
        relay.say(relay.callee, *speech(2, first=70))
        copies = relay.hear(relay.third)
        second = relay.ask(f"C copied {target} f t")
        replies = [second, relay.ask("N copied f t"), relay.ask("N copied f t")]
        relay.say(relay.caller, *speech(3))
        return copies, replies, len(first.split()), relay.hear(relay.third)

    compared(both, script)


def test_recordings_start_and_stop_alike(both: list[Relayed]) -> None:
    def script(relay: Relayed) -> object:
        relay.call("recorded")
        commands = ["R recorded f t", "R recorded f t", "C recorded other f t", "C recorded o t f"]
        replies = [relay.ask(line) for line in commands]
        relay.say(relay.caller, *speech(3))
        replies += [relay.ask("Na recorded f t"), relay.ask("Na recorded f t")]
        time.sleep(0.3)
        files = {
            name: (relay.folder / name).stat().st_size
            for name in ("recorded=f.o.rtp", "recorded=f.o.rtcp", "o.rtp")
        }
        return replies, files

    compared(both, script)


def records(octets: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The ad-hoc format without who sent when: family, filling and length, datagram."""
    found = []
    while octets:
        size = int.from_bytes(octets[28:30], sys.byteorder)
        found.append((octets[:2], octets[8:20] + octets[28:30], octets[30 : 30 + size]))
        octets = octets[30 + size :]
    return found


def test_recordings_are_the_same_octets_and_the_same_sound(
    both: list[Relayed], tmp_path: Path
) -> None:
    one, other = Talker(400), Talker(700, ssrc=2)

    def script(relay: Relayed) -> object:
        relay.call("octets")
        before = time.time()
        relay.ask("R octets f t")
        relay.ask("R octets t f")
        for number in range(40):
            relay.say(relay.caller, one.packet(number))
            relay.say(relay.callee, other.packet(number))
        relay.ask("Na octets f t")
        time.sleep(0.3)
        name = relay.folder / "octets=f"
        files = [Path(f"{name}.{side}.rtp").read_bytes() for side in "oa"]
        for octets, sock in zip(files, (relay.caller, relay.callee), strict=True):
            host, port = sock.getsockname()
            assert octets[2:8] == port.to_bytes(2, "big") + socket.inet_aton(host)
            assert before <= struct.unpack("=d", octets[20:28])[0] <= time.time()
        out = tmp_path / f"{relay.host}.wav"
        assert extractaudio(["-s", str(name), str(out)]) == 0
        with wave.open(str(out)) as file:
            samples = array("h", file.readframes(file.getnframes()))
        heard = [
            power(samples[channel::2][800:4800], hertz, 8000) > 0.95
            for channel, hertz in ((0, 700), (1, 400))
        ]
        return [records(octets) for octets in files], heard

    found = compared(both, script)
    assert isinstance(found, tuple)
    assert [datagram for _, _, datagram in found[0][0]] == [one.packet(n) for n in range(40)]
    assert found[1] == [True, True]


@pytest.mark.parametrize("side", ["f t", "t f"], ids=["to-caller", "to-callee"])
def test_what_is_recorded_while_a_prompt_plays_is_alike(both: list[Relayed], side: str) -> None:
    def script(relay: Relayed) -> object:
        relay.call("prompted")
        replies = [relay.ask(f"R prompted {tags}") for tags in ("f t", "t f")]
        replies.append(relay.ask(f"P-1 prompted p 0 {side}"))
        relay.say(relay.caller, *speech(3))
        relay.say(relay.callee, *speech(2))
        relay.ask("S prompted " + side)
        relay.say(relay.caller, *speech(5)[3:])
        relay.ask("Na prompted f t")
        time.sleep(0.3)
        sizes = [(relay.folder / f"prompted=f.{x}.rtp").stat().st_size for x in "oa"]
        return replies, sizes

    assert compared(both, script) == (
        ["0", "0", "0"],
        [5 * 202, 0] if side == "f t" else [2 * 202, 2 * 202],
    )


@pytest.mark.parametrize("side", ["caller", "callee"])
def test_keys_are_told_in_the_same_lines(both: list[Relayed], side: str) -> None:
    def script(relay: Relayed) -> object:
        caught = f"{relay.notify} T && M3:1 D%20{side} 101"
        relay.call("keys", rest=caught)
        if side == "callee":
            relay.ask(f"L keys {relay.address(relay.callee)} f t && M3:1 D%20{side}")
        talker = relay.caller if side == "caller" else relay.callee
        relay.say(talker, *press(5, 1000), *press(11, 3000), *press(255, 5000), *press(16, 7000))
        lines = b""
        while lines.count(b"\n") < 3:
            lines += relay.notices()
        listener = relay.callee if side == "caller" else relay.caller
        return lines, relay.hear(listener)

    told = compared(both, script)
    assert isinstance(told, tuple)
    number = 0 if side == "caller" else 1
    keys = "".join(f"D {side} {key} 10 480 {number}\n" for key in "5# ")
    assert told[0] == keys.encode()


@pytest.mark.parametrize(
    "sub",
    [
        *("M3:1", "M3:1 t", "M3:1 t 96 h", "M3:1 t abc", "M3:1 t 128", "M3:1 t 1 x", "M3:1 %zz"),
        *("M3:2 t", "M3 t", "M03:1 t", "M9:1 t", "M3:1: t"),
    ],
)
def test_catching_keys_is_answered_alike(both: list[Relayed], sub: str) -> None:
    def script(relay: Relayed) -> object:
        lines = (
            f"U m {relay.address(relay.caller)} f t {relay.notify} T && {sub}",
            f"U n {relay.address(relay.caller)} f t && {sub}",
            f"Q m f t && {sub}",
        )
        return [re.sub("^[0-9]{5}( 127[0-9.]+)?", "port", relay.ask(line)) for line in lines]

    compared(both, script)


def test_hidden_keys_are_hidden_alike(both: list[Relayed]) -> None:
    def script(relay: Relayed) -> object:
        relay.call("hidden", rest=f"{relay.notify} T && M3:1 H 101 h")
        relay.ask("R hidden f t")
        relay.say(relay.caller, *speech(2), *press(7, 1000))
        lines = relay.notices()
        heard = relay.hear(relay.callee)
        query = relay.ask("Q hidden f t npkts_ina nrelayed ndropped")
        relay.ask("N hidden f t")
        time.sleep(0.3)
        return lines, heard, query, (relay.folder / "hidden=f.o.rtp").stat().st_size

    compared(both, script)
