"""The Debian package, built by its one command, installed and removed.

Asked for (``pytest -m packages``), it is installed in a Debian that has nothing else; in an
ordinary run in the one where the tests run. Both ways what it writes goes to a layer of its own,
which shows afterwards what was left.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import Process, wait_until
from tests.packages.conftest import asked_for
from tests.packages.machine import run

TOOLS = ("dpkg-buildpackage", "dh", "unshare", "nsenter", "chroot", "adduser")

missing = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another root directory"),
    pytest.mark.skipif(bool(missing), reason=f"missing: {', '.join(missing)}"),
    pytest.mark.skipif(
        "overlay" not in Path("/proc/filesystems").read_text(), reason="no overlays here"
    ),
]

AT_HOME = {"dev", "proc", "run", "tmp", "var/cache", "var/lib/dpkg", "var/log"}
"""Where installing any package leaves something."""

_LAYERS = """
mount -t tmpfs none {top}
mkdir {top}/upper {top}/work {top}/root
mount -t overlay none -o lowerdir={base},upperdir={top}/upper,workdir={top}/work {top}/root
mount -t proc proc {top}/root/proc
mount --rbind /dev {top}/root/dev
mount -t tmpfs none {top}/root/tmp
mount -t tmpfs none {top}/root/run
chmod 1777 {top}/root/tmp
echo ready
exec sleep 3600
"""


class Debian:
    """The Debian in ``base``, as it looks from within a layer over it. ``with`` has it."""

    def __init__(self, base: Path, folder: Path) -> None:
        self._base = base
        self._top = folder / "layers"
        self._top.mkdir()
        script = _LAYERS.format(base=base, top=self._top)
        self._holder = Process(["unshare", "-m", "sh", "-ec", script], folder / "holder.log")

    def __enter__(self) -> Debian:
        holder = self._holder
        wait_until(lambda: not holder.running or "ready" in holder.printed(), "the layers", 30)
        assert holder.running, holder.printed()
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.end()

    def run(self, script: str) -> str:
        """What a shell prints there."""
        enter = ("nsenter", "-t", str(self._holder.pid), "-m", "chroot", self._top / "root")
        return run(*enter, "sh", "-ec", script, PATH="/usr/sbin:/usr/bin:/sbin:/bin")

    def bring(self, file: Path) -> None:
        """``file`` is in its ``/tmp`` afterwards."""
        shutil.copy(file, f"/proc/{self._holder.pid}/root{self._top}/root/tmp/relay.deb")

    def left(self) -> set[str]:
        """Every file that is new or changed, apart from where any package leaves something."""
        upper, found = f"/proc/{self._holder.pid}/root{self._top}/upper", set()
        for directory, below, names in os.walk(upper):
            place = os.path.relpath(directory, upper).removeprefix(".")
            below[:] = [name for name in below if os.path.join(place, name) not in AT_HOME]
            for name in names:
                before, now = self._base / place / name, Path(directory, name)
                if not (before.is_file() and filecmp.cmp(before, now, shallow=False)):
                    found.add(os.path.join(place, name))
        return found


@pytest.fixture
def debian(bare: Path, tmp_path: Path) -> Iterator[Debian]:
    """A Debian with Python and what makes accounts."""
    with Debian(bare, tmp_path) as made:
        yield made


def test_the_package_names_what_it_needs_and_brings_the_rest(
    package: Path, pytestconfig: pytest.Config
) -> None:
    """Its own Python packages, units, manual pages; nothing of Debian's but Python."""
    fields = run("dpkg-deb", "--field", package, "Depends", "Conflicts")
    assert "python3 (>= 3." in fields
    assert "Conflicts: rtpproxy" in fields
    listed = run("dpkg-deb", "--contents", package)
    for name in (
        "./lib/systemd/system/rtpproxy-tw.service",
        "./lib/systemd/system/rtpproxy-tw@.service",
        "./lib/systemd/system/rtpproxy-tw.socket",
        "./usr/lib/sysusers.d/rtpproxy-tw.conf",
        "./usr/share/rtpproxy-tw/keepalived/notify",
        "./etc/rtpproxy-tw/rtpproxy.toml",
        "/media/bpf/relay.bpf.o",
        "/twisted/plugins/rtpproxy_plugin.py",
    ):
        assert name in listed
    programs = re.findall(r"\./usr/bin/([\w-]+)", listed)
    assert len(programs) > 5
    if asked_for(pytestconfig):
        for name in programs:
            assert re.search(rf"/man/man[18]/{name}\.[18]\.gz$", listed, re.MULTILINE), name


def test_it_installs_relays_a_call_and_leaves_nothing_behind(package: Path, debian: Debian) -> None:
    """Account, plugin cache and a call as that account; after purge all is as it was."""
    debian.bring(package)
    debian.run("dpkg -i /tmp/relay.deb")
    assert {"usr/bin/rtpproxy-tw", "etc/passwd"} <= debian.left()
    assert "rtpproxy" in debian.run("id rtpproxy")
    assert "dropin.cache" in debian.run(
        "ls /usr/lib/rtpproxy-tw/lib/*/site-packages/twisted/plugins"
    )
    as_user = "su -s /bin/sh rtpproxy -c"
    assert "rtpproxy" in debian.run(f"{as_user} '/usr/lib/rtpproxy-tw/bin/twistd --help'")
    # What the service would start with, short of the directory that systemd makes.
    printed = debian.run(
        f"{as_user} 'rtpproxy-tw --config /etc/rtpproxy-tw/rtpproxy.toml --print-config'"
    )
    assert "/run/rtpproxy-tw/rtpproxy.sock" in printed
    assert "hear each other" in debian.run(f"{as_user} 'rtpproxy-demo --seconds 3 --plain'")
    debian.run("dpkg --purge rtpproxy-tw")
    assert debian.run("getent passwd rtpproxy || echo gone") == "gone\n"
    left = {name for name in debian.left() if not name.endswith("-")}
    assert left == set(), "beside backups of accounts"
