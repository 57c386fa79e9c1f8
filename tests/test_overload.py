"""Refusing new sessions while the relay is too busy."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.assembly import TOO_BUSY
from rtpproxy_tw.commands import Lookup, Remote, Update
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.overload import EVERY, HIGH, LOW, Overload, occupied
from tests.fakes import Bench
from tests.test_tap import Running


class Machine:
    """A processor, used as the test says."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.told: list[bool] = []
        self.overload = Overload(lambda: self.used, lambda: self.now, self.told.append)

    def run(self, load: float, seconds: float) -> None:
        """Time passes, in which so much of a processor is used."""
        for _ in range(round(seconds / EVERY)):
            self.overload.look()
            self.now += EVERY
            self.used += EVERY * load
        self.overload.look()


def test_a_relay_that_is_busy_for_seconds_is_overloaded_until_it_is_less_so() -> None:
    machine = Machine()
    machine.run(HIGH - 0.02, 60)
    assert machine.told == []
    machine.run(1.0, 5)
    assert machine.told == [True]
    machine.run(LOW + 0.02, 60)
    assert machine.told == [True]
    machine.run(LOW - 0.02, 60)
    assert machine.told == [True, False]
    assert machine.overload.load == pytest.approx(LOW - 0.02, abs=0.001)


def test_a_moment_of_much_work_is_no_overload() -> None:
    machine = Machine()
    machine.run(0.1, 10)
    machine.run(1.0, 1)
    assert not machine.overload.active


def test_a_clock_that_stands_still_is_endured() -> None:
    machine = Machine()
    machine.overload.look()
    machine.overload.look()
    assert machine.overload.load == 0.0


def test_while_overloaded_new_sessions_are_refused_and_others_served() -> None:
    bench = Bench()
    party = Remote(("127.0.0.1", 5000))
    bench.do(Update("old", "f", None, party))
    bench.negotiator.too_busy = 98
    with pytest.raises(CommandError) as refused:
        bench.do(Update("new", "f", None, party))
    assert refused.value.code == 98
    bench.do(Lookup("old", "f", "t", party))
    bench.do(Update("old", "f", "t", party))
    bench.negotiator.too_busy = None
    bench.do(Update("new", "f", None, party))
    assert len(bench.registry) == 2


def test_waiting_for_a_processor_that_others_use_is_no_leisure(tmp_path: Path) -> None:
    path = tmp_path / "schedstat"
    path.write_text("5000000 7200000000000 12\n")
    assert occupied(str(path)) >= 7200.0
    for text in ("", "nothing", "1"):
        path.write_text(text)
        assert occupied(str(path)) < 7200.0
    assert occupied(str(tmp_path / "absent")) < 7200.0


def test_only_opensips_is_told_so_that_it_tries_another_relay() -> None:
    assert TOO_BUSY == {"original": 98, "kamailio": 98, "opensips": 10}


@pytest.mark.network
def test_a_relay_looks_at_what_its_own_thread_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [0.0, 0.0]  # seconds, and whether it is busy

    def occupied() -> float:
        used[0] += used[1]
        return used[0]

    monkeypatch.setattr("rtpproxy_tw.assembly.occupied", occupied)
    monkeypatch.setattr("rtpproxy_tw.assembly.EVERY", 0.01)
    here = LocalAddresses((LocalAddress("127.0.0.1"),))
    control = (ControlAddress("udp", "127.0.0.1", 0),)
    running = Running(
        Settings(
            control=control,
            addresses=here,
            min_port=46300,
            max_port=46320,
            overload_protection=True,
            overload_profile="opensips",
        )
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", running.ports()[0]))
        used[1] = 1.0
        for _ in range(200):
            running.turn()
        assert running.ask(client, b"a U new 127.0.0.1 4000 f") == b"a E10\n"
        used[1] = 0.0
        for _ in range(200):
            running.turn()
        assert running.ask(client, b"b U new 127.0.0.1 4000 f").split()[1].isdigit()
    running.stop()
