"""A browser, pages that notice everything that goes wrong in them, and one relay for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.tools import BROWSER, NO_BROWSER, npm_folder
from tests.browser.world import World

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""

HOSTILE = (
    "<script>window.pwned=1</script>",
    "<img/src=x/onerror=window.pwned=1>",
    "javascript:window.pwned=1",
    "../../../etc/passwd",
    "a'b\"c&amp;d`e`${f}",
    "__proto__",
    "%2e%00%zz",
    "ünï\N{SMILING FACE WITH SUNGLASSES}\N{RIGHT-TO-LEFT OVERRIDE}txt",
    "x" * 900,
)
"""Call-ids that somebody may hope to do something with."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that wants a browser bears the marker, and is skipped where there is none."""
    for item in items:
        if "world" in getattr(item, "fixturenames", ()) or "browser" in item.fixturenames:  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.browser)
            if NO_BROWSER:
                item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root, nor in most containers.
        found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A relay with calls that are well, one that is not, and some with hostile names."""
    with World(tmp_path_factory.mktemp("world")) as made:
        made.call("a84b4c76e66710@pc33.example.com")
        made.call("3848276298220188511@gw.example.net", loses=20, wavers=80)
        made.call("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", mute=True)
        for name in HOSTILE:
            made.call(name)
        yield made


Open = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, world: World) -> Iterator[Open]:
    """Opens the page, ``at`` what comes after #; options are those of a browser's context.

    The test fails on any error on the console, any exception, any violation of the policy.
    """
    opened: list[tuple[Any, list[str]]] = []

    def visit(at: str = "", url: str = world.url, **options: Any) -> Any:
        page = browser.new_context(
            **{"viewport": {"width": 1360, "height": 900}, "color_scheme": "light", **options}
        ).new_page()
        noticed: list[str] = []
        page.on("pageerror", lambda error: noticed.append(f"exception: {error}"))
        page.on(
            "console",
            lambda said: (
                noticed.append(f"console: {said.text}")
                if said.type in ("error", "warning") and said.text not in page.expected
                else None
            ),
        )
        page.expected = set()
        page.add_init_script(WATCH)
        page.goto(f"{url}/{at}")
        opened.append((page, noticed))
        return page

    yield visit
    wrong = []
    for page, noticed in opened:
        wrong += [*noticed, *page.evaluate("window.violations")]
        page.context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def axe(request: pytest.FixtureRequest) -> str:
    """The source of axe-core."""
    assert request.config.cache is not None
    folder: Path = npm_folder(request.config.cache)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()
