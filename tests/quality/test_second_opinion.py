"""The parties' RTCP as second opinion: all of it, extended reports included, or none of it."""

from __future__ import annotations

import struct
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.quality.letters import MOST_LETTERS, Letters, keep
from rtpproxy_tw.quality.opinion import Opinion
from rtpproxy_tw.quality.report import FarEnd, Heard, report
from rtpproxy_tw.session import Leg
from tests.quality.scene import FRAMES, Scene


def receiver_report(ssrc: int, about: int, *, lost: int = 0, jitter: int = 0) -> bytes:
    """RR of ``ssrc`` with one block."""
    body = struct.pack("!IIIIIII", ssrc, about, lost, 0, jitter, 0, 0)
    return struct.pack("!BBH", 0x81, 201, len(body) // 4) + body


def voip(ssrc: int, about: int, **changes: int) -> bytes:
    """XR of ``ssrc`` with a VoIP metrics block (RFC 3611 section 4.7); fields as on the wire."""
    fields = {
        **{"loss": 13, "discard": 5, "burst": 64, "gap": 2, "burst_ms": 400, "gap_ms": 9000},
        **{"trip": 120, "system": 60, "signal": 127, "noise": 127, "rerl": 127, "gmin": 16},
        **{"r": 82, "external": 127, "listening": 41, "conversational": 40, "config": 0},
        **{"reserved": 0, "nominal": 40, "most": 80, "limit": 200},
        **changes,
    }
    body = struct.pack("!IBBH", ssrc, 7, 0, 8)
    body += struct.pack("!IBBBBHHHHBBBBBBBBBBHHH", about, *fields.values())
    return struct.pack("!BBH", 0x80, 207, len(body) // 4) + body


def send(scene: Scene, leg: Leg, datagram: bytes) -> None:
    """The party of ``leg`` sends RTCP."""
    address = leg.rtcp.latch.signalled
    assert address is not None
    scene.relay.received(leg.rtcp, datagram, address)


def opinion(leg: Leg) -> Opinion:
    """What is known of the party's RTCP."""
    assert leg.monitor is not None
    return leg.monitor.opinion


def far_end(scene: Scene) -> FarEnd | None:
    """What the caller says of the media of the callee."""
    return report(scene.session, scene.clock.seconds())[1].far_end


def test_every_datagram_of_a_second_is_read() -> None:
    """A report, and apart from it extended metrics: the one does not hide the other."""
    scene = Scene()
    scene.run(2)
    caller = scene.session.caller
    send(scene, caller, receiver_report(0xA, 0xB, lost=3, jitter=80))
    send(scene, caller, voip(0xA, 0xB))
    send(scene, caller, b"\x80\xcb\x00\x00")  # something after it
    scene.run(1)
    told = far_end(scene)
    assert told is not None
    assert (told.lost, told.jitter_ms) == (3, 10.0)
    assert told.voip is not None
    assert opinion(caller).believed == 2


def test_multiplexed_datagrams_of_a_second_are_all_read_too() -> None:
    """RFC 5761: on the RTP port."""
    scene = Scene()
    scene.run(1)
    for datagram in (voip(0xA, 0xB), receiver_report(0xA, 0xB, lost=4), b"\0" * 20):
        scene.relay.received(scene.session.caller.rtp, datagram, scene.caller.at)
    scene.run(1)
    told = far_end(scene)
    assert told is not None
    assert told.lost == 4
    assert told.voip is not None


def test_a_flood_of_reports_takes_a_bounded_place_and_the_newest_is_heard() -> None:
    scene = Scene()
    scene.run(1)
    caller = scene.session.caller
    for lost in range(1000):
        send(scene, caller, receiver_report(0xA, 0xB, lost=lost % 40))
    assert len(caller.rtcp.letters or ()) == MOST_LETTERS
    scene.run(1)
    assert caller.rtcp.letters is None
    assert opinion(caller).lost == 999 % 40
    assert opinion(caller).believed == MOST_LETTERS


@given(st.integers(1, 100))
def test_the_first_and_the_newest_are_kept(count: int) -> None:
    letters: Letters = []
    for number in range(count):
        keep(letters, float(number), b"%d" % number)
    assert len(letters) == min(count, MOST_LETTERS)
    assert letters[0] == (0.0, b"0")
    assert letters[-1] == (count - 1.0, b"%d" % (count - 1))


def test_extended_metrics_are_part_of_the_report() -> None:
    scene = Scene()
    scene.run(1)
    send(scene, scene.session.caller, voip(0xA, 0xB))
    scene.run(1)
    assert far_end(scene) == FarEnd(
        lost=None,
        jitter_ms=None,
        voip=Heard(
            loss_ratio=13 / 256,
            discard_ratio=5 / 256,
            burst_density=64 / 256,
            burst_ms=400,
            gap_density=2 / 256,
            gap_ms=9000,
            rtt_ms=120,
            end_system_ms=60,
            r_factor=82,
            mos_listening=4.1,
            mos_conversational=4.0,
        ),
    )
    assert report(scene.session, scene.clock.seconds())[0].far_end is None


def test_what_a_party_cannot_tell_is_left_out() -> None:
    """127 stands for unknown (RFC 3611 section 4.7.5)."""
    scene = Scene()
    scene.run(1)
    unknown = {"r": 127, "listening": 127, "conversational": 127}
    send(scene, scene.session.caller, voip(0xA, 0xB, **unknown))
    scene.run(1)
    told = far_end(scene)
    assert told is not None
    assert told.voip is not None
    assert told.voip.r_factor is told.voip.mos_listening is told.voip.mos_conversational is None


@pytest.mark.parametrize(
    "datagram",
    [
        voip(0xDEAD, 0xB),
        voip(0xA, 0xB, gmin=0),
        voip(0xA, 0xB, loss=200, discard=100),
        voip(0xA, 0xB, trip=60_000),
        voip(0xA, 0xB, burst=1, gap=200),
        voip(0xA, 0xB)[:-4] + b"\x01\x02\x03\x04\x05\x06\x07\x08",
    ],
    ids=["a stranger", "no Gmin", "more than all", "a minute", "gaps are worse", "damaged"],
)
def test_metrics_that_cannot_be_are_not_believed(datagram: bytes) -> None:
    scene = Scene()
    scene.run(1)
    send(scene, scene.session.caller, datagram)
    scene.run(1)
    assert far_end(scene) is None
    assert (opinion(scene.session.caller).doubted, opinion(scene.session.caller).believed) == (1, 0)


def test_metrics_on_another_stream_say_nothing_of_this_one() -> None:
    scene = Scene()
    scene.run(1)
    send(scene, scene.session.caller, voip(0xA, 0xBEEF))
    scene.run(1)
    assert far_end(scene) is None


@given(st.binary(max_size=60))
def test_no_bytes_of_an_extended_report_break_anything(rest: bytes) -> None:
    body = struct.pack("!I", 0xA) + rest[: len(rest) // 4 * 4]
    datagram = struct.pack("!BBH", 0x80, 207, len(body) // 4) + body
    scene = Scene()
    scene.run(1)
    send(scene, scene.session.caller, datagram)
    scene.run(1)
    heard = opinion(scene.session.caller)
    assert heard.believed + heard.doubted == 1
    asdict(report(scene.session, scene.clock.seconds())[1])


def test_media_on_the_rtcp_port_is_one_sign_a_second_however_much_it_is() -> None:
    scene = Scene()
    scene.callee.to = scene.session.callee.rtcp
    scene.run(3)
    monitor = scene.session.callee.monitor
    assert monitor is not None
    assert 2 <= monitor.crossed <= 3
    told = [entry for entry in scene.session.timeline if "RTCP port" in entry.text]
    assert len(told) == 1
    assert scene.session.callee.rtcp.accepted >= 2 * FRAMES
