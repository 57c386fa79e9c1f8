"""What a command line asks for, in both ways to start: the program's own and twistd's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from twisted.python import usage

from rtpproxy_tw.configuration import host as host_module
from rtpproxy_tw.configuration.configure import Configured
from rtpproxy_tw.configuration.host import Host, make_private, runtime_directory
from rtpproxy_tw.configuration.options import Message, Options, interpret, version
from rtpproxy_tw.configuration.switches import SWITCHES, spelled
from rtpproxy_tw.configuration.toml_reader import from_toml
from rtpproxy_tw.control.features import FEATURES
from rtpproxy_tw.errors import ConfigError
from tests.configuration.configuring import FakeHost, settings

ROOT = Path(__file__).parents[2]


def asked(*arguments: str) -> Message | Configured:
    return interpret(arguments, "program", FakeHost())


def text_of(*arguments: str) -> str:
    wanted = asked(*arguments)
    assert isinstance(wanted, Message)
    return wanted.text


def test_the_version_is_the_packages() -> None:
    assert text_of("-V") == version()
    assert "\n" not in version()


def test_the_clock_has_a_name() -> None:
    assert text_of("-C") == "CLOCK_MONOTONIC"


def test_the_extensions_are_listed_with_the_base_first() -> None:
    lines = text_of("-v").splitlines()
    assert lines[0] == "Basic version: 20040107"
    assert lines[1].startswith("Extension 20040107: ")
    assert [line.split()[1].rstrip(":") for line in lines[1:]] == list(FEATURES)
    assert all(line.partition(": ")[2] for line in lines)


def test_information_is_given_whatever_follows() -> None:
    assert text_of("-V", "-T", "0", "rubbish") == version()
    assert text_of("-fv").startswith("Basic version")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_the_options(option: str) -> None:
    text = text_of(option)
    assert "program" in text
    assert all(spelled(name).rpartition("/")[2] in text for name in SWITCHES)


def test_printed_settings_can_be_read_again() -> None:
    text = text_of("--print-config", "-l", "10.0.0.1", "-T", "7")
    assert ("ttl", "7") in from_toml(text).given


def test_settings_are_checked_before_they_are_printed() -> None:
    with pytest.raises(ConfigError, match="-T/--ttl 0"):
        asked("--print-config", "-T", "0")


def test_other_command_lines_give_settings_and_remarks() -> None:
    wanted = asked("-l", "10.0.0.1", "-a")
    assert isinstance(wanted, Configured)
    assert wanted.settings == settings("-l 10.0.0.1 -a")
    assert len(wanted.notes) == 1


def test_twistd_gets_the_same_settings_and_is_in_the_foreground() -> None:
    options = Options()
    options.parseOptions(["-l127.0.0.1", "-s", "/a", "-s", "udp:127.0.0.1:9", "--overload_prot=1"])
    line = "-f -l 127.0.0.1 -s /a -s udp:127.0.0.1:9 --overload_prot"
    path = options.settings.http_default  # this machine's, not the tests' own
    assert options.settings == replace(settings(line), http_default=path)
    assert options.notes == ()


@pytest.mark.parametrize(
    "line", ["-f", "-p /x.pid", "-u daemon", "-w 432", "-c rr", "--nice 3", "-D", "-F"]
)
def test_twistd_accepts_what_concerns_the_process(line: str) -> None:
    options = Options()
    options.parseOptions(["-s", "/a", *line.split()])
    assert options.settings.foreground


@pytest.mark.parametrize(
    "line, told", [("-T 0", "-T/--ttl 0"), ("--bogus", "--bogus"), ("now", "now")]
)
def test_twistd_hears_of_mistakes_in_its_own_way(line: str, told: str) -> None:
    with pytest.raises(usage.UsageError, match=told):
        Options().parseOptions(line.split())


def test_twistd_exits_after_printing_what_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions(["-V"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == version() + "\n"


def test_twistd_can_complete_the_options() -> None:
    options = Options()
    assert "listen=" in options.longOpt
    assert "foreground" in options.longOpt
    assert "twistd [options] rtpproxy" in str(options)


@pytest.mark.network
def test_twistd_finds_the_plugin_from_any_directory(tmp_path: Path) -> None:
    twistd = Path(sys.executable).parent / "twistd"
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", str(twistd), "-n", "rtpproxy", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("Usage: twistd [options] rtpproxy [options]\n")
    assert "--listen" in shown.stdout


def test_a_users_runtime_directory_is_the_login_managers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/somewhere/private")
    assert runtime_directory(os.getuid()) == "/somewhere/private"


@pytest.mark.parametrize("given", ["", "relative/path"])
def test_without_one_there_is_a_private_directory(
    given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    # A number nobody has, so that there is no directory of the login manager either.
    uid = 3_999_999_999
    with pytest.raises(ConfigError, match="not a directory of user"):
        runtime_directory(uid)
    made = tmp_path / f"rtpproxy-{uid}"
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_private_directory_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "own"
    make_private(str(path), os.getuid())
    make_private(str(path), os.getuid())
    assert path.is_dir()


def test_a_directory_of_others_is_not_taken(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    file = tmp_path / "file"
    file.touch(0o600)
    for path in (shared, link, file):
        with pytest.raises(ConfigError, match=f"{path}: is not a directory of user"):
            make_private(str(path), os.getuid())
    with pytest.raises(ConfigError, match="cannot make this directory"):
        make_private(str(tmp_path / "no" / "where"), os.getuid())


@pytest.mark.parametrize(
    "uid, expected", [(0, "/var/run/rtpproxy.sock"), (77, "/private/rtpproxy.sock")]
)
def test_the_default_socket_depends_on_the_user(
    uid: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/private")
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert Host().default_socket() == expected


@pytest.mark.parametrize("uid", [0, 77])
def test_a_service_has_its_sockets_where_systemd_made_a_directory_for_them(
    uid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/rtpproxy-tw/a:/run/other")
    assert Host().default_socket() == "/run/rtpproxy-tw/a/rtpproxy.sock"
    assert Host().default_http_socket() == "/run/rtpproxy-tw/a/rtpproxy-http.sock"


def test_tools_find_the_service_where_the_user_has_no_relay_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "SERVICE_DIRECTORY", str(tmp_path / "service"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "own"))
    own, service = (tmp_path / name / "rtpproxy-http.sock" for name in ("own", "service"))
    assert Host().http_socket_to_ask() == str(own)
    service.parent.mkdir()
    service.touch()
    assert Host().http_socket_to_ask() == str(service)
    own.parent.mkdir()
    own.touch()
    assert Host().http_socket_to_ask() == str(own)


def test_this_machine_knows_its_own_address_and_root() -> None:
    host = Host()
    assert host.resolve("127.0.0.1", 2, numeric=True) == "127.0.0.1"
    host.check_user("root")
    host.check_group("root")
    for check in (host.check_user, host.check_group):
        with pytest.raises(KeyError):
            check("no-such-account")
    with pytest.raises(socket.gaierror):
        host.resolve("localhost", 2, numeric=True)
