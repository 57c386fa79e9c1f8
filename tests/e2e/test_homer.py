"""What a capture server of Homer's kind makes of our reports: Kamailio with module sipcapture."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kamailio import PROGRAM
from tests.e2e.process import Process, wait_until
from tests.e2e.test_insight import Relay
from tests.web.client import NASTY

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(PROGRAM is None, reason="Kamailio is missing"),
]

CONFIG = Path(__file__).parent / "homer.cfg"

LINE = re.compile(r"HEP ((?:\S+ ){12}\S*) \.$", re.MULTILINE)

CAPTURE_ID = 4711


@dataclass(frozen=True)
class Seen:
    """One report as the server decoded it."""

    version: int
    family: int
    protocol: int
    source: str
    destination: str
    source_port: int
    destination_port: int
    seconds: int
    micros: int
    kind: int
    capture_id: int
    correlation: bytes
    payload: dict[str, Any]


class Homer(Process):
    """The capture server."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAM is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        work = folder / "homer"
        work.mkdir()
        (work / "version").write_text("table_name(string) table_version(int)\n")
        argv = [PROGRAM, "-DD", "-E", "-f", str(CONFIG), "-w", str(work), "-Y", str(work)]
        argv += ["-P", str(work / "pid"), "-m", "32", "-M", "4", "-A", f'DATABASE="text://{work}"']
        argv += ["-l", f"udp:127.0.0.1:{self.port}"]
        super().__init__(argv, folder / "homer.log")
        wait_until(self._listens, "the capture server listens", 20)

    def _listens(self) -> bool:
        assert self.running, self.printed()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                return True
        return False

    def seen(self) -> list[Seen]:
        """All that it has decoded."""
        return [_seen(found.split(" ")) for found in LINE.findall(self.printed())]


def _seen(words: list[str]) -> Seen:
    version, family, protocol, source, destination, *numbers, correlation, payload = words
    source_port, destination_port, seconds, micros, kind, capture_id = map(int, numbers)
    return Seen(
        version=int(version),
        family=int(family),
        protocol=int(protocol),
        source=source,
        destination=destination,
        source_port=source_port,
        destination_port=destination_port,
        seconds=seconds,
        micros=micros,
        kind=kind,
        capture_id=capture_id,
        correlation=bytes.fromhex(correlation),
        payload=json.loads(bytes.fromhex(payload)),
    )


@pytest.fixture
def homer(tmp_path: Path) -> Iterator[Homer]:
    with Homer(tmp_path) as made:
        yield made


def test_a_capture_server_reads_reports_on_a_call_and_its_rtcp(
    homer: Homer, tmp_path: Path
) -> None:
    options = ("--hep", f"udp:127.0.0.1:{homer.port}", "--hep-id", str(CAPTURE_ID))
    with Relay(tmp_path, *options).ready() as relay:
        call_id = relay.call(6.0)
        wait_until(lambda: len([each for each in homer.seen() if each.kind == 34]) >= 2, "reports")
    seen = homer.seen()
    for each in seen:
        assert (each.version, each.family, each.protocol) == (3, 2, 17)
        assert (each.source, each.destination) == ("127.0.0.1", "127.0.0.1")
        assert each.capture_id == CAPTURE_ID
        assert each.correlation == call_id.encode()
        assert each.seconds > 1_700_000_000
        assert 0 <= each.micros < 1_000_000
    reports = [each for each in seen if each.kind == 34]
    assert [each.payload["PARTY"] for each in reports] == ["caller", "callee"]
    for each in reports:
        told = each.payload
        assert told["CORRELATION_ID"] == call_id
        assert told["TYPE"] == "HANGUP"
        assert told["VERDICT"] == "ok"
        assert told["TOTAL_PK"] > 250
        assert told["PACKET_LOSS"] == 0
        assert told["MOS"] > 4
        assert (told["SRC_PORT"], told["DST_PORT"]) == (each.source_port, each.destination_port)
    rtcp = [each for each in seen if each.kind == 5]
    assert rtcp
    media = {each.payload["SSRC"]: each.source_port for each in reports}
    for each in rtcp:
        assert each.payload["type"] == 200
        assert each.payload["sender_information"]["packets"] > 0
        assert each.source_port == media[each.payload["ssrc"]] + 1


def sendable(name: str) -> bool:
    """Whether a command can carry it: one word of a datagram."""
    octets = name.encode("utf-8", "surrogateescape")
    return len(octets) < 500 and not set(octets) & set(b" \t\r\n\0")


def command(relay: Relay, line: str) -> bytes:
    """The reply to a command of any bytes."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(relay.control))
        sock.sendall(line.encode("utf-8", "surrogateescape"))
        return sock.recv(256)


def test_hostile_call_ids_come_out_as_they_are(homer: Homer, tmp_path: Path) -> None:
    names = [name for name in NASTY if sendable(name)]
    with Relay(tmp_path, "--hep", f"udp:127.0.0.1:{homer.port}").ready() as relay:
        for number, name in enumerate(names):
            for line in (
                f"U {name} 127.0.0.1 {20000 + 4 * number} a",
                f"L {name} 127.0.0.1 {20002 + 4 * number} a b",
                f"D {name} a b",
            ):
                assert command(relay, line), line
        wait_until(lambda: len(homer.seen()) >= 2 * len(names), "reports")
    seen = homer.seen()
    told = {each.correlation for each in seen}
    assert told == {name.encode("utf-8", "surrogateescape") for name in names}
    assert all(each.payload["VERDICT"] for each in seen)
    assert homer.running
