"""``rtpproxy-ctl certs``: all that a laboratory needs, in one command."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest

from rtpproxy_tw.control.tls import TlsFiles, TlsIdentity, options_of
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tools import ctl

pytestmark = [
    # Twisted hands pyOpenSSL what the newest one would rather have otherwise.
    pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning"),
]


def certs(*words: str) -> int:
    """The exit status of ``rtpproxy-ctl certs``."""
    return ctl.main(["certs", *words])


def greet(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """What the server is shown by a client that expects ``name``; raises ssl.SSLError."""
    ends = [ssl.MemoryBIO() for _ in range(2)]
    asked = client.wrap_bio(ends[0], ends[1], server_hostname=name)
    answering = server.wrap_bio(ends[1], ends[0], server_side=True)
    for _ in range(10):
        for each in (asked, answering):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = answering.getpeercert()
    assert shown is not None
    return str(dict(pair for item in shown["subject"] for pair in item)["commonName"])  # type: ignore[misc]  # typeshed is vaguer than the documentation


def test_one_command_makes_pairs_with_which_both_sides_know_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certs(str(tmp_path / "d"), "--server", "192.0.2.10", "--server", "r.example") == 0
    printed = capsys.readouterr().out
    assert "--tls-cert" in printed
    assert "rtpproxy-tlsproxy --listen" in printed
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "d/server.pem", tmp_path / "d/server.key")
    server.load_verify_locations(tmp_path / "d/ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(tmp_path / "d/ca.pem"))
    client.load_cert_chain(tmp_path / "d/client.pem", tmp_path / "d/client.key")
    assert greet(server, client, "192.0.2.10") == "client"
    assert greet(server, client, "r.example") == "client"
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)mismatch|not valid for"):
        greet(server, client, "other.example")


def test_further_clients_are_of_the_same_authority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certs(str(tmp_path)) == 0
    authority = (tmp_path / "ca.pem").read_bytes()
    capsys.readouterr()
    assert certs(str(tmp_path), "--client", "second", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {Path(path).name for path in told["written"]} == {"second.pem", "second.key"}
    assert (tmp_path / "ca.pem").read_bytes() == authority
    files = TlsFiles(*(str(tmp_path / name) for name in ("second.pem", "second.key", "ca.pem")))
    assert len(TlsIdentity(files, lambda: 0.0).expiries) == 2


def test_an_authority_that_is_none_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    (tmp_path / "ca.key").write_text("nonsense")
    assert certs(str(tmp_path)) == 1
    assert capsys.readouterr().err.startswith("rtpproxy-ctl: ")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ca.key", "ca.pem"]


@pytest.mark.parametrize(
    "certificate, key, why",
    [
        ("client.pem", "server.key", "is not the key of"),
        ("nonsense", "server.key", "there is no certificate"),
        ("server.pem", "nonsense", "there is no private key"),
        ("missing", "server.key", "No such file"),
    ],
)
def test_files_that_do_not_fit_are_told_of_in_a_sentence(
    tmp_path: Path, certificate: str, key: str, why: str
) -> None:
    assert certs(str(tmp_path)) == 0
    (tmp_path / "nonsense").write_text("nonsense")
    with pytest.raises(ConfigError, match=why):
        options_of(str(tmp_path / certificate), str(tmp_path / key), str(tmp_path / "ca.pem"))


def test_an_encrypted_key_is_refused_without_asking_anybody(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    assert certs(str(tmp_path)) == 0
    key = serialization.load_pem_private_key((tmp_path / "server.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hunter2"),
    )
    (tmp_path / "locked").write_bytes(locked)
    with pytest.raises(ConfigError, match="must not be encrypted"):
        options_of(str(tmp_path / "server.pem"), str(tmp_path / "locked"), None)


@pytest.mark.parametrize(
    "words, why",
    [
        ("--client ../x", "--client ../x"),
        ("--client server", "names two files"),
        ("--server a/b", "a host name or an address"),
        ("--server=", "a host name or an address"),
        ("--days 0", "more than 0"),
        ("--days nan", "more than 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, why: str
) -> None:
    assert certs(str(tmp_path / "d"), *words.split()) == 1
    assert why in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_server_that_keeps_its_names_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certs(str(tmp_path), "--server", "one.example") == 0
    assert "--to one.example" in capsys.readouterr().out
    assert certs(str(tmp_path), "--server", "two.example") == 0
    assert "made anew for two.example" in capsys.readouterr().out
