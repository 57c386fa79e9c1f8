"""The program on kernels of distributions, each started in a machine of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel import stock_kernel

PACKAGES = [Path(name) for name in os.environ.get("RTPPROXY_TW_KERNELS", "").split(":") if name]

CONSOLE = """Booting from ROM...
kernel: 6.1.0-56-cloud-amd64
The fast path works here.
status of check: 0
F
status of tests: 1
"""


def test_what_the_machine_says_is_read_from_its_console() -> None:
    tried = stock_kernel._read(CONSOLE)
    assert tried.kernel == "6.1.0-56-cloud-amd64"
    assert tried.statuses == {"check": 0, "tests": 1}


def test_a_machine_that_did_not_come_up_has_said_nothing() -> None:
    assert stock_kernel._read("Booting from ROM...\n").statuses == {}


@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.skipif(not PACKAGES, reason="no packages of kernels in RTPPROXY_TW_KERNELS")
@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_fast_path_works_on_the_kernel_of_a_distribution(package: Path) -> None:
    why = stock_kernel.missing()
    if why is not None:
        pytest.skip(why)
    tried = stock_kernel.attempt(package)
    assert tried.statuses == dict.fromkeys(stock_kernel.COMMANDS, 0), tried.console
    assert "The fast path works here." in tried.console
