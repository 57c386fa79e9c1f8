"""Rows B: what can be sent to control sockets and HTTP. Everything in docs/hostile.rst."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.process import wait_until
from tests.hostile.world import CALLER, RELAY, Call, World, rtp

pytestmark = pytest.mark.hostile

PORT = 22222

NOISE = (
    b"\0" * 100,
    b"\xff" * 100,
    b"\xc3\x28 \xfe",
    bytes(range(256)),
    b"U" * 8000,
    b"%n%s%x",
    b"\x1b[2J\x1b]0;x\x07",
)

NAMES = (
    "../../etc/cron.d/x",
    "/abs/olute",
    ".",
    "..",
    "a%00b",
    "a=b;c&d",
    "\U0001f4a9@\u4e2d",
    "back\\slash'quote\"<script>alert(1)</script>",
    "x" * 3000,
)


@contextmanager
def connected(world: World, where: str = "tcp") -> Iterator[socket.socket]:
    """A control connection of its own."""
    if where == "tcp":
        with world.field.caller:
            made = socket.create_connection((RELAY, PORT), 5)
    else:
        made = socket.socket(socket.AF_UNIX)
        made.connect(str(world.relay.folder / where))
    made.settimeout(5)
    with made:
        yield made


@contextmanager
def datagrams(world: World) -> Iterator[socket.socket]:
    """A UDP socket that is connected to the control port."""
    with world.field.caller:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((CALLER, 0))
    made.connect((RELAY, PORT))
    made.settimeout(5)
    with made:
        yield made


def lines(sock: socket.socket, count: int) -> list[bytes]:
    """So many, fewer where the connection ends."""
    got = b""
    while got.count(b"\n") < count and (part := sock.recv(65536)):
        got += part
    return got.splitlines()


def until_closed(sock: socket.socket) -> bytes:
    """All that comes."""
    got = b""
    with suppress(ConnectionError):
        while part := sock.recv(65536):
            got += part
    return got


def http(world: World, request: bytes) -> bytes:
    """The answer over TCP on loopback."""
    with world.field.relay:
        sock = socket.create_connection(("127.0.0.1", 8080), 5)
    with sock, suppress(ConnectionError):
        with suppress(ConnectionError):
            sock.sendall(request)
        sock.settimeout(5)
        return until_closed(sock)
    return b""


def status(answer: bytes) -> int:
    """Of an answer."""
    return int(answer.split()[1])


def test_b01_noise_is_answered_by_an_error(world: World) -> None:
    with datagrams(world) as sock:
        for noise in NOISE:
            sock.send(b"cookie " + noise)
            assert re.match(rb"cookie E\d+\n|E5\n", sock.recv(2048)), noise
        sock.send(b"cookie " + b"A" * 60_000)
        assert sock.recv(2048) == b"cookie E5\n"
    with connected(world, "oneshot") as sock:
        sock.sendall(b"A" * 65536)
        assert until_closed(sock) in (b"E5\n", b"")
    with connected(world) as sock:
        sock.sendall(b"".join(n.replace(b"\n", b"") + b"\n" for n in NOISE))
        assert all(each.startswith(b"E") for each in lines(sock, len(NOISE)))
        sock.sendall(b"A" * 65536)
        until_closed(sock)


def test_b02_odd_cookies_are_no_matter(world: World) -> None:
    log = len(world.relay.log())
    with datagrams(world) as sock:
        for cookie in (b"", b"only", b"c" * 10_000, b"%n%s", b"\x1b[31m", b"a\nb"):
            sock.send(cookie)
            sock.send(cookie + b" V")
        sock.send(b"last V")
        sock.settimeout(1)
        while sock.recv(20000) != b"last 20040107\n":
            pass
    logged = world.relay.log()[log:]
    assert "\x1b" not in logged


def test_b03_a_repeated_command_is_executed_once(world: World) -> None:
    with datagrams(world) as sock:
        told = set()
        before = world.relay.metric("relay_sessions_created_total")
        for _ in range(100):
            sock.send(b"same U again 192.0.2.1 4000 f")
            told.add(sock.recv(2048))
        assert len(told) == 1
        assert world.relay.metric("relay_sessions_created_total") == before + 1
    assert world.relay.ask("D again f") == "0"


def test_b04_another_command_behind_the_same_cookie_is_executed(world: World) -> None:
    with datagrams(world) as sock:
        for command, reply in ((b"V", b"20040107"), (b"VF 20040107", b"1"), (b"V", b"20040107")):
            sock.send(b"one " + command)
            assert sock.recv(2048) == b"one " + reply + b"\n"


def test_b05_the_same_cookie_of_two_proxies_means_two_commands(world: World) -> None:
    with datagrams(world) as one, datagrams(world) as other:
        for sock, command, reply in ((one, b"V", b"20040107"), (other, b"VF 20040107", b"1")):
            sock.send(b"c " + command)
            assert sock.recv(2048) == b"c " + reply + b"\n"


def test_b06_slow_and_idle_clients_keep_nobody_out(world: World) -> None:
    with ExitStack() as stack, connected(world) as slow:
        for _ in range(98):
            stack.enter_context(connected(world))
        for octet in b"V\n":
            slow.send(bytes([octet]))
            time.sleep(0.01)
        assert lines(slow, 1) == [b"20040107"]
        extra = [stack.enter_context(connected(world)) for _ in range(20)]
        refused = [sock for sock in extra if until_it_ends(sock)]
        assert len(refused) >= 19
        assert world.relay.ask("V") == "20040107"
        with datagrams(world) as sock:
            sock.send(b"c V")
            assert sock.recv(99) == b"c 20040107\n"
        slow.sendall(b"A" * 9000)
        until_closed(slow)


def until_it_ends(sock: socket.socket) -> bool:
    """Whether it is closed from the other side within a moment."""
    sock.settimeout(0.5)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_b07_a_client_that_never_reads_costs_little(world: World) -> None:
    memory = world.relay.memory()
    with connected(world, "control") as sock:
        sock.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sock.send(b"I\n" * 1000)
        time.sleep(0.5)
        assert world.relay.memory() - memory < 4 << 20
        assert world.relay.ask("V") == "20040107"


def test_b08_a_client_that_does_not_wait_for_its_reply_does_no_harm(world: World) -> None:
    for number in range(50):
        with connected(world, "oneshot") as sock:
            sock.sendall(b"U gone-%d 192.0.2.1 4000 f" % number)
    wait_until(lambda: world.relay.ask("D gone-49 f") == "0", "the last one was executed")
    for number in range(49):
        assert world.relay.ask(f"D gone-{number} f") in ("0", "E50")


def test_b09_a_flood_of_calls_ends_at_the_limit_and_harms_none(world: World) -> None:
    with world.call() as call:
        call.settle()
        codes: dict[str, int] = {}
        for number in range(10_000):
            reply = world.relay.ask(f"U flood-{number} 192.0.2.1 4000 f").split()[0]
            codes[reply if reply.startswith("E") else "ok"] = (
                codes.get(reply if reply.startswith("E") else "ok", 0) + 1
            )
        assert set(codes) <= {"ok", "E71", "E72", "E98"}
        assert 400 < codes["ok"] < 500
        call.goes_on()
        for number in range(codes["ok"]):
            assert world.relay.ask(f"D flood-{number} f") == "0"


def test_b10_a_call_has_so_many_media_and_no_more(world: World) -> None:
    replies = [world.relay.ask(f"U many 192.0.2.1 4000 f;{number}") for number in range(1, 200)] + [
        world.relay.ask("U many 192.0.2.1 4000 f;999999")
    ]
    given = [each for each in replies if not each.startswith("E")]
    assert len(given) == 32
    assert set(replies) - set(given) <= {"E71", "E72"}
    assert world.relay.ask("D many f") == "0"


def test_b11_what_concerns_no_call_is_refused_without_a_word(world: World) -> None:
    log = len(world.relay.log())
    for number in range(500):
        assert world.relay.ask(f"D none-{number} f t") == "E50"
        assert world.relay.ask(f"Q none-{number} f t") == "E50"
        assert world.relay.ask(f"P none-{number} x session f t") == "E50"
        assert world.relay.ask(f"L none-{number} 192.0.2.1 4000 f t") in ("0", "E50")
    assert len(world.relay.log()[log:].splitlines()) < 20


def test_b12_a_call_ends_once_whatever_goes_on(world: World) -> None:
    prompt(world)
    with world.call(answered=False) as call:
        assert call.end() == "0"
        assert call.end() == "E50"
        assert world.relay.ask(f"L {call.name} 192.0.2.1 4000 f t") in ("0", "E50")
    with world.call() as call:
        call.settle()
        assert world.relay.ask(f"P-1 {call.name} music 0 f t") == "0"
        assert world.relay.ask(f"R {call.name} f t") == "0"
        assert call.end() == "0"
        assert call.end() == "E50"


def prompt(world: World) -> None:
    """A second of silence."""
    (world.relay.folder / "prompts" / "music.0").write_bytes(b"\xff" * 8000)


def test_b13_a_call_of_the_same_name_has_other_ports(world: World) -> None:
    with world.call() as call:
        before = (call.caller.to, call.callee.to)
        call.end()
        call.callee.to = call.offer()
        call.caller.to = call.answer()
        assert not {call.caller.to, call.callee.to} & set(before)
        call.settle()


@pytest.mark.parametrize(
    "where",
    [
        *("999.1.1.1 4000", "::1%lo 4000", "host.example 4000", "0.0.0.0 4000", "0.0.0.0 0"),
        *("255.255.255.255 4000", ":: 4000", "192.0.2.1 -1", "192.0.2.1 0", "192.0.2.1 65536"),
        *("192.0.2.1 99999999999999999999", "192.0.2.1 x", "192.0.2.1 " + "9" * 5000),
    ],
)
def test_b14_odd_addresses_are_refused_or_unknown(world: World, where: str) -> None:
    reply = world.relay.ask(f"U odd {where} f")
    assert re.match(r"E\d+$|\d+ ", reply), reply
    assert world.relay.ask("D odd f") == ("E50" if reply.startswith("E") else "0")


def test_b15_families_are_not_mixed(world: World) -> None:
    for command in ("U6 mixed 192.0.2.1 4000 f", "U mixed 2001:db8::9 4000 f"):
        reply = world.relay.ask(command)
        if not reply.startswith("E"):
            view = json.loads(world.relay.get("/api/v1/calls/mixed"))
            text = json.dumps(view["sessions"][0]["legs"])
            assert "::ffff" not in text
            assert world.relay.ask("D mixed f") == "0"
    assert world.relay.ask("U6l[2001:db8::1] six 2001:db8:1::9 4000 f").endswith(" 6")
    assert world.relay.ask("D six f") == "0"


def test_b16_media_does_not_go_to_ourselves_or_where_no_party_is(world: World) -> None:
    with world.call() as victim:
        victim.settle()
        for host, port in (
            (RELAY, PORT),
            victim.caller.to,
            ("127.0.0.1", 8080),
            ("169.254.169.254", 80),
            ("224.0.0.1", 4000),
        ):
            with world.call(callee_says=(host, port)) as call:
                nowhere = world.relay.metric('relay_drops_total{reason="no_peer"}')
                call.caller.say(10)
                wait_until(
                    lambda before=nowhere: (
                        world.relay.metric(  # type: ignore[misc]
                            'relay_drops_total{reason="no_peer"}'
                        )
                        >= before + 10
                    ),
                    "nothing is sent there",
                )
        assert victim.callee.hear(0.05) == []
        victim.goes_on()


def test_b17_a_name_is_only_a_name(world: World) -> None:
    recordings = world.relay.folder / "recordings"
    before = {path for path in world.relay.folder.rglob("*") if recordings not in path.parents}
    for number, name in enumerate(NAMES):
        with world.call(name=name) as call:
            assert world.relay.ask(f"R {name} f t") == "0"
            call.goes_on(3)
            if len(name) < 200:
                listed = world.relay.get(
                    f"/api/v1/calls/{quote(name, safe='').replace('.', '%2E')}"
                )
                assert json.loads(listed)["sessions"], (number, name)
    after = {path for path in world.relay.folder.rglob("*") if recordings not in path.parents}
    assert {path.name for path in after - before} <= {"http"}
    assert all(len(path.name) < 256 for path in recordings.iterdir())
    assert not Path("/etc/cron.d/x").exists()
    assert not Path("/abs").exists()


def test_b18_odd_tags_are_tags(world: World) -> None:
    ask = world.relay.ask
    assert ask("U odd 192.0.2.1 4000 same").split()[0].isdigit()
    assert ask("L odd 192.0.2.2 4000 same same").split()[0].isdigit()
    assert ask("D odd same same") == "0"
    assert ask("U odd 192.0.2.1 4000 f").split()[0].isdigit()
    first = ask("L odd 192.0.2.2 4000 f t").split()[0]
    # The callee's own offer.
    assert ask("U odd 192.0.2.3 4000 t f").split()[0] == first
    assert ask("D odd t f") == "0"


def test_b19_notices_go_nowhere_but_where_they_may(world: World) -> None:
    with world.field.relay, socket.socket() as listener:
        listener.bind(("127.0.0.1", 7777))
        listener.listen()
        listener.settimeout(0.2)
        for target in (
            *("tcp:169.254.169.254:80", "unix:/run/systemd/private", "http://127.0.0.1:7777/"),
            *("tcp:127.0.0.1:7777", "unix:../notices", "%25%25CC_SELF%25%25"),
        ):
            reply = world.relay.ask(f"U notify 192.0.2.1 4000 f t {target} mark && S ttl=1")
            assert reply.split()[0].isdigit(), "the call is made all the same"
        time.sleep(1.5)
        with pytest.raises(TimeoutError):
            listener.accept()
    world.relay.ask("D notify f t")


def test_b20_a_listener_that_resets_or_is_away_gets_its_notices_later(world: World) -> None:
    path = world.relay.folder / "notices-late"
    for number in range(5):
        words = f"unix:{path} mark-{number}"
        world.relay.ask(f"U late-{number} 192.0.2.1 4000 f t {words} && S ttl=1")
    time.sleep(1.15)  # the first try is in vain
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)
        try:
            rude, _ = listener.accept()
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.close()
            heard: set[bytes] = set()
            while len(heard) < 4:
                client, _ = listener.accept()
                client.settimeout(2)
                with client, suppress(TimeoutError):
                    while len(heard) < 4 and (part := client.recv(4096)):
                        heard.update(part.split())
        finally:
            path.unlink()
    assert heard <= {b"mark-%d" % number for number in range(5)}


def test_b21_a_notice_is_one_line(world: World) -> None:
    path = world.relay.folder / "notices-line"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)
        try:
            tag = "a%20b%0d%0aE0%00c%41"
            world.relay.ask(f"U line 192.0.2.1 4000 f t unix:{path} {tag} && S ttl=1")
            client, _ = listener.accept()
            with client:
                client.settimeout(5)
                assert client.recv(4096) == b"a b%0d%0aE0%00cA\n"
        finally:
            path.unlink()


def test_b22_only_regular_files_below_the_directory_are_played(world: World) -> None:
    folder = world.relay.folder / "prompts"
    fifo, zero, huge = folder / "fifo.0", folder / "zero.0", folder / "huge.0"
    outside = world.relay.folder / "outside.0"
    outside.write_bytes(b"secret" * 100)
    os.mkfifo(fifo)
    zero.symlink_to("/dev/zero")
    (folder / "link.0").symlink_to(outside)
    with huge.open("wb") as file:
        file.truncate(10 << 30)
    with world.call() as call:
        call.settle()
        for name in ("../../../etc/shadow", "/etc/shadow", "fifo", "zero", "link", "none", "."):
            assert world.relay.ask(f"P {call.name} {name} 0 f t") == "E60", name
        assert world.relay.ask(f"P {call.name} huge 0 f t") == "0"
        memory = world.relay.memory()
        assert call.caller.listen(10)
        assert world.relay.memory() - memory < 8 << 20
    for path in (fifo, zero, huge, folder / "link.0", outside):
        path.unlink()


def test_b23_a_prompt_ends_with_its_call(world: World) -> None:
    prompt(world)
    for count in ("-1", "1000000000"):
        with world.call() as call:
            call.settle()
            assert world.relay.ask(f"P{count} {call.name} music 0 f t") == "0"
            assert len(call.caller.listen(10)) == 10
    with world.call() as call:
        call.settle()
        reply = world.relay.ask(f"P{'9' * 40} {call.name} music 0 f t")
        assert reply == "0" or reply.startswith("E")


def test_b24_what_cannot_be_recorded_costs_the_recording_only(world: World) -> None:
    folder = world.relay.folder / "recordings"
    aside = folder.with_name("aside")
    with world.call() as call:
        call.settle()
        folder.rename(aside)
        try:
            for _ in range(3):
                world.relay.ask(f"R {call.name} f t")
                call.goes_on(5)
                world.relay.ask(f"N {call.name} f t")
            folder.symlink_to("/nowhere/at/all")
            world.relay.ask(f"R {call.name} f t")
            call.goes_on(5)
        finally:
            folder.unlink(missing_ok=True)
            aside.rename(folder)
        world.relay.ask(f"N {call.name} f t")
        call.goes_on()


def test_b25_a_command_that_its_socket_does_not_take_is_refused(world: World) -> None:
    with world.call() as call, connected(world) as sock:
        call.settle()
        sock.sendall(b"X\nV && X\nx\n")
        assert lines(sock, 3)[0] == b"E3"
        call.goes_on()


def test_b26_questions_about_everything_are_bounded(world: World) -> None:
    for number in range(300):
        world.relay.ask(f"U crowd-{number} 192.0.2.1 4000 f")
    with datagrams(world) as sock:
        sock.send(b"c I")
        assert len(sock.recv(65535)) < 1400
    assert len(json.loads(world.relay.get("/api/v1/calls?limit=1000"))["calls"]) >= 300
    for number in range(300):
        world.relay.ask(f"D crowd-{number} f")


def test_b27_what_is_not_understood_does_nothing(world: World) -> None:
    before = world.relay.metric("relay_sessions_created_total")
    for command in (
        *("U!! x 192.0.2.1 4000 f", "U x 192.0.2.1 4000 f && M9:1 x", "U x 192.0.2.1 4000 f &&"),
        *("U x 192.0.2.1 4000 f && S ttl=x", "Uz0 x 192.0.2.1 4000 f", "UcA x 192.0.2.1 4000 f"),
        *("U x 192.0.2.1 4000 f t && L 192.0.2.1 99999", "U x 192.0.2.1 4000 f && Z"),
    ):
        assert world.relay.ask(command).startswith("E"), command
    assert world.relay.metric("relay_sessions_created_total") == before


def test_b28_however_commands_are_cut_each_is_answered_in_order(world: World) -> None:
    text = b"V\nVF 20040107\r\nD none f\nV\r\nX1\n" * 20
    with connected(world) as sock:
        for at in range(0, len(text), 7):
            sock.send(text[at : at + 7])
        got = lines(sock, 100)
    assert got[:4] == [b"20040107", b"1", b"E50", b"20040107"]
    assert got == got[:5] * 20


def test_b29_who_is_not_named_is_not_answered(world: World) -> None:
    """The networks of the field are named; other addresses are not."""
    refused = world.relay.metric('relay_control_refused_total{reason="stranger"}')
    world.field.caller.ip("address add 203.0.113.5/32 dev lo")
    world.field.relay.ip(f"route add 203.0.113.5/32 via {CALLER}")
    try:
        with world.field.caller:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.bind(("203.0.113.5", 0))
            sock.settimeout(0.3)
            for command in (b"c V", b"c I", b"c X", b"c G nsess_created"):
                sock.sendto(command, (RELAY, PORT))
            with pytest.raises(TimeoutError):
                sock.recv(2048)
    finally:
        world.field.relay.ip(f"route del 203.0.113.5/32 via {CALLER}")
        world.field.caller.ip("address del 203.0.113.5/32 dev lo")
    assert world.relay.metric('relay_control_refused_total{reason="stranger"}') == refused + 4


def test_b30_two_proxies_that_use_one_name_mean_one_call(world: World) -> None:
    """The names are all there is to tell calls apart: the second proxy's command is an update."""
    with datagrams(world) as one, connected(world) as other:
        one.send(b"a U shared 192.0.2.1 4000 f")
        first = one.recv(2048).split()[1]
        other.sendall(b"U shared 192.0.2.2 5000 f\n")
        assert lines(other, 1)[0].split()[0] == first
        other.sendall(b"U shared 192.0.2.2 5000 g\n")
        assert lines(other, 1)[0].split()[0] != first
    assert world.relay.ask("D shared f") == "0"
    assert world.relay.ask("D shared g") == "0"


def test_b31_a_storm_of_commands_holds_up_neither_media_nor_replies(world: World) -> None:
    with ExitStack() as stack:
        storm = [stack.enter_context(connected(world, "control")) for _ in range(4)]
        waited = world.relay.waited()
        times = []
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            for sock in storm:
                sock.sendall(b"U s 192.0.2.1 4000 f\nD s f\n" * 20)
            began = time.monotonic()
            assert world.relay.ask("V") == "20040107"
            times.append(time.monotonic() - began)
            for sock in storm:
                lines(sock, 40)
        times.sort()
        p99 = times[int(len(times) * 0.99)]
        waited = world.relay.waited() - waited
        assert p99 < 0.02 or waited > 0.1, f"{1000 * p99:.0f} ms"
    world.relay.ask("D s f")


def test_b32_deep_and_long_messages_of_other_languages_are_errors(world: World) -> None:
    """There is no bencode here; JSON is the only language with depth."""
    deep = b"l" * 8000 + b"e" * 100
    with datagrams(world) as sock:
        for message in (
            b"c " + deep,
            b"c d7:command4:pinge",
            b"c 99999999999:",
            b"c i" + b"9" * 8000 + b"e",
        ):
            sock.send(message)
            assert re.match(rb"c E\d+\n", sock.recv(2048))
    with world.call() as call:
        for body in (
            b"[" * 30_000,
            b'{"a":' * 10_000,
            b"9" * 50_000,
            b'{"single": 1, "single": 2}',
        ):
            path = f"/api/v1/calls/{quote(call.name, safe='')}/record"
            answer = http(world, post(path, body))
            assert status(answer) in (400, 413), answer[:200]


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """A request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json\r\n"
    head += f"Connection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def test_b33_http_keeps_hostile_requests_out(world: World) -> None:
    path = "/api/v1/calls/x/record"
    assert status(http(world, post(path, b"a" * 100_000))) == 413
    for traversal in ("/page/../../../../etc/passwd", "/page/%2e%2e/%2e%2e/api.py", "//etc/passwd"):
        request = f"GET {traversal} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert status(http(world, request.encode())) == 404
    for header in ("Host: evil.example", "Host: localhost\r\nOrigin: http://evil.example"):
        request = f"DELETE /api/v1/calls/x HTTP/1.1\r\n{header}\r\nConnection: close\r\n\r\n"
        assert status(http(world, request.encode())) == 403
    with ExitStack() as stack:
        listening = 0
        for _ in range(200):
            with world.field.relay, suppress(OSError):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", 8080), 5))
                sock.settimeout(0.5)
                with suppress(OSError):
                    sock.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    listening += b" 200 " in sock.recv(200)
        assert listening == 32
        assert world.relay.ask("V") == "20040107"


def test_b34_hostile_names_are_text_wherever_they_are_shown(world: World) -> None:
    name = "<script>alert(1)</script>"
    with world.call(name=name) as call:
        call.settle()
        request = b"GET /api/v1/calls HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = http(world, request)
        assert b"content-type: application/json" in answer.lower()
        assert b"nosniff" in answer.lower()
        page = http(world, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"content-security-policy" in page.lower()
        assert b"unsafe-inline" not in page
        assert name.encode() not in page


def test_the_calls_of_a_test_are_real(world: World) -> None:
    """The harness itself: a call that is not answered relays nothing."""
    with Call(world, answered=False) as call:
        call.callee.socket.sendto(rtp(1), call.callee.to)
        assert call.caller.hear(0.05) == []
