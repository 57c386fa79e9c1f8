"""What the reference pages say, made from the program itself.

A table that comes from here nobody has to keep in step with the code: what is printed is what the
code says. The page on metrics is what a relay that runs for a moment answers. Lines of
reStructuredText, which ``generated`` gives to Sphinx; this needs nothing but the program.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

LONG = 30.0
"""Seconds; a relay that does not answer by then never will."""


def table(head: tuple[str, ...], widths: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A list-table of reStructuredText."""
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for row in (head, *rows):
        for number, cell in enumerate(row):
            yield f"   {'* -' if number == 0 else '  -'} {cell}"
    yield ""


def quoted(text: str) -> str:
    """Plain text, with nothing in it that reStructuredText would read as markup."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def options() -> Iterator[str]:
    """Every option of the relay, by section."""
    from rtpproxy_tw.configuration.switches import SECTIONS, Takes

    for title, switches in SECTIONS.items():
        yield from (f".. rubric:: {title}", "")
        rows = []
        for switch in switches:
            name = switch.name if switch.original else switch.name.replace("_", "-")
            value = {Takes.NOTHING: "", Takes.PERHAPS: f"[={switch.meta}]"}.get(
                switch.takes, f" {switch.meta}"
            )
            short = f"``-{switch.short}``, " if switch.short else ""
            key = f"``{switch.name}``" if switch.stored else ""
            again = "; repeatable" if switch.takes is Takes.TEXTS else ""
            rows.append((f"{short}``--{name}{value}``", key, quoted(switch.about) + again))
        yield from table(("Option", "In a file", "Meaning"), "44 22 34", rows)


def man_options() -> Iterator[str]:
    """The same as a manual page has it."""
    from rtpproxy_tw.configuration.switches import SECTIONS, Takes

    for title, switches in SECTIONS.items():
        yield from (f".. rubric:: {title}", "")
        for switch in switches:
            name = switch.name if switch.original else switch.name.replace("_", "-")
            value = {Takes.NOTHING: "", Takes.PERHAPS: f"[={switch.meta}]"}.get(
                switch.takes, f" {switch.meta}"
            )
            short = f"**-{switch.short}**, " if switch.short else ""
            again = "; repeatable" if switch.takes is Takes.TEXTS else ""
            yield f"{short}**--{name}**\\ {quoted(value)}"
            yield from (f"   {quoted(switch.about)}{again}", "")


def commands() -> Iterator[str]:
    """Every command of rtpproxy-ctl with its options."""
    from rtpproxy_tw.tools.ctl import make_parser

    parser = make_parser()
    yield from (quoted(parser.description or ""), "")
    yield from _arguments(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from (f".. rubric:: rtpproxy-ctl {name}", "")
                yield from (quoted(command.description or ""), "")
                yield from _arguments(command)
    yield from (quoted(parser.epilog or ""), "")


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.help in (None, argparse.SUPPRESS) or "--help" in action.option_strings:
            continue
        if isinstance(action, argparse._SubParsersAction):
            continue
        meta = action.metavar if isinstance(action.metavar, str) else ""
        names = ", ".join(f"**{name}**" for name in action.option_strings)
        takes = action.nargs != 0
        term = f"{names} {quoted(meta)}".strip() if takes else names
        text = quoted(str(action.help).replace("%%", "%"))
        yield from (f"{term or f'**{action.dest}**'}", f"   {text}", "")


def verdicts() -> Iterator[str]:
    """Every code a leg can have."""
    from rtpproxy_tw.quality.verdict import CODES

    yield from table(
        ("Code", "Meaning"),
        "25 75",
        ((f"``{code}``", quoted(text)) for code, text in CODES.items()),
    )


def interface() -> Iterator[str]:
    """Every request the HTTP interface knows."""
    from rtpproxy_tw.web.openapi import document

    rows = []
    for path, methods in document("")["paths"].items():
        for method, operation in methods.items():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            answers = ", ".join(sorted(operation["responses"]))
            about = operation.get("summary") or operation.get("description") or ""
            rows.append((f"``{method.upper()} {path}``", quoted(about), answers))
    yield from table(("Request", "Meaning", "Answers"), "40 45 15", rows)


def metrics() -> Iterator[str]:
    """Every metric, as a relay that does nothing yet names them."""
    kinds: dict[str, str] = {}
    rows = []
    lines = scrape().splitlines()
    for line in lines:
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            kinds[name] = kind
    for line in lines:
        if line.startswith("# HELP "):
            _, _, name, text = line.split(" ", 3)
            rows.append((f"``{name}``", kinds[name], quoted(text)))
    yield from table(("Name", "Kind", "Meaning"), "44 12 44", rows)


def scrape() -> str:
    """What ``/metrics`` of a relay that was just started says. Raises RuntimeError."""
    with tempfile.TemporaryDirectory() as directory:
        control, web = Path(directory, "control"), Path(directory, "web")
        command = [sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-f", "-F"]
        command += ["-l", "127.0.0.1", "-s", f"unix:{control}", "--http", f"unix:{web}"]
        command += ["-p", f"{directory}/pid", "--fast-path", "none", "--rtpengine-metrics"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=directory) as relay:
            try:
                return _get(str(web), "/metrics", relay)
            finally:
                relay.send_signal(signal.SIGTERM)


def _get(path: str, what: str, relay: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline and relay.poll() is None:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(path)
            connection.request("GET", what)
            return connection.getresponse().read().decode()
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.1)
        finally:
            connection.close()
    said = b"" if relay.stderr is None or relay.poll() is None else relay.stderr.read()
    raise RuntimeError(f"the relay does not answer: {said.decode(errors='replace')}")


def files() -> Iterator[str]:
    """What a configuration file with everything in it looks like."""
    printed = subprocess.run(
        [sys.executable, "-m", "rtpproxy_tw.tools.launcher", "-F", "--print-config"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "XDG_RUNTIME_DIR": "/run/user/1000"},
    ).stdout
    yield from (".. code-block:: toml", "", *(f"   {line}" for line in printed.splitlines()), "")


def program_help(program: str) -> Callable[[], Iterator[str]]:
    """What a program prints with ``--help``."""

    def page() -> Iterator[str]:
        module = f"rtpproxy_tw.tools.{program.removeprefix('rtpproxy-')}"
        printed = subprocess.run(
            [sys.executable, "-m", module, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "80"},
        ).stdout
        lines = printed.replace(f"{program.removeprefix('rtpproxy-')}.py", program).splitlines()
        yield from ("::", "", *(f"   {line}" for line in lines), "")

    return page


PROGRAMS = ("rtpproxy-demo", "rtpproxy-extractaudio", "rtpproxy-makeann", "rtpproxy-tlsproxy")

PAGES: dict[str, Callable[[], Iterable[str]]] = {
    **{f"help-{program}": program_help(program) for program in PROGRAMS},
    "options": options,
    "man-options": man_options,
    "commands": commands,
    "verdicts": verdicts,
    "interface": interface,
    "metrics": metrics,
    "files": files,
}


if __name__ == "__main__":
    json.dump({name: list(page()) for name, page in PAGES.items()}, sys.stdout, indent=1)
