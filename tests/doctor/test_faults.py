"""Each fault of a network, made with nftables and routes, is found and told with its remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.world import INSIDE, INSIDE6, NAT, OUTSIDE, PUBLIC, Nets, networks

MISSING = [name for name in ("ip", "nft", "sysctl") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="making namespaces takes root"),
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} missing"),
]


@pytest.fixture
def nets(tmp_path: Path) -> Iterator[Nets]:
    """A network without a fault, and another relay."""
    with networks(tmp_path) as made:
        yield made


def test_a_network_without_a_fault_is_well(nets: Nets) -> None:
    """Everything was looked at, and every port tried."""
    answer = nets.doctor()
    assert answer.troubles() == []
    assert answer.status == 0
    seen = answer.seen
    assert seen["outside"] == INSIDE
    assert seen["arrived"] == seen["probed"]
    assert seen["probed"] == 199, "all but the one that asked first"
    assert (seen["longest_out"], seen["longest_in"], seen["icmp"]) == (1500, 1500, True)
    assert (seen["device_out"], seen["device_in"]) == ("lan", "lan")
    assert 'listen = ["10.9.0.2"]' in answer.lines["rtpproxy-tw: rtpproxy.toml"]


def test_ipv6_is_examined_as_well(nets: Nets) -> None:
    """With its own firewall rules, and its longer headers."""
    nets.rules(
        "table ip6 f { chain in { type filter hook forward priority 0;"
        ' iifname "wan" udp dport 40010-40019 drop; } }'
    )
    answer = nets.doctor("-6", INSIDE6)
    assert answer.seen["outside"] == INSIDE6
    assert answer.seen["closed"] == [[40010, 40019]]
    assert (answer.seen["longest_out"], answer.seen["longest_in"]) == (1500, 1500)
    assert answer.seen["icmp"] is True
    assert (answer.seen["device_out"], answer.seen["device_in"]) == ("lan", "lan")


def test_a_nat_is_found_and_its_address_can_be_pasted(nets: Nets) -> None:
    """Replies would name an address that nobody outside reaches."""
    nets.rules(NAT)
    answer = nets.doctor()
    found = answer.about("address outside")
    assert found["level"] == "error"
    assert f"-l {INSIDE}={PUBLIC}" in found["remedy"]
    assert answer.status == 1
    assert answer.lines["rtpproxy-tw: rtpproxy.toml"] == [
        f'listen = ["{INSIDE}={PUBLIC}"]',
        "min_port = 40000",
        "max_port = 40199",
    ]
    socket = 'modparam("rtpproxy", "rtpproxy_sock", "udp:127.0.0.1:22222")'
    assert socket in answer.lines["Kamailio: kamailio.cfg"]
    assert socket in answer.lines["OpenSIPS: opensips.cfg"]


@pytest.mark.parametrize("told", [PUBLIC, f"stun:{OUTSIDE}"])
def test_a_nat_that_is_told_of_is_well(nets: Nets, told: str) -> None:
    """The address itself, or how it is learnt."""
    nets.rules(NAT)
    answer = nets.doctor("-l", f"{INSIDE}={told}")
    assert answer.troubles() == []
    assert answer.lines["rtpproxy-tw: rtpproxy.toml"][0] == f'listen = ["{INSIDE}={told}"]'


def test_a_wrong_advertised_address_is_found(nets: Nets) -> None:
    nets.rules(NAT)
    found = nets.doctor("-l", f"{INSIDE}=203.0.113.77").about("address outside")
    assert found["level"] == "error"
    assert "203.0.113.77" in found["found"]
    assert f"-l {INSIDE}={PUBLIC}" in found["remedy"]


def test_ports_that_a_nat_rewrites_are_found(nets: Nets) -> None:
    """Nothing arrives at the port in the SDP."""
    nets.rules(
        "table ip nat { chain out { type nat hook postrouting priority srcnat;"
        ' oifname "wan" masquerade random; } }'
    )
    answer = nets.doctor("-l", f"{INSIDE}={PUBLIC}")
    found = answer.about("ports outside")
    assert found["level"] == "error"
    assert "rewrites" in found["found"]
    assert "40000-40199" in found["remedy"]
    assert answer.seen["rewritten"]
    closed = answer.about("packets from outside")
    assert "none of" in closed["found"]
    assert f"forward UDP 40000-40199 at the NAT to {INSIDE}" in closed["remedy"]


def test_a_firewall_is_told_by_the_ranges_that_it_closes(nets: Nets) -> None:
    """Though it lets answers through, as firewalls do."""
    nets.rules(
        "table ip f { chain in { type filter hook forward priority 0;"
        ' iifname "wan" ct state established accept;'
        ' iifname "wan" udp dport { 40020-40059, 40100-40109 } drop; } }'
    )
    answer = nets.doctor()
    assert answer.seen["closed"] == [[40020, 40059], [40100, 40109]]
    found = answer.about("packets from outside")
    assert found["level"] == "error"
    assert "closed: 40020-40059, 40100-40109" in found["found"]
    assert "-m and -M" in found["remedy"]


def test_a_firewall_that_lets_nothing_in_is_found(nets: Nets) -> None:
    """Though our own packets, and their answers, pass."""
    nets.rules(
        "table ip f { chain in { type filter hook forward priority 0; policy accept;"
        ' iifname "wan" ct state established,related accept; iifname "wan" udp dport'
        " 1-65535 drop; } }"
    )
    found = nets.doctor().about("packets from outside")
    assert "none of" in found["found"]
    assert "udp dport 40000-40199 accept" in found["remedy"]


def test_a_network_that_lets_nothing_out_is_found(nets: Nets) -> None:
    """Nobody answers."""
    nets.rules(
        "table ip f { chain in { type filter hook forward priority 0;"
        ' iifname "rin" udp sport 40000-40199 drop; } }'
    )
    found = nets.doctor().about("address outside")
    assert found["level"] == "error"
    assert "nobody answered" in found["found"]


def test_icmp_that_is_blocked_is_found(nets: Nets) -> None:
    nets.rules(
        "table ip f { chain in { type filter hook forward priority 0;"
        ' iifname "wan" ip protocol icmp drop; } }'
    )
    answer = nets.doctor()
    assert answer.seen["icmp"] is False
    found = answer.about("ICMP")
    assert found["level"] == "warning"
    assert "icmp type destination-unreachable accept" in found["remedy"]


def test_a_short_path_is_measured(nets: Nets) -> None:
    """With the errors that tell of it."""
    nets.router.ip("link set wan mtu 1300")
    answer = nets.doctor()
    assert answer.seen["longest_out"] == 1280
    found = answer.about("longest packet")
    assert found["level"] == "error"
    assert "mtu 1280" in found["remedy"]
    assert "vanish" not in found["found"]


def test_a_short_path_without_errors_is_a_black_hole(nets: Nets) -> None:
    """The router must not tell."""
    nets.router.ip("link set wan mtu 1450")
    # Else nothing long would be said over TCP either.
    clamped = "tcp flags syn tcp option maxseg size set 1200"
    nets.rules(
        f"table ip c {{ chain clamp {{ type filter hook forward priority 0; {clamped}; }} }}"
    )
    nets.rules(
        "table ip f { chain out { type filter hook output priority 0; ip protocol icmp drop; } }"
    )
    found = nets.doctor().about("longest packet")
    assert found["level"] == "warning"
    assert "1420 octets out" in found["found"]
    assert "vanish" in found["found"]


def test_packets_that_come_by_another_device_are_dropped_by_the_kernel(nets: Nets) -> None:
    """By rp_filter; the kernel counts them, and that is how it is known."""
    _second_way(nets)
    nets.run(nets.inside, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    answer = nets.doctor()
    assert answer.seen["misrouted"] > 0
    found = answer.about("routes")
    assert found["level"] == "error"
    assert "rp_filter" in found["found"]


def test_packets_that_come_by_another_device_are_told_of(nets: Nets) -> None:
    """Where the kernel does not mind, a firewall on the way may."""
    _second_way(nets)
    for device in ("all", "lan2", "lan"):
        nets.run(nets.inside, "sysctl", "-qw", f"net.ipv4.conf.{device}.rp_filter=0")
    answer = nets.doctor()
    assert (answer.seen["device_out"], answer.seen["device_in"]) == ("lan", "lan2")
    found = answer.about("routes")
    assert found["level"] == "warning"
    assert "ip rule add from" in found["remedy"]


def _second_way(nets: Nets) -> None:
    """Another line between router and host, for UDP on its way in only."""
    nets.inside.ip(
        "link add lan2 type veth peer name rin2",
        f"link set rin2 netns {nets.router.name}",
        "addr add 10.9.1.2/24 dev lan2",
        "link set lan2 up",
    )
    nets.router.ip(
        "addr add 10.9.1.1/24 dev rin2",
        "link set rin2 up",
        f"route add {INSIDE}/32 via 10.9.1.2 table 100",
        "rule add ipproto udp table 100",
    )


def test_with_a_stun_server_only_the_openness_stays_unproved(nets: Nets) -> None:
    """The relay outside answers nobody who has no examination; a plain server does."""
    nets.rules(NAT)
    server = nets.folder / "server.py"
    server.write_text(SERVER)
    import sys

    from tests.e2e.process import Process, wait_until

    command = ["ip", "netns", "exec", nets.outside.name, sys.executable, str(server), OUTSIDE]
    with Process(command, nets.folder / "server.log") as process:
        wait_until(lambda: "ready" in process.printed(), "the server listens")
        answer = nets.doctor("-l", f"{INSIDE}={PUBLIC}", source=("--stun", OUTSIDE))
    assert answer.status == 0
    assert answer.seen["outside"] == PUBLIC
    assert answer.seen["answered"] == answer.seen["asked"] > 10
    assert "not proved" in answer.about("packets from outside")["found"]


SERVER = """
import socket, sys
from rtpproxy_tw import stun
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.bind((sys.argv[1], stun.PORT))
print("ready", flush=True)
while True:
    octets, client = made.recvfrom(1500)
    made.sendto(stun.response(stun.parse(octets)[1], client), client)
"""


def test_ports_of_others_are_told(nets: Nets) -> None:
    """They are not examined, and the rest is."""
    peer = nets.inside.socket(INSIDE, 40010)
    try:
        answer = nets.doctor()
    finally:
        peer.socket.close()
    assert answer.seen["taken"] == 1
    assert "40010" in answer.troubles()[0]


def test_without_the_token_there_is_no_examination(nets: Nets) -> None:
    """Nor any packet."""
    (nets.folder / "wrong").write_text("wrong\n")
    import subprocess
    import sys

    done = subprocess.run(
        [
            *("ip", "netns", "exec", nets.inside.name, sys.executable, "-m"),
            *("rtpproxy_tw.tools.ctl", "doctor", "--from", f"http://{OUTSIDE}:8080"),
            *("--from-token-file", str(nets.folder / "wrong"), "-l", INSIDE, "-f", "-F"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "not known" in done.stderr
