"""bpf(2), netlink and mmap made to fail at each use, in a relay that has calls in the kernel.

At the start a failure costs the kernel's path at most, later a call's way through the kernel: media
then passes through the process, and nothing is lost.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
from collections.abc import Iterator
from itertools import count

import pytest

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.media import fastpath
from rtpproxy_tw.media.kernel import bpf_syscall, capabilities, watch
from tests.conftest import LoggedFailures
from tests.faults.inside import Function, Refusal, Turning, descriptors, turn_for, turn_until
from tests.faults.scenario import Parties
from tests.kernel.network import Namespace, require_namespaces
from tests.test_tap import Running

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        not capabilities.has_needed(), reason="needs CAP_BPF and CAP_NET_ADMIN to load a program"
    ),
]

HOST = "127.0.0.1"

KERNEL = (f"{os.sep}media{os.sep}kernel{os.sep}",)

FUNCTIONS = {
    name: Function(where, attribute, code, KERNEL)
    for name, where, attribute, code in (
        ("bpf", bpf_syscall, "bpf", errno.ENOMEM),
        ("netlink_send", socket.socket, "send", errno.ENOBUFS),
        ("netlink_recv", socket.socket, "recv", errno.ENOMEM),
        ("mmap", mmap, "mmap", errno.ENOMEM),
        ("setsockopt", socket.socket, "setsockopt", errno.ENOMEM),
    )
}

WHILE_RUNNING = ("bpf", "netlink_send", "netlink_recv")

MOST = 100

_names = count(1)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    """A network of its own, for this thread, in which nobody rests."""
    require_namespaces()
    monkeypatch.setattr(fastpath, "RETRY", 0.02)
    monkeypatch.setattr(watch, "SETTLE", 0.0)
    monkeypatch.setattr(watch, "REST", 0.0)
    made = Namespace("faults")
    try:
        with made:
            yield made
    finally:
        made.delete()


def relay(mode: str) -> Running:
    """One in this process, with that fast path."""
    return Running(
        Settings(
            control=(ControlAddress("udp", HOST, 0),),
            addresses=LocalAddresses((LocalAddress(HOST),)),
            min_port=46200,
            max_port=46280,
            fast_path=mode,
            keep_capabilities=True,
        )
    )


def offloaded(running: Running, name: str) -> int:
    """How many streams of that call the kernel carries."""
    return sum(
        stream.offloaded
        for session in running.relay.registry
        if session.key.call_id == name
        for leg in session.legs
        for stream in leg.streams
    )


def talk(running: Running, parties: Parties, ports: list[int], rounds: int = 12) -> bool:
    """Until the kernel carries both streams, so many packets at most; nothing may be lost."""
    wanted = 2
    for _ in range(rounds):
        assert parties.exchange(ports) == 2
        if offloaded(running, parties.name) >= wanted:
            break
        turn_for(running, 0.015)
    return offloaded(running, parties.name) >= wanted


def call(running: Running, rounds: int = 12) -> bool:
    """One through that relay, which then ends; whether it got into the kernel by then."""
    proxy = Turning(running, HOST, HOST)
    parties = Parties(proxy, HOST, HOST, "started")
    try:
        carried = talk(running, parties, parties.set_up(), rounds)
        assert proxy.ask("D started a b") == "0"
        return carried
    finally:
        parties.close()
        proxy.close()
        running.stop()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_whatever_fails_at_the_start_a_relay_starts(
    network: Namespace, name: str, monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    assert call(relay("auto")), "where nothing fails the kernel carries"
    before = descriptors()
    for when in count(1):
        assert when < MOST, "it never ends"
        with monkeypatch.context() as patch:
            refusal = Refusal(FUNCTIONS[name], when).patch(patch)
            running = relay("auto")
        call(running, 2)
        assert descriptors() <= before, when
        if not refusal.happened:
            break
    assert when > 1, "the relay never does it"
    assert not logged_failures.events


@pytest.mark.parametrize("name", WHILE_RUNNING)
def test_whatever_fails_later_costs_the_way_through_the_kernel(
    network: Namespace, name: str, monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    refuse(network, name, monkeypatch)
    assert not logged_failures.events


def refuse(network: Namespace, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each use fails once, in a call of its own beside one that goes on, until none is left."""
    running = relay("ebpf")
    proxy = Turning(running, HOST, HOST)
    beside = Parties(proxy, HOST, HOST, "beside")
    try:
        ports = beside.set_up()
        assert talk(running, beside, ports)
        play(network, running, proxy)
        before = descriptors()
        for when in count(1):
            assert when < MOST, "it never ends"
            with monkeypatch.context() as patch:
                refusal = Refusal(FUNCTIONS[name], when).patch(patch)
                play(network, running, proxy)
                assert beside.exchange(ports) == 2, when
            assert beside.exchange(ports) == 2, when
            assert len(running.relay.registry) == 1
            assert turn_until(running, lambda: descriptors() <= before), when
            if not refusal.happened:
                break
        assert when > 1, "the relay never does it"
        assert talk(running, beside, ports), "in the end all is as it was"
    finally:
        beside.close()
        proxy.close()
        running.stop()


def play(network: Namespace, running: Running, proxy: Turning) -> None:
    """A call that is carried, moves while the network changes, is carried again and ends."""
    parties = Parties(proxy, HOST, HOST, f"call{next(_names)}")
    try:
        ports = parties.set_up()
        talk(running, parties, ports)
        caller = parties.sockets[0].getsockname()
        network.ip("address add 192.0.2.77/32 dev lo")
        assert proxy.ask(f"Uc0,8 {parties.name} {caller[0]} {caller[1]} a b")[0].isdigit()
        talk(running, parties, ports)
        network.ip("address del 192.0.2.77/32 dev lo")
        turn_for(running, 0.015)
        assert parties.exchange(ports) == 2
        assert proxy.ask(f"D {parties.name} a b") == "0"
    finally:
        parties.close()
