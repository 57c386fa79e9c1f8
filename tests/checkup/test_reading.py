"""What is read of the host: the kernel's tables, units, and a real check of this machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.checkup.contents import read_contents
from rtpproxy_tw.checkup.findings import Level
from rtpproxy_tw.checkup.reading import read_world
from rtpproxy_tw.checkup.sockets import Entry, Owners, is_relay, table, unix_table
from rtpproxy_tw.configuration.configure import configure
from rtpproxy_tw.configuration.options import Message, interpret
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import read_arguments
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tools import certs, ctl
from rtpproxy_tw.tools.check import service_arguments
from tests.configuration.configuring import FakeHost

# Twisted hands pyOpenSSL what the newest one would rather have otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")

ROOT = Path(__file__).parents[2]

UDP = """   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid t inode
 4041: 0100007F:56CE 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2
 4042: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2
"""
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid t inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1
   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 98 1
"""
UDP6 = """  sl  local_address                         remote_address                        st
   0: 000080FE00000000FF00FC00010000FE:0016 0:0 07 0:0 0:0 0 0 0 5 2
"""


def settings(line: str) -> Settings:
    """As the command line says."""
    return configure(read_arguments(line.split()), FakeHost()).settings


@pytest.mark.skipif(sys.byteorder != "little", reason="tables of a little-endian machine")
def test_the_kernels_tables_are_read() -> None:
    """Ports in hexadecimal, addresses in words of the processor's order."""
    assert list(table("udp", UDP)) == [
        Entry("udp", "127.0.0.1", 22222, 4711),
        Entry("udp", "0.0.0.0", 53, 4712),
    ]
    assert list(table("tcp", TCP)) == [Entry("tcp", "127.0.0.1", 8080, 99)]
    assert list(table("udp", UDP6)) == [Entry("udp", "fe80::fc:ff:fe00:1", 22, 5)]


@given(st.text())
def test_a_table_of_anything_raises_nothing(text: str) -> None:
    for kind in ("udp", "tcp"):
        list(table(kind, text))
    unix_table(text)


@pytest.mark.network
def test_who_has_a_port_is_found() -> None:
    """This process, in this case, which is no relay."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        world = read_world(settings(f"-s udp:127.0.0.1:{port} -l 127.0.0.1 -m 2 -M 3"))
        assert world.bound is not None
        (bound,) = [each for each in world.bound if each.kind == "udp" and each.port == port]
        assert (bound.host, bound.ours) == ("127.0.0.1", False)
        assert f"process {os.getpid()}" in bound.owner


@pytest.mark.parametrize(
    "words, relay",
    [
        (["/usr/bin/python3", "/usr/bin/rtpproxy-tw", "-f"], True),
        (["/usr/bin/python3", "-m", "rtpproxy_tw.tools.launcher"], True),
        (["/usr/bin/python3", "/usr/bin/twistd", "-n", "rtpproxy"], True),
        (["/usr/sbin/kamailio", "-f", "/etc/rtpproxy-tw"], False),
        (["/usr/bin/rtpproxy", "-l", "1"], False),
    ],
)
def test_relays_are_known_by_their_command_line(words: list[str], relay: bool) -> None:
    assert is_relay(words) == relay


def test_owners_are_looked_for_only_where_any_are_wanted(tmp_path: Path) -> None:
    """A folder that is no /proc has none."""
    assert Owners([], tmp_path).owner(1) == ("", False)
    assert Owners([1], tmp_path).owner(1) == ("", False)


def test_the_unit_is_read_as_systemd_reads_it(tmp_path: Path) -> None:
    """The first folder wins; drop-ins of all folders count, in the order of their names."""
    for folder, name, text in (
        ("usr/lib/systemd/system", "rtpproxy-tw.service", "[Service]\nNice=1\n"),
        ("etc/systemd/system", "rtpproxy-tw.service", "[Service]\nNice=2\n"),
        ("usr/lib/systemd/system/rtpproxy-tw.service.d", "20.conf", "[Service]\nNice=4\n"),
        ("etc/systemd/system/rtpproxy-tw.service.d", "10.conf", "[Service]\nNice=3\n"),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    unit = read_world(settings("-l 127.0.0.1"), tmp_path).unit
    assert unit is not None
    assert [text[-1] for text in unit.texts] == ["2", "3", "4"]
    assert unit.path.endswith("etc/systemd/system/rtpproxy-tw.service")


def test_the_unit_that_is_compared_with_is_the_one_that_is_shipped() -> None:
    """The package has a copy of it, as not everybody installs from a system package."""
    name = "rtpproxy-tw.service"
    shipped = (ROOT / "packaging" / "systemd" / name).read_text()
    copied = (ROOT / "rtpproxy_tw" / "checkup" / name).read_text()
    assert copied == shipped, f"cp packaging/systemd/{name} rtpproxy_tw/checkup/"


def test_without_options_the_service_is_looked_at(tmp_path: Path) -> None:
    """Its file, and what /etc/default adds."""
    assert service_arguments(tmp_path) == ([], [])
    (tmp_path / "etc/rtpproxy-tw").mkdir(parents=True)
    (tmp_path / "etc/default").mkdir()
    config = tmp_path / "etc/rtpproxy-tw/rtpproxy.toml"
    config.write_text("")
    (tmp_path / "etc/default/rtpproxy-tw").write_text('# none\nOPTIONS="-s systemd: -T 7"\n')
    arguments, lines = service_arguments(tmp_path)
    assert arguments == ["-f", "--config", str(config), "-s", "systemd:", "-T", "7"]
    assert str(config) in lines[0].found


GOOD = "-f -F -l 127.0.0.1 -s udp:127.0.0.1:19999 --fast-path none -m 20000 -M 20099 -p /dev/null"


@pytest.mark.network
def test_a_check_of_this_host_ends_with_0_where_a_relay_would_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line each, and one for all of it."""
    assert ctl.main(["check", "--calls", "10", *GOOD.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "warning") for line in lines[:-1])
    assert lines[-1].startswith("would start: 0 errors")


@pytest.mark.network
def test_a_check_ends_with_1_where_it_would_not(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, with the remedy."""
    assert ctl.main(["check", "--json", *GOOD.split(), "-r", "/nonexistent"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["would_start"] is False
    (error,) = [each for each in answer["findings"] if each["level"] == "error"]
    assert "/nonexistent" in error["subject"]
    assert error["remedy"]


def test_a_wrong_option_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """Not an exception, nor silence."""
    assert ctl.main(["check", "-T", "0"]) == 1
    assert capsys.readouterr().out.startswith("error   configuration: -T/--ttl 0")


@pytest.mark.network
def test_the_program_checks_itself_by_an_option(tmp_path: Path) -> None:
    """Read from a file, too; nothing is started."""
    config = tmp_path / "relay.toml"
    config.write_text('listen = ["203.0.113.99"]\nfast_path = "none"\n')
    wanted = interpret(["--config", str(config), "--check", "--json"], "x", FakeHost())
    assert isinstance(wanted, Message)
    assert wanted.status == 1
    found = [each["subject"] for each in json.loads(wanted.text)["findings"]]
    assert "media address 203.0.113.99" in found


@pytest.mark.parametrize(
    "words, ours, relay",
    [
        ("list --ids", "list --ids", ""),
        ("--api /x check -l 1.1.1.1 --json", "--api /x check --json", "-l 1.1.1.1"),
        ("check --calls 5 -fF", "check --calls 5", "-fF"),
        ("--json check --calls=5 -m 1", "--json check --calls=5", "-m 1"),
        ("", "", ""),
    ],
)
def test_the_relays_options_are_told_from_our_own(words: str, ours: str, relay: str) -> None:
    assert ctl.divided(words.split()) == (ours.split(), relay.split())


FILES = {
    "there is no certificate (PEM)": (
        "-s tls:127.0.0.1:{port} --tls-cert {nonsense} --tls-ca {ca.pem}"
    ),
    "is not the key of": (
        "-s tls:127.0.0.1:{port} --tls-cert {server.pem} --tls-key {client.key} --tls-ca {ca.pem}"
    ),
    "there is no token": "--http tcp:18080 --http-token-file {nothing}",
    "there is no private key": (
        "--http ssl:18080:interface=127.0.0.1:certKey={server.pem}:privateKey={nonsense}"
    ),
    "No such file": "--http ssl:18080:interface=127.0.0.1:privateKey={missing}",
    "must be from 0 to 65535": "--http tcp:99999:interface=127.0.0.1",
    "Unknown endpoint type": "--http bogus:1:interface=127.0.0.1",
    "is not a directory": "--http unix:{missing}/http.sock",
    "not a regular file": "--record-calls {folder}",
    "is not a regular": "-p {folder}",
    "beyond fs.nr_open": "-L 2147483647",
    "has it": "--http tcp:{port}:interface=127.0.0.1",
}


QUIET = "-f -F -l 127.0.0.1 -s unix:{control.sock} --http none --fast-path none -p /dev/null"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates, and files that are none."""
    made = tmp_path_factory.mktemp("files")
    certs.make(str(made), ["relay.example"], "client")
    (made / "nonsense").write_text("nonsense")
    (made / "nothing").write_text("")
    (made / "nothing").chmod(0o600)
    (made / "folder").mkdir()
    return made


def filled(line: str, folder: Path, port: int = 0) -> list[str]:
    """Words of a command line, with the files' names in it."""
    line = line.replace("{port}", str(port))
    return re.sub(r"\{([\w.]+)\}", lambda found: str(folder / found[1]), line).split()


@pytest.mark.network
@pytest.mark.parametrize("words", FILES)
def test_what_the_relay_will_not_start_with_is_found_before(
    words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that are of no use, and places that cannot be had; the relay itself says so, too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = [*filled(QUIET, folder), *filled(FILES[words], folder, port)]
        assert ctl.main(["check", *line]) == 1
        printed = capsys.readouterr().out.splitlines()
        errors = [each for each in printed if each.startswith("error")]
        assert any(words in each and " -> " in each for each in errors), printed
        started = subprocess.run(
            [sys.executable, "-m", "rtpproxy_tw.tools.launcher", *line],
            capture_output=True,
            text=True,
            timeout=60.0,
            check=False,
        )
    assert started.returncode == 1
    assert "Traceback" not in started.stdout + started.stderr
    assert any(each.startswith("rtpproxy-tw: ") for each in started.stderr.splitlines())


@pytest.mark.network
def test_certificates_that_end_soon_or_have_ended_are_warned_of(folder: Path) -> None:
    line = "-s tls:127.0.0.1:1 --tls-cert {server.pem} --tls-key {server.key} --tls-ca {ca.pem}"
    asked = settings(" ".join([GOOD, *filled(line, folder)]))
    for days, words in ((0, "valid for 82"), (800, "more days"), (900, "no longer valid")):
        found = read_contents(asked, time.time() + days * 86400)
        assert all(each.level is not Level.ERROR for each in found)
        assert words in found[0].found
    assert found[0].level is Level.WARNING


def test_json_without_a_check_starts_nothing() -> None:
    with pytest.raises(ConfigError, match="only with --check"):
        interpret(["--json"], "x", FakeHost())


@pytest.mark.parametrize("number", ["0", "-5", "many"])
def test_a_number_of_calls_is_above_0(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        ctl.main(["check", "--calls", number])
    assert refused.value.code == 2
    assert "1 or more" in capsys.readouterr().err
