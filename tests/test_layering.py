"""Who may import whom: the arrows of the architecture, checked on the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rtpproxy_tw"

PURE = {
    "errors",
    "addresses",
    "commands",
    "session",
    "latch",
    "rtp",
    "rtcp",
    "statistics",
    "interfaces",
    "quality",
    "views",
    "capacity",
    "beneath",
    "snapshot",
    "stun",
    "probing",
    "advertising",
}
"""May not import Twisted at all, nor anything of ours that is not pure."""

REGISTRY = {"registry"}
"""May import of Twisted only the interfaces and the logger."""

FOLDERS = {"control", "media", "recording", "reporting", "web", "continuity", "cluster"}
"""Never import each other."""

PURE_PARTS = {
    "cluster.breaker",
    "cluster.location",
    "cluster.pending",
    "cluster.scripts",
    "cluster.store",
    "cluster.watch",
    "control.access",
    "control.destinations",
    "control.escape",
    "control.logbudget",
    "control.modifiers",
    "control.remote",
    "control.render",
    "control.replies",
    "control.rtpproxy",
    "control.subcommands",
    "control.tokens",
    "media.ports",
    "recording.adhoc",
    "recording.pcap",
    "recording.clock",
    "recording.codecs",
    "recording.names",
    "recording.pcm",
    "recording.sources",
    "recording.placement",
    "recording.readback",
    "web.guard",
    "web.openapi",
    "reporting.exposition",
    "reporting.hep",
}
"""Modules within those folders that are pure too."""


def imports(path: Path) -> Iterator[str]:
    """The modules that the file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def name(path: Path) -> str:
    """``control.rtpproxy`` for rtpproxy_tw/control/rtpproxy.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def layer(module: str) -> str:
    """The first part of a name inside the package."""
    return module.removeprefix("rtpproxy_tw").lstrip(".").partition(".")[0]


@pytest.mark.parametrize("path", modules(), ids=name)
def test_imports_point_one_way(path: Path) -> None:
    """Pure modules know no Twisted, folders do not know each other, nobody knows the wiring."""
    own, mine = layer(name(path)), name(path)
    for imported in imports(path):
        if imported.startswith("twisted"):
            assert own not in PURE, f"{mine} is pure but imports {imported}"
            assert mine not in PURE_PARTS, f"{mine} is pure but imports {imported}"
            if own in REGISTRY:
                assert imported.startswith(("twisted.internet.interfaces", "twisted.logger"))
        if imported.startswith("rtpproxy_tw."):
            other = layer(imported)
            if own in PURE:
                assert other in PURE, f"{mine} is pure but imports {imported}"
            elif own in REGISTRY:
                assert other in PURE | REGISTRY, f"{mine} imports {imported}"
            elif own in FOLDERS:
                allowed = PURE | REGISTRY | {own}
                assert other in allowed, f"{mine} imports {imported}"


@pytest.mark.parametrize("path", modules(), ids=name)
def test_the_global_reactor_is_imported_inside_functions_of_the_entry_points_only(
    path: Path,
) -> None:
    """Everything else is handed its reactor."""
    tree = ast.parse(path.read_text())
    top = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    everywhere = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    uses = [
        node
        for node in everywhere
        if node.module == "twisted.internet"
        and any(alias.name == "reactor" for alias in node.names)
    ]
    if uses:
        assert layer(name(path)) in {"tap", "tools"}
        assert not set(uses) & set(top)
