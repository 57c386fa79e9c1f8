"""Every guide followed to the letter, in a Debian that reaches nothing but the package registries.

What a guide tells to write is written, what it tells to run is run, in order, by root, on a machine
with the addresses that the guides use; a command that fails fails the test. Afterwards the test
looks at what the guide promised.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.packages.guide import names, steps_of
from tests.packages.machine import ROOT, Machine, missing, run
from tests.packages.registries import APT, PIP, Registries

ADDRESSES = ("192.0.2.10/32", "192.0.2.11/32", "10.0.0.10/32", "2001:db8::10/128")
"""Of the machine."""

PHONES = ("192.0.2.20/32", "192.0.2.21/32")
"""Of those who call and are called."""

SOURCES = "/root/rtpproxy-tw"
"""The project's directory."""

NOT_HERE = {"containers", "troubleshooting", "from-rtpengine", "from-mediaproxy"}
"""Guides without a step that a machine of its own could try."""

pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

Follow = Callable[[str], Machine]


def add_address(machine: Machine, address: str) -> None:
    """Something that programs can be reached at."""
    words = ["ip", "-n", machine.network, "address", "add", address, "dev", "lo"]
    run(*words, *(["nodad"] if ":" in address else []))


def prepare(machine: Machine) -> None:
    """What a reader has before: addresses, the project's directory, a way to the registries."""
    for address in ADDRESSES:
        add_address(machine, address)
    (machine.root / "etc/apt/apt.conf.d/99proxy").write_text(APT)
    (machine.root / "etc/pip.conf").write_text(PIP)
    # Whose certificates the registries have here.
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    shutil.copy(bundle, machine.root / "etc/ssl/certs" / bundle.name)


def bring_sources(root: Path) -> None:
    """The project's directory, as it is committed."""
    place = root / SOURCES[1:]
    place.mkdir()
    packed = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", place], input=packed.stdout, check=True)


def follow(machine: Machine, name: str) -> None:
    """Do what the guide says."""
    for step in steps_of(name):
        if not step.elsewhere:
            machine.run(f"cd {SOURCES}\n{step.script}")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, bootable: Path) -> Iterator[Path]:
    """A Debian where the guide to installing has been followed.

    ``RTPPROXY_TEST_INSTALLED`` names one that was made before.
    """
    if made := os.environ.get("RTPPROXY_TEST_INSTALLED"):
        yield Path(made)
        return
    folder = tmp_path_factory.mktemp("installing")
    kept = folder / "kept"
    with Machine(bootable, folder) as machine:
        bring_sources(machine.root)
        prepare(machine)
        with Registries(machine.network) as registries:
            follow(machine, "install")
        assert registries.refused == set()
        machine.run("apt-get clean; rm -rf /opt/rtpproxy-tw /root/.cache")
        run("cp", "-a", "--reflink=auto", machine.root, kept)
    yield kept
    shutil.rmtree(kept)


@pytest.fixture
def followed(installed: Path, tmp_path: Path) -> Iterator[Follow]:
    """Follows a guide on a machine with the package; that machine."""
    with ExitStack() as stack:

        def done(name: str) -> Machine:
            machine = stack.enter_context(Machine(installed, tmp_path))
            prepare(machine)
            registries = stack.enter_context(Registries(machine.network))
            follow(machine, name)
            assert registries.refused == set()
            return machine

        yield done


def call_over(machine: Machine, proxy: str, relay: str, folder: Path) -> None:
    """A call by SIP, with media both ways. The telephones come when the machine is set up."""
    for address in PHONES:
        add_address(machine, address)
    program = [sys.executable, "-m", "tests.packages.place_call", proxy, relay, str(folder)]
    run("ip", "netns", "exec", machine.network, *program)


def test_the_relay_is_installed_as_the_guide_says(installed: Path) -> None:
    assert (installed / "usr/bin/rtpproxy-tw").is_symlink()
    assert (installed / "etc/rtpproxy-tw/rtpproxy.toml").is_file()


def test_kamailio_leads_calls_through_the_relay(followed: Follow, tmp_path: Path) -> None:
    machine = followed("kamailio")
    call_over(machine, "192.0.2.10", "192.0.2.10", tmp_path / "call")
    assert machine.ask("systemctl is-enabled rtpproxy-tw") == "enabled\n"


def test_opensips_is_given_a_relay_over_tcp(followed: Follow) -> None:
    machine = followed("opensips")
    assert machine.ask("systemctl is-active rtpproxy-tw") == "active\n"


def test_sippy_b2bua_leads_calls_through_the_relay(followed: Follow, tmp_path: Path) -> None:
    machine = followed("sippy")
    machine.run("sleep 3")
    # It asks for the address that leads to a party, which on this machine is the party's own.
    call_over(machine, "192.0.2.10", "", tmp_path / "call")


def test_behind_a_nat_the_address_outside_is_told(followed: Follow) -> None:
    machine = followed("nat")
    assert machine.ask("ss -Hlun 'sport = :22222'").count("127.0.0.1:22222") == 1


def test_a_call_between_the_families_has_an_address_of_each(followed: Follow) -> None:
    machine = followed("ipv6")
    journal = machine.run("journalctl --no-pager -u rtpproxy-tw")
    assert "2001:db8::10 6" in journal


def test_recordings_become_sound(followed: Follow) -> None:
    machine = followed("recording")
    assert machine.run("head -c 4 /tmp/call.wav") == "RIFF"
    two_seconds_of_both = 2 * 8000 * 2 * 2
    assert int(machine.run("stat -c %s /tmp/call.wav")) > two_seconds_of_both
    assert machine.run("ls /var/spool/rtpproxy-tw/*.wav")


def test_commands_go_over_tls(followed: Follow) -> None:
    machine = followed("tls")
    assert "22443" in machine.run("ss -Htn state established")


def test_a_second_relay_goes_on_with_the_calls_of_the_first(followed: Follow) -> None:
    machine = followed("two-relays")
    assert machine.ask("systemctl is-active rtpproxy-tw@one rtpproxy-tw@two") == (
        "inactive\nactive\n"
    )
    assert "1 sessions go on" in machine.run("journalctl --no-pager -u rtpproxy-tw@two")


def test_every_guide_is_tried_or_known_not_to_be() -> None:
    own = Path(__file__).read_text()
    for name in names():
        assert (f'"{name}"' in own.partition("def prepare")[2]) != (name in NOT_HERE), name
        tried = [step for step in steps_of(name) if not step.elsewhere]
        assert bool(tried) != (name in NOT_HERE), name
