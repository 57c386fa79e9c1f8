"""The Debian package, built by its one command and installed in a Debian that has nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.machine import MIRROR, RELEASE, run

TOOLS = ("debootstrap", "dpkg-buildpackage", "dh", "unshare", "chroot")

missing = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another root directory"),
    pytest.mark.skipif(bool(missing), reason=f"missing: {', '.join(missing)}"),
]

AT_HOME = (
    "proc",
    "sys",
    "dev",
    "tmp",
    "run",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
)
"""Where installing any package leaves something."""


class Debian:
    """A directory with a minimal Debian in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, script: str) -> str:
        """What a shell prints there, in process and mount namespaces of its own."""
        inside = ("chroot", self.path, "sh", "-ec", script)
        return run("unshare", "-mpf", f"--mount-proc={self.path}/proc", *inside)

    def files(self) -> set[str]:
        """Every file, apart from where any package leaves something."""
        found = set()
        for directory, below, names in os.walk(self.path):
            place = os.path.relpath(directory, self.path)
            below[:] = [name for name in below if os.path.join(place, name)[2:] not in AT_HOME]
            below[:] = [name for name in below if os.path.join(place, name) not in AT_HOME]
            found |= {os.path.join(place, name) for name in names}
        return found


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A Debian with Python and what makes accounts."""
    path = tmp_path_factory.mktemp("debian") / "root"
    include = "--include=python3,adduser"
    run("debootstrap", "--variant=minbase", include, RELEASE, path, MIRROR)
    yield Debian(path)
    shutil.rmtree(path)  # it is large


def test_the_package_names_what_it_needs_and_brings_the_rest(package: Path) -> None:
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
        "./usr/share/man/man8/rtpproxy-tw.8.gz",
        "./usr/share/man/man1/rtpproxy-ctl.1.gz",
        "./etc/rtpproxy-tw/rtpproxy.toml",
        "/media/bpf/relay.bpf.o",
        "/twisted/plugins/rtpproxy_plugin.py",
    ):
        assert name in listed


def test_it_installs_relays_a_call_and_leaves_nothing_behind(package: Path, debian: Debian) -> None:
    """Account, plugin cache and a call as that account; after purge all is as it was."""
    before = debian.files()
    shutil.copy(package, debian.path / "tmp" / "relay.deb")
    debian.run("dpkg -i /tmp/relay.deb")
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
    left = debian.files() - before
    assert {name for name in left if not name.endswith("-")} == set(), "beside backups of accounts"
