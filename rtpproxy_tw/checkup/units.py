"""The unit of systemd: is it the one of this version, and does it fit the settings?"""

from __future__ import annotations

from collections.abc import Iterator

from rtpproxy_tw.capacity import PER_CALL_DESCRIPTORS, RESERVED_DESCRIPTORS
from rtpproxy_tw.checkup.facts import Unit, World
from rtpproxy_tw.checkup.findings import Finding, error, ok, warning
from rtpproxy_tw.checkup.places import directories
from rtpproxy_tw.configuration.settings import Settings

Directive = tuple[str, str, str]
"""Section, name, value."""

LOCAL = {"ExecStart", "Environment", "EnvironmentFile", "User", "Group", "Description"}
"""What every site may have as it likes."""

UNLIMITED = 1 << 30
"""Descriptors; as the kernel has it, ``infinity`` is about that."""


def directives(text: str) -> list[Directive]:
    """Those of a unit or a drop-in; lines that a backslash joins are one."""
    found: list[Directive] = []
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and line[0] not in "#;" and "=" in line:
            name, _, value = line.partition("=")
            found.append((section, name.strip(), " ".join(value.split())))
    return found


def last(unit: Unit, name: str) -> str | None:
    """What systemd takes of the directive ``name``: the last one of all files."""
    values = [value for text in unit.texts for _, each, value in directives(text) if each == name]
    return values[-1] if values else None


def open_files(unit: Unit) -> int | None:
    """The hard limit that ``LimitNOFILE`` sets; None where it sets none."""
    value = last(unit, "LimitNOFILE")
    hard = (value or "").rpartition(":")[2]
    if hard == "infinity":
        return UNLIMITED
    return int(hard) if hard.isdecimal() else None


def examine(settings: Settings, world: World) -> Iterator[Finding]:
    """The unit, where one is installed."""
    unit = world.unit
    if unit is None:
        return
    subject = f"unit {unit.path}"
    drift = _drift(unit)
    if drift:
        yield warning(
            subject,
            f"not as this version ships it: {'; '.join(drift)}",
            "install the unit that came with it and keep changes in a drop-in (systemctl edit)",
        )
    else:
        yield ok(subject, "as this version ships it")
    if unit.stale:
        yield warning(subject, "systemd has not read its last change", "systemctl daemon-reload")
    yield from _limit(subject, unit, settings)
    yield from _writing(subject, unit, settings)


def _drift(unit: Unit) -> list[str]:
    """What the shipped unit says and the installed ones, all taken together, do not."""
    installed = {each for text in unit.texts for each in directives(text)}
    names = {each[:2] for each in installed}
    differing: list[str] = []
    for section, name, value in directives(unit.shipped):
        if name in LOCAL or section == "Install" or (section, name, value) in installed:
            continue
        how = "differs" if (section, name) in names else "is missing"
        differing.append(f"{name}={value} {how}")
    return differing


def _limit(subject: str, unit: Unit, settings: Settings) -> Iterator[Finding]:
    limit = open_files(unit)
    pairs = (settings.max_port - settings.min_port) // 2 + 1
    calls = settings.max_sessions or pairs // 2
    wanted = PER_CALL_DESCRIPTORS * calls + RESERVED_DESCRIPTORS
    if settings.nofile is not None and limit is not None and settings.nofile > limit:
        yield error(
            subject,
            f"-L {settings.nofile} is more than its LimitNOFILE={limit}, which only root may pass",
            f"LimitNOFILE={settings.nofile}",
        )
    elif limit is None:
        yield warning(subject, "sets no LimitNOFILE", f"LimitNOFILE={wanted}")
    elif limit < wanted:
        yield warning(
            subject,
            f"LimitNOFILE={limit} is less than the {wanted} of {calls} calls",
            f"systemctl edit: [Service] LimitNOFILE={wanted}",
        )
    else:
        yield ok(subject, f"LimitNOFILE={limit} is enough for {calls} calls")


def _writing(subject: str, unit: Unit, settings: Settings) -> Iterator[Finding]:
    if last(unit, "ProtectSystem") != "strict":
        return
    allowed = ["/tmp", "/var/tmp"]
    for text in unit.texts:
        for _, name, value in directives(text):
            if name == "ReadWritePaths":
                allowed += value.split()
            elif name in ("StateDirectory", "RuntimeDirectory", "LogsDirectory", "CacheDirectory"):
                root = {"S": "/var/lib", "R": "/run", "L": "/var/log", "C": "/var/cache"}[name[0]]
                allowed += [f"{root}/{each}" for each in value.split()]
    for _, path in directories(settings):
        if not any(f"{path}/".startswith(f"{each.lstrip('-+').rstrip('/')}/") for each in allowed):
            yield warning(
                subject,
                f"{path} is read-only for the service (ProtectSystem=strict)",
                f"systemctl edit: [Service] ReadWritePaths={path}",
            )
