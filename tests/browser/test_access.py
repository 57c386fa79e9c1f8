"""The page for everybody: keyboard, screen reader, light and dark, narrow screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.test_dashboard import GOOD, MUTE, row_of
from tests.browser.world import World

pytestmark = pytest.mark.network

Open = Callable[..., Any]

NARROW = {"width": 390, "height": 844}


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds wrong, by all its rules."""
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    return [
        f"{each['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_axe_finds_nothing_wrong(
    scheme: str, narrow: bool, world: World, visit: Open, axe: str
) -> None:
    options = {"viewport": NARROW} if narrow else {}
    page = visit(color_scheme=scheme, **options)
    row_of(page, MUTE).get_by_text("Never arrived").wait_for(timeout=10_000)
    assert violations(page, axe) == []
    page.click("#drain")
    assert violations(page, axe) == []
    page.keyboard.press("Escape")
    row_of(page, MUTE).locator(".id").click()
    page.wait_for_selector(".timeline li")
    assert violations(page, axe) == []


def test_nothing_is_wider_than_a_phone(world: World, visit: Open) -> None:
    page = visit(viewport=NARROW)
    row_of(page, MUTE)
    widest = "document.documentElement.scrollWidth"
    assert page.evaluate(widest) <= NARROW["width"]
    assert page.evaluate("document.querySelector('.scroll').scrollWidth") <= NARROW["width"]
    row_of(page, MUTE).locator(".id").click()
    page.wait_for_selector(".timeline li")
    assert page.evaluate(widest) <= NARROW["width"]


def test_everything_can_be_done_with_the_keyboard(world: World, visit: Open) -> None:
    page = visit()
    row_of(page, GOOD)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the calls"
    page.keyboard.press("Enter")
    page.locator(".scroll").focus()
    page.keyboard.press("ArrowDown")
    names = page.locator(".body .row .id").all_inner_texts()
    assert page.evaluate("document.activeElement.textContent") == names[0]
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == names[1]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_selector(".timeline li")
    page.wait_for_function("document.activeElement.tagName === 'H1'")
    page.locator("#drain").focus()
    page.keyboard.press("Enter")
    # The harmless answer is the one that is chosen by pressing Enter once too often.
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert world.client.ask("/api/v1/drain")["draining"] is False


def test_the_focus_stays_on_its_call_while_the_list_changes(world: World, visit: Open) -> None:
    page = visit()
    row_of(page, GOOD).locator(".id").focus()
    page.wait_for_timeout(2500)
    assert page.evaluate("document.activeElement.textContent") == GOOD


def test_what_goes_wrong_is_announced(world: World, visit: Open) -> None:
    page = visit()
    row_of(page, GOOD)
    _, callee = world.call("announced", offered="c0,101")
    row_of(page, "announced").get_by_text("Heard").wait_for(timeout=10_000)
    callee.payload_type = 8
    announced = page.locator("#announce[aria-live=polite]", has_text="callee: Wrong codec")
    announced.wait_for(state="attached", timeout=10_000)
    world.end("announced")


def test_the_theme_follows_the_system_until_it_is_chosen(world: World, visit: Open) -> None:
    page = visit(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme")
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light
    page.click("#theme")
    assert page.evaluate(ground) == dark
    assert page.inner_text("#theme") == "Theme: dark"


def test_a_page_in_the_address_is_opened(world: World, visit: Open) -> None:
    page = visit(f"#/call/{quote(GOOD, safe='')}")
    page.get_by_role("heading", level=1, name=GOOD).wait_for()
