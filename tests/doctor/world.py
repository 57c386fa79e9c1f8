"""Three namespaces: a relay's host, a router with a firewall and a NAT, and another relay outside.

``inside`` has 10.9.0.2, the router 10.9.0.1 and 203.0.113.1, the outside 203.0.113.9; with IPv6
fd09::2, fd09::1 and fd03::1, fd03::9.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.process import Process, wait_until
from tests.kernel.network import Namespace

INSIDE, PUBLIC, OUTSIDE = "10.9.0.2", "203.0.113.1", "203.0.113.9"

INSIDE6, OUTSIDE6 = "fd09::2", "fd03::9"

PORTS = (40000, 40199)

API = f"http://{OUTSIDE}:8080"

NAT = """
table ip nat {
  chain out { type nat hook postrouting priority srcnat; oifname "wan" snat to 203.0.113.1; }
  chain in { type nat hook prerouting priority dstnat;
    iifname "wan" udp dport 40000-40199 dnat to 10.9.0.2; }
}
"""
"""A 1:1 NAT, as a cloud has it."""


class Nets:
    """The namespaces, the other relay running."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        self.inside = Namespace("in", "link add lan type veth peer name rin")
        stack.callback(self.inside.delete)
        self.router = Namespace("mid", "link add wan type veth peer name rout")
        stack.callback(self.router.delete)
        self.outside = Namespace("out")
        stack.callback(self.outside.delete)
        self.inside.ip(
            f"link set rin netns {self.router.name}",
            f"addr add {INSIDE}/24 dev lan",
            "link set lan up",
            "route add default via 10.9.0.1",
            f"addr add {INSIDE6}/64 dev lan nodad",
            "route add default via fd09::1",
        )
        self.router.ip(
            f"link set rout netns {self.outside.name}",
            "addr add 10.9.0.1/24 dev rin",
            "addr add fd09::1/64 dev rin nodad",
            "addr add fd03::1/64 dev wan nodad",
            f"addr add {PUBLIC}/24 dev wan",
            "link set rin up",
            "link set wan up",
        )
        self.outside.ip(
            f"addr add {OUTSIDE}/24 dev rout",
            f"addr add {OUTSIDE6}/64 dev rout nodad",
            "link set rout up",
            f"route add 10.9.0.0/24 via {PUBLIC}",
            "route add fd09::/64 via fd03::1",
        )
        for name in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            self.run(self.router, "sysctl", "-qw", f"net.{name}=1")

    def run(self, where: Namespace, *words: str, input: str | None = None) -> None:
        """A program in a namespace, which must succeed."""
        command = ["ip", "netns", "exec", where.name, *words]
        subprocess.run(command, check=True, input=input, text=True)

    def rules(self, text: str, where: Namespace | None = None) -> None:
        """Rules of nftables, at the router by default."""
        # A chain ends with its line.
        self.run(where or self.router, "nft", "-f", "-", input=text.replace("} }", "}\n}"))

    def start_relay(self) -> Process:
        """The other relay, with a token."""
        token = self.folder / "token"
        token.write_text("secret\n")
        return Process(
            [
                *("ip", "netns", "exec", self.outside.name, sys.executable, "-m"),
                *("rtpproxy_tw.tools.launcher", "-f", "-F", "-p", "/dev/null", "-l", OUTSIDE),
                *("-6", f"six@{OUTSIDE6}"),
                *("-m", "30000", "-M", "30999", "-s", f"unix:{self.folder / 'c.sock'}"),
                *("--http", f"tcp:8080:interface={OUTSIDE}", "--http-token-file", str(token)),
                *("--fast-path", "none", "-d", "INFO"),
            ],
            self.folder / "relay.log",
        )

    def doctor(self, *further: str, source: tuple[str, ...] | None = None) -> Answer:
        """What the doctor finds inside."""
        asked = source or ("--from", API, "--from-token-file", str(self.folder / "token"))
        done = subprocess.run(
            [
                *("ip", "netns", "exec", self.inside.name, sys.executable, "-m"),
                *("rtpproxy_tw.tools.ctl", "doctor", "--json", *asked),
                *("-f", "-F", "-s", "udp:127.0.0.1:22222", "-m", str(PORTS[0]), "-M"),
                *(str(PORTS[1]), *(further or ("-l", INSIDE))),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout, done.stderr
        return Answer(done.returncode, json.loads(done.stdout))


class Answer:
    """The doctor's report."""

    def __init__(self, status: int, view: dict[str, Any]) -> None:
        self.status = status
        self.view = view
        self.lines: dict[str, list[str]] = view["lines"]

    @property
    def seen(self) -> dict[str, Any]:
        """What was observed of the only address."""
        (found,) = self.view["observed"]
        return dict(found)

    def about(self, subject: str) -> dict[str, str]:
        """The only finding about it."""
        found = [each for each in self.view["findings"] if subject in each["subject"]]
        assert len(found) == 1, self.view["findings"]
        return dict(found[0])

    def troubles(self) -> list[str]:
        """What is not well, but for the container that the tests may run in."""
        found = [
            each
            for each in self.view["findings"]
            if each["level"] != "ok" and "container" not in each["subject"]
        ]
        return [f"{each['subject']}: {each['found']}" for each in found]


@contextmanager
def networks(folder: Path) -> Iterator[Nets]:
    """Everything, until the end."""
    with ExitStack() as stack:
        nets = Nets(stack, folder)
        relay = stack.enter_context(nets.start_relay())
        wait_until(
            lambda: not relay.running or "started, process" in relay.printed(), "it starts", 20
        )
        assert relay.running, relay.printed()
        yield nets
