"""A relay without room, or without a processor to spare, refuses at once; the next call goes on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench.cluster.troubles import FLOOD
from tests.e2e import loopback
from tests.e2e.calls import run_to_the_end
from tests.e2e.kamailio import Kamailio
from tests.e2e.phone import Phone
from tests.e2e.process import wait_until
from tests.e2e.relay import FIRST_MEDIA_PORT, Relay
from tests.e2e.sip import Sipp
from tests.e2e.test_relay_set import assert_relayed, call_id_for, make_call

pytestmark = pytest.mark.e2e

FULL, ROOMY = loopback.RELAY, loopback.OTHER_RELAY
TALKER = loopback.host(61)

ANSWERED = 1.0
"""Seconds in which every command is answered; Kamailio would wait as long, five times."""


def port_of(answer: str) -> int:
    """The port a relay gave. Fails where it gave none."""
    assert answer.split()[0].isdecimal(), answer
    return int(answer.split()[0])


@contextmanager
def flood(relay: Relay) -> Iterator[None]:
    """A call there, as much of whose media comes as a process can send."""
    port_of(relay.ask(f"U loud {TALKER} 4000 f"))
    to = port_of(relay.ask(f"L loud {TALKER} 4002 f t"))
    words = [TALKER, "4000", relay.host, str(to)]
    process = subprocess.Popen([sys.executable, "-c", FLOOD, *words])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def refuses(relay: Relay, answer: str) -> bool:
    """Whether a new call gets that answer; any comes in time."""
    if (told := relay.ask(f"U new {TALKER} 5004 f", ANSWERED)) == answer:
        return True
    port_of(told)
    assert relay.ask("D new f", ANSWERED) == "0"
    return False


def assert_refused_and_the_next_call_goes_on(folder: Path, relays: list[Relay]) -> None:
    """Kamailio's first relay refuses: a call there fails by its answer, one on the other does
    not."""
    names = " ".join(relay.control for relay in relays)
    with Kamailio(folder, names) as proxy:
        phone = Phone(loopback.host(51))
        work = folder / "refused"
        work.mkdir()
        (work / "caller1.sdp").write_text(phone.describe(), newline="")
        peer = loopback.host(52)
        call_id = call_id_for(0, "refused")
        with Sipp(
            "finds_no_relay", phone.host, work, proxy=proxy.host, peer=peer, call_id=call_id
        ) as sipp:
            wait_until(lambda: not sipp.running, "the call fails", 15)
            assert sipp.status == 0, sipp.printed()[-3000:]
            assert [each.status for each in sipp.messages() if each.status == 503] == [503]
        phone.close()
        with make_call(folder / "b", proxy.host, (53, 54), call_id_for(1, "next"), 0.5) as call:
            assert_relayed(call, relays[1].host, run_to_the_end(call))
        # It was refused, and no answer was waited for in vain.
        assert not re.search("timeout|disabled", proxy.printed())


def test_without_a_port_a_call_fails_at_once_and_the_next_one_goes_on(
    tmp_path: Path, sip_peers: None
) -> None:
    ports = ["-m", str(FIRST_MEDIA_PORT), "-M", str(FIRST_MEDIA_PORT + 3)]
    with ExitStack() as stack:
        full = stack.enter_context(Relay(FULL, tmp_path, options=ports))
        roomy = stack.enter_context(Relay(ROOMY, tmp_path))
        port_of(full.ask(f"U only {TALKER} 4000 f"))
        port_of(full.ask(f"L only {TALKER} 4002 f t"))
        assert full.ask(f"U more {TALKER} 4000 f", ANSWERED) == "E72"
        assert_refused_and_the_next_call_goes_on(tmp_path, [full, roomy])
        # What it has is served meanwhile.
        port_of(full.ask(f"U only {TALKER} 4000 f t", ANSWERED))
        assert full.ask("D only f t") == "0"
        port_of(full.ask(f"U more {TALKER} 4000 f", ANSWERED))
        full.assert_had_no_accident()


def test_without_a_file_descriptor_it_is_the_same(tmp_path: Path) -> None:
    with Relay(FULL, tmp_path, options=["-L", "64"]) as relay:
        answers = [relay.ask(f"U c{number} {TALKER} 4000 f", ANSWERED) for number in range(40)]
        refused = answers.index("E72")
        assert set(answers[refused:]) == {"E72"}
        assert relay.ask("D c0 f", ANSWERED) == "0"
        port_of(relay.ask(f"U again {TALKER} 4000 f", ANSWERED))
        relay.assert_had_no_accident()


def test_opensips_is_answered_so_that_it_tries_another_relay(tmp_path: Path) -> None:
    ports = ["-m", str(FIRST_MEDIA_PORT), "-M", str(FIRST_MEDIA_PORT + 3)]
    profile = ["--overload-profile", "opensips"]
    with Relay(FULL, tmp_path, options=[*ports, *profile]) as relay:
        port_of(relay.ask(f"U only {TALKER} 4000 f"))
        port_of(relay.ask(f"L only {TALKER} 4002 f t"))
        assert relay.ask(f"U more {TALKER} 4000 f", ANSWERED) == "E10"


@pytest.mark.slow
def test_under_more_media_than_it_can_relay_a_call_fails_at_once_and_the_next_one_goes_on(
    tmp_path: Path, sip_peers: None
) -> None:
    with ExitStack() as stack:
        busy = stack.enter_context(Relay(FULL, tmp_path, options=["--overload_prot"]))
        roomy = stack.enter_context(Relay(ROOMY, tmp_path))
        port_of(busy.ask(f"U old {TALKER} 5000 f"))
        with flood(busy):
            wait_until(lambda: refuses(busy, "E98"), "it is too much", 30)
            assert_refused_and_the_next_call_goes_on(tmp_path, [busy, roomy])
            port_of(busy.ask(f"L old {TALKER} 5002 f t", ANSWERED))
            port_of(busy.ask(f"U old {TALKER} 5000 f t", ANSWERED))
            assert busy.ask("D old f t", ANSWERED) == "0"
        wait_until(lambda: not refuses(busy, "E98"), "it takes calls again", 30)
        busy.assert_had_no_accident()


@pytest.mark.slow
def test_under_too_much_media_opensips_is_told_to_try_another_relay(tmp_path: Path) -> None:
    options = ["--overload_prot", "--overload-profile", "opensips"]
    with Relay(FULL, tmp_path, options=options) as relay, flood(relay):
        wait_until(lambda: refuses(relay, "E10"), "it is too much", 30)
