"""systemd takes the units as they are, and finds them well confined."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parent.parent.parent / "packaging" / "systemd"

MOST_EXPOSED = 25
"""Tenths, by ``systemd-analyze security``; 100 is a service without any limits."""

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing"
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program and a manual page that are there on this machine."""
    for unit in UNITS.glob("rtpproxy-tw*.s*"):
        if unit.suffix in (".service", ".socket"):
            text = unit.read_text().replace("/usr/bin/rtpproxy-tw ", "/bin/true ")
            text = text.replace("Documentation=man:rtpproxy-tw(8)\n", "")
            (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says."""
    return subprocess.run(
        ["systemd-analyze", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )


@pytest.mark.parametrize("name", ["rtpproxy-tw.service", "rtpproxy-tw.socket"])
def test_systemd_understands_every_line(units: Path, name: str) -> None:
    """A misspelt key would be ignored at run time, with the protection it stands for."""
    done = analyze("verify", units / name)
    ours = [line for line in done.stderr.splitlines() if "rtpproxy" in line]
    assert (done.returncode, ours) == (0, [])


def test_systemd_understands_the_template(units: Path) -> None:
    """As an instance of it."""
    made = units / "rtpproxy-tw@edge.service"
    (units / "rtpproxy-tw@.service").rename(made)
    done = analyze("verify", made)
    assert (done.returncode, [x for x in done.stderr.splitlines() if "rtpproxy" in x]) == (0, [])


@pytest.mark.parametrize("name", ["rtpproxy-tw.service", "rtpproxy-tw@.service"])
def test_the_service_is_confined(units: Path, name: str) -> None:
    """By systemd's own measure."""
    made = units / name.replace("@.", "@edge.")
    if made.name != name:
        (units / name).rename(made)
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", made)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_the_template_is_the_service_with_other_places() -> None:
    """What was mended in one would else be forgotten in the other."""
    service = (UNITS / "rtpproxy-tw.service").read_text().splitlines()
    template = (UNITS / "rtpproxy-tw@.service").read_text().splitlines()

    def settings(lines: list[str]) -> list[str]:
        joined = "\n".join(line for line in lines if not line.startswith("#"))
        for old, new in (
            (", instance %i", ""),
            ("rtpproxy-tw-%i", "rtpproxy-tw"),
            ("/etc/rtpproxy-tw/%i.toml", "/etc/rtpproxy-tw/rtpproxy.toml"),
            ("rtpproxy-tw/%i", "rtpproxy-tw"),
        ):
            joined = joined.replace(old, new)
        return joined.splitlines()

    assert settings(template) == settings(service)


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is missing")
def test_systemd_makes_the_account_and_its_directory(tmp_path: Path) -> None:
    """In a root directory of their own; whoever installs without the package uses these files."""
    (tmp_path / "etc").mkdir()
    for tool, suffix in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        more = ["--create"] if suffix == "tmpfiles" else []
        command = [tool, f"--root={tmp_path}", *more, str(UNITS / f"rtpproxy-tw.{suffix}")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60.0, check=False)
        assert done.returncode == 0, done.stderr
    fields = (tmp_path / "etc/passwd").read_text().splitlines()[0].split(":")
    assert (fields[0], fields[5]) == ("rtpproxy", "/var/lib/rtpproxy-tw")
    made = tmp_path / "var/lib/rtpproxy-tw"
    assert made.stat().st_mode & 0o777 == 0o750
    assert made.stat().st_uid == int(fields[2])


@pytest.mark.skipif(
    not Path("/proc/sys/net/core/rmem_max").exists(), reason="the network of a container"
)
def test_the_kernel_knows_every_setting() -> None:
    """One that it does not know would be told at every boot, and be without effect."""
    lines = (UNITS / "rtpproxy-tw.sysctl").read_text().splitlines()
    keys = [line.partition("=")[0].strip() for line in lines if line and line[0] != "#"]
    assert len(keys) > 4
    for key in keys:
        assert Path("/proc/sys", *key.split(".")).exists(), key


def test_what_is_promised_of_the_units_is_in_them() -> None:
    """Start notices, watchdog, reload, descriptors, confinement; privileges for the fast path."""
    text = (UNITS / "rtpproxy-tw.service").read_text()
    given = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert given["Type"] == "notify"
    assert int(given["WatchdogSec"]) > 0
    assert int(given["LimitNOFILE"]) == int(given["FileDescriptorStoreMax"]) == 65536
    assert given["CapabilityBoundingSet"] == given["AmbientCapabilities"] == "CAP_BPF CAP_NET_ADMIN"
    assert "USR2" in given["ExecReload"]
    socket = (UNITS / "rtpproxy-tw.socket").read_text()
    assert "Service=rtpproxy-tw.service" in socket
