"""Rows A: what strangers and parties can send to media ports. Everything in docs/hostile.rst."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench.attacks.field import HOSTS
from bench.load import LoadError, compiled
from tests.e2e.process import wait_until
from tests.hostile import packets
from tests.hostile.relay import FAST_PATH, FIRST_PORT, LAST_PORT, Relay
from tests.hostile.world import (
    CALLEE,
    CALLER,
    RELAY,
    STRANGER,
    Call,
    Party,
    World,
    rtp,
    udp,
)

pytestmark = pytest.mark.hostile

PRIVATE = ("192.168.77.9", 4000)
"""What a party behind a NAT says of itself."""

EVIL = b"evil"
MARK = b"!own"


def spray(stranger: Party, first: int = FIRST_PORT, last: int = LAST_PORT) -> None:
    """One RTP packet to each port."""
    for port in range(first, last + 1):
        stranger.socket.sendto(rtp(port, 666, EVIL), (RELAY, port))


def stream(stranger: Party, call: Call, count: int = 30, ssrc: int = 666) -> None:
    """RTP and RTCP to both parties' ports."""
    for number in range(count):
        for party in (call.caller, call.callee):
            host, port = party.to
            stranger.socket.sendto(rtp(number, ssrc, EVIL), (host, port))
            stranger.control.sendto(packets.receiver_report(666, 1) + EVIL, (host, port + 1))


def nothing_came_of_it(stranger: Party, call: Call) -> None:
    """The stranger heard nothing, the parties nothing of the stranger."""
    assert stranger.hear(0.05) == []
    assert stranger.hear(0.01, control=True) == []
    for party in (call.caller, call.callee):
        for control in (False, True):
            assert not [each for each in party.hear(0.02, control) if each.endswith(EVIL)]


@pytest.fixture
def stranger(world: World) -> Iterator[Party]:
    made = world.stranger()
    yield made
    made.close()


def test_a01_a_spray_before_the_first_packet_gets_nothing(world: World, stranger: Party) -> None:
    with world.call() as call:
        spray(stranger)
        said = call.callee.say(5) + call.callee.say(5, mark=MARK)
        assert call.caller.listen(10) == said
        assert call.caller.say(1) == call.callee.listen(1)
        nothing_came_of_it(stranger, call)


def test_a02_behind_a_nat_a_spray_gets_five_packets_at_most(world: World, stranger: Party) -> None:
    refused = world.relay.metric("relay_relatch_refused_total")
    with world.call(caller_says=PRIVATE) as call:
        spray(stranger)
        for _ in range(15):
            call.caller.say(1, 0.02)
            call.callee.say(1)
            spray(stranger, call.caller.to[1], call.caller.to[1])
        assert len(stranger.hear()) <= 5
        assert call.caller.hears(call.callee.say(1)[0])
        assert call.callee.hears(call.caller.say(1)[0])
        assert world.relay.metric("relay_relatch_refused_total") > refused


def test_a03_a_stream_into_an_established_call_gets_nothing(world: World, stranger: Party) -> None:
    with world.call() as call:
        call.settle()
        drops = world.relay.metric('relay_drops_total{reason="wrong_source"}')
        stream(stranger, call, 100)
        call.goes_on()
        nothing_came_of_it(stranger, call)
        assert world.relay.metric('relay_drops_total{reason="wrong_source"}') > drops


def test_a04_a_repeated_address_opens_nothing(world: World, stranger: Party) -> None:
    with world.call() as call:
        call.settle()
        for _ in range(20):
            assert call.offer(more=" t") == call.callee.to
            stream(stranger, call, 5)
        call.goes_on()
        nothing_came_of_it(stranger, call)


def test_a05_a_changed_address_opens_for_that_address_only(world: World, stranger: Party) -> None:
    with world.call() as call:
        call.settle()
        old, call.caller = call.caller, Party(world.field.caller, CALLER, call.caller.ssrc)
        call.caller.to = old.to
        assert call.offer(more=" t") == call.callee.to
        stream(stranger, call, 50)
        call.goes_on()
        nothing_came_of_it(stranger, call)
        old.close()


def test_a06_a_guessed_ssrc_and_number_are_not_enough(world: World, stranger: Party) -> None:
    with world.call() as call:
        call.settle()
        for _ in range(30):
            call.caller.say(1)
            forged = rtp(call.caller.number + 1, call.caller.ssrc, EVIL)
            stranger.socket.sendto(forged, call.caller.to)
            time.sleep(0.005)
        assert len(call.callee.listen(30)) == 30
        call.goes_on()
        nothing_came_of_it(stranger, call)


def test_a07_a_new_port_of_a_nat_is_followed_in_200_ms(world: World) -> None:
    with world.call(caller_says=PRIVATE) as call:
        call.caller.say(15, 0.02)
        call.callee.say(5, 0.02)
        # The choice of a first source ends after eleven seconds at the latest; a stream that has
        # been silent for one may move before that as well.
        call.caller.hear(0.05)
        call.callee.hear(0.05)
        moved = Party(world.field.caller, CALLER, call.caller.ssrc)
        moved.to, moved.number = call.caller.to, call.caller.number
        time.sleep(1.1)
        log = len(world.relay.log())
        said = moved.say(30, 0.02)
        heard = call.callee.hear()
        assert len(said) - len(heard) <= 10
        assert heard == said[-len(heard) :]
        assert moved.hears(call.callee.say(1)[0])
        assert len(world.relay.log()[log:].splitlines()) <= 2
        moved.close()


def test_a08_two_senders_in_turn_make_nothing_flap(world: World, stranger: Party) -> None:
    with world.call(caller_says=PRIVATE) as call:
        call.caller.say(15, 0.02)
        moves = world.relay.metric("relay_relatch_total")
        for _ in range(60):
            call.caller.say(1)
            stranger.socket.sendto(rtp(call.caller.number, call.caller.ssrc, EVIL), call.caller.to)
            time.sleep(0.01)
        assert world.relay.metric("relay_relatch_total") - moves <= 1
        assert call.caller.hears(call.callee.say(1)[0])
        nothing_came_of_it(stranger, call)


def test_a09_a_call_with_itself_is_no_storm(world: World) -> None:
    sent = world.relay.metric('relay_packets_total{proto="rtp",dir="out",path="user"}')
    with world.call(answered=False) as call:
        facing_callee = call.callee.to
        call.caller.to = call.answer(facing_callee)
        call.offer(call.caller.to, more=" t")
        with world.raw(world.field.stranger) as raw:
            for number in range(20):
                for source, to in (
                    (facing_callee, call.caller.to),
                    (call.caller.to, facing_callee),
                ):
                    raw.sendto(packets.forged(source, to, rtp(number)), (RELAY, 0))
        with suppress(OSError):
            call.caller.say(20, 0.005)
        time.sleep(0.3)
    bystanders = 4 * 50 * 5
    now = world.relay.metric('relay_packets_total{proto="rtp",dir="out",path="user"}')
    assert now - sent < bystanders


def test_a10_sources_that_can_be_no_party_are_never_believed(world: World) -> None:
    with world.call(caller_says=PRIVATE) as call:
        with world.raw() as raw:
            for source in (
                "224.0.0.9",
                "255.255.255.255",
                "0.0.0.0",
                "127.0.0.1",
                "198.18.255.255",
            ):
                for number in range(12):
                    packet = packets.forged((source, 4000), call.caller.to, rtp(number, 9, EVIL))
                    with suppress(OSError):
                        raw.sendto(packet, (RELAY, 0))
                    time.sleep(0.008)
        heard = [each for each in call.callee.hear() if each.endswith(EVIL)]
        # The last one is a host like any other, as far as anybody can tell.
        assert len(heard) <= 12
        call.caller.say(15, 0.02)


def test_a11_short_datagrams_pass_for_a_party_and_prove_nothing(
    world: World, stranger: Party
) -> None:
    with world.call() as call:
        call.settle()
        before = world.relay.ask(f"Q {call.name} f t rtpa_nrcvd").split()
        for short in packets.SHORT:
            call.caller.send(short)
        assert call.callee.listen(len(packets.SHORT)) == list(packets.SHORT)
        assert world.relay.ask(f"Q {call.name} f t rtpa_nrcvd").split() == before
    with world.call(caller_says=PRIVATE) as call:
        for _ in range(20):
            for short in packets.SHORT:
                stranger.socket.sendto(short, call.caller.to)
            time.sleep(0.01)
        assert call.callee.hear(0.05) == []


def test_a12_other_protocols_pass_for_a_party_and_prove_nothing(
    world: World, stranger: Party
) -> None:
    with world.call() as call:
        call.settle()
        for datagram in packets.OTHER_PROTOCOLS:
            call.caller.send(datagram)
        assert call.callee.listen(6) == list(packets.OTHER_PROTOCOLS)
    with world.call(caller_says=PRIVATE) as call:
        for _ in range(20):
            for datagram in (packets.HELLO, packets.STUN, packets.ZRTP):
                stranger.socket.sendto(datagram, call.caller.to)
            time.sleep(0.01)
        assert call.callee.hear(0.05) == []


def test_a13_malformed_rtp_is_relayed_and_breaks_nothing(world: World) -> None:
    with world.call() as call:
        call.settle()
        for _ in range(20):
            for datagram in packets.MALFORMED:
                call.caller.send(datagram)
                call.callee.send(datagram)
        wanted = list(packets.MALFORMED) * 20
        assert call.callee.listen(100) == wanted
        assert call.caller.listen(100) == wanted
        call.goes_on()
        world.view(call)


def test_a14_long_datagrams_arrive_whole(world: World) -> None:
    with world.call() as call:
        call.settle()
        for length in (1473, 8193, 9000, 65507):
            datagram = rtp(1, 7) + os.urandom(length - 172)
            call.caller.send(datagram)
            assert call.callee.listen(1) == [datagram]
        call.goes_on()


def test_a15_a_flood_of_one_port_leaves_other_calls_alone(world: World) -> None:
    """As many a second as one process of the test can send."""
    try:
        program = compiled(Path(__file__).with_name("flood.c"))
    except LoadError as error:
        pytest.skip(str(error))
    with world.call() as call:
        call.settle()
        drops = world.relay.metric('relay_drops_total{reason="wrong_source"}')
        waited = world.relay.waited()
        world.bystanders.delays.clear()
        host, port = call.caller.to
        inside = ["nsenter", f"--net=/run/netns/{world.field.stranger.name}"]
        done = subprocess.run(
            [*inside, "nice", str(program), host, str(port), "1"], capture_output=True, check=True
        )
        delays = sorted(world.bystanders.delays)
        waited = world.relay.waited() - waited
        assert int(done.stdout) > 10_000
        assert world.relay.metric('relay_drops_total{reason="wrong_source"}') > drops
        middle = delays[len(delays) // 2]
        assert middle < 0.005 or waited > 0.1, f"others were delayed by {1000 * middle:.1f} ms"
        call.goes_on()


def test_a16_a_spray_over_closed_ports_costs_the_process_nothing(
    world: World, stranger: Party
) -> None:
    packets_in = world.relay.metric("relay_drops_total")
    for port in range(40000, 50000):
        with suppress(ConnectionError):
            stranger.socket.sendto(rtp(port), (RELAY, port))
    assert world.relay.metric("relay_drops_total") == packets_in


def test_a17_a_crashed_party_closes_nothing(world: World) -> None:
    with world.call() as call:
        call.settle()
        call.callee.close()
        call.caller.say(50, 0.002)
        host, port = call.callee.address
        ssrc, to = call.callee.ssrc, call.callee.to
        call.callee = Party(world.field.callee, host, ssrc, port)
        call.callee.to = to
        call.callee.number = 1000
        call.goes_on()


def test_a18_forged_icmp_ends_nothing(world: World) -> None:
    """With redirects switched off, as docs/running.rst advises: they are the kernel's to obey."""
    with world.field.relay:
        for device in ("all", "eth0"):
            Path(f"/proc/sys/net/ipv4/conf/{device}/accept_redirects").write_text("0")
    with world.call() as call:
        call.settle()
        about = packets.forged(call.callee.to, call.callee.address, b"12345678")
        with world.raw() as raw:
            for kind, code, rest in (
                (3, 3, 0),
                (3, 1, 0),
                (3, 4, 68),
                (5, 1, 0xC6134242),
                (11, 0, 0),
            ):
                for _ in range(20):
                    for source in (STRANGER, CALLEE):
                        packet = packets.icmp(source, RELAY, kind, code, rest, about)
                        raw.sendto(packet, (RELAY, 0))
        call.goes_on()


@contextmanager
def refused(world: World, how: str) -> Iterator[None]:
    """The relay cannot send to the stranger's host, for that reason."""
    if how == "EPERM":
        inside = ["nsenter", f"--net=/run/netns/{world.field.relay.name}", "nft"]
        rules = (
            "add table ip hostile;"
            "add chain ip hostile o { type filter hook output priority 0; };"
            f"add rule ip hostile o ip daddr {STRANGER} drop"
        )
        subprocess.run([*inside, rules], check=True)
        try:
            yield
        finally:
            subprocess.run([*inside, "delete table ip hostile"], check=True)
        return
    world.field.relay.ip(f"route add {how} {STRANGER}/32")
    try:
        yield
    finally:
        world.field.relay.ip(f"route del {how} {STRANGER}/32")


@pytest.mark.parametrize("how", ["EPERM", "unreachable", "prohibit", "blackhole"])
def test_a19_what_the_kernel_will_not_send_is_counted(world: World, how: str) -> None:
    in_kernel = os.environ.get(FAST_PATH) == "ebpf"
    with world.call(callee=world.stranger()) as call:
        call.settle()
        log = len(world.relay.log())
        with refused(world, how):
            if in_kernel and how == "EPERM":
                call.goes_on()  # rules are not asked there
                return
            if in_kernel:
                wait_until(lambda: not arrives(call), "the kernel has given it up")
            errors = world.relay.metric('relay_drops_total{reason="send_error"}')
            call.caller.say(50, 0.001)
            assert call.callee.hear() == []
            wanted = errors + 50
            wait_until(
                lambda: world.relay.metric('relay_drops_total{reason="send_error"}') == wanted,
                "all fifty are counted",
            )
        assert len(world.relay.log()[log:].splitlines()) <= 3
        call.goes_on()


def arrives(call: Call) -> bool:
    """Whether the callee hears the caller."""
    call.caller.say(1)
    return bool(call.callee.hear(0.1))


def test_a20_ever_new_sources_take_bounded_memory(world: World) -> None:
    with world.call() as call:
        call.settle()
        memory = world.relay.memory()
        for ssrc in range(20_000):
            call.caller.socket.sendto(rtp(ssrc, 0x20000 + ssrc), call.caller.to)
        assert len(call.callee.hear()) > 100
        call.goes_on()
        assert world.relay.memory() - memory < 4 << 20
        assert len(json.dumps(world.view(call))) < 40_000


def numbers(value: object) -> Iterator[float]:
    """All of them in something that was JSON."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, (int, float)):
        yield float(value)


def sane(view: dict[str, object]) -> None:
    """No figure is what none can be."""
    found = list(numbers(view))
    assert found
    assert all(math.isfinite(each) for each in found)


def test_a21_jumps_and_wraps_do_not_poison_figures(world: World) -> None:
    with world.call() as call:
        call.settle()
        for number in (*range(65500, 65536), *range(40), 30040, 41, 10, 60000, *range(42, 99)):
            stamp = (number * 160 * 2**20) & 0xFFFFFFFF
            datagram = rtp(number, call.caller.ssrc)
            call.caller.send(datagram[:4] + struct.pack("!I", stamp) + datagram[8:])
        call.goes_on()
        time.sleep(1.1)
        view = world.view(call)
        sane(view)
        for leg in view["legs"]:
            for score in [v for k, v in flat(leg) if k == "mos" and v is not None]:
                assert 1 <= float(str(score)) <= 5


def flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Names and values, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from flat(inner, name)
    else:
        yield name, value


def test_a22_any_payload_type_passes(world: World) -> None:
    with world.call() as call:
        call.settle()
        said = [rtp(500 + kind, call.caller.ssrc, kind=kind) for kind in range(256)]
        for datagram in said:
            call.caller.send(datagram)
            time.sleep(0.0005)
        assert call.callee.listen(256) == said
        sane(world.view(call))


def test_a23_damaged_rtcp_is_relayed_unread(world: World) -> None:
    with world.call() as call:
        call.settle()
        for datagram in packets.BAD_RTCP:
            call.caller.send(datagram, control=True)
        assert call.callee.listen(len(packets.BAD_RTCP), control=True) == list(packets.BAD_RTCP)
        time.sleep(1.1)
        sane(world.view(call))
        call.goes_on()


def test_a24_four_octets_of_rtcp_change_nothing(world: World, stranger: Party) -> None:
    with world.call() as call:
        call.settle()
        host, port = call.caller.to
        for _ in range(50):
            for short in (b"\x80\xc9\x00\x00", b"\x81\xc8\x00\x00"):
                stranger.control.sendto(short, (host, port + 1))
                stranger.socket.sendto(short, (host, port))
                call.caller.send(short, control=True)
        stream(stranger, call, 10, call.caller.ssrc)
        call.goes_on()
        call.callee.hear(0.05, control=True)
        nothing_came_of_it(stranger, call)


def test_a25_encrypted_rtcp_is_not_read(world: World) -> None:
    with world.call() as call:
        call.settle()
        for _ in range(20):
            head = struct.pack("!BBHI", 0x81, 200, 12, call.caller.ssrc)
            call.caller.send(head + os.urandom(44) + b"\x80\0\0\1" + bytes(10), control=True)
            time.sleep(0.03)
        time.sleep(1.0)
        view = world.view(call)
        told = [v for leg in view["legs"] for k, v in flat(leg.get("reported") or {}) if v]
        assert told == [], told
        assert len(call.callee.listen(20, control=True)) == 20


def test_a26_impossible_reports_are_not_believed(world: World) -> None:
    with world.call() as call:
        call.settle()
        for _ in range(10):
            report = packets.receiver_report(call.caller.ssrc, call.callee.ssrc)
            call.caller.send(report, control=True)
            call.callee.say(1, 0.05)
        time.sleep(0.5)
        view = world.view(call)
        sane(view)
        for name, value in flat(view):
            if "rtt" in name and value is not None:
                assert 0 <= float(str(value)) <= 10_000


def test_a27_duplicates_reordering_and_loss_are_passed_on_and_counted(world: World) -> None:
    with world.call() as call:
        call.settle()
        base = call.caller.number + 1
        order = [base + n ^ 1 if n % 10 < 2 else base + n for n in range(0, 200, 2)]
        said = [rtp(n, call.caller.ssrc) for n in order for _ in range(2)]
        for datagram in said:
            call.caller.send(datagram)
            time.sleep(0.0005)
        assert call.callee.listen(len(said)) == said
        told = world.relay.ask(f"Qv {call.name} f t rtpa_ndups rtpa_nlost")
        figures = dict(word.split("=") for word in told.split())
        assert int(figures["rtpa_ndups"]) == 100
        assert 60 < int(figures["rtpa_nlost"]) < 120


@contextmanager
def notices(world: World) -> Iterator[list[bytes]]:
    """What arrives at the notification socket, in a list that grows."""
    path = world.relay.folder / "notices-key"
    heard: list[bytes] = []
    clients: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def read() -> None:
            with suppress(OSError):
                client, _ = listener.accept()
                clients.append(client)
                with client:
                    while part := client.recv(4096):
                        heard.extend(part.splitlines())

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            for client in clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            path.unlink()


def test_a28_a_key_is_told_once_however_it_comes(world: World) -> None:
    with notices(world) as heard, world.call() as call:
        socket_name = f"unix:{world.relay.folder}/notices-key"
        call.offer(more=f" t {socket_name} mark && M3:1 key 101")
        call.settle()
        ssrc = call.caller.ssrc
        call.caller.send(packets.press(900, ssrc, 5, False, 65535))
        for number in (901, 902, 903):
            call.caller.send(packets.press(number, ssrc, 5, True, 100))
        for number in (904, 905):
            call.caller.send(packets.press(number, ssrc, 255, True, 100))
        wait_until(lambda: bool(heard), "the key is told")
        time.sleep(0.1)
        assert len(heard) == 1, heard
        call.callee.hear(0.05)
        call.goes_on()


def test_a29_a_strangers_handshake_does_not_come_first(world: World, stranger: Party) -> None:
    with world.call() as call:
        for _ in range(20):
            stranger.socket.sendto(packets.HELLO + EVIL, call.caller.to)
        call.caller.send(packets.HELLO + MARK)
        assert call.callee.listen(1) == [packets.HELLO + MARK]
        call.callee.send(packets.HELLO + MARK)
        assert call.caller.listen(1) == [packets.HELLO + MARK]
        nothing_came_of_it(stranger, call)


def test_a30_bad_tags_end_no_call(world: World, stranger: Party) -> None:
    with world.call() as call:
        call.settle()
        for number in range(10_000):
            stranger.socket.sendto(rtp(number, call.caller.ssrc, EVIL), call.caller.to)
        call.goes_on()
        nothing_came_of_it(stranger, call)


def test_a31_crossed_ports_are_not_mixed_up(world: World, stranger: Party) -> None:
    with world.call() as call:
        call.settle()
        host, port = call.caller.to
        for number in range(20):
            call.caller.socket.sendto(rtp(number, 3, EVIL), (host, port + 1))
            stranger.socket.sendto(rtp(number, 3, EVIL), (host, port + 1))
            call.caller.control.sendto(packets.receiver_report(1, 2) + EVIL, (host, port))
        assert [each for each in call.callee.hear() if each.endswith(EVIL)] == []
        call.goes_on()


def test_a32_late_packets_do_not_reach_the_next_call(world: World, tmp_path: Path) -> None:
    """A relay with one pair for each party, so that the next call has those of the one before."""
    options = ["-m", "45000", "-M", "45003"]
    with (
        Relay(tmp_path / "small", RELAY, options, where=world.field.relay) as relay,
        world.call(relay=relay) as old,
    ):
        old.settle()
        assert old.end() == "0"
        with world.call(relay=relay, caller_says=PRIVATE) as call:
            assert {call.caller.to[1], call.callee.to[1]} == {45000, 45002}
            for _ in range(20):
                for late in (old.caller, old.callee):
                    late.say(1, mark=EVIL)
                time.sleep(0.01)
            assert not [e for p in (call.caller, call.callee) for e in p.hear() if EVIL in e]
            assert old.caller.hear(0.02) == []
            call.caller.say(15, 0.02)
            assert call.caller.hears(call.callee.say(1)[0])


def test_a33_ipv4_in_the_guise_of_ipv6_is_nobody(world: World, tmp_path: Path) -> None:
    options = ["-6", "six@::", "-m", "46000", "-M", "46099"]
    with Relay(tmp_path / "dual", "0.0.0.0", options, where=world.field.relay) as relay:
        mapped = f"::ffff:{CALLER}"
        reply = relay.ask(f"U6l[::] mapped {mapped} 4000 f").split()
        port = int(reply[0])
        four = udp(world.field.caller, (CALLER, 4000))
        six = udp(world.field.callee, (HOSTS[6].callee, 6000))
        answer = relay.ask(f"L6l[::] mapped {HOSTS[6].callee} 6000 f t").split()
        for number in range(20):
            with suppress(ConnectionError):
                four.sendto(rtp(number), (RELAY, int(answer[0])))
            six.sendto(rtp(number), (HOSTS[6].relay, port))
            time.sleep(0.008)
        for sock in (four, six):
            sock.settimeout(0.1)
            with pytest.raises((TimeoutError, ConnectionError)):
                sock.recv(2048)
            sock.close()
        assert relay.ask("D mapped f t") == "0"
        assert "Traceback" not in relay.log()


def test_a34_marks_of_the_ip_header_do_not_matter(world: World) -> None:
    with world.call() as call:
        call.settle()
        call.callee.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        call.callee.socket.settimeout(5)
        with world.raw(world.field.caller) as raw:
            for number, (ttl, tos) in enumerate(((1, 0), (64, 1), (64, 3), (64, 184), (255, 255))):
                datagram = rtp(2000 + number, call.caller.ssrc)
                packet = packets.forged(call.caller.address, call.caller.to, datagram, ttl, tos)
                raw.sendto(packet, (RELAY, 0))
                payload, control, _, _ = call.callee.socket.recvmsg(2048, 256)
                assert payload == datagram
                assert [value[0] for _, _, value in control] == [184]
        call.goes_on()


def test_a_row_that_kills_the_relay_would_be_noticed(tmp_path: Path) -> None:
    """The harness itself."""
    with Relay(tmp_path) as relay:
        relay.signal(signal.SIGKILL)
        wait_until(lambda: not relay.running, "it is gone")
        assert relay.status == -signal.SIGKILL
