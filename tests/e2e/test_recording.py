"""Recordings as SIP proxies ask for them: Kamailio itself, the words of OpenSIPS and Sippy."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.recording.readback import Reading
from rtpproxy_tw.rtp import peek
from tests.e2e import kamailio, loopback, media
from tests.e2e.calls import Call, run_to_the_end
from tests.e2e.kamailio import Kamailio
from tests.e2e.media import Endpoint
from tests.e2e.phone import Phone
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay

pytestmark = pytest.mark.e2e

TCP_PORT = 22227

PROMPT = b"\x55" * 4000
"""Half a second of PCMU, which nobody else says."""

_RECORD = """
    if (is_method("INVITE") && t_check_status("200")) {
        %s
        start_recording();
    }
}
"""

_AFTER_THE_ANSWER = """
    } else if (is_method("ACK|BYE")) {
"""

_RECORD_CALLER = """        if (is_method("ACK")) start_recording();
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recordings")
    (made / "prompt.0").write_bytes(PROMPT)
    (made / "files").mkdir()
    return made


@pytest.fixture(scope="module")
def relay(folder: Path) -> Iterator[Relay]:
    options = ["-r", str(folder / "files"), "--prompt-dir", str(folder)]
    tcp = f"tcp:{loopback.RELAY}:{TCP_PORT}"
    with Relay(loopback.RELAY, folder, [tcp], options) as relay:
        yield relay
        assert relay.end() == 0
        relay.assert_had_no_accident()


@pytest.fixture
def files(folder: Path) -> Iterator[Path]:
    """The directory of recordings, empty at first and afterwards."""
    yield folder / "files"
    for path in (folder / "files").iterdir():
        path.unlink()


def finished(files: Path, count: int) -> list[Path]:
    """RTP files, once all their sidecars, so many, are final."""

    def states() -> list[str]:
        return [json.loads(path.read_bytes())["state"] for path in files.glob("*.json")]

    wait_until(lambda: states() == ["finished"] * count, f"{count} recordings are complete")
    return sorted(files.glob("*.rtp"))


def recorded(path: Path) -> list[bytes]:
    return [packet.datagram for packet in Reading(path.read_bytes())]


def said(endpoint: Endpoint) -> list[bytes]:
    return [packet for _, packet in endpoint.sent]


def assert_recorded(found: list[list[bytes]], endpoint: Endpoint, least: int) -> None:
    """One of the recordings has what that party said, in one piece, and nothing else."""
    spoken = said(endpoint)
    (mine,) = (each for each in found if each and each[0] in spoken)
    begin = spoken.index(mine[0])
    assert len(mine) >= least
    assert mine == spoken[begin : begin + len(mine)]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sip_peers: None) -> Path:
    """A configuration of Kamailio that can be added to."""
    path = tmp_path / "kamailio.cfg"
    path.write_text(kamailio.CONFIG.read_text())
    monkeypatch.setattr(kamailio, "CONFIG", path)
    return path


def in_reply_route(script: Path, more: str) -> None:
    """Have something done after the relay has had the answer."""
    head, reply_route, tail = script.read_text().partition("onreply_route[MEDIA] {")
    body, _, rest = tail.partition("\n}\n")
    script.write_text(head + reply_route + body + more + rest)


def test_kamailio_records_every_medium_of_both_parties(
    script: Path, relay: Relay, files: Path, tmp_path: Path
) -> None:
    in_reply_route(script, _RECORD % "")
    text = script.read_text()
    assert _AFTER_THE_ANSWER in text
    script.write_text(text.replace(_AFTER_THE_ANSWER, _AFTER_THE_ANSWER + _RECORD_CALLER))
    kinds = ("audio", "video")
    caller, callee = Phone(loopback.CALLER, kinds), Phone(loopback.CALLEE, kinds)
    with (
        Kamailio(tmp_path, relay.control) as proxy,
        Call(
            tmp_path,
            proxy.host,
            (caller, "calls"),
            (callee, "answers"),
            [caller.describe()],
            [callee.describe()],
        ) as call,
    ):
        run_to_the_end(call)
        paths = finished(files, 4)
        assert [path.name.endswith(".o.rtp") for path in paths].count(True) == 2
        found = [recorded(path) for path in paths]
        for phone in (caller, callee):
            for endpoint in phone.endpoints:
                assert_recorded(found, endpoint, least=30)
    relay.assert_is_clean()


def test_what_kamailio_plays_is_not_what_a_party_said(
    script: Path, relay: Relay, folder: Path, files: Path, tmp_path: Path
) -> None:
    in_reply_route(script, _RECORD % f'rtpproxy_stream2uac("{folder}/prompt", "1");')
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
            length=1.5,
        ) as call,
    ):
        run_to_the_end(call)
        played = [
            heard.datagram[header.start :]
            for heard in caller.endpoints[0].heard
            if (header := peek(heard.datagram)) and heard.datagram[header.start :] in PROMPT
        ]
        assert b"".join(played) == PROMPT
        (path,) = finished(files, 1)
        assert path.name.endswith(".a.rtp")
        # Whom nobody hears, while a prompt plays, is not recorded.
        assert_recorded([recorded(path)], callee.endpoints[0], least=40)
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


KINDS = ("audio", "video")


@pytest.fixture
def phones() -> Iterator[tuple[Phone, Phone]]:
    caller, callee = Phone(loopback.CALLER, KINDS), Phone(loopback.CALLEE, KINDS)
    yield caller, callee
    caller.close()
    callee.close()


def establish(ask: Asked, caller: Phone, callee: Phone) -> list[Endpoint]:
    """Offer and answer of two media in OpenSIPS's words; all speak from then on."""
    for number, (one, other) in enumerate(zip(caller.endpoints, callee.endpoints, strict=True), 1):
        first = ask(f"Uc0,8,101 os {one.host} {one.port} 12C1;{number}")
        second = ask(f"Lc0,8,101 os {other.host} {other.port} 12C1;{number} 15S1;{number}")
        for endpoint, reply in ((other, first), (one, second)):
            endpoint.target = (loopback.RELAY, int(reply.split()[0]))
            endpoint.muted = False
    return [*caller.endpoints, *callee.endpoints]


def test_opensips_records_all_media_with_bare_tags_and_stops_one_of_them(
    ask: Asked, phones: tuple[Phone, Phone], files: Path
) -> None:
    caller, callee = phones
    everybody = establish(ask, caller, callee)
    assert ask("R os 12C1 15S1") == "0"
    assert ask("R os 15S1 12C1") == "0"
    media.run_for(everybody, 0.5)
    assert ask("N os 12C1;2 15S1;2") == "0"
    heard = len(caller.endpoints[1].sent)
    media.run_for(everybody, 0.5)
    assert ask("N os 15S1 12C1") == "0"
    assert ask("N os 15S1 12C1") == "E50"
    assert ask("D os 12C1 15S1") == "0"
    found = [recorded(path) for path in finished(files, 4)]
    for endpoint in (caller.endpoints[0], *callee.endpoints):
        assert_recorded(found, endpoint, least=40)
    (stopped,) = (each for each in found if each[0] in said(caller.endpoints[1]))
    assert stopped == said(caller.endpoints[1])[:heard]


def test_copies_for_a_recording_server_pause_and_go_on(
    ask: Asked, phones: tuple[Phone, Phone]
) -> None:
    """SIPREC: one C for each medium, N to pause, C to go on. A bare C means no medium: E50."""
    everybody = establish(ask, *phones)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((loopback.LISTENER, 0))
        server.setblocking(False)
        target = "udp:{}:{}".format(*server.getsockname())

        def copies() -> list[bytes]:
            media.run_for(everybody, 0.3)
            taken = []
            while True:
                try:
                    taken.append(server.recv(2048))
                except BlockingIOError:
                    return taken

        assert ask(f"C os {target} 15S1 12C1") == "E50"
        assert ask(f"Cs os {target} 15S1;2 12C1;2") == "0"
        first = copies()
        assert ask("N os 15S1;2 12C1;2") == "0"
        copies()
        assert copies() == []
        assert ask(f"Cs os {target} 15S1;2 12C1;2") == "0"
        again = copies()
    spoken = set(said(phones[1].endpoints[1]))
    assert first
    assert again
    assert {packet for packet in first + again if peek(packet)} <= spoken


def test_sippy_records_each_party_under_a_name_of_its_own(
    ask: Asked, phones: tuple[Phone, Phone], files: Path
) -> None:
    caller, callee = phones
    everybody = establish(ask, caller, callee)
    assert ask("C os name.a 12C1;1 15S1;1") == "0"
    assert ask("C os name.o 15S1;1 12C1;1") == "0"
    media.run_for(everybody, 0.5)
    assert ask("D os 12C1 15S1") == "0"
    paths = finished(files, 2)
    assert [path.name for path in paths] == ["name.a.rtp", "name.o.rtp"]
    assert_recorded([recorded(paths[0])], caller.endpoints[0], least=20)
    assert_recorded([recorded(paths[1])], callee.endpoints[0], least=20)


def test_without_a_directory_recording_is_refused_and_the_call_goes_on(tmp_path: Path) -> None:
    with Relay(loopback.OTHER_RELAY, tmp_path) as other:
        assert other.ask("U os 127.0.0.1 30000 12C1;1").split()[0].isdigit()
        assert other.ask("R os 12C1") == "E50"
        assert other.ask("C os file 12C1;1 ").startswith("E")
        assert other.ask("L os 127.0.0.1 30002 12C1;1 15S1;1").split()[0].isdigit()
        assert other.ask("D os 12C1 15S1") == "0"
        other.assert_is_clean()
