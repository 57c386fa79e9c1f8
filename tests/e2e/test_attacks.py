"""Real attackers against real relays, in namespaces: a part of ``python -m bench.attacks``.

Left out is what needs a party behind a NAT to be settled, which takes eleven seconds.
"""

from __future__ import annotations

import pytest

from bench import namespaces
from bench.attacks.columns import COLUMNS, Column
from bench.attacks.matrix import Matrix, run
from bench.attacks.rows import ROWS, Row
from rtpproxy_tw.media.kernel import capabilities

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing())),
]

SHORT = [
    row
    for row in ROWS
    if row.promised and (not row.private or row.name in ("none", "A2", "A29", "A32"))
]


def column(name: str) -> Column:
    """The column of that name."""
    return next(each for each in COLUMNS if each.name == name)


def attacked(name: str, rows: list[Row]) -> Matrix:
    """What came of it; skipped where there can be no such relay here."""
    if column(name).kernel and not capabilities.has_needed():
        pytest.skip("needs CAP_BPF and CAP_NET_ADMIN to load a program")
    return run(rows, [column(name)])


@pytest.mark.parametrize("name", ["strict, epoll", "strict, plain", "strict, kernel"])
def test_strict_gives_strangers_nothing_and_cuts_nobody_off(name: str) -> None:
    """Both address families, and whoever carries the packets."""
    matrix = attacked(name, SHORT)
    assert len(matrix.cells) == 2 * len(SHORT)
    assert matrix.broken() == []
    assert bool(matrix.carried[name]) is column(name).kernel


def test_the_attacks_are_real_ones() -> None:
    """By the original's rules strangers get the call, and the parties do not."""
    rows = [row for row in ROWS if row.name in ("A29", "A32") and not row.private]
    for cell in attacked("rtpproxy, epoll", rows).cells:
        assert cell.tally.leaked > 100
        assert cell.tally.injected > 100
        assert cell.tally.lost > 200
