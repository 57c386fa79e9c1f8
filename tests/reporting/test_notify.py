"""Which notices go where, and in what form, without sockets."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import fail
from twisted.logger import LogEvent
from zope.interface.verify import verifyObject

from rtpproxy_tw.commands import Origin
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.interfaces import INotifier, ISessionObserver
from rtpproxy_tw.latch import latch_factory
from rtpproxy_tw.reporting import notify
from rtpproxy_tw.reporting.backlog import NoticeCounts
from rtpproxy_tw.reporting.delivery import SETTLE
from rtpproxy_tw.reporting.notify import Notifier, TimeoutObserver
from rtpproxy_tw.session import Ending, NotifySocket, SessionKey, new_session
from tests.fakes import FakeNotifier
from tests.reporting.listener import Listener

pytestmark = pytest.mark.usefixtures("kernel")


def test_it_provides_the_seams() -> None:
    assert verifyObject(INotifier, Listener().notifier)
    assert verifyObject(ISessionObserver, TimeoutObserver(FakeNotifier()))


@pytest.mark.parametrize("allowed, enabled", [([], False), (["/run/x"], True)])
def test_it_is_enabled_when_any_socket_is_allowed(allowed: list[str], enabled: bool) -> None:
    assert Listener(allowed=allowed).notifier.enabled is enabled


def test_a_wrong_socket_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError):
        Listener(allowed=["tcp:192.0.2.5"])


def test_an_unknown_socket_is_named_in_the_log_once_a_minute(log: list[LogEvent]) -> None:
    listener = Listener()
    origin = Origin("udp", "192.0.2.7", "192.0.2.1")
    for number in range(3):
        assert listener.notifier.resolve(f"ttag{number};1", origin) is None
    assert [event["text"] for event in log] == ["ttag0;1"]
    listener.wait(60)
    listener.notifier.resolve("again", origin)
    assert [(event["text"], event["held"]) for event in log] == [("ttag0;1", 0), ("again", 2)]


def test_no_connection_is_opened_before_there_is_a_notice() -> None:
    listener = Listener()
    listener.wait(10)
    assert listener.attempts == 0


def test_notices_wait_for_the_connection_and_go_in_order_one_write_each() -> None:
    listener = Listener()
    listener.tell(b"a", b"b")
    connection = listener.accept()
    listener.tell(b"c")
    connection.flush()
    assert connection.taken == [b"a\n", b"b\n", b"c\n"]
    assert connection.options == ["nodelay"]


def test_one_connection_serves_all_notices() -> None:
    listener = Listener()
    listener.tell(b"a")
    connection = listener.accept()
    connection.flush()
    listener.wait(120)
    listener.tell(b"b")
    connection.flush()
    assert connection.taken == [b"a\n", b"b\n"]
    assert listener.attempts == 0
    assert listener.notifier.counts == NoticeCounts(accepted=2, delivered=1)


def test_what_the_listener_answers_is_ignored() -> None:
    listener = Listener()
    listener.tell(b"a")
    connection = listener.accept()
    connection.protocol.dataReceived(b"OK\n")
    connection.flush()
    assert connection.taken == [b"a\n"]


@pytest.mark.parametrize(
    "tag, line",
    [
        (b"r 1", b"r 1\n"),
        (b"a\r\nb\0c", b"a%0D%0Ab%00c\n"),
        (b"100%", b"100%\n"),
        (b"\xff\xfe", b"\xff\xfe\n"),
        (b"", b"\n"),
    ],
)
def test_a_notice_is_one_line_whatever_the_tag_holds(tag: bytes, line: bytes) -> None:
    listener = Listener()
    listener.tell(tag)
    connection = listener.accept()
    connection.flush()
    assert connection.taken == [line]


def test_a_line_longer_than_opensips_takes_is_sent_whole() -> None:
    listener = Listener()
    listener.tell(b"x" * 1023)
    connection = listener.accept()
    connection.flush()
    assert connection.taken == [b"x" * 1023 + b"\n"]


def test_a_line_too_long_for_anybody_is_dropped_and_logged_once_a_minute(
    log: list[LogEvent],
) -> None:
    listener = Listener()
    listener.tell(b"x" * 1024, b"y" * 5000)
    assert listener.attempts == 0
    assert listener.notifier.counts.dropped == 2
    assert [event["length"] for event in log] == [1024]


def test_each_socket_has_its_own_connection() -> None:
    other = "tcp:192.0.2.6:9999"
    listener = Listener(allowed=["tcp:192.0.2.5:9999", other])
    listener.tell(b"a")
    first = listener.accept()
    listener.tell(b"b", text=other)
    second = listener.accept()
    first.flush()
    second.flush()
    assert (first.taken, second.taken) == ([b"a\n"], [b"b\n"])
    assert [call[:2] for call in listener.reactor.tcpClients] == [
        ("192.0.2.5", 9999),
        ("192.0.2.6", 9999),
    ]


def senders(notifier: Notifier, count: int, first: int = 0) -> list[NotifySocket]:
    """What the wildcard means to so many senders."""
    found = []
    for number in range(first, first + count):
        origin = Origin("udp", f"10.0.{number // 250}.{number % 250}", "192.0.2.1")
        socket = notifier.resolve("tcp:%%CC_SELF%%:1", origin)
        assert socket is not None
        found.append(socket)
    return found


def test_the_number_of_senders_is_bounded_and_the_longest_unused_gives_way(
    monkeypatch: pytest.MonkeyPatch, log: list[LogEvent]
) -> None:
    monkeypatch.setattr(notify, "MAX_SENDERS", 3)
    listener = Listener(allowed=["tcp:%%CC_SELF%%:1", "tcp:192.0.2.5:9999"])
    notifier = listener.notifier
    listener.tell(b"named", text="tcp:192.0.2.5:9999")
    one, two, three, four = senders(notifier, 4)
    for socket in (one, two, three, one, four):
        notifier.notify(socket, b"line")
    listener.wait(1)
    stopped = [connector.stoppedConnecting for connector in listener.reactor.connectors]
    assert stopped == [False, False, True, False, False]
    bound: list[Any] = [client[4] for client in listener.reactor.tcpClients[:2]]
    assert bound == [None, ("192.0.2.1", 0)]
    assert [event["log_level"].name for event in log] == ["warn", "warn"]
    assert notifier.counts.dropped == 1


def test_an_idle_sender_gives_way_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "MAX_SENDERS", 2)
    listener = Listener(allowed=["tcp:%%CC_SELF%%:1"])
    busy, idle, new = senders(listener.notifier, 3)
    listener.notifier.notify(busy, b"line")
    listener.answered += 1  # it never answers
    listener.notifier.notify(idle, b"line")
    connection = listener.accept()
    connection.flush()
    listener.wait(SETTLE + 1)
    listener.notifier.notify(new, b"line")
    listener.wait(1)
    assert connection.gone
    assert not listener.reactor.connectors[0].stoppedConnecting
    assert listener.notifier.counts == NoticeCounts(accepted=3, delivered=1)


@pytest.mark.parametrize(
    "socket, connects",
    [
        (NotifySocket("unix", "/run/x"), ("unixClients", "/run/x")),
        (NotifySocket("tcp", "2001:db8::5", 9), ("tcpClients", "2001:db8::5")),
    ],
)
def test_every_kind_of_socket_is_connected_to(
    socket: NotifySocket, connects: tuple[str, str]
) -> None:
    listener = Listener()
    listener.notifier.notify(socket, b"a")
    kind, address = connects
    assert getattr(listener.reactor, kind)[0][0] == address


def test_a_host_name_is_looked_up_for_each_connection_and_not_before() -> None:
    asked: list[str] = []
    listener = Listener(allowed=["tcp:sip.example.org:9999"])
    resolver = listener.reactor.nameResolver

    class Resolver:
        def resolveHostName(self, receiver: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            asked.append(name)
            return resolver.resolveHostName(receiver, name, *args, **kwargs)

    listener.reactor.installNameResolver(Resolver())  # type: ignore[arg-type]  # no interface
    listener.notifier.resolve("tcp:sip.example.org:9999", Origin())
    assert asked == []
    listener.tell(b"a", text="tcp:sip.example.org:9999")
    assert asked == ["sip.example.org"]
    listener.refuse()
    listener.wait(2)
    assert asked == ["sip.example.org"] * 2


def test_an_endpoint_that_fails_at_once_is_a_failed_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken:
        def connect(self, factory: Any) -> Any:
            return fail(OSError("Too many open files"))

    monkeypatch.setattr(notify, "endpoint_for", lambda reactor, socket: Broken())
    listener = Listener()
    listener.tell(b"a")
    listener.wait(5)
    monkeypatch.undo()
    assert len(listener.reactor.getDelayedCalls()) == 1
    assert listener.stop() == [None]


@pytest.mark.parametrize("why", Ending)
def test_only_a_session_that_ended_by_itself_is_announced(why: Ending) -> None:
    notifier = FakeNotifier()
    session = new_session(SessionKey("call", "tag"), 0.0, 60.0, latch_factory("strict"))
    socket = NotifySocket("unix", "/run/x")
    session.notify = (socket, b"tag")
    observer = TimeoutObserver(notifier)
    observer.created(session)
    observer.completed(session)
    observer.ended(session, why)
    announced = why in (Ending.TIMEOUT, Ending.DRAINED)  # nobody asked for either
    assert notifier.told == ([(socket, b"tag")] if announced else [])


def test_a_session_without_a_notification_socket_is_not_announced() -> None:
    notifier = FakeNotifier()
    session = new_session(SessionKey("call", "tag"), 0.0, 60.0, latch_factory("strict"))
    TimeoutObserver(notifier).ended(session, Ending.TIMEOUT)
    assert notifier.told == []
