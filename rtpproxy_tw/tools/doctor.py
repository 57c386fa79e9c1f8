"""``rtpproxy-ctl doctor``: proves with packets what a relay needs of the network."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rtpproxy_tw.addresses import Address, LocalAddress
from rtpproxy_tw.advertiser import resolve
from rtpproxy_tw.advertising import policy_of
from rtpproxy_tw.checkup.findings import Finding, error, passed
from rtpproxy_tw.configuration.configure import configure
from rtpproxy_tw.configuration.host import Host
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import INFORMATIVE, read_arguments
from rtpproxy_tw.doctor import paste
from rtpproxy_tw.doctor.diagnosis import diagnose
from rtpproxy_tw.doctor.examiner import Remote, examine, here
from rtpproxy_tw.doctor.observed import Observed
from rtpproxy_tw.errors import ConfigError, RelayError
from rtpproxy_tw.media.routes import local_for
from rtpproxy_tw.stun import server as read_server
from rtpproxy_tw.tools.check import service_arguments
from rtpproxy_tw.tools.ctl_client import Client, Credentials, read_target

WIDTH = 256
"""Ports that are bound at a time: few enough for the usual limit of open files."""


class Report(NamedTuple):
    """What came out."""

    findings: list[Finding]
    seen: list[Observed]
    lines: dict[str, list[str]]
    """To be pasted: for the relay, for Kamailio, for OpenSIPS."""

    @property
    def status(self) -> int:
        """0 where calls would have audio, as far as could be seen."""
        return 0 if passed(self.findings) else 1

    def text(self) -> str:
        """All of it for people."""
        lines = [str(finding) for finding in self.findings]
        for name, pasted in self.lines.items():
            lines += ["", f"# {name}", *pasted]
        return "\n".join(lines)

    def json(self) -> str:
        """All of it for programs."""
        return json.dumps(
            {
                "well": not self.status,
                "findings": [finding.view() for finding in self.findings],
                "observed": [seen.view() for seen in self.seen],
                "lines": self.lines,
            },
            indent=2,
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """How to examine: another relay (``helper``), or a STUN server; ``width`` ports at a time."""

    helper: str | None = None
    credentials: Credentials | None = None
    server: str | None = None
    width: int = WIDTH


def doctor(arguments: Sequence[str], wish: Wish) -> Report:
    """Examine for a relay with this command line. Raises Refused and Unreachable of the helper."""
    if not arguments:
        arguments, _ = service_arguments()
    try:
        given = [each for each in read_arguments(arguments) if each.name not in INFORMATIVE]
        settings = configure(given, Host()).settings
    except ConfigError as wrong:
        told = error("configuration", str(wrong), "see rtpproxy-tw --help")
        return Report([told], [], {})
    findings: list[Finding] = []
    seen: list[Observed] = []
    for local in settings.addresses.all():
        try:
            found = _examine(local, settings, wish)
        except (RelayError, OSError, ValueError) as wrong:
            findings.append(_failed(local, wrong))
            continue
        findings += diagnose(found, settings)
        seen.append(found)
    return Report(findings, seen, _lines(seen, settings))


def _failed(local: LocalAddress, wrong: Exception) -> Finding:
    text = (wrong.strerror if isinstance(wrong, OSError) else None) or str(wrong)
    return error(local.host, f"cannot be examined: {text}", "rtpproxy-ctl check looks at the host")


def _examine(local: LocalAddress, settings: Settings, wish: Wish) -> Observed:
    """Raises ConfigError, OSError, ValueError."""
    ports = settings.min_port, settings.max_port + 1
    helper = None
    if wish.helper is not None:
        client = Client(read_target(wish.helper), wish.credentials or Credentials())
        helper = Remote(client, local.family)
    server = helper.server if helper is not None else _server(local, settings, wish)
    if server is None:
        raise ConfigError("there is nobody to ask: --from RELAY, or --stun SERVER")
    try:
        host = local_for(server[0]) if local.wildcard else local.host
        if host is None:
            raise ConfigError(f"no route leads to {server[0]}")
        found = examine(
            local, host, ports, server=server, helper=helper, width=wish.width, say=_say
        )
    finally:
        if helper is not None:
            helper.end()
    found.container = here()
    return found


def _server(local: LocalAddress, settings: Settings, wish: Wish) -> Address | None:
    """Raises ValueError where it is not written as one, OSError where it is not known."""
    policy = policy_of(local.advertised)
    found = read_server(wish.server) if wish.server is not None else None
    found = found or (policy.server if policy is not None else None) or settings.stun_server
    return None if found is None else resolve(found, local.family)


def _say(sentence: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{sentence}", end="", file=sys.stderr, flush=True)


def _lines(seen: list[Observed], settings: Settings) -> dict[str, list[str]]:
    if not seen:
        return {}
    return {
        "rtpproxy-tw: rtpproxy.toml": paste.relay(seen, settings),
        "Kamailio: kamailio.cfg": paste.kamailio(settings),
        "OpenSIPS: opensips.cfg": paste.opensips(settings),
    }
