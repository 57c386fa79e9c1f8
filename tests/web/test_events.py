"""Server-sent events: what is told, to whom, how often, and what one costs who does not read."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest

from rtpproxy_tw.quality.monitor import Monitor
from rtpproxy_tw.session import Ending
from rtpproxy_tw.web import feed as feeds
from rtpproxy_tw.web.openapi import document
from rtpproxy_tw.web.stream import MOST, UNREAD
from tests.conftest import LoggedFailures
from tests.web.client import NASTY, Connection, Served, request

EVENTS = "/api/v1/events"


class Event(NamedTuple):
    """One event as a client takes it."""

    name: str
    data: Any
    id: str | None


class Client:
    """A connection that listens."""

    def __init__(self, served: Served, last: str | None = None) -> None:
        self.served = served
        self.connection = Connection(served)
        headers = {} if last is None else {"Last-Event-ID": last}
        self.connection.send(request(EVENTS, headers={**headers, "Connection": "keep-alive"}))
        self.read = 0
        self.octets = b""

    def wait(self, seconds: float = 1.0) -> list[Event]:
        """What comes within ``seconds``."""
        for _ in range(round(seconds / 0.1)):
            self.served.bench.clock.advance(0.1)
            self.connection.run()
        return self.take()

    def take(self) -> list[Event]:
        """What has come since the last time."""
        raw = self.connection.transport.value()
        octets = _unchunked(raw.partition(b"\r\n\r\n")[2])
        new, self.octets = octets[len(self.octets) :], octets
        return [_event(block) for block in new.decode().split("\n\n") if "data: " in block]


def _unchunked(octets: bytes) -> bytes:
    whole = b""
    while octets:
        size, _, octets = octets.partition(b"\r\n")
        length = int(size, 16)
        whole, octets = whole + octets[:length], octets[length + 2 :]
    return whole


def _event(block: str) -> Event:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    return Event(fields["event"], json.loads(fields["data"]), fields.get("id"))


def named(events: list[Event], name: str) -> list[Any]:
    """The data of the events of that name."""
    return [event.data for event in events if event.name == name]


def test_everything_is_told_first_and_then_what_changes() -> None:
    served = Served()
    served.call("one")
    client = Client(served)
    events = client.wait()
    (calls,) = named(events, "calls")
    assert calls["reset"] is True
    assert [call["call_id"] for call in calls["calls"]] == ["one"]
    assert events[-1].name == "relay"
    assert events[-1].data["sessions"] == 1
    assert events[-1].data["states"] == {"silent": 1}
    served.call("two")
    (calls,) = named(client.wait(), "calls")
    assert calls["reset"] is False
    assert [call["call_id"] for call in calls["calls"]] == ["two"]


def test_an_answer_says_how_long_to_wait_before_coming_again() -> None:
    client = Client(Served())
    client.wait()
    head = client.connection.transport.value()
    assert b"text/event-stream" in head
    assert client.octets.startswith(b"retry: 2000\n\n")


def test_a_call_without_change_is_not_told_again() -> None:
    served = Served()
    served.call("one", answered=False)
    client = Client(served)
    client.wait(0.5)
    events = client.wait(5.0)
    assert len(named(events, "relay")) == 5
    assert named(events, "calls") == []


def test_figures_are_those_of_the_interface() -> None:
    served = Served()
    served.call("one")
    served.media("one", packets=60)
    (calls,) = named(Client(served).wait(0.1), "calls")
    (told,) = calls["calls"][0]["sessions"]
    (asked,) = served.ask("/api/v1/calls/one").json["sessions"]
    for leg, whole in zip(told["legs"], asked["legs"], strict=True):
        assert leg["packets"] == whole["rtp"]["accepted"] == 60
        assert leg["relayed"] == whole["rtp"]["relayed"]
        assert leg["verdict"] == whole["verdict"]["code"]
        assert leg["remote"] == whole["remote"]
        assert leg["local"] == whole["local"]
        for name in ("jitter_ms", "rtt_ms", "mos", "mos_last", "lost", "loss_ratio", "codec"):
            assert leg[name] == whole["quality"][name]


def test_the_end_of_a_call_is_told() -> None:
    served = Served()
    served.call("one")
    client = Client(served)
    client.wait()
    served.ask("/api/v1/calls/one", "DELETE")
    (calls,) = named(client.wait(), "calls")
    assert calls == {"reset": False, "calls": [], "gone": ["one"]}


def test_a_verdict_that_becomes_bad_is_told_within_a_second_in_words() -> None:
    served = Served()
    served.call("one")
    client = Client(served)
    client.wait()
    served.bench.clock.advance(30)
    events = client.wait(1.0)
    legs = named(events, "calls")[-1]["calls"][0]["sessions"][0]["legs"]
    assert [leg["verdict"] for leg in legs] == ["never-arrived"] * 2
    assert "no RTP packet ever arrived from the caller" in legs[0]["sentence"]
    news = [each for list_ in named(events, "news") for each in list_]
    assert [(each["side"], each["code"]) for each in news] == [
        ("caller", "never-arrived"),
        ("callee", "never-arrived"),
    ]


def test_what_was_wrong_before_anybody_listened_is_news_with_its_time() -> None:
    served = Served()
    served.call("one")
    served.bench.clock.advance(30)
    (session,) = served.bench.registry.of_call("one")
    session.caller.monitor = Monitor(code="never-arrived", code_since=3.0)
    (news,) = named(Client(served).wait(0.1), "news")
    assert [each["at"] - 1e9 for each in news] == [3.0, pytest.approx(30, abs=1)]


def test_an_end_that_nobody_asked_for_is_news() -> None:
    served = Served()
    served.call("one")
    (session,) = served.bench.registry.of_call("one")
    served.bench.registry.end(session, Ending.TIMEOUT)
    (news,) = named(Client(served).wait(0.1), "news")
    assert [(each["kind"], each["code"], each["call_id"]) for each in news] == [
        ("end", "timeout", "one")
    ]


def test_the_end_of_a_call_that_was_well_is_no_news() -> None:
    served = Served()
    served.call("one")
    served.media("one", packets=60)
    served.ask("/api/v1/calls/one", "DELETE")
    assert named(Client(served).wait(0.1), "news") == []


def test_who_comes_again_is_told_only_what_is_new() -> None:
    served = Served()
    served.call("old", answered=False)
    served.call("over", answered=False)
    first = Client(served)
    last = first.wait()[-1].id
    assert last is not None
    drop(first)
    first.served.bench.clock.advance(1)
    served.ask("/api/v1/calls/over", "DELETE")
    served.call("new", answered=False)
    events = Client(served, last).wait(2.0)
    assert not any(calls["reset"] for calls in named(events, "calls"))
    told = [call["call_id"] for calls in named(events, "calls") for call in calls["calls"]]
    assert "new" in told
    assert [calls["gone"] for calls in named(events, "calls")][-1] == ["over"]


@pytest.mark.parametrize("last", ["", "x", "x-1", "-", "-1", "9-9", "\xff", "1" * 50, "{run}-99"])
def test_who_comes_with_a_number_that_means_nothing_is_told_everything(last: str) -> None:
    served = Served()
    served.call("one")
    (calls,) = named(Client(served, last.format(run=served.feed.run)).wait(), "calls")
    assert calls["reset"] is True


def test_who_was_away_for_too_many_ends_is_told_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "GONE_KEPT", 2)
    served = Served()
    for name in "abcd":
        served.call(name)
    first = Client(served)
    last = first.wait()[-1].id
    for name in "abc":
        served.ask(f"/api/v1/calls/{name}", "DELETE")
    first.wait()
    (calls,) = named(Client(served, last).wait(), "calls")[:1]
    assert calls["reset"] is True
    assert [call["call_id"] for call in calls["calls"]] == ["d"]


def test_nobody_listens_and_nothing_is_looked_at() -> None:
    served = Served()
    served.call("one")
    client = Client(served)
    client.wait()
    drop(client)
    served.bench.clock.advance(1)
    for _ in range(40):
        served.bench.clock.advance(1)
    rounds = served.feed.sequence
    served.bench.clock.advance(10)
    assert served.feed.sequence == rounds
    (calls,) = named(Client(served).wait(0.1), "calls")
    assert [call["call_id"] for call in calls["calls"]] == ["one"]


def test_who_does_not_read_is_told_the_present_later_and_nothing_is_kept_for_it() -> None:
    served = Served()
    served.call("one", answered=False)
    client = Client(served)
    client.wait()
    stream = served.feed._listeners[0]
    stream.pauseProducing()  # type: ignore[attr-defined]
    served.call("two", answered=False)
    assert client.wait(5.0) == []
    served.ask("/api/v1/calls/two", "DELETE")
    served.call("three", answered=False)
    stream.resumeProducing()  # type: ignore[attr-defined]
    events = client.wait()
    assert len(named(events, "relay")) == 1
    told = [call["call_id"] for calls in named(events, "calls") for call in calls["calls"]]
    assert "three" in told
    assert "two" not in told


def test_who_never_reads_is_cut_off() -> None:
    served = Served()
    client = Client(served)
    client.wait()
    served.feed._listeners[0].pauseProducing()  # type: ignore[attr-defined]
    client.wait(UNREAD + 2)
    assert client.connection.transport.disconnecting


def test_so_many_may_listen_and_no_more() -> None:
    served = Served()
    clients = [Client(served) for _ in range(MOST)]
    refused = served.ask(EVENTS)
    assert refused.status == 503
    assert refused.json["error"]["code"] == "busy"
    drop(clients[0])
    assert named(Client(served).wait(), "relay")


def test_a_head_has_no_events() -> None:
    served = Served()
    answer = served.ask(EVENTS, "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert len(served.feed) == 0


def test_figures_of_many_calls_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "FIGURES", 10)
    served = Served(ports=400)
    names = [f"call{number}" for number in range(40)]
    for name in names:
        served.call(name)
        for session in served.bench.registry.of_call(name):
            session.complete = False  # so that its verdict stays as it is
    client = Client(served)
    client.wait(1.5)
    told: list[str] = []
    for _ in range(8):
        for each in names:
            served.bench.registry.of_call(each)[0].caller.rtp.accepted += 1
        calls = [
            call["call_id"] for each in named(client.wait(), "calls") for call in each["calls"]
        ]
        assert len(calls) <= 10
        told += calls
    assert sorted({*told}) == sorted(names)


def test_a_long_list_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "PART", 3)
    served = Served()
    for number in range(7):
        served.call(f"call{number}")
    events = Client(served).wait(0.5)
    calls = named(events, "calls")
    assert [len(each["calls"]) for each in calls] == [3, 3, 1]
    assert [each["reset"] for each in calls] == [True, False, False]
    # Cut off in between, one has no number that would make one miss the rest.
    assert [event.id is not None for event in events] == [False] * (len(events) - 1) + [True]


def test_a_fault_in_a_round_does_not_end_the_rounds(
    logged_failures: LoggedFailures, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served()
    client = Client(served)
    client.wait()
    monkeypatch.setattr(served.feed, "overview", lambda: 1 / 0)
    client.wait()
    assert len(logged_failures.take()) == 1
    monkeypatch.setattr(served.feed, "overview", served.api.overview)
    assert named(client.wait(), "relay")


@pytest.mark.parametrize("call_id", NASTY)
def test_hostile_names_stay_within_their_field(call_id: str) -> None:
    served = Served()
    served.call(call_id, call_id)
    served.bench.clock.advance(30)
    client = Client(served)
    events = client.wait()
    assert [event.name for event in events] == ["calls", "news", "relay"]
    ((call,), _) = (events[0].data["calls"], None)
    assert call["id"] == served.ask("/api/v1/calls").json["calls"][0]["id"]
    assert b"<" not in client.octets


@pytest.mark.skipif(find_spec("jsonschema") is None, reason="jsonschema is missing")
def test_events_are_as_described() -> None:
    from jsonschema import Draft202012Validator

    served = Served()
    served.call("one")
    served.call("two", answered=False)
    served.media("one", packets=60)
    served.bench.clock.advance(10)
    events = Client(served).wait()
    components = document("1")["components"]
    schemas = {"calls": "LiveCalls", "relay": "LiveRelay"}
    for event in events:
        found = components["schemas"][schemas.get(event.name, "News")]
        for data in event.data if event.name == "news" else [event.data]:
            Draft202012Validator({**found, "components": components}).validate(data)
    assert {event.name for event in events} == {"calls", "news", "relay"}


def drop(client: Client) -> None:
    """Its connection is lost."""
    from twisted.internet.error import ConnectionDone
    from twisted.python.failure import Failure

    client.connection.protocol.connectionLost(Failure(ConnectionDone()))
