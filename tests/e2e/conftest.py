"""Peers that are not installed skip their tests."""

from __future__ import annotations

import shutil

import pytest

from tests.e2e import kamailio


@pytest.fixture(scope="session")
def sip_peers() -> None:
    """Kamailio and SIPp are here, or the test is skipped."""
    if kamailio.PROGRAM is None:
        pytest.skip("kamailio is not installed (Debian: kamailio)")
    if shutil.which("sipp") is None:
        pytest.skip("sipp is not installed (Debian: sip-tester)")
