"""Configuration files: settings in TOML, and the original's file of modules.

A key of the TOML file is the long name of an option; flags are true or false, options that may
be repeated take an array. The table ``modules`` has one table for each module. In ``listen`` an
address is known to be IPv6 by its colons, so that one array can hold both families in order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

from rtpproxy_tw.configuration import modules_file
from rtpproxy_tw.configuration.listen import cut
from rtpproxy_tw.configuration.switches import SWITCHES, Given, Switch, Takes
from rtpproxy_tw.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIX = ".toml"
"""What tells our own files from the original's."""


class FileContent(NamedTuple):
    """What one file says."""

    given: tuple[Given, ...] = ()
    modules: tuple[str, ...] = ()


def read_file(path: str) -> FileContent:
    """Read ``path`` as TOML if it is named so, else as a file of modules. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if path.endswith(SUFFIX):
            return from_toml(text)
        return FileContent(modules=modules_file.of_file(text))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from error
    except (ConfigError, ValueError) as error:  # of octets that are no text, or no path
        raise ConfigError(f"--config {path}: {error}") from error


def from_toml(text: str) -> FileContent:
    """The options and modules in a TOML text. Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(error)) from error
    given: list[Given] = []
    modules: tuple[str, ...] = ()
    for key, value in document.items():
        name = key.replace("-", "_")
        switch = SWITCHES.get(name)
        if name == "modules" and isinstance(value, dict):
            modules = tuple(modules_file.check(*module) for module in value.items())
        elif switch is None or not switch.stored:
            raise ConfigError(f"{key}: there is no such setting")
        else:
            given += _given(switch, key, value)
    return FileContent(tuple(given), modules)


def _given(switch: Switch, key: str, value: object) -> Iterator[Given]:
    """The options that one key stands for."""
    match switch.takes, value:
        case ((Takes.NOTHING | Takes.PERHAPS), bool(wanted)):
            if wanted:
                yield Given(switch.name)
        case Takes.NUMBER, int(number) if not isinstance(number, bool):
            yield Given(switch.name, str(number))
        case Takes.TEXT, str(text):
            yield Given(switch.name, text)
        case Takes.TEXTS, str(text):
            yield from _text(switch, text)
        case Takes.TEXTS, list(texts) if all(isinstance(text, str) for text in texts):
            for text in texts:
                yield from _text(switch, text)
        case _:
            raise ConfigError(f"{key}: must be {_EXPECTED[switch.takes]}")


_EXPECTED = {
    Takes.NOTHING: "true or false",
    Takes.PERHAPS: "true or false",
    Takes.NUMBER: "a whole number",
    Takes.TEXT: "a string",
    Takes.TEXTS: "a string or an array of strings",
}


def _text(switch: Switch, text: str) -> Iterator[Given]:
    if switch.name != "listen":
        yield Given(switch.name, text)
        return
    _, host, _ = cut(text)
    internal, slash, external = host.partition("/")
    inside, outside = _listen(internal), _listen(external)
    if slash and internal and external and inside != outside:
        yield Given(inside, internal)
        yield Given(outside, f"/{external}")
    else:
        yield Given(inside if internal else outside, text)


def _listen(host: str) -> str:
    return "listen6" if ":" in host else "listen"
