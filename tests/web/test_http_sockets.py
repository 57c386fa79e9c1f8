"""HTTP endpoints from their descriptions to open sockets."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from rtpproxy_tw.control.listeners import Listener
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.http_sockets import HttpSockets, taken_apart
from rtpproxy_tw.web.guard import Guard, Reach
from rtpproxy_tw.web.site import Interface
from tests.web.client import Served


class Made:
    """Remembers the interfaces that were made."""

    def __init__(self) -> None:
        self.interfaces: list[Interface] = []

    def __call__(self, guard: Guard) -> Interface:
        served = Served(guard=guard)
        self.interfaces.append(served.interface)
        return served.interface


def opened(
    reactor: Any, *http: str, path: str | None = None, tokens: str | None = None
) -> tuple[HttpSockets, Made]:
    """Sockets as configured, not yet started."""
    made = Made()
    settings = Settings(
        control=(ControlAddress("unix", "/x"),),
        addresses=LocalAddresses((LocalAddress("127.0.0.1"),)),
        http=http,
        http_default=path,
        http_token_file=tokens,
    )
    return HttpSockets(settings, reactor, made), made


@pytest.fixture
def epoll() -> Any:
    """A reactor that opens real sockets and is never run."""
    from twisted.internet.epollreactor import EPollReactor

    return EPollReactor()


def ports(reactor: Any) -> list[Any]:
    """What listens there."""
    return [reader for reader in reactor.getReaders() if hasattr(reader, "getHost")]


def stopped(listener: Listener, reactor: Any) -> None:
    """Close it: sockets close on the next turn."""
    listener.stopService()
    reactor.iterate(0)


def test_descriptions_are_taken_apart_as_twisted_does() -> None:
    assert taken_apart("unix:/a/b:mode=660") == ("unix", ("/a/b",), {"mode": "660"})
    assert taken_apart(r"unix:/a\:b\=c") == ("unix", ("/a:b=c",), {})
    assert taken_apart("ssl:port=443:privateKey=/k") == (
        "ssl",
        (),
        {"port": "443", "privateKey": "/k"},
    )


def test_a_unix_socket_has_its_mode_and_goes_with_the_relay(tmp_path: Path, epoll: Any) -> None:
    path = tmp_path / "http.sock"
    sockets, made = opened(epoll, f"unix:{path}:mode=600")
    sockets.listeners[0].startService()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.interfaces[0].guard.reach is Reach.UNIX
    stopped(sockets.listeners[0], epoll)
    assert not path.exists()


def test_loopback_needs_no_token(epoll: Any) -> None:
    sockets, made = opened(epoll, "tcp:0:interface=127.0.0.1")
    (listener,) = sockets.required
    listener.startService()
    assert made.interfaces[0].guard.reach is Reach.LOOPBACK
    assert not made.interfaces[0].guard.closed
    stopped(listener, epoll)


def test_what_others_can_reach_is_refused_without_a_token(tmp_path: Path, epoll: Any) -> None:
    sockets, made = opened(epoll, "tcp:0")
    (listener,) = sockets.required
    failed: list[Any] = []
    listener.listening.addErrback(failed.append)
    listener.startService()
    assert "--http-token-file" in str(failed[0].value)
    assert made.interfaces[0].guard.closed
    epoll.iterate(0)
    assert not ports(epoll)  # closed again

    tokens = tmp_path / "tokens"
    tokens.write_text("sekret\n")
    sockets, made = opened(epoll, "tcp:0", tokens=str(tokens))
    sockets.required[0].startService()
    assert made.interfaces[0].guard.reach is Reach.PUBLIC
    assert not made.interfaces[0].guard.closed
    stopped(sockets.required[0], epoll)


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens").write_text(content)
    with pytest.raises(ConfigError, match="no token"):
        opened(MemoryReactorClock(), tokens=str(tmp_path / "tokens"))
    with pytest.raises(ConfigError, match="No such file"):
        opened(MemoryReactorClock(), tokens=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    "text",
    ["nonsense:1", "tcp:port", "tcp:", "unix:/x:mode=9", "tcp:80:unknown=1", "ssl:1:privateKey=/n"],
)
def test_a_description_that_means_nothing_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(ConfigError, match="--http "):
        opened(MemoryReactorClock(), text)


def test_a_default_that_is_taken_is_left_out(tmp_path: Path, epoll: Any) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        sockets, _ = opened(epoll, path=str(path))
    assert sockets.listeners == []
    assert path.exists()


def test_a_default_whose_directory_is_missing_is_left_out(tmp_path: Path, epoll: Any) -> None:
    sockets, _ = opened(epoll, path=str(tmp_path / "nothing" / "http.sock"))
    assert sockets.listeners == []


def test_a_named_socket_that_is_taken_is_an_error(tmp_path: Path, epoll: Any) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        with pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
            opened(epoll, f"unix:{path}")
