"""What is concluded of what was seen."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.checkup.findings import Finding, Level
from rtpproxy_tw.doctor import paste
from rtpproxy_tw.doctor.diagnosis import diagnose
from rtpproxy_tw.doctor.examiner import container, dropped_as_misrouted
from rtpproxy_tw.doctor.observed import Observed, ranges
from tests.configuration.configuring import settings

HERE, PUBLIC = "10.0.0.1", "198.51.100.1"

PORTS = list(range(40000, 40010))

SETTINGS = settings("-l 10.0.0.1 -m 40000 -M 40009 -s udp:*:22222")


def seen(**changes: object) -> Observed:
    """A network without a fault, but for these."""
    made = Observed(
        HERE,
        HERE,
        None,
        other=("203.0.113.9", 30000),
        mapped={port: (HERE, port) for port in PORTS[:4]},
        asked=4,
        probed=PORTS[4:],
        arrived=set(PORTS[4:]),
        icmp=True,
        longest_out=1500,
        longest_in=1500,
        device_out="eth0",
        device_in="eth0",
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def bad(**changes: object) -> list[Finding]:
    """What is said of its faults."""
    return [each for each in diagnose(seen(**changes), SETTINGS) if each.level is not Level.OK]


def mapped(host: str = PUBLIC, shift: int = 0) -> dict[int, tuple[str, int]]:
    """As a NAT would have it."""
    return {port: (host, port + shift) for port in PORTS[:4]}


def test_nothing_is_said_against_a_good_network() -> None:
    assert bad() == []
    assert len(diagnose(seen(), SETTINGS)) == 6


@pytest.mark.parametrize(
    "changes, level, subject, found, remedy",
    [
        ({"taken": [40001, 40003]}, "warning", "ports", "2 are taken", "check"),
        ({"mapped": mapped()}, "error", "address outside", PUBLIC, f"-l {HERE}={PUBLIC}"),
        ({"mapped": mapped(), "advertised": "198.51.100.9"}, "error", "address outside",
         "198.51.100.9", f"-l {HERE}={PUBLIC}"),
        ({"mapped": mapped(HERE, 7)}, "error", "ports outside", "40000 to 40007", "1:1"),
        ({"mapped": {1: (PUBLIC, 1), 2: ("198.51.100.2", 2)}}, "error", "address outside",
         "several", "one address"),
        ({"mapped": {}}, "error", "address outside", "nobody answered", "let UDP out"),
        ({"asked": 0, "mapped": {}}, "warning", "address outside", "not looked at", "--stun"),
        ({"probed": None}, "warning", "from outside", "not proved", "--from"),
        ({"arrived": set()}, "error", "from outside", "none of 6", "let UDP 40000-40009 in"),
        ({"arrived": {40004, 40009}}, "error", "from outside", "closed: 40005-40008",
         "udp dport 40005-40008 accept"),
        ({"icmp": False}, "warning", "ICMP", "no error", "destination-unreachable"),
        ({"longest_out": 1420, "too_big": True}, "warning", "longest", "1420 octets out", "1420"),
        ({"longest_out": 1280}, "error", "longest", "vanish", "mtu 1280"),
        ({"longest_in": 0}, "error", "longest", "0 octets in", "mtu 576"),
        ({"misrouted": 3}, "error", "routes", "dropped 3", "rp_filter=2"),
        ({"device_in": "eth1"}, "warning", "routes", "come by eth1", "ip rule"),
        ({"container": "docker"}, "warning", "container", "docker", "--network host"),
        ({"container": "podman"}, "warning", "container", "podman", "podman run --network host"),
        ({"container": "kubernetes"}, "warning", "container", "pod", "hostNetwork: true"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_its_remedy(
    changes: dict[str, object], level: str, subject: str, found: str, remedy: str
) -> None:
    told = [each for each in bad(**changes) if subject in each.subject and found in each.found]
    assert [each.level.value for each in told] == [level]
    assert remedy in told[0].remedy


@pytest.mark.parametrize("told", [PUBLIC, "auto", "stun:192.0.2.1"])
def test_a_nat_that_is_told_of_is_no_fault(told: str) -> None:
    assert bad(mapped=mapped(), advertised=told) == []


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_ranges_are_the_ports_and_nothing_that_was_tried_besides(
    tried: set[int], found: set[int]
) -> None:
    """Ports that were not tried may lie within."""
    closed = tried & found
    made = ranges(closed, sorted(tried))
    assert {port for low, high in made for port in range(low, high + 1) if port in tried} == closed
    assert made == sorted(made)
    for (_, high), (low, _) in itertools.pairwise(made):
        assert any(port in tried - closed for port in range(high + 1, low))


def test_lines_can_be_pasted() -> None:
    """The relay's own file is read again by it."""
    from rtpproxy_tw.configuration.toml_reader import from_toml

    line = "-l a@10.0.0.1 -l b@10.0.0.2=stun:192.0.2.1 -m 40000 -M 40009 -s udp:*:22222"
    found = settings(line)
    addresses = [
        seen(mapped=mapped(), label="a"),
        Observed("10.0.0.2", "10.0.0.2", "stun:192.0.2.1", "b"),
    ]
    text = "\n".join(paste.relay(addresses, found))
    listen = [each.text for each in from_toml(text).given if each.name == "listen"]
    assert listen == [f"a@10.0.0.1={PUBLIC}", "b@10.0.0.2=stun:192.0.2.1"]
    assert 'modparam("rtpproxy", "rtpproxy_sock", "udp:127.0.0.1:22222")' in paste.kamailio(found)
    assert 'modparam("rtpproxy", "rtpproxy_sock", "udp:127.0.0.1:22222")' in paste.opensips(found)


def test_a_bridge_has_its_two_addresses_in_one_line() -> None:
    found = settings("-l 10.0.0.1/10.0.0.2 -A 10.0.0.1/198.51.100.9 -m 40000 -M 40009")
    outside = Observed("10.0.0.2", "10.0.0.2", "198.51.100.9", mapped={1: (PUBLIC, 1)})
    lines = paste.relay([seen(advertised="10.0.0.1"), outside], found)
    assert lines[:2] == ['listen = ["10.0.0.1/10.0.0.2"]', f'advertised = "10.0.0.1/{PUBLIC}"']


ROUTE = "Iface Destination Gateway\neth0\t00000000\t010011AC\n"
PAIR = {
    "/proc/net/route": ROUTE,
    "/sys/class/net/eth0/ifindex": "5",
    "/sys/class/net/eth0/iflink": "6",
}


@pytest.mark.parametrize(
    "files, there, variables, found",
    [
        (PAIR, {"/.dockerenv"}, {}, "docker"),
        ({**PAIR, "/proc/1/cgroup": "0::/docker/12ab"}, set(), {}, "docker"),
        (PAIR, {"/run/.containerenv"}, {}, "podman"),
        (PAIR, {"/.dockerenv"}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({**PAIR, "/proc/1/cgroup": "0::/kubepods/pod1"}, set(), {}, "kubernetes"),
        (PAIR, set(), {}, None),
        ({**PAIR, "/sys/class/net/eth0/iflink": "5"}, {"/.dockerenv"}, {}, None),
        ({}, {"/.dockerenv"}, {}, None),
    ],
)
def test_a_container_matters_where_its_network_is_its_own(
    files: dict[str, str], there: set[str], variables: dict[str, str], found: str | None
) -> None:
    """With the host's network nothing is to be said."""
    assert container(files.get, there.__contains__, variables) == found


def test_the_kernels_counter_of_misrouted_packets_is_read(tmp_path: object) -> None:
    """Zero where there is none."""
    from pathlib import Path

    path = Path(str(tmp_path)) / "netstat"
    assert dropped_as_misrouted(str(path)) == 0
    path.write_text("TcpExt: A IPReversePathFilter B\nTcpExt: 1 42 3\nIpExt: X\nIpExt: 9\n")
    assert dropped_as_misrouted(str(path)) == 42
