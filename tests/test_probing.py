"""The outside helps whoever has proved where they are, and nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from rtpproxy_tw import stun
from rtpproxy_tw.probing import (
    LONGEST,
    MOST_PROBES,
    PORTS_AT_ONCE,
    RATE,
    SHORTEST,
    Examination,
    Pace,
    Refused,
    Wanted,
    probe,
    read_probe,
)

COOKIE = bytes(range(16))
HERE = ("192.0.2.1", 5000)
NAME = "0123456789abcdef0123456789abcdef"


def examination() -> Examination:
    """One that has just begun."""
    return Examination(NAME, b"s" * 16, 600.0)


def asked(name: str = NAME) -> bytes:
    """A request of that examination."""
    return stun.request(b"t" * 12, {stun.USERNAME: name.encode()})


def wanted(**changes: object) -> Wanted:
    """Probes to one port of ours."""
    return Wanted(HERE[0], COOKIE, (40000,))._replace(**changes)  # type: ignore[arg-type]  # fields


def test_a_request_is_answered_with_where_it_came_from_and_a_proof() -> None:
    it = examination()
    answer = it.answer(asked(), HERE)
    assert answer is not None
    assert stun.mapped_in(answer, b"t" * 12) == HERE
    assert stun.parse(answer)[2][stun.NONCE] == it.proof(HERE[0])


@pytest.mark.parametrize(
    "octets",
    [b"", b"\x80" * 172, stun.request(b"t" * 12), asked("another"), asked()[:-1],
     stun.message(stun.RESPONSE, b"t" * 12, {stun.USERNAME: NAME.encode()})],
)  # fmt: skip
def test_nothing_else_is_answered(octets: bytes) -> None:
    """So nobody can use it as a mirror, nor find out that it is there."""
    assert examination().answer(octets, HERE) is None


@given(st.text(max_size=40), st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_an_answer_is_never_longer_than_its_request(name: str, host: object) -> None:
    """Whoever forges a source gains nothing."""
    it = Examination(name, b"s", 1.0)
    request = asked(name)
    assert len(it.answer(request, (str(host), 1)) or b"") <= len(request)


def test_probes_go_only_where_a_proof_was_received() -> None:
    """One for another host, or another examination's, is none."""
    it = examination()
    it.admit(wanted(), it.proof(HERE[0]))
    other = Examination(NAME, b"x" * 16, 600.0)
    for proof in (b"", b"\0" * 8, it.proof("192.0.2.2"), other.proof(HERE[0])):
        with pytest.raises(Refused, match="proved"):
            it.admit(wanted(), proof)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"ports": ()}, "one to"),
        ({"ports": tuple(range(2000, 2001 + PORTS_AT_ONCE))}, "one to"),
        ({"ports": (53,)}, "1024"),
        ({"ports": (70000,)}, "65535"),
        ({"size": SHORTEST - 1}, "octets"),
        ({"size": LONGEST + 1}, "octets"),
        ({"cookie": b"short"}, "cookie"),
    ],
)
def test_what_is_out_of_bounds_is_refused_and_costs_nothing(
    changes: dict[str, object], told: str
) -> None:
    it = examination()
    with pytest.raises(Refused, match=told):
        it.admit(wanted(**changes), it.proof(HERE[0]))
    assert it.probes == MOST_PROBES


def test_an_examination_has_so_many_packets_and_octets_and_no_more() -> None:
    it = examination()
    it.probes = 1
    it.admit(wanted(), it.proof(HERE[0]))
    with pytest.raises(Refused, match="all its packets"):
        it.admit(wanted(), it.proof(HERE[0]))
    it = examination()
    it.octets = LONGEST - 1
    with pytest.raises(Refused, match="all its packets"):
        it.admit(wanted(size=LONGEST), it.proof(HERE[0]))


@given(st.integers(0, 65535), st.integers(SHORTEST, LONGEST))
def test_a_probe_tells_its_port_to_who_knows_the_cookie(port: int, size: int) -> None:
    octets = probe(COOKIE, port, size)
    assert len(octets) == size
    assert read_probe(octets, COOKIE) == port
    assert read_probe(octets, b"x" * 16) is None
    assert octets[0] >> 6 == 1, "neither RTP nor STUN"


@given(st.binary(max_size=64))
def test_anything_may_come_where_a_probe_is_waited_for(octets: bytes) -> None:
    assert read_probe(octets, COOKIE) is None


@given(st.lists(st.floats(0, 0.1), max_size=50))
def test_no_more_is_sent_than_the_pace_allows(pauses: list[float]) -> None:
    clock = Clock()
    pace = Pace(clock.seconds, RATE)
    sent = 0
    for pause in pauses:
        clock.advance(pause)
        while pace.take():
            sent += 1
    assert sent <= RATE / 2 + RATE * clock.seconds() + 1
