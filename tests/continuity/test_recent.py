"""Why a call that has ended had no audio can be asked after a restart, too."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.quality.history import Interval
from rtpproxy_tw.quality.monitor import Monitor
from rtpproxy_tw.quality.verdict import code_of
from rtpproxy_tw.recent_succession import BATCH, RecentWhole
from rtpproxy_tw.session import Ending, Session
from rtpproxy_tw.snapshot.kinds import Damaged
from rtpproxy_tw.views import sessions as views
from rtpproxy_tw.web.recent import Recent
from tests.snapshot.test_records import lived

later: list[Callable[[], None]] = []


def ended(count: int) -> tuple[Recent, list[Session]]:
    """Sessions that one party alone was heard in, and whoever remembers them."""
    recent, found = Recent(lambda: 1100.0), []
    for number in range(count):
        _, session = lived("strict", [(0, 1, 1, 0.02)] * 20)
        session.caller.monitor = session.caller.monitor or Monitor()
        session.caller.monitor.history.add(Interval(10.0, 10.0, 499, 1, 2.5, 4.3))
        session.key = session.key._replace(call_id=f"call {number}")
        session.ended = Ending.TIMEOUT
        recent.ended(session, Ending.TIMEOUT)
        found.append(session)
    return recent, found


def pass_on(recent: Recent, shift: float = 0.0) -> Recent:
    """The one of the process after it."""
    writer = RecentWhole(recent, later.append)
    writer.prepare()
    while later:
        later.pop()()
    value = json.loads(json.dumps(writer.pack(Luggage())))
    after = Recent(lambda: 1200.0)
    RecentWhole(after, later.append).unpack(value, Luggage(), shift)
    return after


@pytest.mark.parametrize("shift", [0.0, -500.0])
def test_what_is_told_of_ended_calls_is_the_same_after_a_restart(shift: float) -> None:
    recent, sessions = ended(BATCH + 2)
    after = pass_on(pass_on(recent, shift), -shift)
    for number, session in enumerate(sessions):
        ((again, at),) = after.of_call(f"call {number}")
        assert at == pytest.approx(1100.0)
        assert again.ended is Ending.TIMEOUT
        assert [code_of(leg, at) for leg in again.legs] == [
            code_of(leg, at) for leg in session.legs
        ]
        told = views.whole(session, at, 0.0, history=True)
        assert len(told["legs"][0]["history"]) == 1
        assert views.whole(again, at, 0.0, history=True) == told


def test_what_ends_while_it_is_written_down_and_afterwards_is_remembered_in_order() -> None:
    recent, (first,) = ended(1)
    writer = RecentWhole(recent, later.append)
    writer.prepare()
    _, (second,) = ended(1)
    recent.ended(second, Ending.TIMEOUT)
    after = Recent(lambda: 1200.0)
    RecentWhole(after, later.append).unpack(writer.pack(Luggage()), Luggage(), 0.0)
    _, (third,) = ended(1)
    after.ended(third, Ending.DELETED)
    assert [at for _, at in after.of_call(first.key.call_id)] == [1200.0, 1100.0, 1100.0]


def test_damaged_ones_are_left_out_one_by_one() -> None:
    recent, sessions = ended(3)
    value = RecentWhole(recent, later.append).pack(Luggage())
    value[1] = '{"at": 7, "record": {}}'
    after = Recent(lambda: 0.0)
    whole = RecentWhole(after, later.append)
    whole.unpack(value, Luggage(), 0.0)
    assert [bool(after.of_call(each.key.call_id)) for each in sessions] == [True, False, True]
    with pytest.raises(Damaged):
        whole.unpack([7], Luggage(), 0.0)
    assert RecentWhole(Recent(lambda: 0.0), later.append).pack(Luggage()) is None
