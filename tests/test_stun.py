"""STUN messages: RFC 5769's vectors, round trips, and octets of anybody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw import stun
from rtpproxy_tw.addresses import Address

ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")

VECTOR4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
"""RFC 5769 section 2.2."""

VECTOR6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf1"
    "1784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
"""RFC 5769 section 2.3."""

transactions = st.binary(min_size=12, max_size=12)
addresses = st.tuples(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(1, 65535)
)


@pytest.mark.parametrize(
    "octets, address",
    [
        (VECTOR4, ("192.0.2.1", 32853)),
        (VECTOR6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ],
)
def test_the_responses_of_rfc_5769_are_understood(octets: bytes, address: Address) -> None:
    """Address and port are XORed there."""
    assert stun.mapped_in(octets, ID) == address


@given(transactions, addresses, st.binary(max_size=64))
def test_what_a_response_says_is_what_was_heard(
    transaction: bytes, source: Address, nonce: bytes
) -> None:
    """For both families, with further attributes of any length."""
    octets = stun.response(transaction, source, {stun.NONCE: nonce})
    assert stun.mapped_in(octets, transaction) == source
    assert stun.parse(octets)[2][stun.NONCE] == nonce


@given(transactions, transactions, addresses)
def test_an_answer_to_another_question_is_none(one: bytes, other: bytes, source: Address) -> None:
    """The transaction id is all that tells it from an invention."""
    if one != other:
        with pytest.raises(stun.NotStun):
            stun.mapped_in(stun.response(other, source), one)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=64).map(lambda b: VECTOR4 + b)))
def test_octets_of_anybody_are_understood_or_refused(octets: bytes) -> None:
    """Nothing else is raised."""
    try:
        _, transaction, _ = stun.parse(octets)
        stun.mapped_in(octets, transaction)
    except stun.NotStun:
        return
    assert octets == VECTOR4


@given(st.integers(0, len(VECTOR4) - 1), st.integers(0, 255))
def test_a_damaged_message_does_no_harm(at: int, octet: int) -> None:
    """It is an address or refused."""
    damaged = VECTOR4[:at] + bytes([octet]) + VECTOR4[at + 1 :]
    try:
        host, port = stun.mapped_in(damaged, ID)
    except stun.NotStun:
        return
    assert host
    assert 0 <= port < 65536


def test_a_request_is_a_header_and_what_was_asked() -> None:
    """Twenty octets without attributes."""
    assert stun.request(ID) == bytes.fromhex("000100002112a442") + ID
    assert stun.parse(stun.request(ID, {stun.USERNAME: b"me"})) == (1, ID, {stun.USERNAME: b"me"})


def test_servers_of_rfc_3489_are_understood() -> None:
    """They know the address in clear only."""
    octets = stun.message(stun.RESPONSE, ID, {stun.MAPPED: bytes((0, 1, 0x13, 0x88, 192, 0, 2, 7))})
    assert stun.mapped_in(octets, ID) == ("192.0.2.7", 5000)


@pytest.mark.parametrize(
    "text, found",
    [
        ("stun.example.com", ("stun.example.com", 3478)),
        ("192.0.2.1:5000", ("192.0.2.1", 5000)),
        ("[2001:db8::1]:5000", ("2001:db8::1", 5000)),
        ("[2001:db8::1]", ("2001:db8::1", 3478)),
        ("2001:db8::1", ("2001:db8::1", 3478)),
    ],
)
def test_servers_are_written_with_or_without_a_port(text: str, found: Address) -> None:
    """IPv6 addresses in brackets where there is one."""
    assert stun.server(text) == found


@pytest.mark.parametrize("text", ["", ":1", "a b", "host:", "host:0", "host:70000", "host:x"])
def test_what_is_no_server_is_refused(text: str) -> None:
    """With a sentence."""
    with pytest.raises(ValueError, match=r"must be HOST|not a port"):
        stun.server(text)
