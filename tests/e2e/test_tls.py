"""Commands over TLS: a real relay, real clients with all kinds of certificates, real proxies."""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import pytest

from rtpproxy_tw.tools import certs
from rtpproxy_tw.tools.certs import Pair
from tests.e2e import loopback
from tests.e2e.calls import Call, run_to_the_end
from tests.e2e.checks import assert_heard, assert_told
from tests.e2e.kamailio import Kamailio
from tests.e2e.phone import Phone
from tests.e2e.process import Process, wait_until
from tests.e2e.relay import Relay

pytestmark = pytest.mark.e2e

PORT = 22443
NOW = datetime.now(timezone.utc)
REFUSED = (ssl.SSLError, ConnectionError)
"""What a client meets whose certificate is of no use, sooner or later."""
ELSEWHERE = loopback.host(50)
"""Where a helper listens that stands beside a SIP proxy."""


def write(folder: Path, stem: str, pair: Pair) -> None:
    """Put a pair where the relay or a client reads it, each file at once."""
    for ending, octets in ((".key", pair.key_pem), (".pem", pair.pem)):
        new = folder / f"{stem}{ending}.new"
        new.write_bytes(octets)
        new.rename(folder / f"{stem}{ending}")


class Stage(NamedTuple):
    """A relay that takes commands over TLS, and who vouches for whom."""

    relay: Relay
    folder: Path
    authority: Pair


def tls_options(folder: Path) -> list[str]:
    """What the relay is told about its certificates."""
    named = [f"{folder}/{name}" for name in ("server.pem", "server.key", "ca.pem")]
    return [
        word
        for pair in zip(("--tls-cert", "--tls-key", "--tls-ca"), named, strict=True)
        for word in pair
    ]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    authority = certs.authority("ours", NOW)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    write(tmp_path, "server", certs.issue(authority, [loopback.RELAY], server=True, now=NOW))
    write(tmp_path, "client", certs.issue(authority, ["proxy"], server=False, now=NOW))
    options = [*tls_options(tmp_path), "--http", f"unix:{tmp_path / 'http'}"]
    with Relay(loopback.RELAY, tmp_path, [f"tls:{loopback.RELAY}:{PORT}"], options) as relay:
        yield Stage(relay, tmp_path, authority)
        assert relay.end() == 0
        relay.assert_had_no_accident()


def context(folder: Path, stem: str | None = "client") -> ssl.SSLContext:
    """A client's; ``stem`` is its certificate, None: it has none."""
    made = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if stem is not None:
        made.load_cert_chain(folder / f"{stem}.pem", folder / f"{stem}.key")
    return made


def connect(made: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection to the relay. Raises OSError."""
    plain = socket.create_connection((loopback.RELAY, PORT), 5)
    try:
        return made.wrap_socket(plain, server_hostname=loopback.RELAY)
    except OSError:
        plain.close()
        raise


def ask(connection: ssl.SSLSocket, command: str = "V") -> str:
    """The line answered to ``command``. Raises OSError where there is none."""
    connection.sendall(command.encode() + b"\n")
    answer = connection.recv(4096)
    if not answer:
        raise ConnectionAbortedError("closed without an answer")
    return answer.decode().rstrip("\n")


def test_a_client_with_a_certificate_of_the_authority_commands(stage: Stage) -> None:
    with connect(context(stage.folder)) as connection:
        assert ask(connection) == "20040107"
        assert re.fullmatch(
            rf"\d+ {loopback.RELAY}", ask(connection, f"U c {loopback.CALLER} 4000 f")
        )
        assert ask(connection, "D c f") == "0"


def a_pair(kind: str, authority: Pair) -> Pair | None:
    """The certificate of a client that must be refused."""
    match kind:
        case "none":
            return None
        case "foreign":
            return certs.issue(certs.authority("ours", NOW), ["x"], server=False, now=NOW)
        case "expired":
            return certs.issue(authority, ["proxy"], server=False, now=NOW, days=-1)
        case "of a server":
            return certs.issue(authority, ["proxy"], server=True, now=NOW)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["none", "foreign", "expired", "of a server"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_without_a_valid_certificate_executes_nothing(
    stage: Stage, kind: str, version: ssl.TLSVersion
) -> None:
    pair = a_pair(kind, stage.authority)
    if pair is not None:
        write(stage.folder, "wrong", pair)
    made = context(stage.folder, None if pair is None else "wrong")
    made.minimum_version = made.maximum_version = version
    with pytest.raises(REFUSED), connect(made) as connection:
        # By TLS 1.3 a client learns only now that it was refused.
        ask(connection, f"U c {loopback.CALLER} 4000 f")
    assert stage.relay.ask("G nsess_created") == "0"
    wait_until(lambda: "tls control connection" in stage.relay.printed(), "it is logged")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_nothing_older_than_tls_1_2_is_spoken(stage: Stage, version: ssl.TLSVersion) -> None:
    made = context(stage.folder)
    with pytest.warns(DeprecationWarning, match="deprecated"):
        made.minimum_version = made.maximum_version = version
    made.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"):
        connect(made)


def test_a_client_that_speaks_no_tls_gets_nothing(stage: Stage) -> None:
    with socket.create_connection((loopback.RELAY, PORT), 5) as plain:
        plain.sendall(b"G nsess_created\n")
        answer = plain.recv(4096)
    assert b"0\n" not in answer
    assert stage.relay.ask("V") == "20040107"


def serial_shown(folder: Path) -> int:
    """Which certificate the relay shows to somebody who comes now."""
    with connect(context(folder)) as connection:
        shown = connection.getpeercert()
        assert shown is not None
        return int(str(shown["serialNumber"]), 16)


def test_changed_files_are_taken_over_and_connections_stay(stage: Stage) -> None:
    old = serial_shown(stage.folder)
    with connect(context(stage.folder)) as connection:
        assert ask(connection) == "20040107"
        fresh = certs.issue(stage.authority, [loopback.RELAY], server=True, now=NOW)
        write(stage.folder, "server", fresh)
        wait_until(lambda: serial_shown(stage.folder) != old, "the new one is shown", 15)
        assert serial_shown(stage.folder) == fresh.certificate.serial_number
        assert ask(connection) == "20040107"


def ctl(stage: Stage, *words: str) -> Process:
    """``rtpproxy-ctl``, when it has ended."""
    argv = [sys.executable, "-m", "rtpproxy_tw.tools.ctl", "--api", str(stage.folder / "http")]
    done = Process([*argv, *words], stage.folder / "ctl.log")
    wait_until(lambda: not done.running, "ctl has done it", 20)
    done.kill()
    return done


def test_certificates_are_read_again_on_demand_and_nonsense_changes_nothing(stage: Stage) -> None:
    fresh = certs.issue(stage.authority, [loopback.RELAY], server=True, now=NOW)
    with connect(context(stage.folder)) as connection:
        write(stage.folder, "server", fresh)
        done = ctl(stage, "reload")
        assert (done.status, "certificates" in done.printed()) == (0, True), done.printed()
        assert serial_shown(stage.folder) == fresh.certificate.serial_number
        (stage.folder / "server.pem").write_text("nonsense")
        done = ctl(stage, "reload")
        assert done.status == 1
        assert "there is no certificate" in done.printed()
        assert serial_shown(stage.folder) == fresh.certificate.serial_number
        assert ask(connection) == "20040107"


def test_clients_of_an_authority_that_was_replaced_are_refused(stage: Stage) -> None:
    other = certs.authority("another", NOW)
    (stage.folder / "new.pem").write_bytes(other.pem)
    trusted = context(stage.folder)  # which still trusts the relay's certificate
    with connect(trusted) as connection:
        ask(connection)
    (stage.folder / "new.pem").rename(stage.folder / "ca.pem")
    assert ctl(stage, "reload").status == 0
    with pytest.raises(REFUSED), connect(trusted) as connection:
        ask(connection)


def test_a_certificate_near_its_end_is_warned_of_in_log_and_metrics(stage: Stage) -> None:
    soon = certs.issue(stage.authority, [loopback.RELAY], server=True, now=NOW, days=5)
    write(stage.folder, "server", soon)
    assert ctl(stage, "reload").status == 0
    assert re.search(
        r"certificate of \S+ in \S+server.pem is valid for [45] more days", stage.relay.printed()
    )
    with socket.socket(socket.AF_UNIX) as http:
        http.connect(str(stage.folder / "http"))
        http.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        text = b"".join(iter(lambda: http.recv(65536), b"")).decode()
    found = re.search(r"^relay_tls_certificate_expiry_timestamp_seconds (\d+)$", text, re.M)
    assert found is not None
    assert int(found[1]) == int(soon.certificate.not_valid_after_utc.timestamp())


def test_an_idle_handshake_is_cut_and_does_not_keep_others_out(stage: Stage) -> None:
    idle = [socket.create_connection((loopback.RELAY, PORT), 5) for _ in range(20)]
    try:
        with connect(context(stage.folder)) as connection:
            assert ask(connection) == "20040107"
        idle[0].settimeout(15)
        assert idle[0].recv(10) == b""
    except ConnectionResetError:
        pass
    finally:
        for each in idle:
            each.close()


class Helper(Process):
    """``rtpproxy-tlsproxy`` beside a SIP proxy, with a UDP and a UNIX socket."""

    def __init__(self, stage: Stage, stem: str = "client") -> None:
        folder = stage.folder
        self.unix = folder / "helper"
        argv = [sys.executable, "-m", "rtpproxy_tw.tools.tlsproxy"]
        argv += ["--listen", f"udp:{ELSEWHERE}:22222", "--listen", f"unix:{self.unix}"]
        argv += ["--to", f"{loopback.RELAY}:{PORT}", "--ca", str(folder / "ca.pem")]
        argv += ["--cert", f"{folder}/{stem}.pem", "--key", f"{folder}/{stem}.key"]
        super().__init__(argv, folder / "helper.log")

    def ask(self, datagram: bytes, timeout: float = 1.0) -> bytes | None:
        """What comes back for ``datagram``, None where nothing does."""
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(timeout)
            client.connect((ELSEWHERE, 22222))
            try:
                client.send(datagram)
                return client.recv(4096)
            except OSError:
                return None

    def wait(self) -> None:
        """Until it reaches the relay."""
        wait_until(lambda: self.ask(b"w_%d V" % os.getpid(), 0.2) is not None, "it answers", 15)

    def ask_unix(self, command: bytes) -> bytes:
        """The reply at its UNIX socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.unix))
            client.sendall(command)
            return b"".join(iter(lambda: client.recv(4096), b""))


def test_a_helper_keeps_cookies_and_reconnects_when_the_relay_was_away(stage: Stage) -> None:
    with Helper(stage) as helper:
        helper.wait()
        assert helper.ask(b"12_3 V") == b"12_3 20040107\n"
        assert helper.ask(b"ck_9 bogus") == b"ck_9 E0\n"
        assert helper.ask_unix(b"V") == b"20040107\n"
        many = helper.ask(b"12_4 I")
        assert many is not None
        assert many.startswith(b"12_4 sessions created: 0\nactive sessions: 0\n")
        assert many.count(b"\n") == 5
        assert helper.ask(b"12_5 V") == b"12_5 20040107\n"
        # The same datagram twice is one command.
        command = f"1_1 U c {loopback.CALLER} 4000 f".encode()
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.connect((ELSEWHERE, 22222))
            client.send(command)
            first = client.recv(4096)
            client.send(command)
            assert client.recv(4096) == first
        assert helper.ask_unix(b"G nsess_created") == b"1\n"
        assert stage.relay.end() == 0
        assert helper.ask(b"12_6 V", 0.5) is None
        options = tls_options(stage.folder)
        control = [f"tls:{loopback.RELAY}:{PORT}"]
        with Relay(loopback.RELAY, stage.folder, control, options):
            helper.wait()
            assert helper.ask(b"12_7 V") == b"12_7 20040107\n"
        assert helper.running
        assert "Traceback" not in helper.printed()


def test_a_helper_gives_nothing_to_a_relay_that_is_not_vouched_for(stage: Stage) -> None:
    impostor = certs.issue(certs.authority("ours", NOW), [loopback.RELAY], server=True, now=NOW)
    write(stage.folder, "server", impostor)
    assert ctl(stage, "reload").status == 0
    with Helper(stage) as helper:
        wait_until(lambda: "verify failed" in helper.printed(), "it notices", 15)
        assert helper.ask(b"1_1 V", 0.5) is None
        assert helper.ask_unix(b"V") == b""


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_a_call_of_kamailio_through_the_helper_has_audio(
    stage: Stage, tmp_path: Path, sip_peers: None, kind: str
) -> None:
    with Helper(stage) as helper:
        helper.wait()
        control = f"udp:{ELSEWHERE}:22222" if kind == "udp" else f"unix:{helper.unix}"
        with Kamailio(tmp_path, control) as proxy:
            caller, callee = Phone(loopback.CALLER), Phone(loopback.CALLEE)
            with Call(
                tmp_path,
                proxy.host,
                (caller, "calls"),
                (callee, "answers"),
                [caller.describe()],
                [callee.describe()],
            ) as call:
                ended = run_to_the_end(call)
        for listener, talker in ((caller, callee), (callee, caller)):
            assert_told(listener, loopback.RELAY)
            assert_heard(listener, talker, ended)
        assert stage.relay.ask("G nsess_created") == "1"
        stage.relay.assert_is_clean()
