"""The pictures of the documents, made from a relay that carries the calls they show."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_dashboard import row_of
from tests.browser.world import World

pytestmark = pytest.mark.network

IMAGES = Path(__file__).parents[2] / "docs" / "images"

LASTING = 32
"""Seconds of talk before the pictures, so that there is something to draw."""

LARGEST = 200_000
"""Octets of a picture, as all of them are kept for ever."""

GONE_WRONG = "7d9f3c1e-2b64-4a0e@sbc2.example.net"


@pytest.fixture
def busy(tmp_path: Path) -> Any:
    """A relay as one may meet it on a working day."""
    with World(tmp_path) as world:
        world.call("a84b4c76e66710@pc33.example.com")
        world.call("3848276298220188511@gw.example.net", wavers=24)
        world.call("1j9FpLxk3uxtm8tn@biloxi.example.com", loses=90)
        world.call("2xTb9vxSit55XU7p8@atlanta.example.com", loses=14, wavers=90)
        world.call("f81d4fae-7dec-11d0-a765@sbc1.example.net", wavers=8)
        world.call("c0ffee17b2@ims.example.org", mute=True)
        world.call(GONE_WRONG, loses=120)
        world.command("U ringing-55ac@pc12.example.com 127.0.0.1 4000 f")
        yield world


def test_the_pictures_of_the_documents(
    busy: World, visit: Callable[..., Any], tmp_path: Path
) -> None:
    """With RTPPROXY_PICTURES in the environment they become those of the documents."""
    folder = IMAGES if os.environ.get("RTPPROXY_PICTURES") else tmp_path
    folder.mkdir(exist_ok=True)
    sight = {"width": 1280, "height": 842}
    page = visit(url=busy.url, viewport=sight, color_scheme="light")
    row_of(page, "ringing")
    page.wait_for_timeout(1000 * LASTING)
    busy.calls[GONE_WRONG][1].target = None
    row_of(page, GONE_WRONG).get_by_text("One-way").wait_for(timeout=15_000)
    page.wait_for_timeout(3000)
    page.screenshot(path=folder / "calls.png")
    page.emulate_media(color_scheme="dark")
    row_of(page, GONE_WRONG).locator(".id").click()
    page.locator(".verdict-card.bad", has_text="callee: One-way").wait_for()
    page.set_viewport_size({"width": 1280, "height": 1010})
    page.wait_for_timeout(1000)
    page.screenshot(path=folder / "call-gone-wrong.png")
    for name in ("calls.png", "call-gone-wrong.png"):
        octets = (folder / name).read_bytes()
        assert octets.startswith(b"\x89PNG")
        assert 10_000 < len(octets) < LARGEST


@pytest.mark.parametrize("name", ["calls.png", "call-gone-wrong.png"])
def test_the_documents_have_their_pictures(name: str) -> None:
    assert (IMAGES / name).stat().st_size < LARGEST
    root = IMAGES.parent.parent
    assert f"docs/images/{name}" in (root / "README.rst").read_text()
    assert f"images/{name}" in (root / "docs" / "dashboard.rst").read_text()
