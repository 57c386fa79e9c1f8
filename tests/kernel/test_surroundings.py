"""What else a host may have: VLANs, netfilter, no forwarding, devices that go down and up."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.kernel.frames import rtp
from tests.kernel.network import Namespace, until
from tests.kernel.relaying import PARTY, PORT, Relaying, flow_of, relaying
from tests.kernel.test_changes import passes

pytestmark = pytest.mark.kernel

VLAN_CALLER, VLAN_GATE = "203.0.113.9", "203.0.113.1"


@pytest.fixture
def relay() -> Iterator[Relaying]:
    with relaying() as made:
        yield made


def command(where: Namespace, *words: str, text: str | None = None) -> str:
    """What a command says that is run in a namespace."""
    return subprocess.run(
        ["ip", "netns", "exec", where.name, *words],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def tag(where: Namespace, device: str, host: str) -> None:
    """A VLAN on a device, or a skipped test."""
    name = f"{device}.7"
    try:
        where.ip(f"link add link {device} name {name} type vlan id 7")
    except subprocess.CalledProcessError:
        pytest.skip("this kernel has no VLANs")
    where.ip(f"address add {host}/24 dev {name}", f"link set {name} up")


def test_media_in_a_vlan_is_carried_at_the_device_of_the_vlan(relay: Relaying) -> None:
    """The device below sees a tag and leaves the packet alone."""
    net = relay.net
    tag(net.caller, "ca", VLAN_CALLER)
    tag(net.relay, "ra", VLAN_GATE)
    relay.settle()
    assert "ra.7" in relay.path.devices
    _, _, out, callee = relay.parties()
    caller = net.socket(net.caller, VLAN_CALLER, PARTY)
    towards = net.socket(net.relay, VLAN_GATE, PORT)
    id = relay.add(flow_of((caller, towards, out, callee)))
    assert all(passes((caller, towards, out, callee), rtp(number)) for number in range(5))
    assert relay.path.remove(id).packets == 5


def test_media_may_leave_into_a_vlan(relay: Relaying) -> None:
    net = relay.net
    tag(net.callee, "cb", VLAN_CALLER)
    tag(net.relay, "rb", VLAN_GATE)
    relay.settle()
    caller, towards, _, _ = relay.parties()
    out = net.socket(net.relay, VLAN_GATE, PORT + 2)
    callee = net.socket(net.callee, VLAN_CALLER, PARTY)
    id = relay.add(flow_of((caller, towards, out, callee)))
    assert passes((caller, towards, out, callee))
    assert relay.path.remove(id).packets == 1


def test_netfilter_is_not_asked_about_what_is_carried(relay: Relaying) -> None:
    """As docs/fastpath.rst warns. What goes to the socket is filtered as ever."""
    if shutil.which("nft") is None:
        pytest.skip("no nft here (nftables)")
    caller, towards, _, callee = parties = relay.parties()
    rules = "".join(
        f"add chain inet seen {hook} {{ type filter hook {hook} priority 0; }}\n"
        f"add rule inet seen {hook} udp dport {{ {PORT}, {PARTY} }} counter drop\n"
        for hook in ("prerouting", "input", "forward", "output", "postrouting")
    )
    command(relay.net.relay, "nft", "-f", "-", text=f"add table inet seen\n{rules}")
    caller.send(rtp(0), towards.address)
    assert towards.is_quiet()
    id = relay.add(flow_of(parties))
    assert all(passes(parties, rtp(number)) for number in range(1, 4))
    assert relay.path.remove(id).packets == 3
    told = command(relay.net.relay, "nft", "list", "table", "inet", "seen")
    counted = [int(words.split()[0]) for words in told.split("counter packets ")[1:]]
    assert sum(counted) == 1, "the one that went to the socket"
    assert callee.is_quiet()


def test_neither_forwarding_nor_loose_filters_are_needed(relay: Relaying) -> None:
    """A host that is no router stays none."""
    for name in ("all.forwarding=0", "all.rp_filter=1", "ra.rp_filter=1", "rb.rp_filter=1"):
        command(relay.net.relay, "sysctl", "-qw", f"net.ipv4.conf.{name}")
    parties = relay.parties()
    id = relay.add(flow_of(parties))
    assert all(passes(parties, rtp(number)) for number in range(3))
    assert relay.path.remove(id).packets == 3


def test_a_device_that_goes_down_and_up_carries_on(relay: Relaying) -> None:
    """The side media comes from: the way out is as it was, so the flow stays."""
    parties = relay.parties()
    id = relay.add(flow_of(parties))
    assert passes(parties)
    relay.net.relay.ip("link set ra down")
    relay.settle()
    relay.net.relay.ip("link set ra up")
    relay.settle()
    assert relay.withdrawn == []
    assert until(lambda: passes(parties))
    assert relay.path.remove(id).packets >= 2
