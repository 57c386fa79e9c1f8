"""A media process that has so much to do that it lets packets gather."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.kernel.path import Flow
from rtpproxy_tw.media.processes import child
from rtpproxy_tw.media.processes.path import ProcessPath
from rtpproxy_tw.media.processes.worker import BUSY, COUNTED
from tests.contracts import rtp
from tests.processes import rig

pytestmark = pytest.mark.network

SELECTABLE = 1024
"""What select(2) takes are numbers below."""

TOGETHER = 32
"""Packets sent in a row."""


def with_high_numbers(control: int, memory: int) -> subprocess.Popen[bytes]:
    """A process as of a relay that has all lower descriptors open."""
    high = fcntl.fcntl(control, fcntl.F_DUPFD, SELECTABLE)
    try:
        return child.spawn(high, memory)
    finally:
        os.close(high)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[rig.Host]:
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most <= SELECTABLE + 1:
        pytest.skip(f"only {most} descriptors may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(usual, SELECTABLE + 2), most))
    monkeypatch.setattr(rig, "ProcessPath", partial(ProcessPath, spawn=with_high_numbers))
    try:
        with rig.host() as made:
            yield made
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))


def address(sock: socket.socket) -> Address:
    """Where it is."""
    name, port = sock.getsockname()[:2]
    return name, port


def test_it_relays_all_and_answers_with_however_many_descriptors(host: rig.Host) -> None:
    ports = [host.port((name, 0)) for name in ("127.0.0.1", "127.0.0.2")]
    host.ports |= {address(each.socket): each for each in ports}
    local, out = (each.socket for each in ports)
    caller, callee = (host.party((name, 0)) for name in ("127.0.0.3", "127.0.0.4"))
    flow = Flow(
        local=address(local),
        source=address(caller),
        out=address(out),
        to=address(callee),
        tos=0,
        rtp=True,
        ordered=True,
        tap=False,
    )
    id = host.add(flow)
    (process,) = host.path.children
    pid, sent, heard = process.pid, 0, 0
    began = time.monotonic()
    # Long enough to be found busy, and so many packets that it is.
    while sent < BUSY or time.monotonic() - began < 4 * COUNTED:
        for _ in range(TOGETHER):
            caller.sendto(rtp(sent & 0xFFFF, 7), address(local))
            sent += 1
        for _ in range(TOGETHER):
            assert select.select([callee], [], [], rig.PATIENCE)[0]
            assert callee.recv(2048)[2:4] == (heard & 0xFFFF).to_bytes(2, "big")
            heard += 1
    assert process.pid == pid
    host.path.ask(id)
    assert host.path.sample(id).packets == sent
    assert host.path.remove(id).packets == sent
    assert host.withdrawn == []
