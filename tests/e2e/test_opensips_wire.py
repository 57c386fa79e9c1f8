"""What OpenSIPS puts on the wire, replayed: its framings, its modifiers, its queries.

The byte layouts are those of the rtpproxy and rtp_relay modules of OpenSIPS 3.x: one persistent
TCP connection for each of its processes, commands without a cookie, one outstanding at a time,
and a reply that must end with a newline and have at most 255 bytes.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import loopback, media
from tests.e2e.checks import assert_heard
from tests.e2e.phone import Phone
from tests.e2e.relay import CONTROL_PORT, Relay

pytestmark = pytest.mark.e2e

TCP_PORT = 22223
NOTIFY_PORT = 22224

Ask = Callable[[str], str]

FEATURES = {
    "20050322": "1",
    "20071116": "1",
    "20081102": "1",
    "20090810": "1",
    "20081224": "1",
    "20080403": "1",
    "20150617": "1",
    "20150420": "1",
    "20170313": "0",
    "20071218": "1",
    "20191015": "1",
}
"""What its processes ask at the start, and the answers its use of the relay rests on."""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    folder = tmp_path_factory.mktemp("opensips")
    tcp = f"tcp:{loopback.RELAY}:{TCP_PORT}"
    notify = ["-n", f"tcp:{loopback.LISTENER}:{NOTIFY_PORT}", "-n", f"unix:{folder / 'notify'}"]
    with Relay(loopback.RELAY, folder, [tcp], [*notify, "-T", "3"]) as relay:
        yield relay
        assert relay.end() == 0
        relay.assert_had_no_accident()


@pytest.fixture(autouse=True)
def clean(relay: Relay) -> Iterator[None]:
    """Whatever a test did, no session may be left, and the next test starts without any."""
    yield
    left = relay.count_sessions()
    relay.ask("X")
    assert left == 0
    relay.assert_is_clean()


@pytest.fixture
def ask(relay: Relay) -> Iterator[Ask]:
    """Sends one command on a persistent TCP connection and returns the whole reply."""
    with socket.create_connection((relay.host, TCP_PORT), 5) as connection:

        def ask_over_tcp(command: str) -> str:
            connection.sendall(command.encode() + b"\n")
            reply = b""
            while not reply.endswith(b"\n"):
                piece = connection.recv(256)
                assert piece, f"closed after {command}"
                reply += piece
            assert len(reply) <= 255
            return reply.decode()

        yield ask_over_tcp


@pytest.fixture
def phones() -> Iterator[tuple[Phone, Phone]]:
    caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
    yield caller, callee
    caller.close()
    callee.close()


def port_of(reply: str) -> int:
    """The port of a reply to U or L at the relay's own address."""
    port, host = reply.split()
    assert host == loopback.RELAY
    return int(port)


def connect(caller: Phone, callee: Phone, to_callee: int, to_caller: int) -> None:
    """Give both phones the relay's ports and let them speak."""
    for phone, port in ((caller, to_callee), (callee, to_caller)):
        address = (loopback.RELAY, port)
        phone.endpoints[0].target = address
        phone.told[0].add(address)
        phone.told_rtcp[0].add((address[0], port + 1))
        phone.start()


def media_of(phone: Phone) -> str:
    """Address and port as a command names them."""
    return f"{phone.host} {phone.endpoints[0].port}"


def establish(ask: Ask, call_id: str, caller: Phone, callee: Phone, *notify: str) -> None:
    """Offer and answer of one medium as its processes send them; the phones speak from then on."""
    offer = ["Uc8,101", call_id, media_of(caller), "12C1;1", *notify]
    answer = ["Lc8,101", call_id, media_of(callee), "12C1;1", "15S1;1"]
    facing_callee, facing_caller = port_of(ask(" ".join(offer))), port_of(ask(" ".join(answer)))
    connect(caller, callee, facing_caller, facing_callee)


def test_every_question_of_a_starting_process_gets_its_answer(ask: Ask) -> None:
    assert ask("V") == "20040107\n"
    assert {date: ask(f"VF {date}") for date in FEATURES} == {
        date: f"{answer}\n" for date, answer in FEATURES.items()
    }


def test_a_call_over_tcp_relays_and_its_counters_can_be_read(
    ask: Ask, phones: tuple[Phone, Phone]
) -> None:
    caller, callee = phones
    endpoints = [*caller.endpoints, *callee.endpoints]
    establish(ask, "1-21219@here", caller, callee)
    media.run_for(endpoints, 0.8)
    for endpoint in endpoints:
        endpoint.muted = True
    media.run_for(endpoints, 0.1)
    up, down = len(caller.endpoints[0].sent), len(callee.endpoints[0].sent)
    who = "1-21219@here 12C1;1 15S1;1"
    ttl, *counts = [int(word) for word in ask(f"Q {who}").split(" ")]
    assert 0 < ttl <= 3
    assert counts == [up, down, up + down, 0]
    named = ask(f"Q {who} ttl npkts_ina npkts_ino nrelayed ndropped")
    assert [int(word) for word in named.split(" ")][1:] == counts
    heard = ask(f"Q {who} rtpa_nsent rtpa_nrcvd rtpa_ndups rtpa_nlost rtpa_perrs")
    assert heard == f"{up} {up} 0 0 0\n"
    assert ask("D 1-21219@here 12C1 15S1") == "0\n"
    ended = time.time()
    for phone in phones:
        phone.start()
    media.speak_on(endpoints)
    assert_heard(caller, callee, ended)
    assert_heard(callee, caller, ended)


def test_a_callees_offer_names_the_tags_the_other_way_round(ask: Ask) -> None:
    assert (first := ask("Uc8,101 swap 127.0.0.1 30000 12C1;1")) != (
        second := ask("Lc8,101 swap 127.0.0.1 30002 12C1;1 15S1;1")
    )
    assert ask("Uc8,101 swap 127.0.0.1 30002 15S1;1 12C1;1") == second
    assert ask("Lc8,101 swap 127.0.0.1 30000 15S1;1 12C1;1") == first
    assert ask("D swap 15S1 12C1") == "0\n"


def test_one_delete_with_bare_tags_ends_every_medium_of_a_call(ask: Ask, relay: Relay) -> None:
    for number in (1, 2, 3):
        port_of(ask(f"U several 127.0.0.1 {30000 + 2 * number} 12C1;{number}"))
    assert relay.count_sessions() == 3
    assert ask("D several 12C1") == "0\n"
    assert ask("D several 12C1") == "E50\n"
    assert ask("L several 127.0.0.1 30000 12C1;1 15S1;1") == "0\n"


def test_a_bridging_offer_is_answered_with_the_address_that_leads_there(ask: Ask) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((loopback.CALLEE, 9))
        local = sock.getsockname()[0]
    port, host = ask(f"UR{loopback.CALLEE}c8,101 bridged 127.0.0.1 30000 12C1;1").split()
    assert host == local
    assert int(port) % 2 == 0
    port, host = ask(f"LR{loopback.CALLER}c8,101 bridged 127.0.0.1 30002 12C1;1 15S1;1").split()
    assert host == local
    assert ask("D bridged 12C1 15S1") == "0\n"


def test_a_bridging_offer_to_an_ipv6_party_is_answered_with_an_ipv6_address(ask: Ask) -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"this host has no IPv6: {error}")
    port, host, family = ask("UR[::1]c8,101 six 127.0.0.1 30000 12C1;1").split()
    assert (host, family) == ("::1", "6")
    assert int(port) % 2 == 0
    assert ask("D six 12C1") == "0\n"


def test_a_branch_of_its_own_is_a_session_of_its_own(ask: Ask, relay: Relay) -> None:
    ports = {port_of(ask(f"U forked-{branch} 127.0.0.1 30000 12C1;1")) for branch in range(3)}
    assert len(ports) == 3
    for branch in (0, 2):
        assert ask(f"D forked-{branch} 12C1") == "0\n"
    assert relay.count_sessions() == 1
    assert ask("D forked-1 12C1 15S1") == "0\n"


def test_a_stream_is_copied_for_a_recording_server(ask: Ask, phones: tuple[Phone, Phone]) -> None:
    caller, callee = phones
    establish(ask, "siprec", caller, callee)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as recorder:
        recorder.bind((loopback.LISTENER, 0))
        recorder.settimeout(2)
        target = "udp:{}:{}".format(*recorder.getsockname())
        copying = ask(f"Cs siprec {target} 15S1;1 12C1;1")
        media.run_for([*caller.endpoints, *callee.endpoints], 0.3)
        ask("D siprec 12C1 15S1")
        assert copying == "0\n"
        assert recorder.recv(2048) in {packet for _, packet in callee.endpoints[0].sent}


def test_a_music_file_that_is_missing_is_an_error_and_stopping_is_not(ask: Ask) -> None:
    port_of(ask("Uc8,101 music 127.0.0.1 30000 12C1;1"))
    port_of(ask("Lc8,101 music 127.0.0.1 30002 12C1;1 15S1;1"))
    assert ask("P-1 music /nowhere/prompt session 12C1;1 15S1;1") == "E60\n"
    assert ask("S music 12C1;1 15S1;1") == "0\n"
    assert ask("S music 12C1;1 ") == "0\n"
    assert ask("D music 12C1 15S1") == "0\n"


@pytest.mark.parametrize("form", ["tcp:", ""], ids=["with-prefix", "without-prefix"])
def test_the_listener_hears_of_a_call_that_fell_silent(
    ask: Ask, phones: tuple[Phone, Phone], form: str
) -> None:
    caller, callee = phones
    with socket.create_server((loopback.LISTENER, NOTIFY_PORT)) as listener:
        listener.settimeout(10)
        target = f"{form}{loopback.LISTENER}:{NOTIFY_PORT}"
        establish(ask, "silent", caller, callee, target, "Ta4d.fe682422")
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            assert connection.recv(256) == b"Ta4d.fe682422\n"


def test_a_listener_named_by_the_wildcard_is_called_from_the_address_it_commands(
    tmp_path: Path,
) -> None:
    # OpenSIPS hangs up on notifications from any address but that of a relay it knows.
    wildcard = f"tcp:%%CC_SELF%%:{NOTIFY_PORT}"
    tcp = f"tcp:{loopback.OTHER_RELAY}:{TCP_PORT}"
    with (
        Relay(loopback.OTHER_RELAY, tmp_path, [tcp], ["-n", wildcard, "-T", "1"]) as other,
        socket.create_server((loopback.LISTENER, NOTIFY_PORT)) as listener,
        socket.create_connection(
            (other.host, TCP_PORT), 5, source_address=(loopback.LISTENER, 0)
        ) as connection,
    ):
        listener.settimeout(10)
        offer = f"U silent {loopback.CALLER} 30000 12C1;1 {wildcard} T1.2\n"
        connection.sendall(offer.encode())
        assert b"E" not in connection.recv(256)
        notifying, (peer, _) = listener.accept()
        with notifying:
            assert peer == other.host
            assert notifying.recv(256) == b"T1.2\n"
        other.assert_is_clean()
        assert other.end() == 0


def test_commands_may_come_in_pieces_and_in_heaps(relay: Relay) -> None:
    with socket.create_connection((relay.host, TCP_PORT), 5) as connection:
        for piece in (b"VF 2004", b"0107\r", b"\nV\nVF 2005"):
            connection.sendall(piece)
            time.sleep(0.05)
        connection.sendall(b"0322\n")
        with connection.makefile("rb") as replies:
            assert [replies.readline() for _ in range(3)] == [b"1\n", b"20040107\n", b"1\n"]


def test_a_repeated_cookie_gets_the_same_bytes_and_is_not_executed_again(relay: Relay) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((relay.host, CONTROL_PORT))

        def send(command: bytes) -> bytes:
            sock.send(command)
            return sock.recv(256)

        offer = b"16263_3884_12 UNc8,101 again 127.0.0.1 30000 12C1;1"
        first = send(offer)
        assert first.startswith(b"16263_3884_12 ")
        assert first.endswith(b"\n")
        assert send(offer) == first
        end = b"16263_3884_13 D again 12C1"
        assert send(end) == send(end) == b"16263_3884_13 0\n"


def test_a_unix_socket_takes_one_command_without_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with Relay(loopback.OTHER_RELAY, tmp_path, [f"unix:{path}"]) as other:
        for _ in range(2):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(5)
                sock.connect(str(path))
                sock.sendall(b"VF 20050322")
                assert sock.recv(256) == b"1\n"
                assert sock.recv(256) == b""
        assert other.end() == 0
        other.assert_had_no_accident()
