"""The report of the benchmarks, and the contestant that speaks another protocol."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest
from twisted.internet.task import Clock

from bench.bars import Group, svg
from bench.calls import Call, set_up
from bench.growth import Growing
from bench.report import from_json, write
from bench.results import Better, Section, as_json
from bench.rtpengine import NgClient, encoded


def section() -> Section:
    """Two contestants, two repeats."""
    made = Section("media", "Media: <few> sessions", notes=["a note"])
    quantity = made.quantity("highest rate with < 0.1 % lost", "kpps", Better.MORE)
    for name, values in {"relay": (100.0, 120.0), "engine": (50.0, 60.0)}.items():
        for value in values:
            quantity.add(name, value)
    return made


def test_bars_are_well_formed_and_as_long_as_the_values() -> None:
    """Titles may hold anything."""
    drawn = svg("A < B", [Group("x & y", {"a": [100.0], "b": [50.0]})], ["a", "b"])
    root = ElementTree.fromstring(drawn)
    widths = [
        float(bar.attrib["width"])
        for bar in root.iter("{http://www.w3.org/2000/svg}rect")
        if bar.attrib.get("fill") != "#fff"
    ]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)


def test_a_report_has_a_page_and_a_picture_of_what_was_measured(tmp_path: Path) -> None:
    """And of nothing else; the same out of the JSON of the run."""
    about, names = {"date": "today"}, ["relay", "engine"]
    written = write(tmp_path, about, [section()], names)
    assert [path.name for path in written] == [
        "performance-report.rst",
        "performance-report-rate.svg",
    ]
    page = written[0].read_text()
    assert "highest rate" in page
    assert "2.00 (2.00 to 2.00)x" in page
    assert ".. image:: performance-report-rate.svg" in page
    told = {"machine": about, "contestants": names, "sections": as_json([section()], names)}
    write(tmp_path, *from_json(told))
    assert written[0].read_text() == page


def test_messages_are_bencoded_with_sorted_keys() -> None:
    """As the ng protocol wants them."""
    assert encoded({"b": ["x", "yz"], "a": "1"}) == b"d1:a1:11:bl1:x2:yzee"


def test_a_call_is_set_up_and_ended_by_ng_messages() -> None:
    """The client turns rtpproxy's lines into them and the replies back."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard: list[bytes] = []

    def serve() -> None:
        for port in (b"30000", b"30002", b""):
            cookie, _, message = theirs.recv(65536).partition(b" ")
            heard.append(message)
            sdp = b"v=0\r\nm=audio %s RTP/AVP 0\r\n" % port
            theirs.send(cookie + b" d6:result2:ok3:sdp%d:%se" % (len(sdp), sdp))

    server = threading.Thread(target=serve)
    server.start()
    client = NgClient(ours, "192.0.2.9")
    call = Call("series", 1, "192.0.2.9")
    route = set_up(client, call, ("192.0.2.1", 4000), ("192.0.2.2", 5000))
    assert route == ("192.0.2.9", 30002, "192.0.2.9", 30000)
    assert client.ask(call.hang_up()) == b"0"
    server.join()
    client.close()
    theirs.close()
    assert [b"5:offer" in heard[0], b"6:answer" in heard[1], b"6:delete" in heard[2]] == [True] * 3
    assert b"m=audio 4000 " in heard[0]
    assert b"m=audio 5000 " in heard[1]


def test_further_sessions_leave_the_registry_as_large_as_it_was() -> None:
    """Growth is measured at the size that is told."""
    growing = Growing(Clock())
    growing.fill(20)
    assert growing.micros() > 0
    assert len(growing.registry) == 20
    growing.fill(30)
    assert len(growing.registry) == 30
