"""What of a command is done when its reply has been sent."""

from __future__ import annotations

from rtpproxy_tw.commands import Origin
from rtpproxy_tw.control.later import Later
from rtpproxy_tw.control.responder import Responder
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from tests.conftest import LoggedFailures
from tests.fakes import Bench

OFFER = b"U call 192.0.2.1 4000 from;1"
ANSWER = b"L call 192.0.2.2 5000 from;1 to;1"
END = b"D call from to"


def test_outside_its_block_work_is_done_at_once() -> None:
    done: list[str] = []
    Later().do(lambda: done.append("work"))
    assert done == ["work"]


def test_within_its_block_work_is_done_at_the_end_in_order() -> None:
    done: list[str] = []
    later = Later()
    with later:
        later.do(lambda: done.append("first"))
        later.do(lambda: done.append("second"))
        done.append("reply")
    assert done == ["reply", "first", "second"]


def test_a_block_within_a_block_finds_the_work_done() -> None:
    done: list[str] = []
    later = Later()
    with later:
        later.do(lambda: done.append("outer"))
        with later:
            done.append("inner")
    assert done == ["outer", "inner"]


def test_what_fails_afterwards_is_logged_and_keeps_nothing_else_from_being_done(
    logged_failures: LoggedFailures,
) -> None:
    done: list[str] = []
    later = Later()

    def fail() -> None:
        raise ZeroDivisionError

    with later:
        later.do(fail)
        later.do(lambda: done.append("next"))
    assert done == ["next"]
    assert len(logged_failures.take()) == 1


def _served() -> tuple[Bench, Responder]:
    later = Later()
    bench = Bench(later=later)
    responder = Responder(
        dialect=RtpproxyDialect(),
        executor=bench.dispatcher,
        totals=bench.totals,
        clock=bench.clock,
        later=later,
    )
    return bench, responder


def test_a_session_is_there_before_anything_but_its_reply() -> None:
    bench, responder = _served()
    counted: list[int] = []

    def count(reply: bytes) -> None:
        assert not reply.startswith(b"E")
        counted.append(len(bench.registry))

    responder.serve(OFFER, Origin(), count)
    counted.append(len(bench.registry))
    assert counted == [0, 1]


def test_an_end_is_answered_before_it_takes_place_and_over_before_the_next_command() -> None:
    bench, responder = _served()
    counted: list[int] = []
    replies: list[bytes] = []
    for command in (OFFER, ANSWER):
        responder.serve(command, Origin(), replies.append)

    def count(reply: bytes) -> None:
        counted.append(len(bench.registry))

    responder.serve(END, Origin(), count)
    responder.serve(END, Origin(), replies.append)
    assert counted == [1]
    assert replies[-1] == b"E50\n"


def test_put_off_or_not_commands_leave_the_same_behind() -> None:
    bench, responder = _served()
    direct = Bench()
    plain = Responder(
        dialect=RtpproxyDialect(),
        executor=direct.dispatcher,
        totals=direct.totals,
        clock=direct.clock,
    )
    for command in (OFFER, ANSWER, OFFER, b"U call 192.0.2.9 5002 to;1 from;1", ANSWER):
        replies: list[bytes] = []
        responder.serve(command, Origin(), replies.append)
        assert replies == [plain.respond(command, Origin())]
        (one,), (other,) = bench.registry, direct.registry
        assert list(one.timeline) == list(other.timeline)
        assert (one.complete, one.to_tag, one.touched) == (
            other.complete,
            other.to_tag,
            other.touched,
        )
        for mine, theirs in zip(one.legs, other.legs, strict=True):
            assert mine.rtp.latch.signalled == theirs.rtp.latch.signalled
            assert mine.codecs == theirs.codecs
