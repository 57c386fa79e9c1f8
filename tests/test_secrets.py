"""Tokens, keys and passwords are in no text that could get into a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtpproxy_tw.configuration.settings import Settings, masked
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tools import certs
from rtpproxy_tw.tools.ctl_client import Credentials
from rtpproxy_tw.web.guard import Caller, Guard, Reach
from tests.configuration.configuring import settings

SECRET = "hunter2"


def test_settings_know_where_secrets_are_and_not_what_they_are() -> None:
    names = {name for name in Settings.__dataclass_fields__ if "token" in name or "key" in name}
    assert names == {"http_token_file", "tls_key"}


def test_the_password_in_a_url_is_not_shown() -> None:
    hook = f"https://user:{SECRET}@example.org/x?token={SECRET}"
    made = settings(f"--webhook '{hook}' --record-webhook '{hook}' --webhook-spool /s")
    assert (made.webhook, made.record_webhook) == (hook, hook)
    assert SECRET not in repr(made)
    with pytest.raises(ConfigError) as refused:
        settings(f"--webhook '{hook}'")
    assert SECRET not in str(refused.value)
    assert masked(hook) == "https://***@example.org/x?***"
    assert masked("http://example.org:8080/x") == "http://example.org:8080/x"


def test_tokens_of_clients_and_of_the_relay_are_masked() -> None:
    caller = Caller(b"/", authorization=b"Bearer " + SECRET.encode())
    guard = Guard(Reach.PUBLIC, [SECRET.encode()])
    for value in (caller, guard, Credentials(SECRET), guard.refusal(caller)):
        assert SECRET not in f"{value!r} {value}"
    assert Credentials(SECRET).token == SECRET
    assert "***" in repr(Credentials(SECRET))


def test_keys_are_for_their_owner_only_and_never_written_over(tmp_path: Path) -> None:
    made = certs.make(str(tmp_path / "new"), ["relay.example.org", "192.0.2.1"], "proxy")
    keys = [Path(path) for path in made["written"] if path.endswith(".key")]
    assert len(keys) == 3
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    before = {path: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    again = certs.make(str(tmp_path / "new"), ["other"], "second")
    assert {Path(path).name for path in again["written"]} == {"second.pem", "second.key"}
    assert all(path.read_bytes() == octets for path, octets in before.items())
