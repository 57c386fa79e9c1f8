"""Two machines and keepalived, by the guide's files: an address moves, and its calls go on.

The machines are namespaces on one bridge: networks of their own, with layers of their own over
/etc, /usr/share and /run, so that what the guide tells to write is written where it says. A third
one has the telephones, the SIP proxy and Redis.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from bench.namespaces import Namespace, missing
from tests.e2e.process import Process, wait_until
from tests.packages.guide import steps_of

ROOT = Path(__file__).parent.parent.parent
OWN = {"one": "192.0.2.11", "two": "192.0.2.12"}
MOVING = "192.0.2.10"
REDIS, PROXY, CALLER, CALLEE = "192.0.2.5", "192.0.2.20", "192.0.2.21", "192.0.2.22"
LAYERED = ("etc", "usr/share")

_LAYERS = """
mount -t tmpfs none {folder}
for place in {places}; do
    upper={folder}/$place work={folder}/work/$place
    mkdir -p $upper $work
    mount -t overlay none -o lowerdir=/$place,upperdir=$upper,workdir=$work /$place
done
mount -t tmpfs none /run
mkdir -p /run/rtpproxy-tw /etc/rtpproxy-tw /usr/share/rtpproxy-tw
cp -r {root}/packaging/keepalived /usr/share/rtpproxy-tw/
# Another name of root's here: the user that the package makes could not read this source tree.
echo rtpproxy:x:0:0::/:/bin/sh >>/etc/passwd
"""


def unavailable() -> str:
    """Why there can be no two machines here; empty: there can."""
    if reason := missing():
        return reason
    lacking = [name for name in ("keepalived", "redis-server", "curl") if not shutil.which(name)]
    if lacking:
        return f"missing: {', '.join(lacking)}"
    return "" if "overlay" in Path("/proc/filesystems").read_text() else "no overlays here"


pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(unavailable()), reason=unavailable()),
]


class Host:
    """One of the two machines, with nothing on it yet."""

    def __init__(self, name: str, hub: Namespace, folder: Path, stack: ExitStack) -> None:
        self.name = name
        self._stack = stack
        self._folder = folder / name
        (self._folder / "layers").mkdir(parents=True)
        self.network = joined(hub, name, OWN[name])
        stack.callback(self.network.delete)
        layers = _LAYERS.format(folder=self._folder / "layers", root=ROOT, places=" ".join(LAYERED))
        # The layers are there as long as a process is in them.
        lasting = f"{layers}\necho ready\nexec sleep 600"
        self._home = self._start("home", "unshare", "-m", "sh", "-ec", lasting)
        wait_until(lambda: not self._home.running or "ready" in self.said(), "layers", 10)
        assert self._home.running, self.said()

    def _start(self, log: str, *argv: str) -> Process:
        words = ["ip", "netns", "exec", self.network.name, *argv]
        return self._stack.enter_context(Process(words, self._folder / f"{log}.log"))

    def _inside(self, *argv: str) -> list[str]:
        programs = f"{self._folder.parent}/shims:{Path(sys.executable).parent}"
        variables = [f"PATH={programs}:{os.environ['PATH']}", f"PYTHONPATH={ROOT}"]
        variables.append("RUNTIME_DIRECTORY=/run/rtpproxy-tw")
        return ["nsenter", "-t", str(self._home.pid), "-m", "env", *variables, *argv]

    def run(self, script: str) -> str:
        """What a shell prints there; it must succeed."""
        argv = ["ip", "netns", "exec", self.network.name, *self._inside("sh", "-ec", script)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_relay(self) -> Process:
        """What the unit starts, but for the user, and without the kernel's help."""
        launcher = f"{sys.executable} -m rtpproxy_tw.tools.launcher -f -F --fast-path none"
        words = f"{launcher} -p /dev/null --config /etc/rtpproxy-tw/rtpproxy.toml"
        return self._start("relay", *self._inside(*words.split()))

    def start_keepalived(self) -> Process:
        """What its unit starts, with its messages on the standard output."""
        return self._start(
            "keepalived", *self._inside("keepalived", "--dont-fork", "--log-console", "--vrrp")
        )

    def has_the_address(self) -> bool:
        """Whether 192.0.2.10 is here."""
        return MOVING in self.run("ip -o address show dev eth0")

    def said(self) -> str:
        """All logs of its programs."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))


def joined(hub: Namespace, name: str, *addresses: str) -> Namespace:
    """A network with eth0 on the hub's bridge."""
    made = Namespace(name)
    hub.ip(
        f"link add {name} type veth peer name eth0 netns {made.name}",
        f"link set {name} master br0 up",
    )
    made.ip(*(f"address add {each}/24 dev eth0" for each in addresses), "link set eth0 up")
    return made


class World:
    """The two machines as the guide leaves them, and what is outside."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        hub = Namespace("hub", "link add br0 type bridge mcast_snooping 0", "link set br0 up")
        stack.callback(hub.delete)
        self.outside = joined(hub, "outside", REDIS, PROXY, CALLER, CALLEE)
        stack.callback(self.outside.delete)
        (folder / "shims").mkdir()
        for name in ("apt-get", "systemctl"):  # both are there, and the test starts what is to run
            (folder / "shims" / name).write_text("#!/bin/sh\n")
            (folder / "shims" / name).chmod(0o755)
        redis = f"redis-server --bind {REDIS} --protected-mode no --dir {folder} --save"
        words = ["ip", "netns", "exec", self.outside.name, *redis.split(), ""]
        stack.enter_context(Process(words, folder / "redis.log"))
        self.hosts = {name: Host(name, hub, folder, stack) for name in OWN}
        for step in steps_of("two-relays"):
            for name, host in self.hosts.items():
                if step.elsewhere and (name == "two" or "second machine" not in step.caption):
                    host.run(step.script)
        self._cookies = count(1)

    def socket(self, address: str) -> socket.socket:
        """One of whoever has that address outside."""
        with self.outside:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 0))
        made.settimeout(0.2)
        return made

    def ask(self, command: str) -> str:
        """What the relay at 192.0.2.10 answers to the SIP proxy. Raises OSError."""
        cookie = f"k{next(self._cookies)}"
        with self.socket(PROXY) as sock:
            sock.sendto(f"{cookie} {command}".encode(), (MOVING, 22222))
            return sock.recv(2048).decode().removeprefix(f"{cookie} ").strip()

    def answers(self) -> bool:
        """Whether there is a relay at the address."""
        try:
            return self.ask("V") == "20040107"
        except OSError:
            return False

    def holder(self) -> Host | None:
        """The only machine that has the address."""
        having = [host for host in self.hosts.values() if host.has_the_address()]
        return having[0] if len(having) == 1 else None

    def said(self) -> str:
        """What all programs on both machines said."""
        return "\n".join(f"{name}:\n{host.said()}" for name, host in self.hosts.items())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


class Call:
    """A call through 192.0.2.10."""

    def __init__(self, world: World) -> None:
        self._caller, self._callee = world.socket(CALLER), world.socket(CALLEE)
        offer = f"U moving {CALLER} {self._caller.getsockname()[1]} f"
        answer = f"L moving {CALLEE} {self._callee.getsockname()[1]} f t"
        self._for_callee = (MOVING, int(world.ask(offer).split()[0]))
        self._for_caller = (MOVING, int(world.ask(answer).split()[0]))
        self._number = 0

    def is_heard(self) -> bool:
        """Whether the next packet of each party reaches the other one."""
        self._number += 1
        head = b"\x80\0" + self._number.to_bytes(2, "big")
        packet = head + (160 * self._number).to_bytes(4, "big") + b"\0\0\0\1" + bytes(160)
        self._caller.sendto(packet, self._for_caller)
        self._callee.sendto(packet, self._for_callee)
        return self._gets(self._caller, packet) and self._gets(self._callee, packet)

    @staticmethod
    def _gets(sock: socket.socket, packet: bytes) -> bool:
        try:
            while sock.recv(2048) != packet:
                pass
        except OSError:
            return False
        return True

    def close(self) -> None:
        """No more of it."""
        self._caller.close()
        self._callee.close()


def test_keepalived_takes_its_file_as_it_is(world: World) -> None:
    """Warnings count: for most of them it goes on, and ignores the line."""
    for host in world.hosts.values():
        assert host.run("keepalived --config-test 2>&1") == ""


@pytest.mark.parametrize("state, does", [("MASTER", "takeover\n"), ("BACKUP", ""), ("FAULT", "")])
def test_the_relay_is_told_when_the_address_comes(tmp_path: Path, state: str, does: str) -> None:
    """And of nothing else: the other one sees that it went."""
    (tmp_path / "rtpproxy-ctl").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "rtpproxy-ctl").chmod(0o755)
    script = ROOT / "packaging" / "keepalived" / "notify"
    told = subprocess.run(
        [script, "INSTANCE", "media", state, "150"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == does


def test_the_address_moves_and_the_call_goes_on(world: World) -> None:
    """First as one keepalived is stopped, then back, as the relay with the call is killed."""
    relays = {name: host.start_relay() for name, host in world.hosts.items()}
    keepers = {name: host.start_keepalived() for name, host in world.hosts.items()}
    try:
        wait_until(world.answers, "a relay answers at the address", 20)
        first = world.holder()
        assert first is not None
        (second,) = (host for host in world.hosts.values() if host is not first)
        call = Call(world)
        wait_until(call.is_heard, "the call is relayed", 10)

        keepers[first.name].end()
        wait_until(lambda: world.holder() is second, "the address moves", 10)
        wait_until(call.is_heard, "the call goes on at the other one", 10)
        assert relays[first.name].running

        keepers[first.name] = first.start_keepalived()
        wait_until(lambda: "Entering BACKUP STATE" in first.said(), "it stands by", 10)
        assert world.holder() is second, "which comes back takes nothing from a living one"
        relays[second.name].kill()
        wait_until(lambda: world.holder() is first, "the address moves back", 15)
        wait_until(call.is_heard, "the call goes on where it began", 10)
        assert world.ask("D moving f t") == "0"
        call.close()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{world.said()}") from error
