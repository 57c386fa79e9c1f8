"""The same options for ``twistd``, and what is common to both ways to start."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from typing import ClassVar, NamedTuple

from twisted.python import usage

from rtpproxy_tw.configuration.configure import Configured, configure
from rtpproxy_tw.configuration.host import Host
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import INFORMATIVE, SWITCHES, Takes, read_arguments
from rtpproxy_tw.configuration.switches import usage as usage_text
from rtpproxy_tw.configuration.toml_printer import to_toml
from rtpproxy_tw.control.features import BASE, FEATURES
from rtpproxy_tw.errors import ConfigError

CLOCK = "CLOCK_MONOTONIC"
"""What Python's and so Twisted's monotonic time is made of on Linux."""


class Message(NamedTuple):
    """Something to print instead of starting, and the exit status to go with it."""

    text: str
    status: int = 0


def interpret(
    arguments: Sequence[str], program: str, host: Host | None = None
) -> Message | Configured:
    """What a command line, without the program's name, asks for. Raises ConfigError."""
    given = read_arguments(arguments)
    if given and given[-1].name in INFORMATIVE:
        return information(given[-1].name, program)
    names = {item.name for item in given}
    if "check" in names:
        # Imported only where it is wanted, as it knows everything.
        from rtpproxy_tw.tools.check import check_given

        report = check_given(given, host=host)
        return Message(report.json() if "json" in names else report.text(), report.status)
    if "json" in names:
        raise ConfigError("--json has a meaning only with --check")
    configured = configure(given, host or Host())
    if any(item.name == "print_config" for item in given):
        return Message(to_toml(configured.settings).rstrip("\n"))
    return configured


def information(name: str, program: str) -> Message:
    """What an informative option prints."""
    match name:
        case "version":
            return Message(version())
        case "extensions":
            lines = [f"Basic version: {BASE}"]
            lines += (f"Extension {date}: {about}" for date, about in FEATURES.items())
            return Message("\n".join(lines))
        case "clock":
            return Message(CLOCK)
        case "check_fast_path":
            # Imported only where it is wanted: nobody else needs what it needs.
            from rtpproxy_tw.media.kernel.check import check

            verdict = check()
            return Message(str(verdict), 0 if verdict.works else 1)
        case _:
            return Message(usage_text(program))


def version() -> str:
    """The package's version."""
    try:
        return metadata.version("rtpproxy-tw")
    except metadata.PackageNotFoundError:
        # Started from a source tree.
        return "0+unknown"


class Options(usage.Options):
    """``twistd rtpproxy`` takes the options of the program of its own.

    What concerns the process (daemon, pid file, user, directory, scheduling) is twistd's there:
    accepted, and left to its options of that purpose. ``settings`` and ``notes`` exist once
    parseOptions has returned.
    """

    settings: Settings
    notes: tuple[str, ...]

    # These lists are for twistd's help and the completion of shells; the parsing is not theirs,
    # since it knows neither options that come twice nor "--name[=value]".
    optFlags: ClassVar = [
        [switch.name, switch.short or None, switch.about]
        for switch in SWITCHES.values()
        if switch.takes in (Takes.NOTHING, Takes.PERHAPS) and switch.name not in INFORMATIVE
    ]
    optParameters: ClassVar = [
        [switch.name, switch.short or None, None, switch.about]
        for switch in SWITCHES.values()
        if switch.takes not in (Takes.NOTHING, Takes.PERHAPS)
    ]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the options. Raises usage.UsageError; exits after printing what was asked for."""
        arguments = list(sys.argv[1:] if options is None else options)
        if "--_shell-completion" in arguments:
            super().parseOptions(arguments)
        try:
            # Nothing here makes a daemon: to this code the process is in the foreground.
            wanted = interpret(["-f", *arguments], "twistd [options] rtpproxy")
        except ConfigError as error:
            raise usage.UsageError(str(error)) from error
        match wanted:
            case Message(text, status):
                print(text)
                raise SystemExit(status)
            case Configured(settings, notes):
                self.settings, self.notes = settings, notes

    def __str__(self) -> str:
        return usage_text("twistd [options] rtpproxy")
