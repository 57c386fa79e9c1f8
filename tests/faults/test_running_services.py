"""A running relay with calls in the kernel, a Redis and a web hook, whose kernel refuses.

As test_running_process, for the calls that lead to these: bpf(2), netlink, Redis, HTTP.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from rtpproxy_tw.media.kernel import capabilities
from tests.cluster.redis_server import PROGRAM, RedisServer
from tests.e2e.process import wait_until
from tests.faults.calls import TELLING, Call
from tests.faults.injection import AVAILABLE, Injection
from tests.faults.scenario import Parties, Proxy, play, prompt
from tests.faults.services import Hook, Store
from tests.hostile.relay import FAST_PATH, Relay
from tests.kernel.network import Namespace, require_namespaces

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not AVAILABLE, reason="needs strace"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to trace processes"),
    pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed"),
    pytest.mark.skipif(
        not capabilities.has_needed(), reason="needs CAP_BPF and CAP_NET_ADMIN to load a program"
    ),
]

HOST = "127.0.0.1"
CONTROL = 22222

MOST = 250

FEW = (1, 2, 3, 4, 5, 6, 8, 16, 64)
"""Uses that an ordinary run has fail, of one error each; slow ones have all of all errors."""

ARRIVES = 3.0
"""Seconds within which a packet that nothing is done to must have arrived."""


@dataclass
class Setting:
    """A relay in a network of its own, all it talks to, and a call that goes on all the time."""

    relay: Relay
    store: Store
    hook: Hook
    proxy: Proxy
    beside: Parties
    ports: list[int]
    folder: Path

    def play(self) -> None:
        """A call, with connections that have ended before, until all that should know of it do."""
        self.store.hang_up()
        # A call that could not be set up is nothing to tell of.
        name = play(self.proxy, HOST, HOST) or play(self.proxy, HOST, HOST)
        wait_until(lambda: self.hook.knows(name), f"the web hook knows of {name}", 20)
        wait_until(self.store.is_right, f"Redis knows that {name} is over", 20)

    def carried(self) -> float:
        """How many packets the kernel has carried."""
        return self.relay.metric('relay_packets_total{proto="rtp",dir="out",path="kernel"}')


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    require_namespaces()
    pytest.importorskip("treq")
    folder = tmp_path_factory.mktemp("services")
    prompt(folder)
    with ExitStack() as stack:
        where = Namespace("services")
        stack.callback(where.delete)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(FAST_PATH, "ebpf")
        store = Store(stack.enter_context(RedisServer(folder)), HOST)
        stack.enter_context(where)
        hook = Hook(folder, HOST)
        stack.callback(hook.close)
        options = [
            *("-s", f"udp:{HOST}:{CONTROL}", "--prompt-dir", str(folder)),
            *("--redis", str(store.settings["redis"]), "--node", "one", "--lease", "500"),
            *("--webhook", hook.settings["webhook"]),
            *("--webhook-spool", hook.settings["webhook_spool"]),
        ]
        relay = stack.enter_context(Relay(folder / "relay", HOST, options, where=where))  # type: ignore[arg-type]
        proxy = Proxy(HOST, (HOST, CONTROL))
        stack.callback(proxy.close)
        beside = Parties(proxy, HOST, HOST, "beside")
        stack.callback(beside.close)
        made = Setting(relay, store, hook, proxy, beside, beside.set_up(), folder)
        wait_until(lambda: exchanges(made) and made.carried() > 0, "the kernel carries it")
        wait_until(store.is_right, "Redis knows")
        made.play()
        yield made
        assert proxy.ask("D beside a b") == "0"
        hook.knows("beside")
        wait_until(hook.is_right, "the web hook has all records", 20)
        assert "Traceback" not in relay.log(), relay.log()[-3000:]


def exchanges(setting: Setting) -> bool:
    """Both parties of the call beside hear each other."""
    return setting.beside.exchange(setting.ports, ARRIVES) == 2


@pytest.mark.parametrize("call", TELLING, ids=lambda call: call.name)
def test_a_refusal_costs_neither_calls_nor_what_others_are_told(
    setting: Setting, call: Call
) -> None:
    refuse(setting, call, call.errors[0], FEW)


@pytest.mark.slow
@pytest.mark.parametrize("call, error", [(c, e) for c in TELLING for e in c.errors], ids=str)
def test_every_refusal_costs_neither_calls_nor_what_others_are_told(
    setting: Setting, call: Call, error: str
) -> None:
    refuse(setting, call, error, range(1, MOST))


def refuse(setting: Setting, call: Call, error: str, uses: Iterable[int]) -> None:
    """Those ``uses`` of a call fail, one in each run of the scenario, until there are no more."""
    before = setting.relay.descriptors()
    for when in uses:
        injection = Injection(setting.relay.pid, call.calls, error, when, setting.folder / "strace")
        with injection:
            setting.play()
            heard = setting.beside.exchange(setting.ports, ARRIVES)
        # The refused call may have been one of the other call's own.
        assert heard >= 2 - injection.happened, (call, error, when)
        assert exchanges(setting), (call, error, when)
        wait_until(setting.store.is_right, f"Redis knows what is ({call} {when})", 20)
        wait_until(
            lambda: setting.relay.descriptors() <= before, f"nothing is left ({call} {when})", 20
        )
        assert setting.relay.metric("relay_sessions") == 1
        if not injection.happened:
            break
    else:
        assert uses is FEW, "it never ends"
    assert when > 1, "the relay never does it"
    assert setting.relay.running
