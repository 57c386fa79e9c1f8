"""The advice on hosts: what is found is judged by how many calls there are to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtpproxy_tw.hostcheck import Advice, Facts, Interface, advise, read_facts

GOOD = Facts(
    descriptors=1_000_000,
    rmem_max=1 << 20,
    backlog=100_000,
    reserved=((35000, 65000),),
    conntrack_max=1_000_000,
    governors=frozenset({"performance"}),
    cpus=8,
    interfaces=(Interface("eth0", 8, 0),),
)
PORTS = (35000, 65000)


def wrong(facts: Facts, calls: int = 2000, ports: tuple[int, int] = PORTS) -> list[Advice]:
    """What is to be changed."""
    return [advice for advice in advise(facts, calls, ports) if not advice.fine]


def changed(**facts: object) -> Facts:
    """A good host but for these facts."""
    return Facts(**{name: getattr(GOOD, name) for name in GOOD.__slots__} | facts)


def test_nothing_is_to_be_changed_on_a_host_that_was_set_up() -> None:
    """Everything was looked at, though."""
    assert wrong(GOOD) == []
    assert len(advise(GOOD, 2000, PORTS)) == 8


def test_of_what_is_not_known_nothing_is_said() -> None:
    """But for the ports, which are ours."""
    assert [advice.subject for advice in advise(Facts(), 10, PORTS)] == ["media ports"]


@pytest.mark.parametrize(
    "facts, subject, how",
    [
        (changed(descriptors=1024), "open files", "LimitNOFILE=8128"),
        (changed(rmem_max=212_992), "net.core.rmem_max", "rmem_max=1048576"),
        (changed(backlog=1000), "net.core.netdev_max_backlog", "backlog=10000"),
        (changed(reserved=()), "net.ipv4.ip_local_reserved_ports", "ports=35000-65000"),
        (changed(reserved=((35000, 64000),)), "net.ipv4.ip_local_reserved_ports", "35000-65000"),
        (changed(conntrack_max=8192), "net.netfilter.nf_conntrack_max", "notrack"),
        (changed(governors=frozenset({"powersave"})), "frequency of processors", "performance"),
        (changed(interfaces=(Interface("eth0", 1, 0),)), "eth0: receiving", "echo fe >"),
    ],
)
def test_what_is_too_little_is_told_with_a_remedy(facts: Facts, subject: str, how: str) -> None:
    """A line that can be copied."""
    (advice,) = wrong(facts)
    assert advice.subject == subject
    assert how in advice.how
    assert str(advice).startswith(f"!! {subject}: ")
    assert advice.why in str(advice)


def test_a_small_relay_needs_little() -> None:
    """The defaults of a distribution are enough for 200 calls, but for reserved ports."""
    usual = Facts(
        descriptors=1 << 19,
        rmem_max=1 << 18,
        backlog=1000,
        reserved=(),
        conntrack_max=65_536,
        governors=frozenset({"powersave"}),
        cpus=4,
        interfaces=(Interface("eth0", 1, 0),),
    )
    assert [advice.subject for advice in wrong(usual, 200)] == ["net.ipv4.ip_local_reserved_ports"]


def test_more_calls_than_ports_need_more_addresses() -> None:
    """Widening the range does not help any more."""
    assert "-m and -M" in wrong(GOOD, 10_000)[0].how
    assert "several addresses" in wrong(GOOD, 20_000, (1024, 65535))[0].how


def test_a_device_with_one_queue_is_fine_once_its_packets_are_spread() -> None:
    """RPS does in software what the device cannot."""
    assert wrong(changed(interfaces=(Interface("eth0", 1, 1),))) == []
    assert wrong(changed(cpus=1, interfaces=(Interface("eth0", 1, 0),))) == []


def test_masks_of_many_processors_are_written_in_groups() -> None:
    """As the kernel reads them."""
    (advice,) = wrong(changed(cpus=40, interfaces=(Interface("eth0", 1, 0),)))
    assert "echo ff,fffffffe >" in advice.how


def test_facts_are_read_from_the_kernels_files(tmp_path: Path) -> None:
    """What is missing or strange is not known."""
    for name, text in {
        "proc/sys/net/core/rmem_max": "212992\n",
        "proc/sys/net/core/netdev_max_backlog": "strange\n",
        "proc/sys/net/ipv4/ip_local_reserved_ports": "8080,9000-9100\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/class/net/eth0/queues/rx-0/rps_cpus": "00000000,0000000e\n",
        "sys/class/net/eth0/queues/rx-1/rps_cpus": "00000000,00000000\n",
        "sys/class/net/lo/queues/rx-0/rps_cpus": "0\n",
        "sys/class/net/eth0/device": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    facts = read_facts(tmp_path)
    assert facts.rmem_max == 212_992
    assert facts.backlog is None
    assert facts.reserved == ((8080, 8080), (9000, 9100))
    assert facts.conntrack_max is None
    assert facts.governors == {"powersave"}
    assert facts.interfaces == (Interface("eth0", 2, 1),)


def test_this_host_can_be_looked_at() -> None:
    """Whatever it has or lacks."""
    assert all(str(advice) for advice in advise(read_facts(), 200, PORTS))
