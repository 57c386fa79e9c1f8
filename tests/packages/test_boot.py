"""The service under systemd as process 1: start, watchdog, reload, activation, drain, stop."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.machine import Machine, missing

pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

SOCKET = "/run/rtpproxy-tw/rtpproxy.sock"

_TELL = """
python3 - "$1" "$2" <<'END'
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(10)
    sock.connect(sys.argv[1])
    sock.sendall(sys.argv[2].encode() + b"\\n")
    print(sock.recv(256).decode(), end="")
END
"""


@pytest.fixture(scope="module")
def booted(
    tmp_path_factory: pytest.TempPathFactory, bootable: Path, package: Path
) -> Iterator[Machine]:
    """A machine with the package installed."""
    folder = tmp_path_factory.mktemp("machine")
    with Machine(bootable, folder, capabilities="CAP_BPF,CAP_NET_ADMIN,CAP_SYS_NICE") as machine:
        shutil.copy(package, machine.root / "root" / "relay.deb")
        (machine.root / "usr/local/bin/tell").write_text(f"#!/bin/bash\n{_TELL}")
        machine.run("chmod +x /usr/local/bin/tell && dpkg -i /root/relay.deb")
        yield machine


@pytest.fixture
def machine(booted: Machine) -> Iterator[Machine]:
    """The machine with its units as installed, and none running, before and after."""
    yield booted
    booted.run(
        "systemctl stop 'rtpproxy-tw*' && systemctl reset-failed 'rtpproxy-tw*' || true;"
        "rm -rf /etc/systemd/system/rtpproxy-tw*.d && systemctl daemon-reload &&"
        "sed -i 's/^OPTIONS=.*/OPTIONS=\"\"/' /etc/default/rtpproxy-tw"
    )


def value(machine: Machine, name: str, unit: str = "rtpproxy-tw") -> str:
    """What systemd knows of the unit."""
    return machine.run(f"systemctl show -P {name} {unit}").strip()


def set_in_unit(machine: Machine, *lines: str) -> None:
    """A drop-in, as ``systemctl edit`` makes it."""
    text = "\\n".join(("[Service]", *lines))
    machine.run(
        "mkdir -p /etc/systemd/system/rtpproxy-tw.service.d &&"
        f"printf '{text}\\n' >/etc/systemd/system/rtpproxy-tw.service.d/override.conf &&"
        "systemctl daemon-reload"
    )


def test_it_is_neither_started_nor_enabled_by_its_installation(machine: Machine) -> None:
    """Which address telephones reach is to be told first."""
    assert machine.ask("systemctl is-active rtpproxy-tw") == "inactive\n"
    assert machine.ask("systemctl is-enabled rtpproxy-tw") == "disabled\n"


def test_commands_are_answered_when_systemctl_start_returns(machine: Machine) -> None:
    """READY=1 comes from the relay, not from its having been forked."""
    assert machine.run(f"systemctl start rtpproxy-tw; tell {SOCKET} V") == "20040107\n"
    assert value(machine, "Type") == "notify"
    assert re.search(r"\d+ session", value(machine, "StatusText"))


def test_the_process_may_do_no_more_than_the_unit_says(machine: Machine) -> None:
    """By the kernel's own account."""
    machine.run("systemctl start rtpproxy-tw")
    pid = value(machine, "MainPID")
    status = dict(
        line.split(":\t", 1)
        for line in machine.run(f"cat /proc/{pid}/status").splitlines()
        if ":\t" in line
    )
    assert machine.run(f"stat -c %U /proc/{pid}") == "rtpproxy\n"
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    net_admin, bpf = 1 << 12, 1 << 39
    assert int(status["CapBnd"], 16) & ~(net_admin | bpf) == 0
    enter = f"nsenter -t {pid} -m"
    assert (
        machine.ask(f"{enter} touch /etc/written /usr/written 2>/dev/null; ls /etc/written") == ""
    )


def test_a_relay_that_hangs_is_restarted(machine: Machine) -> None:
    """Which is what the watchdog is for."""
    set_in_unit(machine, "WatchdogSec=2", "WatchdogSignal=SIGKILL")
    machine.run("systemctl start rtpproxy-tw")
    before = value(machine, "MainPID")
    machine.run(f"kill -STOP {before}")
    machine.run(
        "for i in $(seq 100); do sleep 0.2; "
        '[ "$(systemctl show -P NRestarts rtpproxy-tw)" = 1 ] && break; done; '
        "for i in $(seq 50); do systemctl is-active -q rtpproxy-tw && break; sleep 0.2; done"
    )
    assert value(machine, "NRestarts") == "1"
    assert value(machine, "MainPID") not in ("0", before)
    assert machine.run(f"tell {SOCKET} V") == "20040107\n"


def test_a_relay_that_is_well_is_left_alone_by_the_watchdog(machine: Machine) -> None:
    """For three times what it allows."""
    set_in_unit(machine, "WatchdogSec=1")
    machine.run("systemctl start rtpproxy-tw; sleep 3")
    assert value(machine, "NRestarts") == "0"
    assert value(machine, "ActiveState") == "active"


def test_a_call_goes_on_over_systemctl_reload(machine: Machine) -> None:
    """Another process, by systemd's reckoning too, and the call was good."""
    machine.run("systemctl start rtpproxy-tw")
    before = value(machine, "MainPID")
    told = machine.run(
        f"rtpproxy-ctl call --control unix:{SOCKET} --seconds 6 & call=$!;"
        "sleep 3; systemctl reload rtpproxy-tw; wait $call"
    )
    assert "hear each other" in told
    after = value(machine, "MainPID")
    assert after not in ("0", before)
    assert machine.ask(f"ls -d /proc/{before} 2>/dev/null") == ""
    assert value(machine, "ActiveState") == "active"
    assert value(machine, "NRestarts") == "0"


def test_a_relay_that_dies_after_a_reload_is_restarted(machine: Machine) -> None:
    """systemd watches the new process as it watched the old one, though it did not start it."""
    machine.run("systemctl start rtpproxy-tw; systemctl reload rtpproxy-tw; sleep 1")
    machine.run(
        f"kill -KILL {value(machine, 'MainPID')};"
        "for i in $(seq 50); do sleep 0.2; "
        '[ "$(systemctl show -P NRestarts rtpproxy-tw)" = 1 ] && break; done; '
        "for i in $(seq 50); do systemctl is-active -q rtpproxy-tw && break; sleep 0.2; done"
    )
    assert value(machine, "NRestarts") == "1"
    assert machine.run(f"tell {SOCKET} V") == "20040107\n"


def test_a_call_outlives_a_crash_of_the_relay(machine: Machine) -> None:
    """systemd keeps sockets and state, and gives both to the next process."""
    machine.run("systemctl start rtpproxy-tw")
    before = value(machine, "MainPID")
    told = machine.run(
        f"rtpproxy-ctl --json call --control unix:{SOCKET} --seconds 8 & call=$!; sleep 3;"
        f"systemctl show -P NFileDescriptorStore rtpproxy-tw; kill -KILL {before};"
        "wait $call || true"
    )
    stored, _, result = told.partition("\n")
    assert int(stored) > 4, "the sockets of two legs, each for RTP and RTCP, and what is known"
    assert value(machine, "MainPID") not in ("0", before)
    assert value(machine, "NRestarts") == "1"
    for direction in json.loads(result)["directions"]:
        assert direction["arrived"] + direction["held_back"] == direction["sent"] > 0, result


def test_the_first_command_starts_it_through_the_socket_unit(machine: Machine) -> None:
    """And commands wait while it restarts."""
    machine.run("sed -i 's/^OPTIONS=.*/OPTIONS=\"-s systemd:\"/' /etc/default/rtpproxy-tw")
    machine.run("systemctl start rtpproxy-tw.socket")
    assert value(machine, "ActiveState") == "inactive"
    assert machine.run("stat -c '%U %a' /run/rtpproxy.sock") == "rtpproxy 660\n"
    assert machine.run("tell /run/rtpproxy.sock V") == "20040107\n"
    assert value(machine, "ActiveState") == "active"
    machine.run("systemctl restart --no-block rtpproxy-tw; tell /run/rtpproxy.sock V")
    assert value(machine, "ActiveState", "rtpproxy-tw.socket") == "active"


def test_instances_live_side_by_side(machine: Machine) -> None:
    """Each with its file, its ports, its socket."""
    for name, first in (("edge", 40000), ("core", 50000)):
        text = (
            f'control = ["unix:/run/rtpproxy-tw/{name}/rtpproxy.sock"]\\n'
            f"min_port = {first}\\nmax_port = {first + 999}\\n"
        )
        machine.run(f"printf '{text}' >/etc/rtpproxy-tw/{name}.toml")
        machine.run(f"systemctl start rtpproxy-tw@{name}")
    for name, first in (("edge", 40000), ("core", 50000)):
        answer = machine.run(f"tell /run/rtpproxy-tw/{name}/rtpproxy.sock 'U c 127.0.0.1 4000 f'")
        assert first <= int(answer.split()[0]) < first + 1000


def test_stopping_ends_it_with_success_and_leaves_nothing(machine: Machine) -> None:
    """Calls or not."""
    machine.run(f"systemctl start rtpproxy-tw; tell {SOCKET} 'U c 127.0.0.1 4000 f'")
    machine.run("systemctl stop rtpproxy-tw")
    assert value(machine, "Result") == "success"
    assert value(machine, "ExecMainStatus") == "0"
    assert machine.ask("ls -A /run/rtpproxy-tw 2>/dev/null") == ""


def test_a_stop_that_waits_for_calls_is_given_the_time(machine: Machine) -> None:
    """With ``KillSignal=SIGHUP`` the last call ends it, ``TimeoutStopSec`` or not."""
    set_in_unit(machine, "KillSignal=SIGHUP", "TimeoutStopSec=12")
    machine.run(f"systemctl start rtpproxy-tw; tell {SOCKET} 'U c 127.0.0.1 4000 f'")
    machine.run(f"(sleep 16; tell {SOCKET} 'D c f') & time systemctl stop rtpproxy-tw; wait")
    assert value(machine, "Result") == "success"
    assert value(machine, "ExecMainStatus") == "0"
