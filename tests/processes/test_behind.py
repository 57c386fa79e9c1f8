"""A media process that is behind, as after a pause: all that waits is relayed, in order."""

from __future__ import annotations

import os
import select
import signal
import socket

import pytest

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.media.kernel.path import Flow, FlowId
from rtpproxy_tw.media.processes.worker import DEEP, GROUP
from tests.contracts import rtp
from tests.processes.rig import Host, PortOfOurs, received

pytestmark = pytest.mark.network

FLOWS = GROUP + 8
"""More than are served together."""

MOST = 4 * DEEP
"""Packets of one flow; all together have room in a socket's buffer."""


def bound() -> socket.socket:
    """A socket of somebody's."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


def address(sock: socket.socket) -> Address:
    """Where it is."""
    host, port = sock.getsockname()[:2]
    return host, port


def test_all_that_waits_is_relayed_in_order_and_counted() -> None:
    """Also of the flow that has more waiting than all others, and of one that has nothing."""
    host = Host(capacity=FLOWS)
    caller, callee = bound(), bound()
    try:
        flows: list[tuple[FlowId, Address]] = []
        for _ in range(FLOWS):
            local, out = (PortOfOurs((to, 0)) for to in ("127.0.0.1", "127.0.0.2"))
            host.ports |= {address(each.socket): each for each in (local, out)}
            flow = Flow(
                local=address(local.socket),
                source=address(caller),
                out=address(out.socket),
                to=address(callee),
                tos=0,
                rtp=True,
                ordered=True,
                tap=False,
            )
            flows.append((host.add(flow), flow.local))
        host.path.ask(flows[0][0])
        waiting = {id: DEEP + 1 for id, _ in flows}
        waiting[flows[0][0]], waiting[flows[1][0]] = MOST, 0
        (child,) = host.path.children
        assert child.pid is not None
        os.kill(child.pid, signal.SIGSTOP)
        for number in range(MOST):
            for id, at in flows:
                if number < waiting[id]:
                    caller.sendto(rtp(number, int(id)), at)
        os.kill(child.pid, signal.SIGCONT)
        heard: dict[int, list[int]] = {int(id): [] for id, _ in flows}
        while select.select([callee], [], [], 0.5)[0]:
            got = received(callee)
            assert got is not None
            datagram = got[0]
            ssrc, number = (int.from_bytes(datagram[a:b], "big") for a, b in ((8, 12), (2, 4)))
            heard[ssrc].append(number)
        assert heard == {int(id): list(range(waiting[id])) for id, _ in flows}
        for id, _ in flows:
            assert host.path.remove(id).packets == waiting[id]
    finally:
        host.close()
        caller.close()
        callee.close()
