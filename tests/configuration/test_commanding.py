"""The options that say who may command, and what."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from rtpproxy_tw.configuration.settings import ControlAddress, ControlPolicy
from rtpproxy_tw.control.access import Networks, Refusals
from rtpproxy_tw.control_access import Admission, copy_networks
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.host_networks import Own, own_interfaces
from tests.configuration.configuring import settings

TLS = "--tls-cert /c.pem --tls-ca /ca.pem"


def test_networks_are_canonical_and_an_address_is_one() -> None:
    line = "--control-allow 192.0.2.77/24 --control-allow ::ffff:10.0.0.1 --copy-allow fd00::/8"
    made = settings(line)
    assert made.control_allow == ("192.0.2.0/24", "10.0.0.1/32")
    assert made.copy_allow == ("fd00::/8",)


@pytest.mark.parametrize("option", ["--control-allow", "--copy-allow"])
@pytest.mark.parametrize("text", ["", "example.org", "192.0.2.0/33", "192.0.2", "*", "::/200"])
def test_what_is_no_network_is_refused(option: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} .*must be a network"):
        settings(f"{option} '{text}'")


def test_a_policy_names_what_is_taken_or_what_is_not() -> None:
    made = settings(
        "-s unix:/run/x -s udp:127.0.0.1:22222"
        " --control-policy unix:/run/x=uLDv --control-policy udp:127.0.0.1=-X"
    )
    assert made.control_policy == (
        ControlPolicy("unix:/run/x", frozenset("PSRCNQGIX")),
        ControlPolicy("udp:127.0.0.1:22222", frozenset("X")),
    )


@pytest.mark.parametrize(
    "policy, why",
    [
        ("unix:/run/x", "must be SOCKET=COMMANDS"),
        ("unix:/run/x=", "must be SOCKET=COMMANDS"),
        ("unix:/run/x=-", "must be SOCKET=COMMANDS"),
        ("unix:/run/x=UZ", "must be SOCKET=COMMANDS"),
        ("unix:/run/y=U", "commands are not taken there, only on unix:/run/x"),
        ("unix:/run/x=U --control-policy unix:/run/x=V", "given twice"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        settings(f"-s unix:/run/x --control-policy {policy}")


@pytest.mark.parametrize(
    "line, why",
    [
        ("-s tls:192.0.2.1", "needs --tls-cert"),
        ("-s tls:192.0.2.1 --tls-cert /c.pem", "needs --tls-ca FILE"),
        (f"-s tls:192.0.2.1 {TLS} -s tcp:192.0.2.1", "given twice"),
        ("-s tls:", "a host is missing"),
    ],
)
def test_tls_needs_its_files_and_a_port_of_its_own(line: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        settings(line)


def test_clients_need_a_certificate_unless_it_is_said_that_they_need_none() -> None:
    assert settings(f"-s tls:192.0.2.1 {TLS}").tls_client_cert
    line = "-s tls6:[::1]:4443 --tls-cert /c --tls-no-client-cert"
    assert not settings(line).tls_client_cert
    assert settings(line).control == (ControlAddress("tls6", "::1", 4443),)


OWN = ("127.0.0.1/8", "192.0.2.1/24", "10.0.0.1/8", "::1/128", "2001:db8::1/64", "fe80::1/64")


def interfaces() -> list[Own]:
    return [ip_interface(text) for text in OWN]


def admitted(line: str, control: ControlAddress) -> Networks | None:
    """Who may command at ``control``."""
    return Admission(settings(line), Refusals(), interfaces).rules(control).admitted


@pytest.mark.parametrize(
    "host, inside, outside",
    [
        ("192.0.2.1", ["127.0.0.1", "192.0.2.200", "::1"], ["10.0.0.2", "203.0.113.1"]),
        ("127.0.0.1", ["127.0.0.1", "127.9.9.9"], ["192.0.2.1", "10.0.0.1"]),
        ("0.0.0.0", ["192.0.2.9", "10.9.9.9", "127.0.0.1"], ["203.0.113.1"]),
        ("203.0.113.77", ["127.0.0.1"], ["203.0.113.77", "203.0.113.78"]),
    ],
)
def test_by_default_loopback_and_the_sockets_own_network_are_heard(
    host: str, inside: list[str], outside: list[str]
) -> None:
    for kind in ("udp", "tcp"):
        found = admitted("", ControlAddress(kind, host, 22222))
        assert found is not None
        assert all(each in found for each in inside)
        assert not any(each in found for each in outside)


def test_ipv6_sockets_likewise() -> None:
    found = admitted("", ControlAddress("udp6", "2001:db8::1", 22222))
    assert found is not None
    assert "2001:db8::99" in found
    assert "2001:db8:0:1::1" not in found
    assert "fe80::2%eth0" not in found


def test_a_certificate_says_more_than_an_address_but_a_named_network_holds_for_all() -> None:
    where = ControlAddress("tls", "192.0.2.1", 22222)
    line = f"-s tls:192.0.2.1 {TLS}"
    assert admitted(line, where) is None
    near = admitted("-s tls:192.0.2.1 --tls-cert /c --tls-no-client-cert", where)
    assert near is not None
    assert "203.0.113.1" not in near
    named = admitted(f"{line} --control-allow 203.0.113.1", where)
    assert named is not None
    assert "203.0.113.1" in named
    assert "192.0.2.9" not in named


def test_a_unix_socket_is_a_matter_of_its_mode() -> None:
    line = "--control-allow 203.0.113.1"
    assert admitted(line, ControlAddress("unix", "/run/x")) is None


def test_without_the_kernels_word_only_loopback_is_heard() -> None:
    def broken() -> list[Own]:
        raise OSError("no netlink here")

    rules = Admission(settings(), Refusals(), broken).rules(ControlAddress("udp", "0.0.0.0", 1))
    assert rules.admitted is not None
    assert "127.0.0.1" in rules.admitted
    assert "192.0.2.2" not in rules.admitted


def test_copies_go_to_this_hosts_networks_or_to_those_that_are_named() -> None:
    near = copy_networks(settings(), interfaces)
    assert "192.0.2.9" in near
    assert "203.0.113.1" not in near
    named = copy_networks(settings("--copy-allow 203.0.113.0/24"), interfaces)
    assert "203.0.113.1" in named
    assert "192.0.2.9" not in named


def test_the_kernel_tells_our_addresses() -> None:
    assert "127.0.0.1/8" in [str(each) for each in own_interfaces()]
