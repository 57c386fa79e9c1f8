"""The original's loadable modules: which of them are known here, and the file that names them.

That file is in UCL, of which this much is read: ``modules { NAME { KEY = VALUE } }`` with
``:`` or nothing in place of ``=``, optional ``;`` or ``,`` between entries, quoted strings,
braces around the whole, and the comments ``# …`` and ``/* … */``. Other sections are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from rtpproxy_tw.errors import ConfigError

Tree: TypeAlias = dict[str, "str | Tree"]


class Module(NamedTuple):
    """What is known of one module: whether we can stand in for it, and its settings."""

    supported: bool
    keys: frozenset[str] = frozenset()


MODULES = {
    "acct_csv": Module(True),
    "catch_dtmf": Module(True),
    "acct_rtcp_hep": Module(False, frozenset({"capt_host", "capt_port", "capt_ptype", "capt_id"})),
    "dtls_gw": Module(False),
    "ice_lite": Module(False),
}

_DSO = re.compile(r"(?:.*/)?rtpp_([A-Za-z0-9_]+?)(?:_debug)?\.so")
"""A module's file, in whatever directory; the original's debug builds have their own names."""

_TOKEN = r"""(?P<blank>\s+|\#[^\n]*|/\*.*?\*/)
           | (?P<mark>[{}\[\]=:;,])
           | "(?P<quoted>(?:[^"\\]|\\.)*)"
           | (?P<bare>%s)"""
_NAME = re.compile(_TOKEN % r'[^\s{}\[\]=:;,"\#]+', re.VERBOSE | re.DOTALL)
_VALUE = re.compile(_TOKEN % r'[^\s{}\[\]=:;,"\#][^\s{}\[\];,"]*', re.VERBOSE | re.DOTALL)
"""A value may have ``=``, ``:`` and ``#`` inside."""

MAX_DEPTH = 16
"""Of nested sections; ours needs two."""


def of_file_name(text: str) -> str:
    """The module that ``--dso`` names. Raises ConfigError."""
    found = _DSO.fullmatch(text)
    if found is None:
        raise ConfigError(f"--dso {text}: the file of a module is called rtpp_NAME.so")
    return check(found.group(1), {})


def of_file(text: str) -> tuple[str, ...]:
    """The modules that a file in UCL names. Raises ConfigError."""
    tree = parse(text)
    names: list[str] = []
    for section, content in tree.items():
        if section.lower() != "modules":
            continue
        if isinstance(content, str):
            raise ConfigError(f"{section}: must be a section in braces")
        names += (check(name, settings) for name, settings in content.items())
    return tuple(names)


def check(name: str, settings: object) -> str:
    """``name`` again when that module can be had with ``settings``, else ConfigError."""
    module = MODULES.get(name)
    if module is None:
        raise ConfigError(f"module {name}: there is no such module")
    if not module.supported:
        raise ConfigError(f"module {name}: not supported yet")
    if not isinstance(settings, Mapping):
        raise ConfigError(f"module {name}: its settings must be a section of their own")
    # "load" says where the original finds the shared object.
    for key in settings.keys() - module.keys - {"load"}:
        raise ConfigError(f"module {name}: there is no setting {key}")
    return name


def parse(text: str) -> Tree:
    """The sections and values of a text in UCL. Raises ConfigError naming the line."""
    return _Parser(text).parse()


class _Parser:
    """One pass over a text; ``_mark`` is the current token if it is punctuation, else empty."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._start = 0
        self._mark = ""
        self._word: str | None = None

    def parse(self) -> Tree:
        self._advance()
        braces = self._mark == "{"
        if braces:
            self._advance()
        tree = self._section("}" if braces else "", 0)
        if braces:
            self._advance()
        if self._mark or self._word is not None:
            raise self._error("something follows the end")
        return tree

    def _section(self, end: str, depth: int) -> Tree:
        """Entries up to ``end``, which stays the current token; empty: the end of the text."""
        if depth > MAX_DEPTH:
            raise self._error("sections are nested too deeply")
        tree: Tree = {}
        while not (self._mark == end and self._word is None):
            if self._word is None:
                raise self._error("a name was expected")
            name = self._word
            self._advance()
            tree[name] = self._value(depth)
            while self._mark in (";", ","):
                self._advance()
        return tree

    def _value(self, depth: int) -> str | Tree:
        if self._mark in ("=", ":"):
            self._advance(_VALUE)
        if self._mark == "{":
            self._advance()
            section = self._section("}", depth + 1)
            self._advance()
            return section
        if self._word is None:
            raise self._error("a value was expected")
        value = self._word
        self._advance()
        return value

    def _advance(self, tokens: re.Pattern[str] = _NAME) -> None:
        self._mark, self._word = "", None
        while self._at < len(self._text):
            found = tokens.match(self._text, self._at)
            self._start = self._at
            if found is None:
                raise self._error("this cannot be read")
            self._at = found.end()
            match found.lastgroup:
                case "mark":
                    self._mark = found.group()
                    return
                case "quoted":
                    self._word = re.sub(r"\\(.)", r"\1", found.group("quoted"), flags=re.DOTALL)
                    return
                case "bare":
                    self._word = found.group()
                    return
        self._start = self._at

    def _error(self, what: str) -> ConfigError:
        line = self._text.count("\n", 0, self._start) + 1
        return ConfigError(f"line {line}: {what}")
