"""Redis as it is found in the field: with a password, over TLS, watched by sentinels."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from rtpproxy_tw.cluster.location import read_location
from rtpproxy_tw.cluster.redis import RedisStore
from rtpproxy_tw.cluster.store import Batch, Unavailable
from rtpproxy_tw.tools import certs
from tests.cluster.redis_server import PROGRAM, RedisServer
from tests.cluster.spinning import spin
from tests.e2e import loopback

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(PROGRAM is None, reason="no redis-server here"),
]

HOST = loopback.host(81)
NOW = datetime.now(timezone.utc)


def free_port() -> int:
    """One that nobody has just now."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made
        spin(lambda: None)


def connected(url: str, stack: ExitStack) -> RedisStore:
    """A store there."""
    from twisted.internet import reactor

    made = RedisStore(read_location(url), reactor, patience=5)
    stack.callback(made.close)
    return made


def result(deferred: Deferred[Any]) -> Any:
    """What it fires with."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    spin(lambda: bool(found))
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def writes(store: RedisStore) -> None:
    """It can be written and read."""
    mine = result(store.take("192.0.2.1", "one", 0, True))
    assert result(store.write("192.0.2.1", mine.epoch, Batch({"x": b"{}"})))
    assert result(store.load("192.0.2.1")).lines == [b"{}"]


def test_a_password_lets_in_and_a_wrong_one_is_told(tmp_path: Path, stack: ExitStack) -> None:
    stack.enter_context(RedisServer(tmp_path, "--requirepass", "p w/ü"))
    socket_ = tmp_path / "redis.sock"
    for who in (":wrong@", ""):
        store = connected(f"unix://{who}{socket_}", stack)
        with pytest.raises(Unavailable, match=r"WRONGPASS|NOAUTH"):
            result(store.take("192.0.2.1", "one", 0, True))
        assert not store.usable
        assert "wrong@" not in store.location.text
    writes(connected(f"unix://:p%20w%2F%C3%BC@{socket_}", stack))


def test_tls_lets_in_by_our_own_authority_and_nobody_else_s(
    tmp_path: Path, stack: ExitStack
) -> None:
    authority, stranger = (certs.authority(name, NOW) for name in ("ours", "theirs"))
    server = certs.issue(authority, [HOST], server=True, now=NOW)
    for name, octets in (
        ("ca.pem", authority.pem),
        ("other.pem", stranger.pem),
        ("both.pem", stranger.pem + authority.pem),
        ("none.pem", b"nothing"),
        ("server.pem", server.pem),
        ("server.key", server.key_pem),
    ):
        (tmp_path / name).write_bytes(octets)
    port = free_port()
    options = ["--bind", HOST, "--tls-port", str(port), "--tls-auth-clients", "no"]
    for word, name in (("cert", "server.pem"), ("key", "server.key"), ("ca-cert", "ca.pem")):
        options += [f"--tls-{word}-file", str(tmp_path / name)]
    stack.enter_context(RedisServer(tmp_path, *options, "--requirepass", "secret"))
    url = f"rediss://:secret@{HOST}:{port}/0?ca={tmp_path}"
    writes(connected(f"{url}/both.pem", stack))
    for name in ("other.pem", "none.pem", "absent.pem"):
        store = connected(f"{url}/{name}", stack)
        with pytest.raises(Unavailable):
            result(store.owners(["192.0.2.1"]))


def test_sentinels_tell_where_the_server_is_now(tmp_path: Path, stack: ExitStack) -> None:
    ports = [free_port() for _ in range(3)]
    first, second, sentinel = ports
    servers = []
    for port, more in ((first, ()), (second, ("--replicaof", HOST, str(first)))):
        folder = tmp_path / str(port)
        folder.mkdir()
        options = ["--bind", HOST, "--port", str(port), "--protected-mode", "no"]
        options += ["--repl-diskless-sync-delay", "0", "--replica-announce-ip", HOST, *more]
        servers.append(stack.enter_context(RedisServer(folder, *options)))
    folder = tmp_path / "sentinel"
    folder.mkdir()
    (folder / "sentinel.conf").write_text(
        f"bind {HOST}\nport {sentinel}\nprotected-mode no\n"
        f"sentinel monitor calls {HOST} {first} 1\n"
        "sentinel down-after-milliseconds calls 300\nsentinel failover-timeout calls 1000\n"
    )
    watching = RedisServer(folder, config=folder / "sentinel.conf")
    stack.enter_context(watching)
    store = connected(f"sentinel://{HOST}:1,{HOST}:{sentinel}/calls", stack)
    writes(store)
    spin(lambda: b"master_link_status:up" in servers[1].ask("INFO", "replication"), 20)
    spin(lambda: b",slaves=1," in watching.ask("INFO", "sentinel"), 30)
    spin(lambda: b"{}" in servers[1].ask("HVALS", "rtp:{192.0.2.1}:sessions"))
    servers[0].stop()

    def answers() -> bool:
        try:
            return bool(result(store.write("192.0.2.1", 1, Batch({"y": b"{}"}))))
        except Unavailable:
            return False

    spin(answers, 30)
    assert result(store.names("192.0.2.1")) == {"x", "y"}
