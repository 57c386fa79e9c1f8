"""What the rows of the host share: networks and clocks of their own."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import namespaces
from bench.namespaces import Namespace
from tests.e2e import loopback

HOST = loopback.host(77)


@pytest.fixture
def root() -> None:
    """Namespaces, mounts and limits of other processes."""
    if (why := namespaces.missing()) is not None:
        pytest.skip(why)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A network of its own."""
    made = Namespace("host")
    try:
        yield made
    finally:
        made.delete()


FAKETIME = [
    *glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1"),
    *glob.glob("/usr/lib/faketime/libfaketimeMT.so.1"),
]


def faked(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file that sets a relay's wall clock, and the environment that makes it do so."""
    if not FAKETIME:
        pytest.skip("libfaketime is not installed (Debian: faketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    return clock, {
        "LD_PRELOAD": FAKETIME[0],
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def recorded(folder: Path, *more: str) -> tuple[str, ...]:
    """Options."""
    return ("-r", str(folder), "-R", "--record-min-free", "0", *more)
