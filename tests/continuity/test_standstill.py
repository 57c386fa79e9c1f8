"""What a restart itself takes is no party's silence."""

from __future__ import annotations

import json

from rtpproxy_tw.continuity.belongings import Luggage
from rtpproxy_tw.snapshot import records
from rtpproxy_tw.succession import Standstill
from tests.fakes import Bench
from tests.snapshot.test_records import commanded


def test_a_call_with_a_second_to_live_outlives_a_restart_that_takes_longer() -> None:
    """As it is told by one process and read by the other, whose clock is another one."""
    old, new = Bench(ttl=1), Bench(ttl=1)
    old.clock.advance(500)
    commanded(old, b"U a 10.0.0.1 4000 f")
    commanded(old, b"L a 10.0.0.2 5000 f t")
    old.registry.beat()
    old.clock.advance(0.5)
    told = Standstill(old.registry, old.clock.seconds).pack(Luggage())
    (session,) = old.registry
    line = records.to_line(records.pack(session, {}))
    new.clock.rightNow = 1000.0
    shift = new.clock.rightNow - old.clock.seconds()
    whole = Standstill(new.registry, new.clock.seconds)
    whole.unpack(json.loads(json.dumps(told)), Luggage(), shift)
    new.clock.rightNow += 1.2
    again, _ = records.unpack(records.from_line(line), shift)
    new.registry.adopt(again)
    new.clock.advance(0)
    assert [*new.registry] == [again]
    for _ in range(8):
        new.registry.beat()
        new.clock.advance(0.25)
    assert not len(new.registry)
