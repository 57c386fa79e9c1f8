"""What an operator sees and does on the page: the calls, a call, draining, recording."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.conftest import HOSTILE
from tests.browser.world import World
from tests.e2e.process import wait_until

pytestmark = pytest.mark.network

Open = Callable[..., Any]

GOOD, POOR, MUTE = (
    "a84b4c76e66710@pc33.example.com",
    "3848276298220188511@gw.example.net",
    "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
)


def row_of(page: Any, call_id: str) -> Any:
    """The row of a call, once it is there."""
    link = page.locator(".body .row .id", has_text=call_id).first
    link.wait_for()
    return link.locator("xpath=ancestor::*[@role='row']")


def call_of(world: World, call_id: str) -> dict[str, Any]:
    """The only session of a call as the interface tells of it."""
    answer = world.client.ask(f"/api/v1/calls/{quote(call_id, safe='')}")
    session: dict[str, Any] = answer["sessions"][0]
    return session


def search(page: Any, text: str) -> None:
    """Type into the search field."""
    page.fill("#search", text)


def texts(page: Any, selector: str) -> list[str]:
    """All texts of what the selector finds."""
    found: list[str] = page.locator(selector).all_inner_texts()
    return found


# What is shown.


def test_every_call_is_there_with_its_verdict(world: World, visit: Open) -> None:
    page = visit()
    page.wait_for_selector(".row .id")
    assert page.inner_text("#count") == str(len(world.calls))
    assert row_of(page, GOOD).locator(".label").inner_text() == "Heard"
    mute = row_of(page, MUTE)
    mute.get_by_text("Never arrived").wait_for(timeout=10_000)
    assert mute.locator(".mark.bad").count() == 1  # never by colour alone
    assert texts(page, ".body .row .id")[0] == MUTE  # the worst comes first


def test_both_legs_are_drawn_through_the_relay(world: World, visit: Open) -> None:
    page = visit()
    row = row_of(page, MUTE)
    row.locator(".flow.caller.moves").wait_for()
    row.locator(".flow.callee.bad.still").wait_for(timeout=10_000)
    caller, callee = world.calls[MUTE]
    assert row.locator(".end").all_inner_texts() == [
        f"127.0.0.1:{caller.port}",
        f"127.0.0.1:{callee.port}",
    ]
    assert row.locator(".how").inner_text() in ("process", "kernel", "kernel, one way")
    rate = row.locator(".flow.caller .rate").inner_text()
    assert 25 <= int(rate.removesuffix("/s")) <= 75


def test_the_numbers_are_those_of_the_interface(world: World, visit: Open) -> None:
    page = visit()
    row_of(page, POOR).locator(".mos .value", has_text=".").first.wait_for()
    world.pause(True)
    try:
        agree(page, lambda: (figures_shown(page), figures_told(call_of(world, POOR))))
        capacity = world.client.ask("/api/v1/capacity")
        tiles = page.locator(".tile")
        assert tiles.nth(0).locator(".value").inner_text() == str(capacity["sessions"])
        assert f"room for {capacity['calls']:,}" in tiles.nth(0).inner_text()
        taken = {each["family"]: each["pairs"] - each["free"] for each in capacity["ports"]}
        assert tiles.nth(1).locator(".value").inner_text() == str(taken["ipv4"])
    finally:
        world.pause(False)


def agree(page: Any, look: Callable[[], tuple[Any, Any]]) -> None:
    """Nobody sends: within two rounds the page shows what the interface tells."""
    for _ in range(20):
        shown, told = look()
        if shown == told:
            return
        page.wait_for_timeout(200)
    assert shown == told


def figures_shown(page: Any) -> list[str]:
    """MOS, jitter and loss of both legs, as the row says them."""
    row = row_of(page, POOR)
    cells = [row.locator(f".{kind} .value") for kind in ("mos", "jitter", "loss")]
    return [each.nth(side).inner_text().removeprefix("▾ ") for side in (0, 1) for each in cells]


def figures_told(session: dict[str, Any]) -> list[str]:
    """The same out of the answer of the interface."""
    found = []
    for leg in session["legs"]:
        quality = leg["quality"]
        score = quality["mos_last"] or quality["mos"]
        found += [f"{score:.2f}", f"{quality['jitter_ms']:.1f}", percent(quality["loss_ratio"])]
    return found


def percent(ratio: float) -> str:
    """As the page writes it."""
    value = 100 * ratio
    if value == 0:
        return "0"
    return "<0.1" if value < 0.1 else f"{value:.{1 if value < 10 else 0}f}"


def test_a_verdict_is_there_within_two_seconds_of_the_fault(world: World, visit: Open) -> None:
    page = visit()
    late = []
    for number in range(3):
        name = f"fault{number}"
        _, callee = world.call(name, offered="c0,101")
        row = row_of(page, name)
        row.get_by_text("Heard").wait_for(timeout=10_000)
        callee.payload_type = 8
        began = time.monotonic()
        row.get_by_text("Wrong codec").wait_for(timeout=10_000)
        late.append(time.monotonic() - began)
        world.end(name)
    assert statistics.median(late) < 2


def test_a_phone_that_dies_is_told_within_two_seconds(world: World, visit: Open) -> None:
    page = visit()
    late = []
    for number in range(3):
        name = f"dying{number}"
        _, callee = world.call(name)
        row = row_of(page, name)
        row.get_by_text("Heard").wait_for(timeout=10_000)
        callee.hang_up()
        began = time.monotonic()
        row.get_by_text("Unreachable").wait_for(timeout=10_000)
        late.append(time.monotonic() - began)
        world.end(name)
    assert statistics.median(late) < 2
    page.locator("#news .what", has_text="callee: Unreachable").first.wait_for()


def test_a_call_comes_and_goes_without_the_page_being_loaded_again(
    world: World, visit: Open
) -> None:
    page = visit()
    row_of(page, GOOD)
    world.call("short")
    row_of(page, "short")
    world.end("short")
    page.locator(".row .id", has_text="short").wait_for(state="detached")


# Finding a call.


def test_the_list_is_filtered_and_sorted(world: World, visit: Open) -> None:
    page = visit()
    row_of(page, GOOD)
    search(page, "PC33.example")
    assert texts(page, ".body .row .id") == [GOOD]
    assert page.inner_text("#count").startswith("1 of ")
    search(page, str(world.calls[POOR][0].port))
    assert texts(page, ".body .row .id") == [POOR]
    search(page, "nobody has this")
    assert page.inner_text(".empty >> visible=true").startswith("No call is like that")
    search(page, "")
    row_of(page, MUTE).get_by_text("Never arrived").wait_for(timeout=10_000)
    page.click("text=Show them")
    assert texts(page, ".body .row .id") == [MUTE]
    page.select_option("#verdict", "")
    page.select_option("#state", "one_way")
    assert texts(page, ".body .row .id") == [MUTE]
    page.select_option("#state", "")
    page.get_by_role("columnheader", name="Loss").get_by_role("button").click()
    assert texts(page, ".body .row .id")[0] == POOR
    heading = page.get_by_role("columnheader", name="Loss")
    assert heading.get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="Call", exact=True).click()
    page.select_option("#sort", "call 1")
    names = texts(page, ".body .row .id")
    assert names == sorted(names, reverse=True)


# One call.


def test_a_call_has_a_page_with_its_timeline_and_both_legs_over_time(
    world: World, visit: Open
) -> None:
    page = visit()
    row_of(page, MUTE).locator(".id").click()
    page.get_by_role("heading", level=1, name=MUTE).wait_for()
    page.locator(".verdict-card.bad").wait_for(timeout=10_000)
    why = call_of(world, MUTE)
    callee = why["legs"][1]["verdict"]
    card = page.locator(".verdict-card.bad").inner_text()
    assert "callee: Never arrived" in card
    assert callee["hint"].lower() in card.lower()
    kinds = set(texts(page, ".timeline .kind"))
    assert {"Command", "Learned", "Verdict"} <= kinds
    assert len(texts(page, ".timeline li")) == len(why["timeline"])
    for chart in ("MOS", "Packets a second", "Jitter, ms", "Loss, %"):
        page.get_by_role("img", name=chart).wait_for()
    # A line without a bend has no height, and so is not "visible".
    page.locator(".chart .line.caller").first.wait_for(state="attached")
    page.click("text=← All calls")
    row_of(page, MUTE)


def test_the_figures_of_a_call_are_those_of_the_interface(world: World, visit: Open) -> None:
    page = visit(f"#/call/{quote(POOR, safe='')}")
    page.get_by_role("heading", level=1, name=POOR).wait_for()
    world.pause(True)
    try:
        agree(page, lambda: (rows_shown(page), rows_told(call_of(world, POOR))))
    finally:
        world.pause(False)


def rows_shown(page: Any) -> dict[str, list[str]]:
    """Some figures of both legs, as the page of a call has them."""
    rows = page.locator(".figures tbody tr").all()
    found = {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows}
    wanted = ("Packets", "Relayed to the other party", "Lost before us", "Codec last heard")
    return {name: found[name] for name in (*wanted, "Jitter now / most")}


def rows_told(session: dict[str, Any]) -> dict[str, list[str]]:
    """The same out of the answer of the interface."""
    legs = session["legs"]
    all_ = [leg["quality"] for leg in legs]
    return {
        "Packets": [f"{leg['rtp']['accepted']:,}" for leg in legs],
        "Relayed to the other party": [f"{leg['rtp']['relayed']:,}" for leg in legs],
        "Lost before us": [f"{each['lost']:,} ({percent(each['loss_ratio'])} %)" for each in all_],
        "Codec last heard": [each["codec"] for each in all_],
        "Jitter now / most": [
            f"{each['jitter_ms']:.1f} / {each['jitter_max_ms']:.1f} ms" for each in all_
        ],
    }


def test_a_call_that_has_ended_can_still_be_looked_at(world: World, visit: Open) -> None:
    world.call("over")
    page = visit("#/call/over")
    page.get_by_role("heading", level=1, name="over").wait_for()
    world.end("over")
    page.get_by_text("Ended: deleted").wait_for()
    assert page.get_by_role("button", name="Record …").is_disabled()


def test_a_call_that_never_was_is_told_as_such(world: World, visit: Open) -> None:
    page = visit()
    page.expected.add(
        "Failed to load resource: the server responded with a status of 404 (Not Found)"
    )
    page.goto(f"{world.url}/#/call/nothing")
    page.get_by_text("there is no such call, nor was there lately").wait_for()


@pytest.mark.parametrize("call_id", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_call_ids_are_text(call_id: str, world: World, visit: Open) -> None:
    page = visit()
    search(page, call_id)
    row_of(page, call_id).locator(".id").click()
    page.wait_for_selector(".timeline li")
    assert page.locator("#call h1").text_content() == call_id
    assert page.locator("#call h1 *").count() == 0
    assert call_id in page.title()
    assert page.evaluate("window.pwned") is None
    assert page.url.startswith(f"{world.url}/#/call/")


# What is done.


def test_draining_is_confirmed_done_shown_and_logged(world: World, visit: Open) -> None:
    page = visit()
    page.locator("#taking", has_text="Takes new calls").wait_for()
    page.click("#drain")
    page.get_by_role("button", name="Cancel").click()
    assert world.client.ask("/api/v1/drain")["draining"] is False
    page.click("#drain")
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    page.locator("#taking", has_text="Draining").wait_for()
    assert world.client.ask("/api/v1/drain")["draining"] is True
    assert world.command("U refused 127.0.0.1 4000 a") == "E99"
    assert "no new sessions from now on" in world.relay.printed()
    page.click("#drain")
    page.get_by_role("dialog").get_by_role("button", name="Take calls").click()
    page.locator("#taking", has_text="Takes new calls").wait_for()
    assert world.client.ask("/api/v1/drain")["draining"] is False


def test_recording_is_confirmed_done_shown_and_logged(world: World, visit: Open) -> None:
    page = visit(f"#/call/{quote(GOOD, safe='')}")
    page.get_by_role("button", name="Record …").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert call_of(world, GOOD)["legs"][0]["recording"] is None
    page.get_by_role("button", name="Record …").click()
    page.get_by_role("dialog").get_by_role("button", name="Record").click()
    page.get_by_role("button", name="Stop recording …").wait_for()
    assert call_of(world, GOOD)["legs"][0]["recording"]["packets"] >= 0
    assert f"call '{GOOD}' is recorded, asked for over HTTP" in world.relay.printed()
    page.get_by_role("button", name="Stop recording …").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Record …").wait_for()
    assert f"call '{GOOD}' is not recorded any more" in world.relay.printed()


def test_the_trace_of_a_call_is_saved_as_a_file(world: World, visit: Open) -> None:
    page = visit(f"#/call/{quote(GOOD, safe='')}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save trace").click()
    octets = Path(download.value.path()).read_bytes()
    assert octets[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1")


# Connections that fail.


def test_a_relay_that_restarts_is_found_again(browser: Any, visit: Open, tmp_path: Path) -> None:
    with World(tmp_path) as other:
        page = visit(url=other.url)
        page.expected |= {
            f"Failed to load resource: net::{name}"
            for name in (
                *("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING"),
                *("ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET"),
            )
        }
        other.call("before")
        row_of(page, "before")
        other.relay.end()
        page.locator("#link", has_text="Not connected").wait_for()
        other.start()
        other.call("after")
        page.locator("#link", has_text="Live").wait_for(timeout=30_000)
        row_of(page, "after")
        assert page.locator(".row .id", has_text="before").count() == 0


def test_a_token_is_asked_for_where_one_is_wanted(visit: Open, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("sesame\n")
    with World(tmp_path, ("--http-token-file", str(tokens)), "sesame") as other:
        page = visit(url=other.url)
        page.expected.add(
            "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
        )
        other.call("guarded")
        page.get_by_role("dialog").wait_for()
        page.fill("#dialog-input", "sesame")
        page.keyboard.press("Enter")
        row_of(page, "guarded")
        assert "sesame" not in page.url


# Many calls.


def test_only_the_rows_in_sight_are_in_the_document(visit: Open, tmp_path: Path) -> None:
    with World(tmp_path, ("-m", "20000", "-M", "29998")) as other:
        for number in range(500):
            other.command(f"U many{number:03} 127.0.0.1 4000 f")
        page = visit(url=other.url)
        wait_until(lambda: page.inner_text("#count") == "500", "all are there")
        page.select_option("#sort", "call 0")
        assert page.get_by_role("table").get_attribute("aria-rowcount") == "501"
        assert page.locator(".body .row").count() < 40
        row_of(page, "many000").locator(".id").focus()
        page.keyboard.press("End")
        row_of(page, "many499")
        assert page.evaluate("document.activeElement.textContent") == "many499"
        assert page.locator(".body .row").count() < 40
