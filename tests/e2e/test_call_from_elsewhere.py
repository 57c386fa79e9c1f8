"""``rtpproxy-ctl call`` on one host, the relay on another; and asked about from a third."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import Process, wait_until
from tests.kernel.network import CALLEE_SIDE, CALLER_SIDE, Namespace, Network
from tests.kernel.network import network as made

pytestmark = pytest.mark.e2e

CONTROL, HTTP = 22222, 8080


@pytest.fixture
def network() -> Iterator[Network]:
    with made() as net:
        yield net


class Relay(Process):
    """In the namespace in the middle; it takes commands and questions over the network."""

    def __init__(self, net: Network, folder: Path) -> None:
        token = folder / "token"
        token.write_text("right\n")
        super().__init__(
            [
                *("ip", "netns", "exec", net.relay.name),
                *(
                    sys.executable,
                    "-m",
                    "rtpproxy_tw.tools.launcher",
                    "-f",
                    "-F",
                    "-p",
                    "/dev/null",
                ),
                *("-s", f"udp:{CALLER_SIDE}:{CONTROL}", "-l", CALLER_SIDE, "-d", "INFO"),
                *("--http", f"tcp:{HTTP}:interface={CALLEE_SIDE}"),
                *("--http-token-file", str(token), "--fast-path=none"),
            ],
            folder / "relay.log",
        )
        wait_until(lambda: not self.running or "started" in self.printed(), "it is there", 20)
        assert self.running, self.printed()


def ctl(where: Namespace, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program on a host."""
    return subprocess.run(
        [
            *("ip", "netns", "exec", where.name),
            *(sys.executable, "-m", "rtpproxy_tw.tools.ctl", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_call_goes_through_a_relay_on_another_host(network: Network, tmp_path: Path) -> None:
    token = ("--token-file", str(tmp_path / "token"))
    with Relay(network, tmp_path) as relay:
        url = f"udp:{CALLER_SIDE}:{CONTROL}"
        done = ctl(network.caller, "call", "--control", url, "--seconds", "2", "--json")
        assert done.returncode == 0, done.stdout + done.stderr + relay.printed()
        told = json.loads(done.stdout)
        assert told["good"], told["verdict"]
        for direction in told["directions"]:
            assert direction["lost"] == 0
        # The third host asks about it afterwards, with a token and without.
        asked = ("--api", f"http://{CALLEE_SIDE}:{HTTP}")
        stats = ctl(network.callee, *asked, *token, "stats", "--json")
        assert stats.returncode == 0, stats.stderr
        assert json.loads(stats.stdout)["totals"]["nsess_created"] == 1
        assert ctl(network.callee, *asked, "stats").returncode == 1


def test_a_relay_that_does_not_answer_is_told_so(network: Network, tmp_path: Path) -> None:
    url = f"udp:{CALLER_SIDE}:{CONTROL}"
    done = ctl(network.caller, "call", "--control", url, "--seconds", "1", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert not told["good"]
    assert url in told["verdict"]
