"""From options and files to settings: every option, good and bad, and the way back to TOML."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.configure import configure
from rtpproxy_tw.configuration.settings import INT_MAX, ControlAddress, Settings
from rtpproxy_tw.configuration.switches import SWITCHES, spelled
from rtpproxy_tw.configuration.toml_printer import to_toml
from rtpproxy_tw.configuration.toml_reader import from_toml
from rtpproxy_tw.errors import ConfigError
from tests.configuration.configuring import DEFAULT_SOCKET, FakeHost, notes, settings

ROOT = Path(__file__).parents[2]


def test_no_options_give_the_originals_defaults() -> None:
    assert settings() == Settings(
        control=(ControlAddress("unix", DEFAULT_SOCKET, named=False),),
        addresses=LocalAddresses((LocalAddress("0.0.0.0"),)),
        min_port=35000,
        max_port=64998,
        tos=0xB8,
        ttl=60,
        setup_ttl=60,
        max_media=32,
        http_default="/run/test/rtpproxy-http.sock",
        fast_path="auto",
        media_plane="auto",
        latching="strict",
        pid_file="/var/run/rtpproxy.pid",
        pid_file_named=False,
        log_level="WARN",
        log_facility="DAEMON",
        keeper=True,
    )


@pytest.mark.parametrize(
    "line, field, value",
    [
        ("-f", "foreground", True),
        ("-F", "allow_root", True),
        ("-s unix:/a/b.sock", "control", (ControlAddress("unix", "/a/b.sock"),)),
        ("-s /a/b.sock", "control", (ControlAddress("unix", "/a/b.sock"),)),
        ("-s cunix:/a/b.sock", "control", (ControlAddress("cunix", "/a/b.sock"),)),
        ("-s tcp:127.0.0.1", "control", (ControlAddress("tcp", "127.0.0.1", 22222),)),
        ("-s tcp:127.0.0.1:", "control", (ControlAddress("tcp", "127.0.0.1", 22222),)),
        ("-s 'tcp:*:77'", "control", (ControlAddress("tcp", "0.0.0.0", 77),)),
        ("-s tcp6:::1:9000", "control", (ControlAddress("tcp6", "::1", 9000),)),
        ("-s 'udp:*'", "control", (ControlAddress("udp", "0.0.0.0", 22222),)),
        ("-s udp:media.test:9", "control", (ControlAddress("udp", "192.0.2.7", 9),)),
        ("-s udp:media.test:9 --no_resolve", "control", (ControlAddress("udp", "192.0.2.7", 9),)),
        ("-s udp6:::1:9000", "control", (ControlAddress("udp6", "::1", 9000),)),
        ("-s 'udp6:[::1]:9000'", "control", (ControlAddress("udp6", "::1", 9000),)),
        ("-s 'udp6:[::1]'", "control", (ControlAddress("udp6", "::1", 22222),)),
        ("-s 'udp6:*'", "control", (ControlAddress("udp6", "::", 22222),)),
        ("-s stdio: -f", "control", (ControlAddress("stdio"),)),
        ("-s stdioc: -f", "control", (ControlAddress("stdioc"),)),
        ("-s systemd:", "control", (ControlAddress("systemd"),)),
        (
            "-s /b -s udp:127.0.0.1:1 -s tcp:127.0.0.1:1",
            "control",
            (
                ControlAddress("unix", "/b"),
                ControlAddress("udp", "127.0.0.1", 1),
                ControlAddress("tcp", "127.0.0.1", 1),
            ),
        ),
        ("-l 127.0.0.1", "addresses", LocalAddresses((LocalAddress("127.0.0.1"),))),
        ("-6 ::1", "addresses", LocalAddresses((LocalAddress("::1"),))),
        (
            "-l 10.0.0.1 -A x.test",
            "addresses",
            LocalAddresses((LocalAddress("10.0.0.1", "x.test"),)),
        ),
        ("-m 40001", "min_port", 40002),
        ("-m40000", "min_port", 40000),
        ("-M 50000", "max_port", 49998),
        ("-M 50001", "max_port", 50000),
        ("-m 40000 -M 40001", "max_port", 40000),
        ("-m 1", "min_port", 2),
        ("-M 65535", "max_port", 65534),
        ("-b", "sequential", True),
        ("-t 0", "tos", 0),
        ("-t 255", "tos", 255),
        ("-2", "send_twice", True),
        ("-T 1", "ttl", 1),
        ("-T 20", "setup_ttl", 20),
        ("-T 20 -W 5", "setup_ttl", 5),
        ("-T +20", "ttl", 20),
        ("-T 020", "ttl", 20),
        ("-i", "independent_ttl", True),
        ("--hold-timeout 7200", "hold_timeout", 7200),
        ("--max-duration 86400", "max_duration", 86400),
        ("--max_sessions 500", "max_sessions", 500),
        ("--max-media 1", "max_media", 1),
        ("-n /a -n unix:/b", "notify", ("/a", "unix:/b")),
        ("-n tcp:media.test:1 -n tcp:127.0.0.1:65535", "notify", None),
        ("-n tcp:%%CC_SELF%%:9", "notify", ("tcp:%%CC_SELF%%:9",)),
        ("-r /rec", "record_dir", "/rec"),
        ("-r rec", "record_dir", str(Path.cwd() / "rec")),
        ("-r /rec -S /spool", "spool_dir", "/spool"),
        ("-R", "record_rtcp", False),
        ("-P", "record_pcap", True),
        ("-a", "record_all", True),
        ("--prompt-dir /a --prompt_dir /b", "prompt_dirs", ("/a", "/b")),
        ("--fast-path ebpf", "fast_path", "ebpf"),
        ("--fast_path=none", "fast_path", "none"),
        ("--media-plane plain", "media_plane", "plain"),
        ("--media-processes 2", "media_processes", 2),
        ("--latching rtpproxy", "latching", "rtpproxy"),
        ("", "rebinding", True),
        ("--no-rebinding", "rebinding", False),
        ("", "asymmetric", False),
        ("--force_asymmetric", "asymmetric", True),
        ("-l 10.0.0.1/10.0.0.2", "asymmetric", True),
        ("-l 10.0.0.1/10.0.0.2 --bridge_symmetric", "asymmetric", False),
        ("-l 10.0.0.1/10.0.0.2 --bridge_symmetric --force_asymmetric", "asymmetric", True),
        ("--overload_prot", "overload_protection", True),
        ("--overload_prot=0.8-0.9", "overload_protection", True),
        ("--dso /usr/lib/rtpproxy/rtpp_acct_csv.so", "modules", ("acct_csv",)),
        ("--dso rtpp_catch_dtmf_debug.so", "modules", ("catch_dtmf",)),
        ("-p /run/x.pid", "pid_file", "/run/x.pid"),
        ("-p /run/x.pid", "pid_file_named", True),
        ("-p /dev/null", "pid_file", None),
        ("-p /dev/../dev/null", "pid_file", None),
        ("-u daemon", "user", "daemon"),
        ("-u daemon", "group", None),
        ("-u root:daemon", "group", "daemon"),
        ("-u :daemon", "user", None),
        ("-w 432", "socket_mode", 0o660),
        ("-w 0", "socket_mode", 0),
        ("-L 4096", "nofile", 4096),
        ("-c fifo", "scheduler", "fifo"),
        ("-c rr", "scheduler", "rr"),
        ("--nice -20", "nice", -20),
        ("--nice=20", "nice", 20),
        ("-f", "log_level", "DBUG"),
        ("-d info", "log_level", "INFO"),
        ("-d Err:local3", "log_facility", "LOCAL3"),
        ("-d CRIT:LOG_AUTH", "log_facility", "AUTH"),
        ("-D", "chdir", False),
        ("--no_redirect", "redirect", False),
        ("--no_resolve", "resolve", False),
        ("-T 5 -T 6", "ttl", 6),
    ],
)
def test_an_option_sets_what_it_is_for(line: str, field: str, value: Any) -> None:
    found = getattr(settings(line), field)
    if value is None and field == "notify":
        value = ("tcp:media.test:1", "tcp:127.0.0.1:65535")
    assert found == value


@pytest.mark.parametrize(
    "line, option, told",
    [
        ("-s ''", "-s/--control", "missing"),
        ("-s unix:", "-s/--control", "missing"),
        (f"-s /{'x' * 107}", "-s/--control", "107 octets"),
        ("-s udp:", "-s/--control", "host is missing"),
        ("-s udp::9", "-s/--control", "host is missing"),
        ("-s udp:127.0.0.1:0", "-s/--control 0", "port"),
        ("-s udp:127.0.0.1:65536", "-s/--control 65536", "port"),
        ("-s udp:127.0.0.1:x", "-s/--control x", "port"),
        ("-s udp:nowhere.test", "-s/--control nowhere.test", "IPv4"),
        ("-s udp:::1:9", "-s/--control ::1", "not an IPv4 address"),
        ("-s udp6:127.0.0.1:9", "-s/--control 127.0.0.1", "not an IPv6 address"),
        ("-s stdio:", "-s/--control stdio", "-f"),
        ("-s /a -s unix:/a", "-s/--control", "twice"),
        ("-s /a -s cunix:/a", "-s/--control", "twice"),
        ("-f -s stdio: -s stdioc:", "-s/--control", "twice"),
        ("-s systemd: -s systemd:", "-s/--control", "twice"),
        ("-m 0", "-m/--min-port 0", "65535"),
        ("-m 65536", "-m/--min-port 65536", "65535"),
        ("-m 65535", "-m/--min-port", "no pair"),
        ("-m 4x", "-m/--min-port 4x", "65535"),
        ("-m ''", "-m/--min-port", "65535"),
        (f"-m {'9' * 5000}", "-m/--min-port", "65535"),
        ("-M -1", "-M/--max-port -1", "65535"),
        ("-M 1", "-M/--max-port", "no pair"),
        ("-m 40000 -M 40000", "-m/--min-port, -M/--max-port", "no pair"),
        ("-m 40001 -M 40002", "-m/--min-port, -M/--max-port", "no pair"),
        ("-t 256", "-t/--tos 256", "0 to 255"),
        ("-t -1", "-t/--tos -1", "0 to 255"),
        ("-t 0xb8", "-t/--tos 0xb8", "whole number"),
        ("-T 0", "-T/--ttl 0", "from 1"),
        ("-T 1.5", "-T/--ttl 1.5", "whole number"),
        (f"-T {INT_MAX + 1}", "-T/--ttl", "whole number"),
        (f"-T {'9' * 5000}", "-T/--ttl", "whole number"),
        ("-T ٣", "-T/--ttl", "whole number"),
        ("-W 0", "-W/--setup-ttl 0", "from 1"),
        ("--hold-timeout -1", "--hold-timeout -1", "from 0"),
        ("--max-duration x", "--max-duration x", "whole number"),
        ("--max-sessions -1", "--max-sessions -1", "from 0"),
        ("--max-media 0", "--max-media 0", "from 1"),
        ("-n ''", "-n/--notify", "missing"),
        ("-n unix:", "-n/--notify", "missing"),
        (f"-n /{'x' * 107}", "-n/--notify", "107 octets"),
        ("-n tcp:", "-n/--notify tcp:", "tcp:HOST:PORT"),
        ("-n tcp:host", "-n/--notify tcp:host", "tcp:HOST:PORT"),
        ("-n tcp::9", "-n/--notify tcp::9", "tcp:HOST:PORT"),
        ("-n tcp:host:0", "-n/--notify 0", "port"),
        ("-n tcp:host:x", "-n/--notify x", "port"),
        ("-n tcp:::1:9", "-n/--notify tcp:::1:9", "IPv4"),
        ("-n 'tcp:a b:9'", "-n/--notify tcp:a b:9", "name"),
        ("-r ''", "-r/--record-dir", "missing"),
        ("-S /spool", "-S/--spool-dir /spool", "-r"),
        ("--prompt-dir ''", "--prompt-dir", "missing"),
        ("--fast-path xdp", "--fast-path xdp", "auto, ebpf, none"),
        ("--latching loose", "--latching loose", "strict, rtpproxy"),
        ("--media-processes 65", "--media-processes 65", "64"),
        ("--media-processes 1 --media-plane plain", "--media-processes 1", "--media-plane epoll"),
        ("--dso acct_csv", "--dso acct_csv", "rtpp_NAME.so"),
        ("--dso /x/rtpp_magic.so", "magic", "no such module"),
        ("--dso /x/rtpp_dtls_gw.so", "dtls_gw", "not supported yet"),
        ("--dso /x/rtpp_ice_lite.so", "ice_lite", "not supported yet"),
        ("--dso /x/rtpp_acct_rtcp_hep.so", "acct_rtcp_hep", "not supported yet"),
        ("--config /nowhere/at.all", "--config /nowhere/at.all", "No such file"),
        ("-p ''", "-p/--pid-file", "missing"),
        ("-u ''", "-u/--user", "USER:GROUP"),
        ("-u :", "-u/--user :", "USER:GROUP"),
        ("-u daemon:", "-u/--user daemon:", "USER:GROUP"),
        ("-u nobody.test", "-u/--user nobody.test", "no user"),
        ("-u root:wheel.test", "-u/--user root:wheel.test", "no group"),
        ("-w 4096", "-w/--socket-mode 4096", "0 to 4095"),
        ("-w rw", "-w/--socket-mode rw", "whole number"),
        ("-L 10", "-L/--nofile 10", "from 64"),
        ("-L all", "-L/--nofile all", "whole number"),
        ("-c idle", "-c/--scheduler idle", "fifo, rr"),
        ("--nice 21", "--nice 21", "-20 to 20"),
        ("--nice low", "--nice low", "whole number"),
        ("-d LOUD", "-d/--log LOUD", "DBUG"),
        ("-d INFO:", "-d/--log INFO:", "facility"),
        ("-d INFO:local8", "-d/--log INFO:local8", "LOCAL7"),
        ("-d ''", "-d/--log", "DBUG"),
    ],
)
def test_a_wrong_value_is_refused_with_the_option_and_the_reason(
    line: str, option: str, told: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(line)
    assert option in str(refused.value)
    assert told in str(refused.value)


def test_as_many_notification_sockets_are_taken_as_by_the_original() -> None:
    exact = " ".join(f"-n /s{number}" for number in range(64))
    wild = " ".join(f"-n tcp:%%CC_SELF%%:{port}" for port in (1, 2))
    assert len(settings(f"{exact} {wild}").notify) == 66
    for more in ("-n /one", "-n tcp:%%CC_SELF%%:3"):
        with pytest.raises(ConfigError, match="64 sockets and 2 wildcards"):
            settings(f"{exact} {wild} {more}")


@pytest.mark.parametrize(
    "line, told",
    [
        ("-A one/two", "only the first half"),
        ("-a", "records nothing"),
        ("--record-export wav", "--record-export has no effect"),
        ("--record-command /bin/true", "--record-command has no effect"),
        ("-w 432", "without a group"),
    ],
)
def test_what_is_hardly_meant_is_remarked_on(line: str, told: str) -> None:
    assert [note for note in notes(line) if told in note]


def test_a_sensible_command_line_is_not_remarked_on() -> None:
    assert notes("-l 10.0.0.1 -A one -a -r /rec -w 432 -u daemon:daemon") == ()


@pytest.mark.parametrize(
    "change, told",
    [
        ({"min_port": 35001}, "even"),
        ({"max_port": 65536}, "even"),
        ({"min_port": 0}, "no pair"),
        ({"control": ()}, "at least one"),
        ({"control": (ControlAddress("pipe"),)}, "pipe"),
        ({"ttl": 0}, "-T/--ttl 0"),
        ({"log_facility": "KITCHEN"}, "KITCHEN"),
    ],
)
def test_settings_made_by_hand_are_checked_as_well(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        replace(settings(), **change)


def test_any_free_port_may_be_asked_for_twice() -> None:
    anywhere = ControlAddress("udp", "127.0.0.1", 0)
    assert replace(settings(), control=(anywhere, anywhere)).control == (anywhere, anywhere)


def from_text(text: str, line: str = "") -> Settings:
    """The settings of a TOML text."""
    return configure(from_toml(text).given, FakeHost()).settings


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_keys_of_the_file_are_the_long_names_of_the_options() -> None:
    found = from_text(
        """
        control = ["udp:127.0.0.1:1", "unix:/a"]
        listen = "10.0.0.1=198.51.100.1"
        min-port = 40000
        send_twice = true
        sequential = false
        ttl = 30
        user = "root:daemon"
        socket_mode = 0o600
        """
    )
    assert found == settings(
        "-s udp:127.0.0.1:1 -s unix:/a -l 10.0.0.1=198.51.100.1 -m 40000 -2 -T 30 -u root:daemon"
        " -w 384"
    )


def test_the_example_in_the_documentation_can_be_read() -> None:
    text = (ROOT / "docs" / "running.rst").read_text(encoding="utf-8")
    block = text.partition(".. code-block:: toml\n\n")[2].partition("\nModules\n")[0]
    lines = [line for line in block.splitlines() if line.startswith("    ")]
    found = from_toml(textwrap.dedent("\n".join(lines)))
    assert found.modules == ("acct_csv",)
    assert configure(found.given, FakeHost()).settings.socket_mode == 0o660


def test_every_option_is_documented() -> None:
    text = (ROOT / "docs" / "running.rst").read_text(encoding="utf-8")
    for name, switch in SWITCHES.items():
        assert f"``-{switch.short}``" in text or spelled(name).rpartition("/")[2] in text, name


@pytest.mark.parametrize(
    "text, told",
    [
        ("nonsense = 1", "nonsense: there is no such setting"),
        ("config = 'x.toml'", "config: there is no such setting"),
        ("help = true", "help: there is no such setting"),
        ("ttl = '60'", "ttl: must be a whole number"),
        ("ttl = true", "ttl: must be a whole number"),
        ("ttl = 60.0", "ttl: must be a whole number"),
        ("sequential = 1", "sequential: must be true or false"),
        ("record_dir = ['a']", "record_dir: must be a string"),
        ("listen = [1]", "listen: must be a string or an array of strings"),
        ("notify = {}", "notify: must be a string or an array of strings"),
        ("ttl = [\n1", "nclosed array"),
        ("[modules.magic]", "magic"),
        ("[modules.acct_csv]\nx = 1", "acct_csv: there is no setting x"),
        ("[modules]\nacct_csv = 1", "acct_csv"),
        ("modules = 1", "modules: there is no such setting"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_key(
    tmp_path: Path, text: str, told: str
) -> None:
    path = write(tmp_path, "relay.toml", text)
    with pytest.raises(ConfigError) as refused:
        settings(f"--config {path}")
    assert str(refused.value).startswith(f"--config {path}: ")
    assert told in str(refused.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_bytes(b"record_dir = '\xff'")
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        settings(f"--config {path}")


def test_the_command_line_wins_over_the_file_wherever_it_names_it(tmp_path: Path) -> None:
    path = write(tmp_path, "relay.toml", "ttl = 30\nlisten = ['10.0.0.1', 'x@::1']\nmax_media = 3")
    found = settings(f"-T 40 -6 ::2 --config {path}")
    assert found.ttl == 40
    assert found.max_media == 3
    assert found.addresses == LocalAddresses((LocalAddress("::2"),))


def test_a_later_file_wins_over_an_earlier_one(tmp_path: Path) -> None:
    first = write(tmp_path, "a.toml", "ttl = 30\ntos = 1")
    second = write(tmp_path, "b.toml", "ttl = 31")
    found = settings(f"--config {first} --config {second}")
    assert (found.ttl, found.tos) == (31, 1)


def test_a_file_of_another_name_is_the_originals_list_of_modules(tmp_path: Path) -> None:
    path = write(tmp_path, "rtpproxy.conf", "modules { acct_csv { load = x.so } catch_dtmf {} }")
    assert settings(f"--config {path}").modules == ("acct_csv", "catch_dtmf")


def test_modules_of_all_sources_are_taken_once(tmp_path: Path) -> None:
    ucl = write(tmp_path, "rtpproxy.conf", "modules { acct_csv {} }")
    toml = write(tmp_path, "relay.toml", "[modules.catch_dtmf]")
    found = settings(f"--config {ucl} --config {toml} --dso rtpp_acct_csv.so")
    assert found.modules == ("acct_csv", "catch_dtmf")


def test_one_array_holds_addresses_of_both_families_in_order() -> None:
    found = from_text("listen = ['2001:db8::1', 'b@192.0.2.1=2001:db8::9', 'c@192.0.2.2']")
    assert (
        found.addresses
        == settings("-6 2001:db8::1 -l b@192.0.2.1=2001:db8::9 -l c@192.0.2.2").addresses
    )
    assert found.addresses.default.host == "2001:db8::1"


@pytest.mark.parametrize(
    "text, line",
    [
        ("10.0.0.1/10.0.0.2", "-l 10.0.0.1/10.0.0.2"),
        ("10.0.0.1/::2", "-l 10.0.0.1 -6 /::2"),
        ("::1/10.0.0.2", "-6 ::1 -l /10.0.0.2"),
        ("::1/::2", "-6 ::1/::2"),
    ],
)
def test_a_bridge_of_the_file_may_join_both_families(text: str, line: str) -> None:
    assert from_text(f"listen = '{text}'") == settings(line)


ROUND_TRIPS = [
    "",
    "-f",
    "-s udp:127.0.0.1:1 -s udp6:::1:2 -s tcp:*:3 -s tcp6:*:4 -s cunix:/a -s systemd:",
    "-f -s stdio:",
    "-l 10.0.0.1=one -l 'x@10.0.0.2' -6 y@::1=two",
    "-6 ::1 -l x@10.0.0.1",
    "-l '*' -A 198.51.100.7",
    "-l 10.0.0.1/10.0.0.2 -A one/two",
    "-l 10.0.0.1 -6 /::2 --bridge_symmetric -l x@10.0.0.3=three",
    "-6 ::1 -l /10.0.0.2 -A 2001:db8::1/198.51.100.1",
    "--force_asymmetric --no_resolve",
    "-m 40000 -M 40001 -b -t 0 -2 -T 5 -W 6 -i --hold-timeout 7 --max-duration 8",
    "--max-sessions 9 --max-media 10 -n /a -n tcp:%%CC_SELF%%:1 --overload_prot=x",
    "-r /rec --record-resume --record-min-free 0 --record-low-space delete-oldest"
    " --record-export mp3 --record-export-mixed --record-command '/bin/x \"a b\"'"
    " --record-webhook https://example.org/r --webhook-spool /s",
    "-r /rec -S /spool -R -P -a --prompt-dir /a --prompt-dir '/b \"\\c'",
    "--fast-path none --media-processes 3 --latching rtpproxy --dso rtpp_acct_csv.so"
    " --dso rtpp_catch_dtmf.so",
    "-p /dev/null -u root:daemon -w 511 -L 1000 -c rr --nice -3 -d err:local5",
    "-p /run/ünï.pid -u :daemon -D --no_redirect -F",
    "-u daemon",
    "--http none --trace 60 --log-format json --record-calls /a --hep udp:homer:9060 --hep-id 0",
    "--http unix:/a --http tcp:8080 --http-token-file /t --http-client-ca /c --rtpengine-metrics",
    "--webhook https://example.org/x --webhook-spool /s --hep 'udp:[::1]:9060' --log-format text",
]


@pytest.mark.parametrize("line", ROUND_TRIPS)
def test_printed_settings_read_back_are_the_same(line: str, tmp_path: Path) -> None:
    before = settings(line)
    path = write(tmp_path, "relay.toml", to_toml(before))
    assert settings(f"--config {path}") == before


def test_defaults_of_the_machine_are_printed_as_comments_only() -> None:
    text = to_toml(settings())
    assert f'# control = ["unix:{DEFAULT_SOCKET}"] by default\n' in text
    assert '# http = ["unix:/run/test/rtpproxy-http.sock"] by default\n' in text
    assert '# pid_file = "/var/run/rtpproxy.pid" by default\n' in text
    assert "\ncontrol = " not in text
    assert "\npid_file" not in text


def test_a_path_that_is_not_unicode_cannot_be_printed() -> None:
    with pytest.raises(ConfigError, match="not Unicode"):
        to_toml(replace(settings(), record_dir="/\udcff"))


@given(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
    )
)
def test_any_text_survives_printing(text: str) -> None:
    before = replace(settings(), record_dir=f"/{text}", pid_file="/x", pid_file_named=True)
    found = from_toml(to_toml(before)).given
    assert f"/{text}" in [item.text for item in found if item.name == "record_dir"]
