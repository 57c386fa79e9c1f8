"""The package, and a Debian with systemd to boot, each made once.

Whoever tries again and again saves minutes by having them already: ``RTPPROXY_TEST_DEB`` names the
package, ``RTPPROXY_TEST_ROOT`` a directory with such a Debian. Tests that boot machines are left
out of an ordinary run, of which they would take the most time: ``pytest -m packages`` runs them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.machine import MIRROR, RELEASE, ROOT, run

BOOTS = "systemd,systemd-sysv,dbus,python3,adduser,ca-certificates,iproute2,procps"


WHOLE_MACHINES = {"test_boot", "test_guides"}


def asked_for(config: pytest.Config) -> bool:
    """Whether the whole of it is wanted, however long it takes."""
    named = any("packages" in str(argument) for argument in config.args)
    return named or "packages" in config.option.markexpr


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave those out that nobody asked for."""
    if asked_for(config):
        return
    for item in items:
        if item.path.stem in WHOLE_MACHINES:
            item.add_marker(pytest.mark.skip(reason="takes long: pytest -m packages"))


@pytest.fixture(scope="session")
def package(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built by its one command; in an ordinary run without manual pages."""
    if made := os.environ.get("RTPPROXY_TEST_DEB"):
        return Path(made)
    quick = {"DEB_BUILD_OPTIONS": "nodoc", "DPKG_DEB_COMPRESSOR_LEVEL": "1"}
    more = {} if asked_for(pytestconfig) else quick
    printed = run(ROOT / "packaging" / "build-deb", tmp_path_factory.mktemp("deb"), **more)
    return Path(printed.split()[-1])


@pytest.fixture(scope="session")
def bare(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Path:
    """A Debian that has nothing else; in an ordinary run the one we are in."""
    if asked_for(pytestconfig):
        return request.getfixturevalue("bootable")
    return Path("/")


@pytest.fixture(scope="session")
def bootable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A minimal Debian with systemd. It is not to be changed; a machine has a copy of it."""
    if made := os.environ.get("RTPPROXY_TEST_ROOT"):
        yield Path(made)
        return
    path = tmp_path_factory.mktemp("bootable") / "root"
    include = f"--include={BOOTS}"
    run("debootstrap", "--variant=minbase", include, RELEASE, path, MIRROR)
    yield path
    shutil.rmtree(path)  # it is large
