"""Quality in figures: losses and where, jitter, round trips, scores."""

from __future__ import annotations

import struct

import pytest

from rtpproxy_tw.quality.report import LegQuality, report
from rtpproxy_tw.session import Leg
from tests.quality.scene import FRAMES, Scene


def quality(scene: Scene) -> tuple[LegQuality, LegQuality]:
    """Of what the caller and the callee send."""
    return report(scene.session, scene.clock.seconds())


def reports(
    scene: Scene, leg: Leg, *, ssrc: int, middle: int = 0, block: bytes | None = None
) -> None:
    """The party of ``leg`` sends a sender report."""
    blocks = b"" if block is None else block
    count = len(blocks) // 24
    body = struct.pack("!IIIIII", ssrc, middle >> 16, (middle & 0xFFFF) << 16, 0, 1, 1) + blocks
    datagram = struct.pack("!BBH", 0x80 | count, 200, len(body) // 4) + body
    latch = leg.rtcp.latch
    assert latch.signalled is not None
    scene.relay.received(leg.rtcp, datagram, latch.signalled)


def block(ssrc: int, *, lost: int = 0, jitter: int = 0, lsr: int = 0, dlsr: float = 0.0) -> bytes:
    """What a receiver says of ``ssrc``."""
    fields = (ssrc, lost & 0xFFFFFF, 0, jitter, lsr, int(dlsr * 65536))
    return struct.pack("!IIIIII", *fields)


def skip(scene: Scene, packets: int) -> None:
    """The network drops some of the callee's packets."""
    scene.callee.number += packets


def test_a_call_without_a_fault_has_the_best_score() -> None:
    """4.41 less what 20 ms of packets and the echo cost."""
    scene = Scene()
    scene.run(25)
    for each in quality(scene):
        assert each.packets == 25 * FRAMES
        assert (each.lost, each.duplicates, each.reordered, each.bursts) == (0, 0, 0, 0)
        assert each.mos == pytest.approx(4.39, abs=0.02)
        assert each.mos_min == each.mos_average == each.mos_last == each.mos
        assert each.mos_scale == "narrowband"
        assert each.codec == "PCMU"
        assert each.jitter_ms is not None
        assert each.jitter_ms < 0.2
        assert each.jitter_ticks == pytest.approx(8 * each.jitter_ms)
        assert each.loss_after_us is None
        assert each.rtt_ms is None


def test_nothing_heard_is_no_quality() -> None:
    """None where there is no figure, zero where there is one."""
    scene = Scene()
    scene.callee.sends = False
    scene.run(3)
    _, callee = quality(scene)
    assert (callee.packets, callee.loss_ratio) == (0, 0.0)
    assert (callee.mos, callee.mos_min, callee.codec, callee.ssrc) == (None, None, None, None)


def test_the_worst_ten_seconds_are_remembered_with_their_time() -> None:
    """Ten bad seconds in a minute do not vanish in the average."""
    scene = Scene()
    scene.run(21)
    for _ in range(10):
        skip(scene, 5)
        scene.run(1)
    scene.run(30)
    _, callee = quality(scene)
    assert callee.mos is not None
    assert callee.mos_min is not None
    assert callee.mos_average is not None
    assert callee.mos_last is not None
    assert callee.mos_min < callee.mos_average < callee.mos_last
    assert callee.mos_min_at == pytest.approx(31, abs=2)
    assert callee.lost == 50
    assert callee.loss_ratio == pytest.approx(50 / (61 * FRAMES + 50))


def test_losses_in_a_row_are_a_burst() -> None:
    """With its density, its length in time, and the burst ratio of the E-model."""
    scene = Scene()
    scene.run(10)
    skip(scene, 5)
    scene.run(10)
    _, callee = quality(scene)
    assert callee.bursts == 1
    assert callee.burst_density == 1.0
    assert callee.burst_ms == pytest.approx(100, abs=3)
    assert callee.gap_density == 0.0
    assert callee.burst_ratio == pytest.approx(5 * (1 - 5 / 980), abs=0.01)


def test_wideband_codecs_have_their_own_scale() -> None:
    """G.722 at 13 of 129."""
    scene = Scene()
    scene.callee.payload_type = 9
    scene.run(3)
    _, callee = quality(scene)
    assert callee.mos_scale == "wideband"
    assert callee.mos == pytest.approx(4.33, abs=0.03)


def test_unknown_codecs_have_no_score() -> None:
    """Only the SDP says what a dynamic payload type is."""
    scene = Scene()
    scene.callee.payload_type = 111
    scene.run(12)
    _, callee = quality(scene)
    assert (callee.mos, callee.mos_min, callee.jitter_ms) == (None, None, None)
    assert callee.codec == "payload type 111"


def test_losses_are_split_into_before_us_and_after_us() -> None:
    """The caller misses 30 of which 10 never came here."""
    scene = Scene()
    scene.run(2)
    skip(scene, 10)
    scene.run(2)
    reports(scene, scene.session.caller, ssrc=0xA, block=block(0xB, lost=30, jitter=40))
    scene.run(1)
    _, callee = quality(scene)
    assert callee.lost == 10
    assert callee.loss_after_us == pytest.approx(20 / (5 * FRAMES))


def test_the_round_trip_to_each_party_is_seen_from_the_middle() -> None:
    """The callee's SR passes, the caller's block about it comes back 0.5 s later and says that
    0.44 s of these were its own."""
    scene = Scene()
    scene.run(1)
    reports(scene, scene.session.callee, ssrc=0xB, middle=0x12345678)
    scene.run(1)
    scene.clock.advance(-1.0 + 0.5)
    reports(
        scene,
        scene.session.caller,
        ssrc=0xA,
        block=block(0xB, lsr=0x12345678, dlsr=0.44),
    )
    scene.run(1)
    caller, callee = quality(scene)
    assert caller.rtt_ms == pytest.approx(60, abs=1)
    assert callee.rtt_ms is None


@pytest.mark.parametrize(
    "lie",
    [
        {"lost": 8_000_000},
        {"jitter": 2**32 - 1},
        {"lsr": 0x99999999, "dlsr": 0.0},
        {"lsr": 0x12345678, "dlsr": 60000.0},
    ],
    ids=str,
)
def test_figures_that_cannot_be_are_not_believed(lie: dict[str, float]) -> None:
    """Losses beyond what was sent, absurd jitter, reports of the future."""
    scene = Scene()
    scene.run(1)
    reports(scene, scene.session.callee, ssrc=0xB, middle=0x12345678)
    scene.run(1)
    reports(scene, scene.session.caller, ssrc=0xA, block=block(0xB, **lie))  # type: ignore[arg-type]  # a row of the table
    scene.run(1)
    caller, callee = quality(scene)
    assert caller.rtt_ms is None
    assert callee.loss_after_us in (None, 0.0)


def test_reports_of_or_about_strangers_are_not_believed() -> None:
    """Another sender's SSRC, or another stream's."""
    scene = Scene()
    scene.run(1)
    reports(scene, scene.session.caller, ssrc=0xDEAD, block=block(0xB, lost=30))
    scene.run(1)
    reports(scene, scene.session.caller, ssrc=0xA, block=block(0xBEEF, lost=30))
    scene.run(1)
    _, callee = quality(scene)
    assert callee.loss_after_us is None
    monitor = scene.session.caller.monitor
    assert monitor is not None
    assert (monitor.opinion.doubted, monitor.opinion.believed) == (1, 1)


def test_multiplexed_rtcp_is_heard_too() -> None:
    """RFC 5761: on the RTP port."""
    scene = Scene()
    scene.run(1)
    body = struct.pack("!I", 0xA) + block(0xB, lost=25)
    datagram = struct.pack("!BBH", 0x81, 201, len(body) // 4) + body
    scene.relay.received(scene.session.caller.rtp, datagram, scene.caller.at)
    scene.run(1)
    assert quality(scene)[1].loss_after_us == pytest.approx(25 / (2 * FRAMES))


def test_reordering_and_duplicates_are_no_loss() -> None:
    """They are counted by themselves."""
    scene = Scene()
    scene.run(1)
    for _ in range(10):
        scene.callee.number += 1
        scene.callee.frame()
        scene.callee.number -= 2
        scene.callee.frame()
        scene.callee.frame()
    scene.run(2)
    _, callee = quality(scene)
    assert callee.reordered == 10
    assert callee.duplicates == 10
    assert callee.lost == 0
