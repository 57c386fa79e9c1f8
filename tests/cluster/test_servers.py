"""Redis as it is found in the field: with a password, over TLS, watched by sentinels."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, FirstError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

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


def connected(url: str, stack: ExitStack, patience: float = 5) -> RedisStore:
    """A store there."""
    from twisted.internet import reactor

    made = RedisStore(read_location(url), reactor, patience)
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


def still_writes(store: RedisStore) -> bool:
    """Whether what was taken can be written once more."""
    try:
        return bool(result(store.write("192.0.2.1", 1, Batch({"y": b"{}"}))))
    except Unavailable:
        return False


def outlives_the_first(
    store: RedisStore, servers: Sequence[RedisServer], watching: RedisServer
) -> None:
    """The first of both servers ends, the second takes its place, and nothing is lost."""
    spin(lambda: b"master_link_status:up" in servers[1].ask("INFO", "replication"), 20)
    spin(lambda: b",slaves=1," in watching.ask("INFO", "sentinel"), 30)
    spin(lambda: b"{}" in servers[1].ask("HVALS", "rtp:{192.0.2.1}:sessions"))
    servers[0].stop()
    spin(lambda: still_writes(store), 30)
    assert result(store.names("192.0.2.1")) == {"x", "y"}


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


def certified(folder: Path) -> list[str]:
    """Files of a server at HOST and its authority, ``ca.pem``; the words that name them."""
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
        (folder / name).write_bytes(octets)
    return [
        *("tls-auth-clients no", f"tls-cert-file {folder}/server.pem"),
        *(f"tls-key-file {folder}/server.key", f"tls-ca-cert-file {folder}/ca.pem"),
    ]


def as_options(lines: list[str]) -> list[str]:
    """Lines of a configuration as words of a command line."""
    return [word for line in lines for word in f"--{line}".split()]


def test_tls_lets_in_by_our_own_authority_and_nobody_else_s(
    tmp_path: Path, stack: ExitStack
) -> None:
    port = free_port()
    options = as_options([f"bind {HOST}", f"tls-port {port}", *certified(tmp_path)])
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
    outlives_the_first(store, servers, watching)


def test_sentinels_with_tls_and_a_password_tell_it_to_who_knows_that(
    tmp_path: Path, stack: ExitStack
) -> None:
    first, second, sentinel = (free_port() for _ in range(3))
    secured = certified(tmp_path)
    both = [*secured, f"bind {HOST}", "port 0", "tls-replication yes"]
    servers = []
    for port, more in ((first, []), (second, [f"replicaof {HOST} {first}"])):
        folder = tmp_path / str(port)
        folder.mkdir()
        lines = [*both, f"tls-port {port}", "requirepass secret", "masterauth secret"]
        lines += ["repl-diskless-sync-delay 0", f"replica-announce-ip {HOST}", *more]
        made = RedisServer(folder, *as_options(lines), password="secret")
        servers.append(stack.enter_context(made))
    folder = tmp_path / "sentinel"
    folder.mkdir()
    lines = [*both, f"tls-port {sentinel}", "requirepass watched"]
    lines += [f"sentinel monitor calls {HOST} {first} 1", "sentinel auth-pass calls secret"]
    lines += ["sentinel down-after-milliseconds calls 300", "sentinel failover-timeout calls 1000"]
    (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
    watching = RedisServer(folder, config=folder / "sentinel.conf", password="watched")
    stack.enter_context(watching)
    url = f"sentinels://:secret@{HOST}:{sentinel}/calls?ca={tmp_path}"
    for wrong in ("/ca.pem", "/ca.pem&sentinel=wrong", "/other.pem&sentinel=watched"):
        with pytest.raises(Unavailable):
            result(connected(url + wrong, stack).owners(["192.0.2.1"]))
    store = connected(f"{url}/ca.pem&sentinel=watched", stack)
    assert "watched" not in store.location.text + repr(store.location)
    writes(store)
    outlives_the_first(store, servers, watching)


def test_a_sentinel_that_says_nothing_does_not_keep_the_others_from_being_asked(
    tmp_path: Path, stack: ExitStack
) -> None:
    first, sentinel = free_port(), free_port()
    options = ["--bind", HOST, "--port", str(first), "--protected-mode", "no"]
    stack.enter_context(RedisServer(tmp_path, *options))
    folder = tmp_path / "sentinel"
    folder.mkdir()
    (folder / "sentinel.conf").write_text(
        f"bind {HOST}\nport {sentinel}\nprotected-mode no\n"
        f"sentinel monitor calls {HOST} {first} 1\n"
    )
    stack.enter_context(RedisServer(folder, config=folder / "sentinel.conf"))
    silent = stack.enter_context(socket.create_server((HOST, 0)))
    url = f"sentinel://{HOST}:{silent.getsockname()[1]},{HOST}:{sentinel}/calls"
    store = connected(url, stack, patience=0.5)
    with pytest.raises(Unavailable):
        result(store.take("192.0.2.1", "one", 0, True))

    def takes() -> bool:
        try:
            return result(store.take("192.0.2.1", "one", 0, True)) is not None
        except Unavailable:
            return False

    spin(takes, 10)


def test_of_several_questions_that_failed_together_the_reason_is_told_in_a_line() -> None:
    store = RedisStore(read_location("redis://127.0.0.1/"), Clock())
    for failure in (
        Failure(FirstError(Failure(OSError("cut off")), 0)),
        Failure(OSError("cut off")),
    ):
        store._failed(failure, None)
        assert store.breaker.why == "cut off"
