"""SRTP decrypted, against the vectors of RFC 3711 and against libsrtp."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.recording.readback import Packet
from rtpproxy_tw.recording.srtp import (
    MOST_SEARCHES,
    SUITES,
    Decryption,
    KeyProblem,
    decrypted,
    keystream,
    master_key,
    session_key,
)
from tests.recording.talking import rtp

pytest.importorskip("cryptography", reason="the library that decrypts is not installed")

KEY = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
SALT = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
TEXT = b64encode(KEY + SALT).decode()
LONG_TAG, SHORT_TAG = (f"{suite}:{TEXT}" for suite in SUITES)

Protect = Callable[[bytes], bytes]


def sender(text: str) -> Protect:
    """libsrtp, which encrypts one packet after the other."""
    pylibsrtp: Any = pytest.importorskip("pylibsrtp", reason="libsrtp, the peer, is not installed")
    profile = (
        pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80
        if "_80:" in text
        else pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32
    )
    policy = pylibsrtp.Policy(
        key=KEY + SALT, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile
    )
    protect: Protect = pylibsrtp.Session(policy=policy).protect
    return protect


def test_the_keystream_is_that_of_the_standard() -> None:
    """RFC 3711 section B.2."""
    key = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
    counter = int("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000", 16)
    assert keystream(key, counter, 48).hex().upper() == (
        "E03EAD0935C95E80E166B16DD92B4EB4"
        "D23513162B02D0F72A43A2FE4A5F97AB"
        "41E95B3BB0A2E8DD477901E4FCA894C0"
    )


def test_session_keys_are_those_of_the_standard() -> None:
    """RFC 3711 section B.3."""
    master = master_key(LONG_TAG)
    assert (master.key, master.salt, master.tag) == (KEY, SALT, 10)
    found = [session_key(master, label, size).hex().upper() for label, size in enumerate((16, 94))]
    assert found[0] == "C61E7A93744F39EE10734AFE3FF7A087"
    assert found[1].startswith("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE")
    assert session_key(master, 2, 14).hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"


def test_a_packet_known_to_everybody_is_decrypted() -> None:
    """The one libsrtp checks itself with."""
    head = "800f1234decafbadcafebabe"
    packet = head + "4e55dc4ce79978d88ca4d215949d2402" + "b78d6acc99ea179b8dbb"
    assert Decryption(master_key(LONG_TAG))(bytes.fromhex(packet)) == bytes.fromhex(
        head + "ab" * 16
    )


@pytest.mark.parametrize("text", [LONG_TAG, SHORT_TAG], ids=list(SUITES))
def test_what_another_program_encrypted_is_decrypted_however_it_arrives(text: str) -> None:
    protect = sender(text)
    plain = [rtp(65_400 + n, n * 160, bytes([n % 256]) * 20, ssrc=7) for n in range(300)]
    sent = [protect(packet) for packet in plain]
    # Two wrong ways round at the wrap, one twice, some lost.
    order = [*range(136), 137, 136, 136, *range(138, 200), *range(250, 300)]
    decrypt = Decryption(master_key(text))
    assert [decrypt(sent[n]) for n in order] == [plain[n] for n in order]


def test_a_recording_may_begin_hours_after_the_call() -> None:
    protect = sender(LONG_TAG)
    wanted = b""
    for number in range(2 * 65_536 + 10):
        wanted = protect(rtp(number, number * 160, b"x"))
    decrypt = Decryption(master_key(LONG_TAG))
    assert decrypt(wanted) is not None
    assert decrypt(wanted[:-1] + bytes([wanted[-1] ^ 1])) is None


def test_extensions_csrcs_and_padding_are_no_hindrance() -> None:
    protect = sender(LONG_TAG)
    extended = b"\xb1\x00\x00\x01" + bytes(4) + b"\0\0\0\7" + b"csrc" + b"\xbe\xde\0\1abcd"
    plain = extended + b"sound" + b"\0\0\3"
    assert Decryption(master_key(LONG_TAG))(protect(plain)) == plain


def test_what_is_not_authentic_is_left_out_and_counted() -> None:
    protect = sender(LONG_TAG)
    packets = [
        Packet(float(n), ("192.0.2.1", 5004), None, protect(rtp(n, n, b"sound")))
        for n in range(2 * MOST_SEARCHES)
    ]
    found, refused = decrypted(packets, master_key(LONG_TAG))
    assert (len(found), refused) == (len(packets), 0)
    assert found[3].datagram == rtp(3, 3, b"sound")
    other = master_key(f"AES_CM_128_HMAC_SHA1_80:{b64encode(bytes(30)).decode()}")
    stun = packets[0]._replace(datagram=b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12))
    assert decrypted([*packets, stun], other) == ([], len(packets))


@given(st.binary(max_size=200))
def test_nothing_makes_it_fail(datagram: bytes) -> None:
    assert Decryption(master_key(SHORT_TAG))(datagram) is None


def test_a_key_may_be_copied_out_of_the_sdp() -> None:
    assert master_key(f"aes_cm_128_hmac_sha1_80:inline:{TEXT}|2^20") == master_key(LONG_TAG)


@pytest.mark.parametrize(
    "text, told",
    [
        (TEXT, "SUITE:KEY"),
        (f"F8_128_HMAC_SHA1_80:{TEXT}", "AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32"),
        ("AES_CM_128_HMAC_SHA1_80:****", "base64"),
        ("AES_CM_128_HMAC_SHA1_80:AAAA", "30 octets, not 3"),
        (f"AES_CM_128_HMAC_SHA1_80:{TEXT}|1:4", "MKI"),
    ],
)
def test_what_is_no_key_is_told(text: str, told: str) -> None:
    with pytest.raises(KeyProblem, match=told):
        master_key(text)
