"""Metrics: what is counted, the text's form, the shipped board and alerts, and their cost."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.commands import Delete, Lookup, MediaOptions, Origin, Remote, Update
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.gauges import Counts, Gauges, Timers, kernel_drops
from rtpproxy_tw.reporting.aliases import RtpengineNames
from rtpproxy_tw.reporting.exposition import Family, Histogram, histograms, labelled, text_of
from rtpproxy_tw.reporting.metrics import BATCH, SLICE, LagMeter, MeteredExecutor, Metrics
from rtpproxy_tw.reporting.tally import Census
from rtpproxy_tw.session import Ending, Session
from tests.fakes import Bench
from tests.web.client import NASTY, Served

ROOT = Path(__file__).parents[2]

parser = pytest.importorskip("prometheus_client.parser")

NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass
class Counted:
    """Figures on recordings."""

    active: int = 0
    started: int = 0
    finished: int = 0
    failed: int = 0
    packets_written: int = 0
    packets_lost: int = 0


def gauges(served: Served, recordings: Counts | None = None) -> Gauges:
    """Metrics of a process with ten pairs of ports."""
    return Gauges(
        max_sessions=0,
        pairs=10,
        free_pairs=lambda: {2: 5},
        failures=served.bench.plane.failures,
        recordings=recordings or Counted(),
        space=lambda: 1 << 30,
        relay=served.draining,
    )


def scraped(served: Served) -> str:
    """The metrics' text."""
    answer = served.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.body.decode()


def families(text: str) -> dict[str, Any]:
    """The text as Prometheus' own client reads it."""
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def value(text: str, name: str, /, **labels: str) -> float:
    """One sample."""
    found = [
        sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) == 1, (name, labels, found)
    return float(found[0])


def complaints(text: str) -> Iterator[str]:
    """What a checker of expositions would find wrong."""
    seen = set()
    for family in parser.text_string_to_metric_families(text):
        if not family.documentation:
            yield f"{family.name}: no help"
        if family.type not in ("counter", "gauge", "histogram"):
            yield f"{family.name}: type {family.type}"
        if not NAME.fullmatch(family.name):
            yield f"{family.name}: odd name"
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            if key in seen:
                yield f"{key}: twice"
            seen.add(key)
            if sample.value != sample.value or sample.value < 0:
                yield f"{key}: {sample.value}"
            if family.type == "counter" and not sample.name.endswith("_total"):
                yield f"{sample.name}: a counter ends with _total"
            if family.type == "gauge" and sample.name.endswith(("_total", "_count", "_sum")):
                yield f"{sample.name}: a gauge does not"
        if family.type == "histogram":
            yield from _of_histogram(family)
    if not text.endswith("\n"):
        yield "no newline at the end"


def _of_histogram(family: Any) -> Iterator[str]:
    rows: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    counts = {}
    for sample in family.samples:
        labels = tuple(sorted(item for item in sample.labels.items() if item[0] != "le"))
        if sample.name.endswith("_bucket"):
            rows.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[labels] = sample.value
    for labels, row in rows.items():
        if row != sorted(row) or [each for _, each in row] != sorted(each for _, each in row):
            yield f"{family.name} {labels}: buckets do not ascend"
        if row[-1] != (float("inf"), counts[labels]):
            yield f"{family.name} {labels}: the last bucket is not all"


def test_the_text_is_as_it_must_be_and_follows_the_calls() -> None:
    served = Served()
    assert not list(complaints(scraped(served)))
    served.call("one")
    served.call("two", answered=False)
    served.media("one", packets=7)
    text = scraped(served)
    assert not list(complaints(text))
    assert value(text, "relay_sessions", state="both") == 1
    assert value(text, "relay_sessions", state="setup") == 1
    assert value(text, "relay_packets_total", proto="rtp", dir="in", path="user") == 14
    assert value(text, "relay_packets_total", proto="rtp", dir="out", path="user") == 14
    served.ask("/api/v1/calls/one", "DELETE")
    text = scraped(served)
    assert not list(complaints(text))
    assert value(text, "relay_sessions", state="both") == 0
    assert value(text, "relay_sessions_closed_total", reason="delete") == 1
    assert value(text, "relay_packets_total", proto="rtp", dir="in", path="user") == 14
    verdicts = families(text)["relay_session_verdict"].samples
    assert sum(sample.value for sample in verdicts) == 2
    assert value(text, "relay_loss_ratio_count", leg="a") == 1


def test_sessions_that_end_while_they_are_counted_are_counted_once() -> None:
    served = Served(ports=1000)
    for number in range(100):
        served.call(f"c{number}")
        served.media(f"c{number}")
    # Time passes with each look, so that the counting takes many turns.
    passing = iter(range(10**9))
    served.metrics._now = lambda: float(next(passing))
    seen: list[bytes] = []
    served.metrics.text().addCallback(seen.append)
    served.bench.registry.end_all(Ending.DELETED)
    while not seen:
        served.bench.clock.advance(0)
    assert value(seen[0].decode(), "relay_packets_total", proto="rtp", dir="in", path="user") == 200
    assert value(scraped(served), "relay_packets_total", proto="rtp", dir="in", path="user") == 200


def test_who_asks_while_the_text_is_made_gets_the_same() -> None:
    served = Served()
    for number in range(80):
        served.call(f"c{number}", answered=False)
    passing = iter(range(10**9))
    served.metrics._now = lambda: float(next(passing))
    texts: list[bytes] = []
    served.metrics.text().addCallback(texts.append)
    served.metrics.text().addCallback(texts.append)
    assert not texts
    served.bench.clock.advance(0)
    assert len(texts) == 2
    assert texts[0] is texts[1]


def test_no_call_id_is_ever_a_label() -> None:
    served = Served()
    before = scraped(served)
    for name in NASTY:
        served.call(name, name)
        served.ask("/api/v1/calls?search=x")
        served.bench.do(Delete(name, name, None))
    after = scraped(served)
    series = [re.sub(r" \S+$", "", line) for line in after.splitlines()]
    assert series == [re.sub(r" \S+$", "", line) for line in before.splitlines()]


def test_commands_are_counted_by_kind_and_result_and_timed() -> None:
    bench = Bench(low=40000, high=40003)
    metrics = Metrics(clock=bench.clock, totals=bench.totals, version="1")
    executor = metrics.metered(bench.dispatcher)
    update = Update("a", "t", None, Remote(), MediaOptions())
    executor.execute(update, Origin())
    executor.execute(Lookup("x", "t", "u", Remote(), MediaOptions()), Origin())
    with pytest.raises(CommandError):
        executor.execute(Delete("nothing", "t", None), Origin())
    assert executor.results == {
        ("update", "ok"): 1,
        ("lookup", "not_found"): 1,
        ("delete", "E50"): 1,
    }
    assert executor.seconds.count == 3


def test_a_command_that_breaks_is_counted_too() -> None:
    class Broken:
        def execute(self, command: object, origin: object) -> Any:
            raise ZeroDivisionError

    metered = MeteredExecutor(Broken())
    with pytest.raises(ZeroDivisionError):
        metered.execute(Delete("a", "b", None), Origin())
    assert metered.results == {("delete", "internal"): 1}


def test_the_lateness_of_the_reactor_is_measured() -> None:
    bench = Bench()
    meter = LagMeter(bench.clock)
    meter.tick()
    bench.clock.advance(0.5)
    meter.tick()
    bench.clock.advance(0.7)
    meter.tick()
    assert meter.seconds.count == 2
    assert meter.seconds.total == pytest.approx(0.2)


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_has_every_value_once(values: list[float]) -> None:
    histogram = Histogram((1.0, 10.0))
    for each in values:
        histogram.observe(each)
    text = text_of([histograms("x", "About.", [((("leg", "a"),), histogram)])]).decode()
    assert not list(complaints(text))
    assert value(text, "x_bucket", leg="a", le="1") == sum(each <= 1 for each in values)
    assert value(text, "x_count", leg="a") == len(values)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_text_can_be_help_or_a_label(text: str) -> None:
    made = text_of([labelled("x", "gauge", f"h{text}", [((("l", text),), 1.5)])]).decode()
    (family,) = parser.text_string_to_metric_families(made)
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"l": text}, 1.5)


def test_rtpengines_names_are_there_when_asked_for() -> None:
    served = Served()
    served.call()
    served.media(packets=3)
    assert "rtpengine_" not in scraped(served)
    served.metrics.further = [
        RtpengineNames(served.metrics, served.bench.totals, lambda: [("ipv4", 10, 4)])
    ]
    text = scraped(served)
    assert not list(complaints(text))
    assert value(text, "rtpengine_sessions", type="own") == 1
    assert value(text, "rtpengine_packets_total", type="userspace") == 6
    assert value(text, "rtpengine_bytes_total", type="userspace") == 6 * 172
    assert value(text, "rtpengine_packets_total", type="kernel") == 0
    assert value(text, "rtpengine_ports_used", name="ipv4") == 12
    assert value(text, "rtpengine_ports_free", name="ipv4") == 8


def test_rtpengines_sums_give_the_mean_and_the_deviation() -> None:
    served = Served()
    served.metrics.further = [RtpengineNames(served.metrics, served.bench.totals, list)]
    for name in ("one", "two"):
        served.call(name)
        served.media(name, packets=60)
        served.ask(f"/api/v1/calls/{name}", "DELETE")
    text = scraped(served)
    assert not list(complaints(text))
    for name in ("mos", "jitter", "packetloss"):
        total = value(text, f"rtpengine_{name}_total")
        squares = value(text, f"rtpengine_{name}2_total")
        assert value(text, f"rtpengine_{name}_samples_total") == 4
        assert squares / 4 - (total / 4) ** 2 == pytest.approx(0, abs=1e-6)
    assert value(text, "rtpengine_mos_total") == pytest.approx(4 * 4.4, rel=0.02)


def test_packets_are_told_apart_by_who_carried_them_and_what_was_added() -> None:
    served = Served()
    served.call()
    served.media(packets=3)
    (session,) = served.bench.registry.of_call("call")
    caller, callee = (leg.rtp for leg in session.legs)
    caller.carried, caller.carried_octets = 2, 344
    callee.added, callee.added_octets = 5, 860
    callee.withheld = 100
    text = scraped(served)
    assert not list(complaints(text))

    def of(name: str, direction: str, path: str) -> float:
        return value(text, f"relay_{name}_total", proto="rtp", dir=direction, path=path)

    assert (of("packets", "in", "kernel"), of("packets", "in", "user")) == (2, 4)
    assert (of("packets", "out", "kernel"), of("packets", "out", "user")) == (2, 4 + 5)
    assert (of("bytes", "in", "kernel"), of("bytes", "in", "user")) == (344, 4 * 172)
    assert of("bytes", "out", "user") == 4 * 172 - 100 + 860


def test_what_is_not_passed_on_is_no_outgoing_octet() -> None:
    served = Served()
    served.call()
    (session,) = served.bench.registry.of_call("call")
    session.callee.rtp.sender = None
    served.media(packets=2)
    text = scraped(served)
    for direction, octets in (("in", 4 * 172), ("out", 2 * 172)):
        assert value(text, "relay_bytes_total", proto="rtp", dir=direction, path="user") == octets


def test_what_has_nowhere_to_go_is_told_from_what_the_kernel_refuses() -> None:
    served = Served()
    served.call()
    (session,) = served.bench.registry.of_call("call")
    session.callee.rtp.sender = None
    served.media(packets=2)
    session.callee.rtp.latch.remote = None
    served.media(packets=3, first=2)
    text = scraped(served)
    assert value(text, "relay_drops_total", reason="no_peer") == 3
    assert value(text, "relay_drops_total", reason="send_error") == 2


def test_strangers_that_begin_to_send_are_counted() -> None:
    served = Served()
    served.call()
    served.media(packets=60)
    (session,) = served.bench.registry.of_call("call")
    to = ("127.0.0.1", session.caller.port)
    for number in (1, 1, 2, 2, 1):
        served.bench.host.deliver(b"\x80" + bytes(171), (f"203.0.113.{number}", 9), to)
    assert value(scraped(served), "relay_relatch_refused_total") == 3


def test_recordings_and_what_they_lack_are_told() -> None:
    served = Served()
    served.metrics.further = [gauges(served, Counted(3, 7, 3, 1, 900, 5))]
    text = scraped(served)
    assert not list(complaints(text))
    assert value(text, "relay_recordings") == 3
    assert value(text, "relay_recordings_started_total") == 7
    assert value(text, "relay_recordings_closed_total", result="finished") == 3
    assert value(text, "relay_recordings_closed_total", result="failed") == 1
    assert value(text, "relay_recording_packets_total") == 900
    assert value(text, "relay_recording_dropped_packets_total") == 5
    assert value(text, "relay_recording_free_bytes") == 1 << 30


def test_why_there_were_no_ports_is_counted() -> None:
    bench = Bench(low=40000, high=40003)
    bench.do(Update("a", "t", None, Remote(), MediaOptions()))
    bench.do(Update("b", "t", None, Remote(), MediaOptions()))
    assert bench.plane.failures["range"] == 0
    with pytest.raises(CommandError):
        bench.do(Update("c", "t", None, Remote(), MediaOptions()))
    assert bench.plane.failures == {"range": 1, "taken": 0, "descriptors": 0, "address": 0}


def test_timers_are_counted_as_they_wait() -> None:
    served = Served()
    before = len(served.bench.clock.getDelayedCalls())
    served.metrics.further = [Timers(served.bench.clock.getDelayedCalls)]
    served.bench.clock.callLater(5, str)
    assert value(scraped(served), "relay_timers") == before + 1


def test_drops_of_the_kernel_are_read(tmp_path: Path) -> None:
    path = tmp_path / "snmp"
    path.write_text("Udp: InDatagrams RcvbufErrors\nUdp: 5 7\nUdpLite: RcvbufErrors\nUdpLite: 9\n")
    assert kernel_drops(str(path)) == 7
    path.write_text("Udp: nothing\n")
    assert kernel_drops(str(path)) is None
    assert kernel_drops(str(tmp_path / "nothing")) is None


def test_a_scrape_gives_way_after_each_slice_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(ports=2_100)
    for number in range(10 * BATCH):
        served.call(f"call {number}", answered=False)
    counted: list[int] = []
    original = Census.add

    def add(census: Census, session: Session, now: float) -> None:
        counted[-1] += 1
        original(census, session, now)

    def turn(*arguments: Any) -> None:
        counted.append(0)
        count(*arguments)

    count = served.metrics._count
    monkeypatch.setattr(Census, "add", add)
    monkeypatch.setattr(served.metrics, "_count", turn)
    # More than half a slice passes between two looks at the clock.
    passing = iter(range(10**9))
    served.metrics._now = lambda: next(passing) * SLICE * 0.6
    texts: list[bytes] = []
    served.metrics.text().addCallback(texts.append)
    served.bench.clock.pump([0] * 100)
    assert value(texts[0].decode(), "relay_sessions", state="setup") == 10 * BATCH
    assert counted[:5] == [2 * BATCH] * 5


# What is shipped for others to load.


def exported() -> set[str]:
    """Names of all samples that a relay exports when everything has happened."""
    served = Served()
    served.metrics.metered(served.bench.dispatcher).execute(
        Update("a", "t", None, Remote(), MediaOptions()), Origin()
    )
    served.metrics.further = [gauges(served)]
    found = parser.text_string_to_metric_families(scraped(served))
    return {sample.name for family in found for sample in family.samples}


USED = re.compile(r"\brelay_[a-z_]+")


def test_the_board_can_be_loaded_and_asks_for_what_there_is() -> None:
    board = json.loads((ROOT / "packaging/grafana/rtpproxy-tw.json").read_text())
    assert board["title"] == "rtpproxy-tw"
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers) > 10
    expressions = [each["expr"] for panel in board["panels"] for each in panel["targets"]]
    assert set(USED.findall(" ".join(expressions))) <= exported()


def test_the_alerts_can_be_loaded_and_ask_for_what_there_is() -> None:
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "packaging/prometheus/rtpproxy-tw.yml").read_text()
    (group,) = yaml.safe_load(text)["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) > 5
    for rule in group["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert USED.findall(rule["expr"])
        assert set(USED.findall(rule["expr"])) <= exported()


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs/metrics.rst").read_text()
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in exported()}
    assert {name for name in names if f"``{name}" not in text} == set()


def test_a_family_without_samples_is_only_announced() -> None:
    assert Family("x", "gauge", "About.", ()).text() == "# HELP x About.\n# TYPE x gauge\n"


# What Prometheus' own checker says.

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is missing")
@pytest.mark.parametrize("rtpengine", [False, True])
def test_promtool_has_nothing_against_the_text(rtpengine: bool) -> None:
    served = Served()
    served.metrics.metered(served.bench.dispatcher)
    served.metrics.further = [gauges(served)]
    if rtpengine:
        served.metrics.further += [
            RtpengineNames(served.metrics, served.bench.totals, lambda: [("ipv4", 10, 4)])
        ]
    for number, name in enumerate(NASTY):
        served.call(name, name)
        served.media(name, packets=2)
        if number % 2:
            served.bench.do(Delete(name, name, None))
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=scraped(served),
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Of rtpengine's names it dislikes some, which are what they are.
    ours = [line for line in done.stderr.splitlines() if not line.startswith("rtpengine_")]
    assert ours == []
    assert done.returncode in ((0, 3) if rtpengine else (0,))


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is missing")
def test_promtool_loads_the_alerts() -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(ROOT / "packaging/prometheus/rtpproxy-tw.yml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
