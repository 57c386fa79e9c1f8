"""What is said of settings in a given world: each fault has its line, its remedy and its weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rtpproxy_tw import hostcheck
from rtpproxy_tw.checkup.examine import examine
from rtpproxy_tw.checkup.facts import Account, Bound, Kernel, Place, Unit, World
from rtpproxy_tw.checkup.findings import Finding, Level, passed
from rtpproxy_tw.configuration.configure import configure
from rtpproxy_tw.configuration.switches import read_arguments
from tests.configuration.configuring import FakeHost

USER = Account("relay", 100, frozenset((100,)))

FOLDER = Place("directory", 0o755, 100, 100, 1, 1 << 40)

SHIPPED = "[Service]\nType=notify\nLimitNOFILE=65536\nWatchdogSec=30\nExecStart=/usr/bin/x\n"

UNIT = Unit("/etc/systemd/system/rtpproxy-tw.service", (SHIPPED,), SHIPPED)

GOOD = World(
    machine=hostcheck.Facts(descriptors=65536, rmem_max=1 << 22, backlog=100_000, reserved=()),
    addresses=frozenset({"127.0.0.1", "192.0.2.10", "10.0.0.10"}),
    ephemeral=(50000, 60999),
    bound=(),
    account=USER,
    places={"/run": FOLDER, "/spool": FOLDER, "/rec": FOLDER, "/tmp": FOLDER},
    clock="tsc",
    synchronised=True,
    kernel=Kernel(True, "The fast path works here."),
    memory=1 << 34,
    unit=UNIT,
)

LISTEN = "-l 192.0.2.10"

LINE = "-m 20000 -M 29999 -s unix:/run/rtp.sock"


def found(line: str = "", world: World = GOOD, calls: int | None = None) -> list[Finding]:
    """Everything that is said; ``line`` comes after a good command line."""
    listen = "" if "-l" in line.split() else LISTEN
    given = read_arguments(f"{listen} {LINE} {line}".split())
    return examine(configure(given, FakeHost()), world, calls)


def bad(line: str = "", world: World = GOOD, calls: int | None = None) -> list[Finding]:
    """What is said of faults."""
    return [each for each in found(line, world, calls) if each.level is not Level.OK]


def in_world(**changes: Any) -> World:
    """A good one but for these."""
    return replace(GOOD, **changes)


def unit(*texts: str, stale: bool = False) -> World:
    """A world whose unit is the shipped one with these drop-ins."""
    return in_world(unit=Unit(UNIT.path, (SHIPPED, *texts), SHIPPED, stale))


def places(**changes: Place) -> World:
    """A world with other places."""
    return in_world(places={**GOOD.places, **{f"/{name}": each for name, each in changes.items()}})


def bound(
    kind: str, host: str, port: int, owner: str = "x (process 1)", ours: bool = False
) -> World:
    """A world in which somebody has a port."""
    return in_world(bound=(Bound(kind, host, port, owner, ours),))


def test_nothing_is_said_against_good_settings_on_a_good_host() -> None:
    assert bad() == []
    assert passed(found())
    subjects = " ".join(each.subject for each in found())
    for looked_at in (
        "media address",
        "media ports",
        "control socket",
        "clock",
        "fast path",
        "unit",
    ):
        assert looked_at in subjects


@pytest.mark.parametrize(
    "line, world, subject, words, remedy",
    [
        ("-l 192.0.2.99", GOOD, "media address 192.0.2.99", "no interface", "192.0.2.10"),
        ("-s udp:192.0.2.99:1", GOOD, "control socket udp:192.0.2.99:1", "no interface", ""),
        ("-s udp:*:1", GOOD, "access to udp:0.0.0.0:1", "every address", "--control-allow"),
        ("-s tcp:*:1", GOOD, "access to tcp:0.0.0.0:1", "every address", "--control-allow"),
        ("-s tcp6:*:1", GOOD, "access to tcp6::::1", "every address", "--control-allow"),
        (
            "-s udp:192.0.2.10:1 --control-allow 0.0.0.0/0",
            GOOD,
            "access to udp",
            "every call",
            "SIP proxies",
        ),
        ("-u :daemon -w 438", GOOD, "access to unix", "0666", "-w 432"),
        (
            "",
            places(run=FOLDER._replace(mode=0o777)),
            "access to unix",
            "every user",
            "chmod o-w /run",
        ),
        ("", places(run=Place("none")), "control socket", "/run is not a directory", "install"),
        (
            "",
            places(run=FOLDER._replace(uid=0, gid=0)),
            "control socket",
            "relay may not write to /run",
            "",
        ),
        (
            "",
            places(**{"run/rtp.sock": Place("socket", owner="kamailio (process 7)")}),
            "control socket",
            "kamailio (process 7) has it",
            "another path",
        ),
        (
            "",
            places(**{"run/rtp.sock": Place("file")}),
            "control socket",
            "not a socket",
            "move it",
        ),
        (
            "-s udp:127.0.0.1:5000",
            bound("udp", "0.0.0.0", 5000),
            "control socket udp:127.0.0.1:5000",
            "x (process 1) has it",
            "-s",
        ),
        (
            "-s udp:127.0.0.1:5000",
            in_world(account=Account("root", 0, frozenset())),
            "user",
            "no commands over UDP",
            "-u USER",
        ),
        ("-m 1000", GOOD, "media ports", "below 1024", "-m"),
        (
            "-m 20000 -M 20001",
            bound("udp", "::", 20000),
            "media ports",
            "1 of 1 pairs are taken: 20000 by x (process 1)",
            "-m and -M",
        ),
        ("-r /none", GOOD, "/none", "is not a directory", "install -d -o relay"),
        ("-r /rec", places(rec=FOLDER._replace(uid=0)), "/rec", "relay may not write", "chown"),
        ("-r /rec", places(rec=FOLDER._replace(free=1 << 20)), "/rec", "none would begin", "free"),
        (
            "-r /rec -S /spool",
            places(spool=FOLDER._replace(device=2)),
            "-S/--spool-dir /spool",
            "another file system",
            "/rec",
        ),
        ("--http tcp:8080", GOOD, "HTTP at tcp:8080", "will not start", "--http-token-file"),
        ("--http unix:/tmp/x:mode=666", GOOD, "HTTP at unix", "every user", "mode=660"),
        ("--http-token-file /none", GOOD, "/none", "is not a file", ""),
        (
            "--http-token-file /token",
            places(token=Place("file", 0o644)),
            "/token",
            "every user of this host can read it",
            "chmod o-r",
        ),
        (
            "--fast-path ebpf",
            in_world(kernel=Kernel(False, "No.", "Do it.")),
            "fast path",
            "No.",
            "Do it.",
        ),
        ("-L 100000", GOOD, "descriptors", "beyond the hard limit of 65536", "LimitNOFILE=100000"),
        ("-L 100000", unit(), "unit", "only root may pass", "LimitNOFILE=100000"),
        ("-L 128", GOOD, "descriptors and ports", "0 calls", "LimitNOFILE"),
    ],
)
def test_what_keeps_a_relay_from_starting_or_is_unsafe_is_an_error(
    line: str, world: World, subject: str, words: str, remedy: str
) -> None:
    """The status is then 1."""
    assert not passed(found(line, world))
    errors = [each for each in found(line, world) if each.level is Level.ERROR]
    (each,) = [each for each in errors if words in each.found]
    assert subject in each.subject
    assert each.remedy
    assert remedy in each.remedy


@pytest.mark.parametrize(
    "line, world, subject, words, remedy",
    [
        ("-l *", GOOD, "media address 0.0.0.0", "name no address", "-A ADDRESS"),
        ("-l 127.0.0.1", GOOD, "media address 127.0.0.1", "only this host", "-l"),
        (
            "-l 192.0.2.99",
            in_world(nonlocal_bind=True),
            "media address 192.0.2.99",
            "not on this host now",
            "VRRP",
        ),
        ("-M 55000", GOOD, "media ports 20000-54999", "50000-54999", "reserved_ports=20000-54999"),
        ("-m 20000 -M 20005", GOOD, "media ports", "3 pairs", "widen"),
        (
            "",
            bound("udp", "192.0.2.10", 20501),
            "media ports",
            "1 of 5000 pairs are taken: 20501 by x (process 1)",
            "move",
        ),
        ("-s udp:127.0.0.1:20000", GOOD, "control socket", "one of the media ports", "outside"),
        ("-s udp:192.0.2.10:1", GOOD, "access to udp", "network may command", "--control-allow"),
        ("-L 1024", GOOD, "descriptors and ports", "224 calls", "LimitNOFILE"),
        ("", in_world(clock="hpet"), "clock source", "hpet", "tsc"),
        ("", in_world(synchronised=False), "wall clock", "no other clock", "chrony"),
        ("", in_world(memory=1 << 20), "memory", "1 MiB", "--max-sessions"),
        ("", in_world(kernel=Kernel(False, "No.", "Do it.")), "fast path", "No.", "Do it."),
        (
            "",
            in_world(unit=Unit("/u", ("[Service]\nLimitNOFILE=65536\n",), SHIPPED)),
            "unit /u",
            "Type=notify is missing",
            "drop-in",
        ),
        (
            "",
            in_world(unit=Unit("/u", (SHIPPED.replace("=30", "=5"),), SHIPPED)),
            "unit /u",
            "WatchdogSec=30 differs",
            "drop-in",
        ),
        ("", unit(stale=True), "unit", "not read its last change", "daemon-reload"),
        ("", unit("[Service]\nLimitNOFILE=1024\n"), "unit", "LimitNOFILE=1024", "=10128"),
        (
            "-r /rec",
            unit("[Service]\nProtectSystem=strict\n"),
            "unit",
            "/rec is read-only",
            "ReadWritePaths=/rec",
        ),
        ("-r /rec", places(rec=FOLDER._replace(free=200 << 20)), "/rec", "200 MiB", "free some"),
        ("--prompt-dir /none", GOOD, "/none", "no directory", "make"),
        ("-A 1.1.1.1/2.2.2.2", GOOD, "configuration", "first half", "leave"),
        ("", in_world(account=Account("root", 0, frozenset())), "user", "as root", "-u USER"),
        (
            "",
            in_world(machine=replace(GOOD.machine, rmem_max=1000)),
            "net.core.rmem_max",
            "262144",
            "sysctl",
        ),
    ],
)
def test_what_goes_wrong_later_is_a_warning(
    line: str, world: World, subject: str, words: str, remedy: str
) -> None:
    """The relay would start: the status stays 0."""
    given = found(line, world)
    assert passed(given), [str(each) for each in given]
    warnings = [each for each in given if each.level is Level.WARNING]
    assert any(
        subject in each.subject and words in each.found and each.remedy and remedy in each.remedy
        for each in warnings
    ), [str(each) for each in given]


@pytest.mark.parametrize(
    "line, world",
    [
        ("-s udp:*:1 --control-allow 192.0.2.7", GOOD),
        ("-s udp:127.0.0.1:5000", bound("udp", "0.0.0.0", 5000, ours=True)),
        ("-s udp:127.0.0.1:5000", bound("udp", "192.0.2.10", 5000)),
        ("-s udp:127.0.0.1:5000", bound("tcp", "0.0.0.0", 5000)),
        ("", bound("udp", "10.0.0.10", 20501)),
        ("", bound("udp", "192.0.2.10", 20501, ours=True)),
        ("", places(**{"run/rtp.sock": Place("socket", owner="x", ours=True)})),
        ("", places(**{"run/rtp.sock": Place("socket")})),
        ("-r /rec -S /spool", GOOD),
        ("-r /rec", unit("[Service]\nProtectSystem=strict\nReadWritePaths=-/rec\n")),
        ("-M 55000", in_world(machine=replace(GOOD.machine, reserved=((20000, 55000),)))),
        ("-l *=198.51.100.1", GOOD),
        ("-l 10.0.0.10", GOOD),
        ("--fast-path none", in_world(kernel=None)),
        ("--http tcp:8080:interface=127.0.0.1", GOOD),
        ("", in_world(unit=None)),
        ("--max-sessions 100 -L 1024", GOOD),
    ],
)
def test_what_is_as_it_should_be_is_no_fault(line: str, world: World) -> None:
    assert [str(each) for each in bad(line, world)] == []


def test_a_restart_of_the_unit_with_a_drop_in_is_no_drift() -> None:
    """Drop-ins are where changes belong."""
    assert bad("", unit("[Service]\nNice=-10\n")) == []


def test_of_what_is_not_known_nothing_is_said() -> None:
    """An empty world is no fault of the settings'."""
    world = World(account=USER, places=GOOD.places)
    assert bad("", world) == []


def test_calls_that_are_to_be_carried_decide_what_is_enough() -> None:
    """Room for 2,500 calls is fine for 100."""
    assert bad("-L 2048", in_world(unit=None), calls=100) == []
    assert "480 calls" in bad("-L 2048", in_world(unit=None), calls=1000)[0].found
