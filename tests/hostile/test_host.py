"""Rows C: what the host can do to a relay. Everything in docs/hostile.rst."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.process import wait_until
from tests.hostile.exemptions import ADDRESSLESS, BROKEN, KILLED, STOPPED, UNREACHABLE, UNREAD
from tests.hostile.host import HOST, faked, namespace, recorded, root
from tests.hostile.local import Local
from tests.hostile.relay import Relay
from tests.hostile.watch import Watch
from tests.hostile.world import CALLER, RELAY, World, rtp

pytestmark = pytest.mark.hostile

__all__ = ["root"]


def test_c06_a_standstill_of_our_own_ends_no_call(tmp_path: Path) -> None:
    with Local(tmp_path, "-T", "2", exempt=(STOPPED,)) as here, here.call() as call:
        call.settle()
        here.relay.signal(signal.SIGSTOP)
        time.sleep(3)
        here.relay.signal(signal.SIGCONT)
        time.sleep(0.3)
        call.goes_on()
        assert here.sessions() == 1
        assert max(here.relay.lag().values()) > 0


def test_c07_a_wall_clock_that_is_set_ends_no_call(tmp_path: Path) -> None:
    clock, env = faked(tmp_path)
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    options = ("-T", "2", "-r", str(recordings), "--record-min-free", "0")
    with Local(tmp_path / "relay", *options, env=env) as here, here.call() as call:
        call.settle()
        here.relay.ask(f"R {call.name} f t")
        for step in ("+1d", "-1d", "+10y", "+0"):
            clock.write_text(step)
            for _ in range(3):
                call.goes_on(5)
                time.sleep(0.1)
        logged = here.relay.log()
        assert len({line[:2] for line in logged.splitlines()}) >= 1
        assert here.sessions() == 1
        assert here.relay.metric("relay_uptime_seconds") < 600
    # Its packets are in order, whatever the clock said.
    (sidecar, *_) = [json.loads(path.read_bytes()) for path in recordings.glob("*.json")]
    assert sidecar["packets"] == 60


def test_c08_a_clock_that_jumps_about_breaks_nothing(tmp_path: Path) -> None:
    clock, env = faked(tmp_path)
    with Local(tmp_path / "relay", env=env) as here, here.call() as call:
        call.settle()
        for number in range(40):
            clock.write_text(f"{'-' if number % 2 else '+'}{number * 37}")
            call.goes_on(2)


def test_c12_signals_in_heaps_change_nothing_and_end_it_once(tmp_path: Path) -> None:
    with Local(tmp_path) as here, here.call() as call:
        call.settle()
        for _ in range(100):
            for number in (signal.SIGUSR1, signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH):
                here.relay.signal(number)
        call.goes_on()
        for _ in range(20):
            here.relay.signal(signal.SIGHUP)
        call.goes_on()
        assert here.relay.ask("U new 192.0.2.1 4000 f") == "E99"
        call.end()
        here.check()
        here.leave()
        wait_until(lambda: not here.relay.running, "it ends with the last call")
        assert here.relay.status == 0


def test_c13_after_a_kill_it_starts_again_at_once_where_it_was(tmp_path: Path) -> None:
    with Local(tmp_path, exempt=(KILLED,)) as here:
        with here.call() as call:
            call.settle()
            here.relay.kill()
            before = call.caller.to, call.callee.to
        again = Local(tmp_path)
        with again:
            # Nobody has told where to find the ports of the dead one but the next offer.
            with again.call() as call:
                call.settle()
                call.goes_on()
            assert before


def test_c14_a_helper_that_hangs_or_dies_is_no_matter(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\nexec sleep 1000\n")
    hook.chmod(0o755)
    options = recorded(folder, "-a", "--record-command", str(hook))
    with Local(tmp_path / "relay", *options) as here:
        with here.call() as call:
            call.settle()
            wait_until(lambda: bool(children(here.relay.pid)), "a helper runs")
            call.goes_on()
            for child in children(here.relay.pid):
                os.kill(child, signal.SIGSTOP)
            call.goes_on()
            for child in children(here.relay.pid):
                os.kill(child, signal.SIGKILL)
            call.goes_on()
        here.check()
        here.leave()
        here.relay.signal(signal.SIGTERM)
        # It would give its helpers ten seconds.
        end = time.monotonic() + 5
        while here.relay.running and time.monotonic() < end:
            for child in children(here.relay.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.02)
        assert not here.relay.running


def children(pid: int) -> list[int]:
    """Of a process."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def test_c15_a_network_that_goes_and_comes_back_ends_no_call(tmp_path: Path, root: None) -> None:
    world = World(tmp_path / "world")
    relay = world.field.relay
    watch = Watch(world, (UNREACHABLE,))
    try:
        with world.call() as call:
            call.settle()
            relay.ip("link set eth0 down")
            time.sleep(0.3)
            assert world.relay.ask("V") == "20040107"
            relay.ip("link set eth0 up", f"route add default via {CALLER}")
            reachable(call)
            call.goes_on()
            relay.ip(f"address del {RELAY}/15 dev eth0")
            time.sleep(0.3)
            assert world.relay.ask("V") == "20040107"
            relay.ip(f"address add {RELAY}/15 dev eth0", f"route replace default via {CALLER}")
            reachable(call)
            call.goes_on()
        watch.check()
    finally:
        world.close()


def reachable(call: object) -> None:
    """Until packets arrive both ways again."""
    from tests.hostile.world import Call

    assert isinstance(call, Call)

    def arrives() -> bool:
        with suppress(OSError):
            said = call.caller.say(1) + call.callee.say(1)
            return bool(said) and bool(call.callee.hear(0.05)) and bool(call.caller.hear(0.05))
        return False

    wait_until(arrives, "the network is back", 15)


def refuses(tmp_path: Path, *options: str, host: str = HOST, **how: object) -> str:
    """What a relay says that must not start."""
    relay = Relay(tmp_path, host, options, wait=False, **how)  # type: ignore[arg-type]
    try:
        wait_until(lambda: not relay.running, "it ends by itself", 20)
        assert relay.status == 1, relay.log()
        assert "Traceback" not in relay.log(), relay.log()
        return relay.log()
    finally:
        relay.kill()


def test_c16_an_address_that_is_not_here_is_named(tmp_path: Path) -> None:
    """It serves all the same: an address that moves between hosts may come later."""
    with Local(tmp_path, host="203.0.113.77", exempt=(ADDRESSLESS,)) as here:
        assert "media address 203.0.113.77 cannot be used" in here.relay.log()
        assert here.relay.ask("U c 192.0.2.1 4000 f").startswith("E7")
        assert here.sessions() == 0


def test_c17_it_starts_with_the_family_there_is(tmp_path: Path, root: None) -> None:
    with namespace() as where:
        with where:
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        with Local(tmp_path / "four", where=where) as here, here.call() as call:
            call.settle()
        with Local(tmp_path / "none", "-6", "six@::1", host="127.0.0.1", where=where) as here:
            assert "media address ::1 cannot be used" in here.relay.log()
            assert here.relay.ask("U c 192.0.2.1 4000 f").endswith(" 127.0.0.1")
            assert here.relay.ask("U6 c6 2001:db8::9 4000 f").startswith("E")
            assert here.relay.ask("D c f") == "0"
        with where:
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("0")
            Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("0")
        where.ip("address flush dev lo", "address add ::1/128 dev lo")
        # Of options that may be repeated all count; a second relay address of the other family.
        with Local(tmp_path / "six", host="::1", where=where) as here:
            assert here.relay.ask("U6 c 2001:db8::9 4000 f").endswith(" ::1 6")
            assert here.relay.ask("D c f") == "0"


def test_c18_what_changes_the_packet_filter_changes_no_call(tmp_path: Path, root: None) -> None:
    """Rules come and go; the table of connections is the whole host's, so it stays as it is."""
    if shutil.which("nft") is None:
        pytest.skip("no nft command here")
    with namespace() as where, Local(tmp_path, where=where) as here, here.call() as call:
        call.settle()
        inside = ["nsenter", f"--net=/run/netns/{where.name}", "nft"]
        for _ in range(5):
            rules = (
                "add table inet t; add chain inet t c { type filter hook input priority 0; };"
                "add rule inet t c udp dport 1-65535 accept"
            )
            subprocess.run([*inside, rules], check=True)
            call.goes_on(5)
            subprocess.run([*inside, "flush ruleset"], check=True)
            call.goes_on(5)


def test_c19_nobody_who_reads_the_log_is_waited_for(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    program = [sys.executable, "-m", "tests.hostile.probe"]
    # Standard error is a pipe that nobody reads.
    launch = ["sh", "-c", f'exec "$@" 2>/proc/{os.getpid()}/fd/{writing}', "sh"]
    with Local(tmp_path, "-d", "DBUG", exempt=(UNREAD,), program=program, launch=launch) as here:
        with here.call() as call:
            call.settle()
            for number in range(3000):
                here.relay.ask(f"Q nobody-{number} f t")
            call.goes_on()
        assert here.relay.ask("V") == "20040107"
    os.close(reading)
    os.close(writing)


def test_c20_what_a_dead_relay_left_is_taken_over_and_a_living_one_is_not(tmp_path: Path) -> None:
    with Local(tmp_path) as here:
        said = refuses(tmp_path / "second", "-s", f"unix:{here.relay.path}")
        assert str(here.relay.path) in said
        assert here.relay.fresh().ask(b"V") == b"20040107"
        here.check()
        here.leave()
        here.relay.kill()
    (tmp_path / "pid").write_text("999999")
    with Local(tmp_path) as here:
        assert int((tmp_path / "pid").read_text()) == here.relay.pid
    closed = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh"]
    with Local(tmp_path / "closed", launch=closed) as here, here.call() as call:
        call.settle()


def test_c21_two_relays_never_share_a_port(tmp_path: Path) -> None:
    # Ten pairs, and two for each of the calls beside the row.
    options = ("-m", "27200", "-M", "27227")
    with Local(tmp_path / "one", *options) as one, Local(tmp_path / "two", *options) as two:
        ports = [
            here.relay.ask(f"U c-{number} 192.0.2.1 4000 f").split()[0]
            for number in range(10)
            for here in (one, two)
        ]
        given = [port for port in ports if not port.startswith("E")]
        assert len(given) == len(set(given)) == 10
        assert set(ports) - set(given) == {"E72"}
        said = refuses(tmp_path / "three", "-s", f"cunix:{one.relay.path}")
        assert "in use" in said or "taken" in said or str(one.relay.pid) in said, said
        for number in range(10):
            for here in (one, two):
                here.relay.ask(f"D c-{number} f")


def test_c22_without_rights_a_hand_over_fails_cleanly_or_not_at_all(root: None) -> None:
    with (
        # Where another user gets to.
        TemporaryDirectory() as name,
        Local(anybodys(Path(name)) / "relay", "-u", "nobody") as here,
        here.call() as call,
    ):
        call.settle()
        here.relay.signal(signal.SIGUSR2)
        time.sleep(1.5)
        call.goes_on()
        assert here.relay.fresh().ask(b"V") == b"20040107"
        call.end()
        pid = int((Path(name) / "relay" / "pid").read_text() or here.relay.pid)
        if pid != here.relay.pid:
            os.kill(pid, signal.SIGTERM)


def anybodys(folder: Path) -> Path:
    """Everybody may write there."""
    folder.chmod(0o777)
    (folder / "relay").mkdir()
    (folder / "relay").chmod(0o777)
    return folder


def test_c23_helpers_inherit_no_descriptor(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    told = tmp_path / "told"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nls -l /proc/self/fd > {told}.tmp; mv {told}.tmp {told}\n")
    hook.chmod(0o755)
    options = recorded(folder, "-a", "--record-command", str(hook))
    with Local(tmp_path / "relay", *options) as here:
        with here.call() as call:
            call.settle()
        wait_until(told.exists, "the helper ran")
    assert "socket:" not in told.read_text()
    assert "eventpoll" not in told.read_text()


BREAKING = """
import sys
from rtpproxy_tw.control import dispatcher
from rtpproxy_tw.media import relay

heard = relay.Relay.received
def received(self, stream, datagram, source):
    if b"BOOM" in datagram:
        raise RuntimeError("a bug in the path of packets")
    return heard(self, stream, datagram, source)
relay.Relay.received = received

execute = dispatcher.Dispatcher.execute
def executed(self, command, *rest):
    if b"boom" in repr(command).encode():
        raise RuntimeError("a bug in a command")
    return execute(self, command, *rest)
dispatcher.Dispatcher.execute = executed

import runpy
runpy.run_module("tests.hostile.probe", run_name="__main__")
"""


def test_c24_a_bug_in_a_callback_harms_nothing_else(tmp_path: Path) -> None:
    program = tmp_path / "breaking.py"
    program.write_text(BREAKING)
    env = {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    with (
        Local(
            tmp_path / "relay",
            program=[sys.executable, str(program)],
            env=env,
            exempt=(BROKEN,),
        ) as here,
        here.call() as call,
    ):
        call.settle()
        for _ in range(300):
            call.caller.send(b"BOOM")
        for _ in range(50):
            assert here.relay.ask("U boom 192.0.2.1 4000 f") == "E81"
        call.callee.hear()
        call.goes_on()
        assert 0 < here.relay.log().count("Traceback") < 60


def churn(here: Local, sessions: int) -> tuple[int, int]:
    """Calls made and ended; memory and descriptors afterwards."""
    connection = here.relay.fresh()
    for number in range(sessions):
        name = b"churn-%d" % number
        assert connection.ask(b"U %s 192.0.2.1 4000 f" % name)[:1].isdigit()
        assert connection.ask(b"L %s 192.0.2.2 4000 f t" % name)[:1].isdigit()
        assert connection.ask(b"D %s f t" % name) == b"0"
    wait_until(lambda: here.sessions() == 0, "all are over")
    time.sleep(1.2)
    return here.relay.memory(), here.relay.descriptors()


@pytest.mark.parametrize(
    "sessions", [600, pytest.param(100_000, marks=pytest.mark.slow)], ids=["600", "100000"]
)
def test_c25_memory_and_descriptors_stay_as_they_are(tmp_path: Path, sessions: int) -> None:
    with Local(tmp_path) as here:
        # What is kept on purpose fills up first: ended sessions, late parties.
        memory, descriptors = churn(here, 1200)
        timers = here.relay.timers()
        after, left = churn(here, sessions)
        assert after < memory * 1.05 + (2 << 20), f"{memory >> 20} MiB became {after >> 20} MiB"
        assert left == descriptors
        assert here.relay.timers() <= timers + 1


def test_c26_names_cannot_be_made_to_collide(tmp_path: Path) -> None:
    """Texts are hashed with a key of the process's own, and nothing fixes it."""
    seeds = set()
    for _ in range(2):
        told = subprocess.run(
            [sys.executable, "-c", "print(hash('call-id@192.0.2.1'))"],
            env={k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED"},
            capture_output=True,
            check=True,
        )
        seeds.add(told.stdout)
    assert len(seeds) == 2
    assert sys.hash_info.algorithm.startswith("siphash")
    with Local(tmp_path) as here:
        assert "PYTHONHASHSEED" not in Path(f"/proc/{here.relay.pid}/environ").read_text()


def test_c27_it_starts_with_next_to_nothing(tmp_path: Path, root: None) -> None:
    tmp_path.chmod(0o777)
    folder = tmp_path / "relay"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    read_only = (
        f"mount --rbind / /mnt && mount -o remount,bind,ro /mnt && mount --rbind {folder}"
        f' /mnt{folder} && cd /mnt && exec chroot /mnt "$@"'
    )
    launch = [
        *("unshare", "-m", "sh", "-c", read_only, "sh", "env", "-i", "TZ=:nowhere"),
        *("LANG=xx_YY.bogus", "LC_ALL=xx_YY.bogus", f"RTPPROXY_TW_TEST_PROBE={folder}/probe"),
        f"PYTHONPATH={Path(__file__).parent.parent.parent}",
    ]
    with Local(folder, launch=launch) as here, here.call() as call:
        call.settle()


def test_c28_the_watchdog_hears_a_living_loop_only(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(20)
        env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        with Local(tmp_path / "relay", env=env, exempt=(STOPPED,)) as here:
            hear_from(systemd, b"WATCHDOG=1")
            here.relay.signal(signal.SIGSTOP)
            systemd.settimeout(0.5)
            with pytest.raises(TimeoutError):
                hear_from(systemd, b"never told")
            here.relay.signal(signal.SIGCONT)
            systemd.settimeout(5)
            hear_from(systemd, b"WATCHDOG=1")


def hear_from(systemd: socket.socket, word: bytes) -> None:
    """Until that is told."""
    while word not in systemd.recv(4096):
        pass


def test_a_relay_alone_relays(tmp_path: Path) -> None:
    """The harness itself."""
    with Local(tmp_path) as here, here.call() as call:
        call.settle()
        call.goes_on()
        assert rtp(1) != rtp(2)
