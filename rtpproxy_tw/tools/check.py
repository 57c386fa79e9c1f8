"""``rtpproxy-ctl check`` and ``rtpproxy-tw --check``: would the relay start here, and safely?"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rtpproxy_tw.checkup.examine import examine
from rtpproxy_tw.checkup.findings import Finding, Level, error, ok, passed
from rtpproxy_tw.checkup.reading import prove_kernel, read_world
from rtpproxy_tw.configuration.configure import Configured, configure
from rtpproxy_tw.configuration.host import Host
from rtpproxy_tw.configuration.switches import INFORMATIVE, Given, read_arguments
from rtpproxy_tw.errors import ConfigError

CONFIG, DEFAULTS = "etc/rtpproxy-tw/rtpproxy.toml", "etc/default/rtpproxy-tw"
"""What the system's service reads."""


class Report(NamedTuple):
    """All findings, in order."""

    findings: list[Finding]

    @property
    def status(self) -> int:
        """0 where the relay would start, and is safe."""
        return 0 if passed(self.findings) else 1

    def text(self) -> str:
        """A line for each, and one for the whole."""
        counts = {level: 0 for level in Level}
        for finding in self.findings:
            counts[finding.level] += 1
        whole = "would start" if not self.status else "would not start, or is not safe"
        lines = [str(finding).replace("\n", " ") for finding in self.findings]
        lines.append(
            f"{whole}: {counts[Level.ERROR]} errors, {counts[Level.WARNING]} warnings,"
            f" {counts[Level.OK]} ok"
        )
        return "\n".join(lines)

    def json(self) -> str:
        """The same as JSON."""
        found = [finding.view() for finding in self.findings]
        return json.dumps({"would_start": not self.status, "findings": found}, indent=2)


def check(arguments: Sequence[str], calls: int | None = None) -> Report:
    """Look at a relay with this command line; without one, at the system's service if any."""
    first: list[Finding] = []
    if not arguments:
        arguments, first = service_arguments()
    try:
        given = read_arguments(arguments)
    except ConfigError as wrong:
        return Report([*first, _misread(wrong)])
    found = check_given([each for each in given if each.name not in INFORMATIVE], calls)
    return Report([*first, *found.findings])


def check_given(
    given: Sequence[Given], calls: int | None = None, host: Host | None = None
) -> Report:
    """Look at a relay with these options."""
    try:
        configured = configure(given, host or Host())
    except ConfigError as wrong:
        return Report([_misread(wrong)])
    return check_configured(configured, calls)


def _misread(wrong: ConfigError) -> Finding:
    return error("configuration", str(wrong), "see rtpproxy-tw --help")


def check_configured(configured: Configured, calls: int | None = None) -> Report:
    """Look at a relay with these settings."""
    world = read_world(configured.settings, try_kernel=prove_kernel)
    return Report(examine(configured, world, calls))


def service_arguments(root: Path = Path("/")) -> tuple[list[str], list[Finding]]:
    """What the system's service is started with, and a line that says so; nothing without it."""
    config = root / CONFIG
    if not config.is_file():
        return [], []
    found = ["-f", "--config", os.fspath(config)]
    try:
        text = (root / DEFAULTS).read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    for line in text.splitlines():
        name, _, value = line.strip().partition("=")
        if name == "OPTIONS":
            # Quotes as systemd takes them around the value, then words as a shell has them.
            found += shlex.split(" ".join(shlex.split(value)))
    return found, [ok("configuration", f"the service's: {shlex.join(found[1:])}")]
