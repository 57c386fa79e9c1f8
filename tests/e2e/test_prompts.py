"""Prompts through real SIP proxies' commands: heard by the right party, and by nobody else."""

from __future__ import annotations

import math
import socket
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.rtp import peek
from rtpproxy_tw.tools.makeann import main as makeann
from tests.e2e import kamailio, loopback, media
from tests.e2e.calls import Call, run_to_the_end
from tests.e2e.kamailio import Kamailio
from tests.e2e.media import Endpoint
from tests.e2e.phone import Phone
from tests.e2e.relay import Relay
from tests.media.test_dtmf import press
from tests.tools.test_makeann import from_mulaw, power, sine

pytestmark = pytest.mark.e2e

TONE = 440
"""Hertz of the prompt."""

NOTIFY_PORT = 22226
TCP_PORT = 22225

_PLAY = """
    if (is_method("INVITE") && t_check_status("200") && $cs == 1) {
        rtpproxy_stream2%s("%s", "%s");
    }
}
"""

_STOP = """
    if (is_method("INVITE") && has_totag()) rtpproxy_stop_stream2%s();
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the prompt ``tone`` is: half a second of a tone, made with our own tool."""
    made = tmp_path_factory.mktemp("prompts")
    (made / "tone.raw").write_bytes(sine(8000, 0.5, TONE).tobytes())
    assert makeann(["-c", "pcmu,pcma", str(made / "tone.raw"), str(made / "tone")]) == 0
    return made


@pytest.fixture(scope="module")
def relay(folder: Path) -> Iterator[Relay]:
    notify = f"tcp:{loopback.LISTENER}:{NOTIFY_PORT}"
    tcp = f"tcp:{loopback.RELAY}:{TCP_PORT}"
    options = ["--prompt-dir", str(folder), "-n", notify]
    with Relay(loopback.RELAY, folder, [tcp], options) as relay:
        yield relay
        assert relay.end() == 0
        relay.assert_had_no_accident()


def prompt_heard(listener: Endpoint, talker: Endpoint) -> bytes:
    """What ``listener`` heard that ``talker`` did not say, one packet after the other."""
    speech = {packet for _, packet in talker.sent}
    payloads = []
    numbers = []
    for heard in listener.heard:
        if heard.datagram in speech:
            continue
        header = peek(heard.datagram)
        assert header is not None
        assert header.payload_type == 0
        payloads.append(heard.datagram[header.start :])
        numbers.append(header.sequence)
    assert numbers == [numbers[0] + n & 0xFFFF for n in range(len(numbers))]
    return b"".join(payloads)


def assert_tone(octets: bytes, seconds: float, tolerance: float = 0.15) -> None:
    """It is our prompt's tone, and so long."""
    assert octets
    assert math.isclose(len(octets) / 8000, seconds, abs_tol=tolerance)
    assert power(array("h", from_mulaw(octets)), 8000, TONE) > 0.95


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sip_peers: None) -> Path:
    """A configuration of Kamailio that can be added to."""
    path = tmp_path / "kamailio.cfg"
    path.write_text(kamailio.CONFIG.read_text())
    monkeypatch.setattr(kamailio, "CONFIG", path)
    return path


@pytest.mark.parametrize("side, count, seconds", [("uac", 1, 0.5), ("uas", 2, 1.0)])
def test_kamailio_plays_to_one_party_which_then_hears_the_other(
    script: Path, relay: Relay, folder: Path, tmp_path: Path, side: str, count: int, seconds: float
) -> None:
    text = script.read_text()
    head, reply_route, tail = text.partition("onreply_route[MEDIA] {")
    body, _, rest = tail.partition("\n}\n")
    play = _PLAY % (side, folder / "tone", count)
    script.write_text(head + reply_route + body + play + rest)
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    with (
        Kamailio(tmp_path, relay.control) as proxy,
        Call(
            tmp_path,
            proxy.host,
            (caller, "calls"),
            (callee, "answers"),
            [caller.describe()],
            [callee.describe()],
            length=2.0,
        ) as call,
    ):
        run_to_the_end(call)
        ends = caller.endpoints[0], callee.endpoints[0]
        listener, other = ends if side == "uac" else ends[::-1]
        assert_tone(prompt_heard(listener, other), seconds)
        speech = {packet for _, packet in listener.sent}
        assert all(heard.datagram in speech for heard in other.heard)
        # While the prompt plays the other party is not heard; afterwards it is.
        kept_back = len(other.sent) - sum(
            heard.datagram in {packet for _, packet in other.sent} for heard in listener.heard
        )
        assert kept_back >= seconds / 0.02 * 0.8
        assert any(heard.datagram == other.sent[-20][1] for heard in listener.heard)
    relay.assert_is_clean()


def test_kamailio_stops_an_endless_prompt(
    script: Path, relay: Relay, folder: Path, tmp_path: Path
) -> None:
    text = script.read_text()
    head, reply_route, tail = text.partition("onreply_route[MEDIA] {")
    body, _, rest = tail.partition("\n}\n")
    text = head + reply_route + body + _PLAY % ("uac", folder / "tone", -1) + rest
    route = "route[RELAY] {"
    assert route in text
    script.write_text(text.replace(route, route + _STOP % "uac"))
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    with (
        Kamailio(tmp_path, relay.control) as proxy,
        Call(
            tmp_path,
            proxy.host,
            (caller, "holds"),
            (callee, "is_held"),
            [caller.describe(), caller.describe(version=2), caller.describe(version=3)],
            [callee.describe(version=n) for n in (1, 2, 3)],
            length=1.0,
        ) as call,
    ):
        run_to_the_end(call)
        talker, listener = callee.endpoints[0], caller.endpoints[0]
        assert_tone(prompt_heard(listener, talker), 1.0, tolerance=0.3)
        assert any(heard.datagram == talker.sent[-20][1] for heard in listener.heard)
    relay.assert_is_clean()


class Asked:
    """OpenSIPS's side: one TCP connection, commands ended by a newline."""

    def __init__(self, relay: Relay) -> None:
        self._connection = socket.create_connection((relay.host, TCP_PORT), 5)

    def __call__(self, command: str) -> str:
        self._connection.sendall(command.encode() + b"\n")
        reply = b""
        while not reply.endswith(b"\n"):
            piece = self._connection.recv(256)
            assert piece
            reply += piece
        return reply.decode().removesuffix("\n")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@pytest.fixture
def ask(relay: Relay) -> Iterator[Asked]:
    asked = Asked(relay)
    yield asked
    asked.close()
    relay.ask("X")


@pytest.fixture
def phones() -> Iterator[tuple[Endpoint, Endpoint]]:
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    yield caller.endpoints[0], callee.endpoints[0]
    caller.close()
    callee.close()


def establish(ask: Asked, caller: Endpoint, callee: Endpoint, rest: str = "") -> None:
    """Offer and answer in OpenSIPS's words; nobody speaks yet."""
    first = ask(f"Uc0,8,101 os {caller.host} {caller.port} 12C1;1{rest}")
    second = ask(f"Lc0,8,101 os {callee.host} {callee.port} 12C1;1 15S1;1")
    for endpoint, reply in ((callee, first), (caller, second)):
        endpoint.target = (loopback.RELAY, int(reply.split()[0]))


def test_opensips_plays_for_ever_and_stops(
    ask: Asked, phones: tuple[Endpoint, Endpoint], folder: Path
) -> None:
    caller, callee = phones
    establish(ask, caller, callee)
    assert ask(f"P-1 os {folder / 'tone'} session 15S1;1 12C1;1") == "0"
    media.run_for(phones, 1.2)
    assert ask("S os 15S1;1 12C1;1") == "0"
    media.run_for(phones, 0.2)
    heard = len(callee.heard)
    media.run_for(phones, 0.3)
    assert len(callee.heard) == heard
    assert_tone(prompt_heard(callee, caller), 1.2)
    assert caller.heard == []
    assert ask(f"P1 os {folder / 'tone'} session 12C1;1 ") == "0"
    media.run_for(phones, 0.8)
    assert_tone(prompt_heard(caller, callee), 0.5)
    assert ask("S os 12C1;1 ") == "0"


def test_prompts_outside_the_directory_are_errors(
    ask: Asked, phones: tuple[Endpoint, Endpoint], folder: Path
) -> None:
    establish(ask, *phones)
    for name in ("../../etc/passwd", "/etc/passwd", f"{folder}/../tone", "nosuch"):
        assert ask(f"P os {name} session 12C1;1 15S1;1") == "E60"


def test_opensips_hears_of_keys_in_the_line_it_reads(
    ask: Asked, phones: tuple[Endpoint, Endpoint]
) -> None:
    caller, callee = phones
    with socket.create_server((loopback.LISTENER, NOTIFY_PORT)) as listener:
        listener.settimeout(10)
        notify = f"tcp:{loopback.LISTENER}:{NOTIFY_PORT} Ta4d.1"
        establish(ask, caller, callee, f" 15S1;1 {notify} && M3:1 Dda4d.1 101")
        assert caller.target is not None
        for datagram in press(5, 1000) + press(11, 3000):
            caller.rtp.sendto(datagram, caller.target)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            lines = b""
            while lines.count(b"\n") < 2:
                lines += connection.recv(256)
        assert lines == b"Dda4d.1 5 10 480 0\nDda4d.1 # 10 480 0\n"
        media.run_for(phones, 0.1)
        assert [heard.datagram for heard in callee.heard] == press(5, 1000) + press(11, 3000)
