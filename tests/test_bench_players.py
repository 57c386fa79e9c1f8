"""What the benchmark of players makes of arrivals."""

from __future__ import annotations

from bench.players import Arrivals, _spacing

MS = 1_000_000


def arrivals(*gaps: float) -> Arrivals:
    at, found = 0, [(0, 65535)]
    for number, gap in enumerate(gaps):
        at += round(gap * MS)
        found.append((at, number))
    return {b"ssrc": found}


def test_an_even_stream_keeps_the_claim() -> None:
    found = _spacing(arrivals(*[19.0, 21.0] * 50), 0.5)
    assert found.kept
    assert (found.packets, found.lost, found.off_p99) == (101, 0, 1.0)


def test_an_uneven_stream_or_a_loss_does_not() -> None:
    assert not _spacing(arrivals(*[10.0, 30.0] * 50), 0.5).kept
    lossy = arrivals(*[20.0] * 50)
    del lossy[b"ssrc"][10]
    found = _spacing(lossy, 0.5)
    assert found.lost == 1
    assert not found.kept
    assert found.most == 20.0
