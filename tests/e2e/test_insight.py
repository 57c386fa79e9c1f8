"""A real relay looked into: HTTP over every kind of endpoint, rtpproxy-ctl, records, web hooks."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.tools.control_client import control_of, read_url
from rtpproxy_tw.tools.ctl_client import Client, Credentials, Refused, Unreachable, read_target
from rtpproxy_tw.tools.demo_call import Call
from tests.e2e.process import Process, wait_until
from tests.reporting.test_metrics import complaints, value

pytestmark = pytest.mark.network


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Relay(Process):
    """A relay with its sockets in a folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.control = folder / "control.sock"
        self.http = folder / "http.sock"
        super().__init__(
            [
                *(sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F"),
                *("-p", "/dev/null", "-l", "127.0.0.1", "-d", "INFO"),
                *("-s", f"unix:{self.control}", "--http", str(self.http), *options),
            ],
            folder / "relay.log",
        )

    def ready(self) -> Relay:
        """Wait until it answers."""
        wait_until(lambda: not self.running or self._is_ready(), "the relay answers", 20)
        assert self.running, self.printed()
        return self

    def _is_ready(self) -> bool:
        try:
            return bool(self.client.ask("/readyz")["ready"])
        except (Refused, Unreachable):
            return False

    @property
    def client(self) -> Client:
        """A client at its UNIX socket."""
        return Client(read_target(str(self.http)))

    def call(self, seconds: float = 0.6) -> str:
        """A call through it, which is over; its id."""
        with Call(control_of(read_url(str(self.control))), seconds) as call:
            call.set_up()
            (found,) = self.client.ask("/api/v1/calls")["calls"]
            call.talk(lambda report: None)
        return str(found["call_id"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def ctl(relay: Relay, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program."""
    return subprocess.run(
        [sys.executable, "-m", "rtpproxy_tw.tools.ctl", "--api", str(relay.http), *arguments],
        capture_output=True,
        timeout=60,
    )


def test_a_call_is_seen_live_and_afterwards_and_leaves_its_record(folder: Path) -> None:
    records = folder / "records"
    with Relay(folder, "--record-calls", str(records), "--trace", "5").ready() as relay:
        with Call(control_of(read_url(str(relay.control))), 1.0) as call:
            call.set_up()
            call_id = ctl(relay, "list", "--ids").stdout.decode().strip()
            call.talk(lambda report: None)
            live = ctl(relay, "why", call_id, "--json")
            assert live.returncode == 0, live.stderr
            codes = [leg["code"] for leg in json.loads(live.stdout)["sessions"][0]["legs"]]
            assert set(codes) <= {"ok", "learning"}
        after = json.loads(ctl(relay, "why", call_id, "--json").stdout)
        assert after["sessions"][0]["ended"] == "deleted"
        trace = ctl(relay, "trace", call_id)
        assert trace.returncode == 0
        assert len(trace.stdout) > 50 * 100
        metrics = relay.client.fetch("/metrics").decode()
        assert 'relay_sessions_closed_total{reason="delete"} 1' in metrics
        assert ctl(relay, "why", "nothing").returncode == 3
    (line,) = records.read_text().splitlines()
    record = json.loads(line)
    assert record["call_id"] == call_id
    assert [leg["verdict"]["code"] for leg in record["legs"]]
    assert "Traceback" not in relay.printed()


def test_metrics_of_a_real_relay_tell_of_recordings_and_paths_and_are_well_formed(
    folder: Path,
) -> None:
    places = ("-r", str(folder / "recordings"), "-a")
    (folder / "recordings").mkdir()
    with Relay(folder, *places, "--rtpengine-metrics", "--fast-path=none").ready() as relay:
        relay.call(1.5)

        def metrics() -> str:
            return relay.client.fetch("/metrics").decode()

        wait_until(lambda: 'closed_total{result="finished"} 2' in metrics(), "they are finished")
        wait_until(lambda: "relay_recording_free_bytes" in metrics(), "space has been looked at")
        text = metrics()
    assert not list(complaints(text))
    assert value(text, "relay_recordings") == 0
    assert value(text, "relay_recordings_started_total") == 2
    assert value(text, "relay_recording_packets_total") > 100
    assert value(text, "relay_recording_dropped_packets_total") == 0
    assert value(text, "relay_recording_free_bytes") > 0
    for reason in ("range", "taken", "descriptors", "address"):
        assert value(text, "relay_port_alloc_failures_total", reason=reason) == 0
    passed = {
        direction: value(text, "relay_bytes_total", proto="rtp", dir=direction, path="user")
        for direction in ("in", "out")
    }
    # What came before the other party's real address was known went nowhere.
    nowhere = value(text, "relay_drops_total", reason="send_error")
    assert passed["in"] - 172 * nowhere == passed["out"] > 100 * 172
    assert value(text, "rtpengine_bytes_total", type="userspace") > passed["out"]


def test_draining_refuses_calls_and_is_taken_back(folder: Path) -> None:
    with Relay(folder).ready() as relay:
        control = control_of(read_url(str(relay.control)))
        assert ctl(relay, "drain").returncode == 0
        assert control.ask("U x 192.0.2.1 4000 a") == "E99"
        with pytest.raises(Refused):
            relay.client.ask("/readyz")
        assert ctl(relay, "drain", "--off").returncode == 0
        assert control.ask("U x 192.0.2.1 4000 a") != "E99"
        assert relay.running


def test_a_call_is_debugged_at_run_time(folder: Path) -> None:
    with Relay(folder).ready() as relay:
        control = control_of(read_url(str(relay.control)))
        ctl(relay, "debug", "loud")
        control.ask("U quiet 192.0.2.1 4000 a")
        control.ask("U loud 192.0.2.1 4000 a")
        printed = relay.printed()
    assert 'received command "U loud' in printed
    assert "U quiet" not in printed


def test_others_need_a_token(folder: Path) -> None:
    tokens = folder / "tokens"
    tokens.write_text("right\n")
    port = free_port()
    options = ("--http", f"tcp:{port}", "--http-token-file", str(tokens))
    with Relay(folder, *options).ready():
        target = read_target(f"http://127.0.0.1:{port}")
        with pytest.raises(Refused) as refused:
            Client(target).ask("/api/v1/stats")
        assert refused.value.status == 401
        assert Client(target, Credentials("right")).ask("/api/v1/stats")["sessions"] == 0
        assert Client(target).ask("/healthz")["healthy"]


def test_without_a_token_an_endpoint_for_others_keeps_the_relay_from_starting(
    folder: Path,
) -> None:
    with Relay(folder, "--http", f"tcp:{free_port()}") as relay:
        wait_until(lambda: not relay.running, "it gives up", 20)
        assert relay.status == 1
        assert "--http-token-file" in relay.printed()


def certificates(folder: Path) -> None:
    """An authority, and a server and a client of it."""
    run = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    for name in ("ca", "stranger"):
        subject = f"/CN={name}"
        made = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", subject]
        subprocess.run([*run, *made], cwd=folder, check=True, capture_output=True)
    for name in ("server", "client"):
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        subprocess.run(
            [
                *("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key"),
                *("-out", f"{name}.csr", "-subj", f"/CN={name}"),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        subprocess.run(
            [
                *("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-days", "2"),
                *("-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem"),
                *("-extfile", "ext"),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
        )


@pytest.mark.skipif(find_spec("OpenSSL") is None, reason="pyOpenSSL is missing")
def test_a_client_certificate_lets_others_in(folder: Path) -> None:
    certificates(folder)
    port = free_port()
    server = f"ssl:{port}:privateKey={folder}/server.key:certKey={folder}/server.pem"
    with Relay(folder, "--http", server, "--http-client-ca", str(folder / "ca.pem")).ready():
        target = read_target(f"https://127.0.0.1:{port}")
        ours = Credentials(None, f"{folder}/client.pem", f"{folder}/client.key", f"{folder}/ca.pem")
        assert Client(target, ours).ask("/api/v1/stats")["sessions"] == 0
        for certificate in (None, f"{folder}/stranger.pem"):
            key = certificate and certificate.replace(".pem", ".key")
            other = Credentials(None, certificate, key, f"{folder}/ca.pem")
            with pytest.raises((Unreachable, Refused, ssl.SSLError)):
                Client(target, other).ask("/api/v1/stats")


class Receiver:
    """A web server that takes records, or is out of order."""

    def __init__(self) -> None:
        receiver = self
        self.status = 503
        self.taken: dict[str, dict[str, Any]] = {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.taken[self.headers["Idempotency-Key"]] = json.loads(body)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/records"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.mark.skipif(find_spec("treq") is None, reason="treq is missing")
def test_no_record_is_lost_to_an_outage_a_restart_and_a_kill(
    folder: Path, receiver: Receiver
) -> None:
    options = ("--webhook", receiver.url, "--webhook-spool", str(folder / "spool"))
    calls = []
    with Relay(folder, *options).ready() as relay:
        calls.append(relay.call())  # while the receiver is out of order
        control = control_of(read_url(str(relay.control)))
        control.ask("U open 192.0.2.1 4000 a")  # recorded when the relay ends
    calls.append("open")
    with Relay(folder, *options).ready() as relay:
        calls.append(relay.call())
        wait_until(lambda: len(spooled(folder)) == 3, "all are in the spool")
        relay.kill()
    receiver.status = 200
    with Relay(folder, *options).ready() as relay:
        wait_until(lambda: len(receiver.taken) == 3, "all are taken", 30)
        wait_until(lambda: not spooled(folder), "the spool is empty")
        calls.append(relay.call())
        wait_until(lambda: len(receiver.taken) == 4, "the next is taken at once", 5)
    assert sorted(record["call_id"] for record in receiver.taken.values()) == sorted(calls)
    assert all(name == record["record"] for name, record in receiver.taken.items())


def spooled(folder: Path) -> list[Path]:
    """The records that wait."""
    return sorted((folder / "spool").glob("*/*.json"))


def test_the_log_can_be_json(folder: Path) -> None:
    with Relay(folder, "--log-format", "json").ready() as relay:
        relay.call()
    rows = [json.loads(line) for line in relay.printed().splitlines()]
    assert [row for row in rows if "ended" in row["message"] and row.get("call_id")]


def test_the_demo_call_goes_through_any_relay(folder: Path) -> None:
    with Relay(folder).ready() as relay:
        done = ctl(relay, "call", "--control", f"unix:{relay.control}", "--seconds", "1", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["good"]


def test_two_instances_share_the_default_place_by_leaving_it_to_the_first(
    folder: Path,
) -> None:
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    script = (
        "import sys; from rtpproxy_tw.configuration.host import Host;"
        f"Host.default_socket = lambda self: {str(runtime / 'rtpproxy.sock')!r};"
        "from rtpproxy_tw.tools.launcher import main; sys.exit(main())"
    )
    common = [sys.executable, "-c", script, "-f", "-F", "-p", "/dev/null", "-d", "INFO"]
    first = Process([*common], folder / "first.log")
    http = runtime / "rtpproxy-http.sock"
    with first:
        wait_until(http.exists, "the first is there", 20)
        own = folder / "second.sock"
        with Process([*common, "-s", str(own)], folder / "second.log") as second:
            wait_until(lambda: "started" in second.printed(), "the second is there", 20)
            assert "no HTTP at the default socket" in second.printed()
        assert http.exists()
        assert Client(read_target(str(http))).ask("/healthz")["healthy"]
    assert not http.exists()
    assert os.path.exists(runtime)
