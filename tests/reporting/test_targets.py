"""Which socket a command means, and that it can mean no other than the allowed ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.commands import Origin
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.reporting.targets import Targets, parse_target
from rtpproxy_tw.session import NotifySocket

ALLOWED = (
    "unix:/run/proxy.sock",
    "/run/other.sock",
    "tcp:192.0.2.5:9999",
    "tcp:sip.example.org:9998",
    "tcp:[2001:db8::5]:9997",
    "tcp:%%CC_SELF%%:29999",
)

UDP = Origin("udp", peer="192.0.2.7", local="192.0.2.1")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("unix:/run/proxy.sock", NotifySocket("unix", "/run/proxy.sock")),
        ("/run/proxy.sock", NotifySocket("unix", "/run/proxy.sock")),
        ("/run/other.sock", NotifySocket("unix", "/run/other.sock")),
        ("unix:/run/other.sock", NotifySocket("unix", "/run/other.sock")),
        ("tcp:192.0.2.5:9999", NotifySocket("tcp", "192.0.2.5", 9999)),
        ("192.0.2.5:9999", NotifySocket("tcp", "192.0.2.5", 9999)),
        ("tcp:sip.example.org:9998", NotifySocket("tcp", "sip.example.org", 9998)),
        ("tcp:[2001:db8::5]:9997", NotifySocket("tcp", "2001:db8::5", 9997)),
    ],
)
def test_an_allowed_socket_is_found_with_and_without_its_prefix(
    text: str, expected: NotifySocket
) -> None:
    assert Targets(ALLOWED).resolve(text, UDP) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "tcp:",
        "tcp:192.0.2.5:9998",
        "tcp:192.0.2.7:29999",  # what the wildcard means, but not how it is written
        "tcp:169.254.169.254:80",
        "unix:/run/systemd/private",
        "http://192.0.2.5:9999",
        "/run/proxy.sock/../other",
        "%%CC_SELF%%",
        # What some versions of Kamailio make of the argument:
        "ttag;1",
        "tcp:192.0.2.5:9999;tag",
    ],
)
def test_nothing_else_is_found(text: str) -> None:
    assert Targets(ALLOWED).resolve(text, UDP) is None


@given(st.text())
def test_without_allowed_sockets_nothing_is_ever_found(text: str) -> None:
    assert Targets(()).resolve(text, UDP) is None


@pytest.mark.parametrize(
    "origin, host, bind",
    [
        (UDP, "192.0.2.7", "192.0.2.1"),
        (Origin("tcp", "192.0.2.7", "192.0.2.1"), "192.0.2.7", "192.0.2.1"),
        (Origin("udp", "192.0.2.7", "0.0.0.0"), "192.0.2.7", None),
        (Origin("udp", "192.0.2.7", None), "192.0.2.7", None),
        (Origin("udp", "::ffff:192.0.2.7", "::ffff:192.0.2.1"), "192.0.2.7", "192.0.2.1"),
        (Origin("udp", "2001:db8::7", "2001:db8::1"), "127.0.0.1", None),
        (Origin("unix"), "127.0.0.1", None),
        (Origin("udp", "nonsense", "192.0.2.1"), "127.0.0.1", None),
    ],
)
@pytest.mark.parametrize("text", ["tcp:%%CC_SELF%%:29999", "%%CC_SELF%%:29999"])
def test_the_wildcard_is_the_sender_of_the_command(
    text: str, origin: Origin, host: str, bind: str | None
) -> None:
    targets = Targets(ALLOWED)
    found = targets.resolve(text, origin)
    assert found == NotifySocket("tcp", host, 29999, bind)
    assert not targets.is_fixed(found)


def test_connections_to_named_sockets_are_not_bound() -> None:
    targets = Targets(ALLOWED)
    found = targets.resolve("tcp:192.0.2.5:9999", UDP)
    assert found is not None
    assert found.bind is None
    assert targets.is_fixed(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "tcp:",
        "tcp::9999",
        "tcp:192.0.2.5",
        "tcp:192.0.2.5:",
        "tcp:192.0.2.5:0",
        "tcp:192.0.2.5:65536",
        "tcp:192.0.2.5:http",
        "tcp:192.0.2.5:²",
        "/" + "x" * 107,
        "/run/\0",
    ],
)
def test_a_socket_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_target(text)


def test_a_path_may_be_as_long_as_the_kernel_allows() -> None:
    assert parse_target("/" + "x" * 106).kind == "unix"
