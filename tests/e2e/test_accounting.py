"""The accounting file of a real relay: after deletes, timeouts, a crash, and a proper end."""

from __future__ import annotations

import csv
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.contracts import rtp
from tests.e2e import loopback
from tests.e2e.process import wait_until
from tests.e2e.relay import Relay

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


def start(folder: Path) -> Relay:
    """A relay whose working directory is ``folder``."""
    launch = [sys.executable, "-m", "rtpproxy_tw.tools.launcher"]
    program = ["env", "-C", str(folder), f"PYTHONPATH={ROOT}", *launch]
    options = ["--dso", "rtpp_acct_csv.so", "-T", "2"]
    return Relay(loopback.RELAY, folder, options=options, program=program)


def records(folder: Path) -> dict[str, dict[str, str]]:
    """The records by call-id; each call has one."""
    path = folder / "rtpproxy_acct.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {row["call_id"]: row for row in rows}
    assert len(found) == len(rows), rows
    return found


def call(relay: Relay, name: str, packets: int = 0) -> None:
    """A call in which the caller says something."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.bind((loopback.CALLER, 0))
        where = "{} {}".format(*caller.getsockname())
        relay.ask(f"U {name} {where} f t && S ttl=1000")
        reply = relay.ask(f"L {name} {loopback.CALLEE} 9 f t")
        for number in range(packets):
            caller.sendto(rtp(number), (relay.host, int(reply.split()[0])))
        wait_until(lambda: relay.ask(f"Q {name} f t npkts_ina") == str(packets), "all came")


def test_every_session_has_one_record_even_after_a_crash(tmp_path: Path) -> None:
    relay = start(tmp_path)
    call(relay, "deleted", 3)
    assert relay.ask("D deleted f t") == "0"
    assert relay.ask("U silent 127.0.0.1 5000 f") != "E50"
    wait_until(lambda: "silent" in records(tmp_path), "it timed out")
    call(relay, "crashed", 5)
    time.sleep(1.2)
    relay.kill()
    assert set(records(tmp_path)) == {"deleted", "silent"}
    with start(tmp_path) as relay:
        wait_until(lambda: "crashed" in records(tmp_path), "the next one writes it")
        call(relay, "alive", 2)
        assert relay.end() == 0
        relay.assert_had_no_accident()
    found = records(tmp_path)
    assert {name: row["rtp_npkts_ina"] for name, row in found.items()} == {
        "deleted": "3",
        "silent": "0",
        "crashed": "5",
        "alive": "2",
    }
    assert found["deleted"]["rtpp_rtp_rmt_ip_a"] == loopback.CALLER
    assert float(found["deleted"]["teardown_ts"]) == pytest.approx(time.time(), abs=60)
    assert not list(tmp_path.glob("*.journal*"))
