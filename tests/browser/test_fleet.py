"""Draining and the relays of a cluster, as the page shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.world import World
from tests.cluster.redis_server import PROGRAM, RedisServer

Open = Callable[..., Any]


def test_how_far_draining_is_and_its_limit_are_shown(
    browser: Any, visit: Open, tmp_path: Path
) -> None:
    with World(tmp_path) as world:
        world.call("one")
        world.call("two")
        page = visit(url=world.url)
        world.client.ask("/api/v1/drain", "PUT", {"limit": 90})
        page.locator("#taking", has_text="Draining, 2 of 2 sessions left").wait_for()
        page.locator("#taking", has_text=" s to go").wait_for()
        world.end("one")
        page.locator("#taking", has_text="1 of 2 sessions left").wait_for()
        assert page.locator("#fleet").is_hidden()


def test_the_limit_can_be_set_on_the_page(browser: Any, visit: Open, tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.call("stays")
        page = visit(url=world.url)
        page.locator("#taking", has_text="Takes new calls").wait_for()
        page.click("#drain")
        dialog = page.get_by_role("dialog")
        limit = dialog.get_by_label("Limit in seconds")
        limit.fill("-1")
        dialog.get_by_role("button", name="Drain").click()
        assert dialog.is_visible()
        assert world.client.ask("/api/v1/drain")["draining"] is False
        limit.fill("1.5")
        dialog.get_by_role("button", name="Drain").click()
        page.locator("#taking", has_text=" s to go").wait_for()
        assert 0 < world.client.ask("/api/v1/drain")["seconds_left"] <= 1.5
        page.locator("#count", has_text="0").wait_for()
        assert "time is up: 1 sessions are ended" in world.relay.printed()
        assert world.client.ask("/api/v1/drain")["sessions"] == 0


@pytest.mark.skipif(PROGRAM is None, reason="no redis-server here")
def test_the_relays_of_a_cluster_and_redis_are_shown(
    browser: Any, visit: Open, tmp_path: Path
) -> None:
    with (
        RedisServer(tmp_path) as redis,
        World(tmp_path, ["--redis", redis.url, "--node", "alpha"]) as world,
    ):
        world.call("one")
        page = visit(url=world.url)
        row = page.locator("#fleet tbody tr")
        row.get_by_text("alpha (this one)").wait_for()
        row.get_by_text("127.0.0.1", exact=True).wait_for()
        assert row.get_by_text("Up").is_visible()
        page.locator("#fleet", has_text="Redis answers").wait_for()
        redis.stop()
        page.locator("#fleet", has_text="Redis is not to be used").wait_for()
