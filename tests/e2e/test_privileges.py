"""What a relay that root started has given up, as the kernel tells it of the real process."""

from __future__ import annotations

import os
import pwd
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tools import privileges
from tests.e2e import loopback
from tests.e2e.process import Process, wait_until
from tests.e2e.relay import Relay

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up"),
]

ROOT = Path(__file__).parents[2]
NOBODY = pwd.getpwnam("nobody")


def told(pid: int, thread: int | None = None) -> dict[str, list[str]]:
    """What the kernel says of a process or of one of its threads (proc(5), status)."""
    part = f"/task/{thread}" if thread is not None else ""
    lines = Path(f"/proc/{pid}{part}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def limits(pid: int, name: str) -> tuple[str, str]:
    """A soft and a hard limit."""
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
        if line.startswith(name):
            soft, hard = line[len(name) :].split()[:2]
            return soft, hard
    raise AssertionError(name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of nobody's, where nobody can get; those of pytest are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NOBODY.pw_uid, NOBODY.pw_gid)
        yield Path(name)


@pytest.fixture
def relay(folder: Path) -> Iterator[Relay]:
    options = ["-u", "nobody", "--http", f"unix:{folder / 'http'}", "--trace", "1"]
    options += ["-r", str(folder), "--record-calls", str(folder / "calls")]
    with Relay(loopback.RELAY, folder, [f"unix:{folder / 'control'}"], options) as made:
        yield made
        assert made.end() == 0
        made.assert_had_no_accident()


def test_user_and_groups_are_changed_for_good_in_every_thread(relay: Relay) -> None:
    threads = [int(name) for name in os.listdir(f"/proc/{relay.pid}/task")]
    for thread in threads:
        status = told(relay.pid, thread)
        assert status["Uid"] == [str(NOBODY.pw_uid)] * 4
        assert status["Gid"] == [str(NOBODY.pw_gid)] * 4
        assert set(status["Groups"]) <= {str(NOBODY.pw_gid)}
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[kind][0], 16) == 0
        assert status["NoNewPrivs"] == ["1"]


def test_a_crash_leaves_no_image_of_the_memory(relay: Relay) -> None:
    assert limits(relay.pid, "Max core file size") == ("0", "0")
    # Of a process that is not dumpable the kernel gives these to root (proc(5)).
    assert os.stat(f"/proc/{relay.pid}/environ").st_uid == 0


def test_an_image_can_be_asked_for(folder: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("this host allows none")
    with Relay(loopback.RELAY, folder, [], ["-u", "nobody", "--core-dumps"]) as relay:
        assert limits(relay.pid, "Max core file size")[1] != "0"
        assert os.stat(f"/proc/{relay.pid}/environ").st_uid == NOBODY.pw_uid


def test_what_the_relay_starts_is_confined_like_it(folder: Path) -> None:
    note = folder / "note"
    script = folder / "tell"
    script.write_text(f"#!/bin/sh\nexec >>{note}\nid -u\ngrep NoNewPrivs /proc/self/status\n")
    script.chmod(0o755)
    options = ["-u", "nobody", "-r", str(folder), "--record-command", str(script)]
    with Relay(loopback.RELAY, folder, [], options) as relay:
        relay.ask(f"U c {loopback.CALLER} 4000 f")
        assert relay.ask("R c f") == "0"
        wait_until(lambda: note.exists() and "NoNewPrivs" in note.read_text(), "it has run")
        uid, privileges_line, *_ = note.read_text().splitlines()
        assert uid == str(NOBODY.pw_uid)
        assert privileges_line.split() == ["NoNewPrivs:", "1"]
        relay.ask("D c f")


def in_a_child(code: str, folder: Path) -> str:
    """What ``code`` prints in a process of its own."""
    done = Process([sys.executable, "-c", code], folder / "child.log")
    wait_until(lambda: not done.running, "the child has ended", 20)
    done.kill()
    return done.printed()


def test_the_saved_user_id_of_a_parent_is_no_way_back(tmp_path: Path) -> None:
    code = """
import os
from rtpproxy_tw.tools.privileges import drop_privileges
os.setgroups([0, 4, 5])
os.setresuid(0, 0, 0)
drop_privileges("nobody", None)
print(os.getresuid(), os.getresgid(), os.getgroups())
for back in (os.setuid, os.seteuid, os.setgid):
    try:
        back(0)
    except PermissionError:
        print("refused")
"""
    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    assert in_a_child(code, tmp_path).splitlines() == [
        f"{(uid,) * 3} {(gid,) * 3} [{gid}]",
        *["refused"] * 3,
    ]


def test_a_user_from_whom_root_can_be_had_back_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("initgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, lambda *ids: None)
    monkeypatch.setattr(os, "setuid", lambda uid: None)
    with pytest.raises(ConfigError, match="can still be had back"):
        privileges.drop_privileges("nobody", None)


@pytest.mark.parametrize("core_dumps", [False, True])
def test_under_twistd_as_well(folder: Path, core_dumps: bool) -> None:
    argv = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    argv += ["-n", "--pidfile", str(folder / "pid"), "--uid", str(NOBODY.pw_uid)]
    argv += ["--gid", str(NOBODY.pw_gid), "rtpproxy", "-s", f"unix:{folder / 'control'}"]
    argv += ["-l", loopback.RELAY, *(["--core-dumps"] if core_dumps else [])]
    with Process(argv, folder / "twistd.log", ROOT) as relay:
        wait_until(lambda: (folder / "control").exists(), "it listens", 20)
        wait_until(lambda: told(relay.pid)["Uid"] == [str(NOBODY.pw_uid)] * 4, "it is nobody")
        assert told(relay.pid)["NoNewPrivs"] == ["1"]
        owner = NOBODY.pw_uid if core_dumps else 0
        wait_until(lambda: os.stat(f"/proc/{relay.pid}/environ").st_uid == owner, "it is settled")
        assert relay.end() in (0, -signal.SIGTERM)
