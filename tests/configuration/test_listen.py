"""Media addresses as operators write them."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.listen import advertised, local_addresses
from rtpproxy_tw.configuration.switches import Given
from rtpproxy_tw.errors import ConfigError
from tests.configuration.configuring import FakeHost, settings


def locals_of(line: str) -> LocalAddresses:
    return settings(line).addresses


@pytest.mark.parametrize(
    "line, configured",
    [
        ("", [("0.0.0.0", None, None)]),
        ("-l '*'", [("0.0.0.0", None, None)]),
        ("-6 '*'", [("::", None, None)]),
        ("-l 127.0.0.1", [("127.0.0.1", None, None)]),
        ("-6 2001:DB8:0::1", [("2001:db8::1", None, None)]),
        ("-l media.test", [("192.0.2.7", None, None)]),
        ("-6 six.test", [("2001:db8::7", None, None)]),
        ("-l pub@127.0.0.1=203.0.113.9", [("127.0.0.1", "203.0.113.9", "pub")]),
        ("-l 127.0.0.1=media.example", [("127.0.0.1", "media.example", None)]),
        ("-6 ::1=2001:db8::9", [("::1", "2001:db8::9", None)]),
        ("-l 127.0.0.1 -6 x@::1", [("127.0.0.1", None, None), ("::1", None, "x")]),
        ("-6 ::1 -l x@127.0.0.1", [("::1", None, None), ("127.0.0.1", None, "x")]),
        ("-l a@10.0.0.1 -l b@10.0.0.1=two", [("10.0.0.1", None, "a"), ("10.0.0.1", "two", "b")]),
        ("-l 10.0.0.1 -A one", [("10.0.0.1", "one", None)]),
        ("-l '*' -A one", [("0.0.0.0", "one", None)]),
        (
            "-l 10.0.0.1=own -l x@10.0.0.2 -6 y@::1 -A one/two",
            [("10.0.0.1", "own", None), ("10.0.0.2", "one", "x"), ("::1", "one", "y")],
        ),
    ],
)
def test_addresses_without_bridging(
    line: str, configured: list[tuple[str, str | None, str | None]]
) -> None:
    assert locals_of(line) == LocalAddresses(tuple(LocalAddress(*row) for row in configured))


@pytest.mark.parametrize(
    "line, internal, external",
    [
        ("-l 10.0.0.1/10.0.0.2", ("10.0.0.1",), ("10.0.0.2",)),
        ("-6 ::1/::2", ("::1",), ("::2",)),
        ("-l 10.0.0.1 -6 /::2", ("10.0.0.1",), ("::2",)),
        ("-6 /::2 -l 10.0.0.1", ("10.0.0.1",), ("::2",)),
        ("-l /10.0.0.2 -6 ::1", ("::1",), ("10.0.0.2",)),
        ("-l '*/10.0.0.2'", ("0.0.0.0",), ("10.0.0.2",)),
        ("-l media.test/10.0.0.2", ("192.0.2.7",), ("10.0.0.2",)),
        ("-l 10.0.0.1/10.0.0.2 -A one/two", ("10.0.0.1", "one"), ("10.0.0.2", "two")),
    ],
)
def test_addresses_of_a_bridge(
    line: str, internal: tuple[str, ...], external: tuple[str, ...]
) -> None:
    found = locals_of(line)
    assert found == LocalAddresses((LocalAddress(*internal),), LocalAddress(*external))
    assert found.bridging


def test_a_bridge_may_have_labelled_addresses_besides() -> None:
    found = locals_of("-l 10.0.0.1/10.0.0.2 -A one/two -l x@10.0.0.3 -l y@10.0.0.4=four")
    assert found == LocalAddresses(
        (
            LocalAddress("10.0.0.1", "one"),
            LocalAddress("10.0.0.3", None, "x"),
            LocalAddress("10.0.0.4", "four", "y"),
        ),
        LocalAddress("10.0.0.2", "two"),
    )


@pytest.mark.parametrize(
    "line, told",
    [
        ("-l ''", "an address is missing"),
        ("-l x@", "an address is missing"),
        ("-l =one", "an address is missing"),
        ("-l /", "an address is missing"),
        ("-l 10.0.0.1/", "an address is missing"),
        ("-l 10.0.0.1 -l 10.0.0.2", "-l/--listen 10.0.0.2: address label is missing"),
        ("-l 10.0.0.1 -6 ::1", "-6/--listen6 ::1: address label is missing"),
        ("-l x@10.0.0.1 -l 10.0.0.2", "address label is missing"),
        ("-l x@10.0.0.1 -6 x@::1", "x@: this label is given twice"),
        ("-l @10.0.0.1", "a label is"),
        ("-l 'a b@10.0.0.1'", "a label is"),
        ("-l 'a{b@10.0.0.1'", "a label is"),
        ("-l 'ä@10.0.0.1'", "a label is"),
        ("-l 10.0.0.1=", "an advertised address is"),
        ("-l '10.0.0.1=a b'", "an advertised address is"),
        ("-A ''", "-A/--advertised"),
        ("-A one/", "-A/--advertised one/"),
        ("-A /two", "-A/--advertised /two"),
        ("-l nowhere.test", "-l/--listen nowhere.test: no IPv4 address is known"),
        ("-l media.test --no_resolve", "-l/--listen media.test: no IPv4 address is known"),
        ("-l 300.0.0.1", "-l/--listen 300.0.0.1"),
        ("-l ::1", "-l/--listen ::1: this is not an IPv4 address"),
        ("-6 127.0.0.1", "-6/--listen6 127.0.0.1: this is not an IPv6 address"),
        ("-6 ::ffff:127.0.0.1", "this is not an IPv6 address"),
        ("-l /10.0.0.1", "exactly one internal address"),
        ("-l 10.0.0.1/10.0.0.2 -6 ::1", "exactly one internal address"),
        ("-l 10.0.0.1/10.0.0.2 -6 /::1", "exactly one external address"),
        ("-l 10.0.0.1/10.0.0.2 -l 10.0.0.3/10.0.0.4", "only the first address of a family"),
        ("-l 10.0.0.1/10.0.0.2 -l 10.0.0.3", "address label is missing"),
        ("-l x@10.0.0.1/10.0.0.2", "neither a label"),
        ("-l 10.0.0.1/10.0.0.2=one", "neither a label"),
        ("-l 10.0.0.1/10.0.0.2 -A one", "two advertised addresses"),
        (" ".join(f"-l x{n}@10.0.0.{n}" for n in range(17)), "17 addresses are too many"),
    ],
)
def test_wrong_addresses_are_refused_with_the_option_and_the_reason(line: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        locals_of(line)
    assert told in str(refused.value)
    assert str(refused.value).startswith(("-l/", "-6/", "-A/"))


def test_sixteen_addresses_are_taken() -> None:
    assert len(locals_of(" ".join(f"-l x{n}@10.0.0.{n}" for n in range(16))).configured) == 16


def test_only_names_are_resolved() -> None:
    host = FakeHost()
    settings(shlex.join(["-l", "10.0.0.1", "-6", "x@six.test", "-l", "y@*"]), host)
    assert host.asked == ["six.test"]


PIECES = st.sampled_from(
    ["", "*", "x", "y", "@", "=", "/", "10.0.0.1", "::1", "media.test", "{", " ", "é", "\0", "%"]
)
ENTRY = st.builds(
    Given, st.sampled_from(["listen", "listen6"]), st.lists(PIECES, max_size=6).map("".join)
)


def resolve(name: str, family: int) -> str:
    return FakeHost().resolve(name, family, numeric=False)


@given(st.lists(ENTRY, max_size=5), st.none() | st.lists(PIECES, max_size=4).map("".join))
def test_any_addresses_are_taken_or_refused(entries: list[Given], told: str | None) -> None:
    try:
        found = local_addresses(entries, None if told is None else advertised(told), resolve)
    except ConfigError:
        return
    every = found.all()
    assert len(every) >= max(1, len(entries))
    assert all(local.advertised is None or " " not in local.advertised for local in every)
    labels = [local.label for local in every if local.label is not None]
    assert len(set(labels)) == len(labels)
    assert len(every) - len(labels) <= (2 if found.bridging else 1)
