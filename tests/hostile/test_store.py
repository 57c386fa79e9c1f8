"""Rows D: what the store of several relays can do to them. Everything in docs/hostile.rst."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.cluster.scripts import sessions_key
from tests.cluster.redis_server import PROGRAM, RedisServer
from tests.e2e import loopback
from tests.e2e.process import wait_until
from tests.hostile.exemptions import KILLED, REPLACED, STORELESS
from tests.hostile.host import faked, namespace, root
from tests.hostile.local import Local

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed"),
]

__all__ = ["root"]

HOST, STANDBY = loopback.host(77), loopback.host(78)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder) as running:
        yield running


def node(tmp_path: Path, url: str, name: str = "one", *more: str, **how: Any) -> Local:
    """A relay of the cluster that owns ``HOST``."""
    return Local(tmp_path / name, "--redis", url, "--node", name, "--lease", "500", *more, **how)


def standby(tmp_path: Path, url: str, **how: Any) -> Local:
    """Another one, which takes ``HOST`` over."""
    return node(tmp_path, url, "two", "--standby", HOST, host=STANDBY, **how)


def up(here: Local) -> bool:
    """Whether the store answers it."""
    return here.relay.metric("relay_redis_up") == 1


def commands_are_quick(here: Local, count: int = 100) -> None:
    """Each is answered, whatever the store does."""
    for number in range(count):
        assert here.relay.ask(f"U quick-{number} 192.0.2.1 4000 f")[0].isdigit()
    for number in range(count):
        assert here.relay.ask(f"D quick-{number} f") == "0"


def records(redis: RedisServer) -> int:
    """How many calls are written down."""
    return redis.ask("EVAL", COUNT, "0").count(b"call-")


COUNT = """
local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'hash' then
    for _, value in ipairs(redis.call('HVALS', key)) do out[#out + 1] = value end
  end
end
return out
"""


def test_d01_without_redis_it_starts_and_finds_it_later(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    redis = RedisServer(folder)
    with node(tmp_path, redis.url) as here:
        assert not up(here)
        commands_are_quick(here, 20)
        with redis:
            wait_until(lambda: up(here), "it is found", 20)
            commands_are_quick(here, 20)


def test_d02_a_hanging_redis_holds_up_no_command(tmp_path: Path, redis: RedisServer) -> None:
    with node(tmp_path, redis.url) as here, here.call() as call:
        call.settle()
        wait_until(lambda: up(here), "it is found", 20)
        memory = here.relay.memory()
        redis.freeze()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            commands_are_quick(here, 20)
            call.goes_on(5)
        assert here.relay.memory() - memory < 16 << 20
        redis.thaw()
        wait_until(lambda: up(here), "it is found again", 20)


def test_d03_an_emptied_redis_is_filled_again(tmp_path: Path, redis: RedisServer) -> None:
    with node(tmp_path, redis.url) as here, here.call(name="call-kept") as call:
        call.settle()
        wait_until(lambda: records(redis) > 0, "it is written down", 10)
        redis.stop()
        redis.start()
        assert redis.ask("DBSIZE") is not None
        wait_until(lambda: records(redis) > 0, "it is written down again", 20)
        call.goes_on(5)


@contextmanager
def nonsense(path: Path, answer: bytes) -> Iterator[None]:
    """A server that says that to whatever it is asked."""
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    stopping = threading.Event()

    def serve() -> None:
        listener.settimeout(0.1)
        while not stopping.is_set():
            with suppress(OSError):
                client, _ = listener.accept()
                with client:
                    client.settimeout(0.2)
                    with suppress(OSError):
                        while client.recv(4096):
                            client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        listener.close()
        path.unlink()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        pytest.param(b"$99999999999\r\n", marks=pytest.mark.slow),
        pytest.param(b"*-5\r\n", marks=pytest.mark.slow),
        pytest.param(b"\xff\x00" * 32, marks=pytest.mark.slow),
        pytest.param(b"+OK\r\n", marks=pytest.mark.slow),
    ],
    ids=["http", "huge", "negative", "noise", "ok"],
)
def test_d04_nonsense_in_place_of_redis_is_survived(tmp_path: Path, answer: bytes) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    redis = RedisServer(folder)
    with nonsense(redis.path, answer):
        here = node(tmp_path, redis.url, exempt=(STORELESS,))
        try:
            commands_are_quick(here, 20)
            time.sleep(0.5)
            assert not up(here)
        except BaseException:
            here.relay.kill()
            raise
    with here, redis:
        wait_until(lambda: up(here), "the real one is found", 30)


def test_d05_a_redis_that_refuses_is_told_of_and_tried_again(
    tmp_path: Path, redis: RedisServer
) -> None:
    with node(tmp_path, redis.url) as here:
        wait_until(lambda: up(here), "it is found", 20)
        failures = here.relay.metric("relay_redis_failures_total")
        for refusing, willing in (
            (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
            (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        ):
            redis.ask(*refusing)
            commands_are_quick(here, 20)
            wait_until(
                lambda before=failures: (  # type: ignore[misc]
                    here.relay.metric("relay_redis_failures_total") > before
                ),
                "it is noticed",
                20,
            )
            redis.ask(*willing)
            wait_until(lambda: up(here), "it is found again", 20)
            failures = here.relay.metric("relay_redis_failures_total")


SPOIL = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'hash' then
    for _, field in ipairs(redis.call('HKEYS', key)) do
      local value = redis.call('HGET', key, field)
      if string.find(value, ARGV[1], 1, true) then redis.call('HSET', key, field, ARGV[2]) end
    end
  end
end
return 'done'
"""


def taken_over(one: Local, two: Local) -> None:
    """The first is killed, the second has its address and calls."""
    one.relay.signal(signal.SIGKILL)
    wait_until(lambda: "taken over" in two.relay.log() or two.sessions() > 0, "they are", 20)


def over(here: Local, *calls: str) -> None:
    """They end, those that it has."""
    for call in calls:
        assert here.relay.ask(f"D {call} f t") in ("0", "E50"), call


@pytest.mark.parametrize(
    "blob",
    [
        '{"version": 999}',
        *(
            pytest.param(blob, marks=pytest.mark.slow)
            for blob in ("", "{}", "[" * 5000, "\\xff\\xfe", "null", "9" * 5000)
        ),
        '{"version": 1, "call_id": "../../etc/x", "caller": {"local": ["8.8.8.8", 22]}}',
    ],
)
def test_d06_a_damaged_record_costs_its_call_only(
    tmp_path: Path, redis: RedisServer, blob: str
) -> None:
    with (
        node(tmp_path, redis.url, exempt=(KILLED,)) as one,
        standby(tmp_path, redis.url) as two,
    ):
        for name in ("call-good", "call-spoilt"):
            one.relay.ask(f"U {name} {HOST} 4000 f")
            one.relay.ask(f"L {name} {HOST} 4002 f t")
        wait_until(lambda: records(redis) >= 2, "both are written down", 10)
        redis.ask("EVAL", SPOIL, "0", "call-spoilt", blob)
        taken_over(one, two)
        wait_until(lambda: two.relay.ask("Q call-good f t")[0].isdigit(), "it goes on", 10)
        over(two, "call-good", "call-spoilt")


MOVE = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'hash' then
    for _, field in ipairs(redis.call('HKEYS', key)) do
      local value = redis.call('HGET', key, field)
      if string.find(value, ARGV[1], 1, true) then
        redis.call('HSET', key, field, (string.gsub(value, ARGV[2], ARGV[3])))
      end
    end
  end
end
return 'done'
"""


def test_d07_a_record_with_ports_of_others_is_refused(tmp_path: Path, redis: RedisServer) -> None:
    with (
        node(tmp_path, redis.url, exempt=(KILLED,)) as one,
        standby(tmp_path, redis.url) as two,
    ):
        ports = {}
        for name in ("call-good", "call-moved"):
            ports[name] = one.relay.ask(f"U {name} {HOST} 4000 f").split()[0]
            one.relay.ask(f"L {name} {HOST} 4002 f t")
        wait_until(lambda: records(redis) >= 2, "both are written down", 10)
        redis.ask("EVAL", MOVE, "0", "call-moved", ports["call-moved"], "22")
        taken_over(one, two)
        wait_until(lambda: two.relay.ask("Q call-good f t")[0].isdigit(), "it goes on", 10)
        assert not Path(f"/proc/{two.relay.pid}/net/udp").read_text().count(":0016 ")
        over(two, "call-good", "call-moved")


def test_d08_of_two_who_think_they_own_it_one_gives_way(
    tmp_path: Path, redis: RedisServer, root: None
) -> None:
    """Each in a network of its own, both of which have the address."""
    with (
        namespace() as here,
        namespace() as there,
        node(tmp_path, redis.url, where=here, exempt=(REPLACED,)) as one,
        standby(tmp_path, redis.url, where=there) as two,
    ):
        one.relay.ask(f"U call-kept {HOST} 4000 f")
        one.relay.ask(f"L call-kept {HOST} 4002 f t")
        wait_until(lambda: records(redis) >= 1, "it is written down", 10)
        one.relay.signal(signal.SIGSTOP)
        wait_until(lambda: two.sessions() == 1, "the other one has it", 20)
        one.relay.signal(signal.SIGCONT)
        wait_until(lambda: one.sessions() + two.sessions() == 1, "one of them has it", 20)
        time.sleep(1.5)
        # Whoever has it by then: never both, and what is written down is the owner's.
        assert one.sessions() + two.sessions() == 1
        assert redis.ask("EVAL", COUNT, "0").count(b'"call-kept"') <= 1
        owner, other = (one, two) if one.sessions() else (two, one)
        assert owner.relay.ask("D call-kept f t") == "0"
        assert other.sessions() == 0


@pytest.mark.parametrize(
    "calls", [100, pytest.param(2000, marks=pytest.mark.slow)], ids=["100", "2000"]
)
def test_d09_all_calls_go_on_with_the_next_relay(
    tmp_path: Path, redis: RedisServer, calls: int
) -> None:
    ports = ["-m", "40000", "-M", "49999"]
    words = ["--redis", redis.url, "--lease", "500", *ports]
    with (
        Local(tmp_path / "one", *words, "--node", "one", exempt=(KILLED,)) as one,
        Local(tmp_path / "two", *words, "--node", "two", "--standby", HOST, host=STANDBY) as two,
    ):
        for number in range(calls):
            one.relay.ask(f"U call-{number} {HOST} 4000 f")
            one.relay.ask(f"L call-{number} {HOST} 4002 f t")
        wait_until(lambda: one.sessions() == calls, "they are there")
        wait_until(
            lambda: redis.ask("HLEN", sessions_key(HOST)) == b":%d\r\n" % calls,
            "they are written down",
            20,
        )
        one.relay.signal(signal.SIGKILL)
        wait_until(lambda: two.sessions() == calls, "all go on", 20)
        for number in range(calls):
            assert two.relay.ask(f"D call-{number} f t") == "0"


def test_d10_a_call_that_ends_elsewhere_is_gone_for_good(
    tmp_path: Path, redis: RedisServer
) -> None:
    with (
        node(tmp_path, redis.url, exempt=(KILLED,)) as one,
        standby(tmp_path, redis.url) as two,
    ):
        for name in ("call-a", "call-b"):
            one.relay.ask(f"U {name} {HOST} 4000 f")
            one.relay.ask(f"L {name} {HOST} 4002 f t")
        wait_until(lambda: records(redis) >= 2, "both are written down", 10)
        taken_over(one, two)
        wait_until(lambda: two.relay.ask("D call-a f t") == "0", "it ends", 10)
        wait_until(lambda: b"call-a" not in redis.ask("EVAL", COUNT, "0"), "its record too", 10)
        assert two.relay.ask("Q call-b f t")[0].isdigit()
        over(two, "call-b")


def test_d11_a_command_for_anothers_call_is_answered_at_once(
    tmp_path: Path, redis: RedisServer
) -> None:
    with node(tmp_path, redis.url) as one, standby(tmp_path, redis.url) as two:
        one.relay.ask(f"U call-there {HOST} 4000 f")
        wait_until(lambda: records(redis) >= 1, "it is written down", 10)
        assert two.relay.ask("Q call-there f t")[0] in "E0123456789"
        assert two.relay.ask("D call-nowhere f t") == "E50"
        assert one.relay.ask("D call-there f") == "0"


def test_d14_clocks_that_differ_end_no_call(tmp_path: Path, redis: RedisServer) -> None:
    clock, env = faked(tmp_path)
    clock.write_text("+5m")
    with (
        node(tmp_path, redis.url, exempt=(KILLED,)) as one,
        standby(tmp_path, redis.url, env=env) as two,
    ):
        one.relay.ask(f"U call-kept {HOST} 4000 f")
        one.relay.ask(f"L call-kept {HOST} 4002 f t")
        wait_until(lambda: records(redis) >= 1, "it is written down", 10)
        taken_over(one, two)
        wait_until(lambda: two.sessions() == 1, "it goes on", 10)
        clock.write_text("-5m")
        time.sleep(1)
        assert two.sessions() == 1
        over(two, "call-kept")
