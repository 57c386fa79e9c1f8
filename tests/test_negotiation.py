"""U and L, their options and what follows them: which leg, which port, which address."""

from __future__ import annotations

import socket

import pytest

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.commands import (
    Allocated,
    Command,
    Copy,
    Delete,
    Feature,
    Info,
    LocalByHost,
    LocalByLabel,
    LocalByRoute,
    Lookup,
    MediaOptions,
    NotFound,
    NotifyTarget,
    Number,
    Outlet,
    Play,
    Query,
    Record,
    Remote,
    Reply,
    SetTos,
    SetTtl,
    Statistics,
    StopPlay,
    StopRecord,
    SubDelete,
    SubLookup,
    Text,
    Update,
    WithResults,
)
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.session import Ending, NotifySocket
from tests.contracts import rtp
from tests.fakes import Bench

F = Remote(("127.0.0.1", 5000))
T = Remote(("127.0.0.1", 6000))
NEW = MediaOptions(new_port=True)


def at(port: int, host: str | None = "127.0.0.1", ipv6: bool = False) -> Allocated:
    """The reply to an allocation."""
    return Allocated(port, host, ipv6)


def refused(bench: Bench, command: Command) -> int:
    """The error code that ``command`` is answered with."""
    with pytest.raises(CommandError) as caught:
        bench.do(command)
    return caught.value.code


def complete(bench: Bench, call_id: str = "c") -> None:
    """A call between 127.0.0.1:5000 (f) and :6000 (t)."""
    bench.do(Update(call_id, "f", None, F))
    bench.do(Lookup(call_id, "f", "t", T))


def heard_by(bench: Bench, port: int) -> list[tuple[int, bytes]]:
    """What left the local ``port``: (destination port, payload)."""
    return [(to[1], datagram) for datagram, to in bench.host.sent(("127.0.0.1", port))]


def test_each_command_names_the_port_the_other_party_must_use() -> None:
    """The documented dialogue: offer, answer, the callee's re-INVITE, the caller's answer."""
    bench = Bench()
    assert bench.do(Update("a", "f", None, F)) == at(40000)
    assert bench.do(Lookup("a", "f", "t", T)) == at(40002)
    assert bench.do(Update("a", "t", "f", T)) == at(40002)
    assert bench.do(Lookup("a", "t", "f", F)) == at(40000)
    assert bench.do(Lookup("nosuch", "f", "t", T)) == NotFound()


def test_two_updates_complete_a_session_too() -> None:
    """Sippy B2BUA never sends L."""
    bench = Bench()
    assert bench.do(Update("u", "f", "t", F)) == at(40000)
    assert bench.do(Update("u", "t", "f", T)) == at(40002)
    assert [name for name, _ in bench.observer.events] == ["created", "completed"]


def test_media_goes_to_the_signalled_addresses_at_once() -> None:
    """Before anything was heard from them."""
    bench = Bench()
    complete(bench)
    bench.host.deliver(rtp(1), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    assert heard_by(bench, 40000) == [(6000, rtp(1))]
    bench.host.deliver(b"r" * 8, ("127.0.0.1", 6001), ("127.0.0.1", 40001))
    assert heard_by(bench, 40003) == [(5001, b"r" * 8)]


def test_a_held_party_keeps_its_address() -> None:
    """0.0.0.0 wipes nothing, and the next address ends the hold."""
    bench = Bench()
    complete(bench)
    assert bench.do(Update("c", "f", "t", Remote(hold=True))) == at(40000)
    session = next(iter(bench.registry))
    assert session.caller.held
    assert session.caller.holds == 1
    bench.host.deliver(rtp(1), ("127.0.0.1", 6000), ("127.0.0.1", 40000))
    assert heard_by(bench, 40002) == [(5000, rtp(1))]
    bench.do(Update("c", "f", "t", F))
    assert not session.caller.held


def test_a_refused_medium_gets_a_port_all_the_same() -> None:
    """Port 0, and a session that never had an address."""
    bench = Bench()
    assert bench.do(Update("c", "f", None, Remote(("127.0.0.1", 0)))) == at(40000)
    assert bench.do(Lookup("c", "f", "t", Remote(("127.0.0.1", 0)))) == at(40002)
    bench.host.deliver(rtp(1), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    assert heard_by(bench, 40000) == []
    assert bench.do(Update("d", "f", None, Remote())) == at(40004)


def test_the_last_port_has_no_rtcp_twin() -> None:
    """65535 + 1 is no port."""
    bench = Bench()
    bench.do(Update("c", "f", None, Remote(("127.0.0.1", 65535))))
    session = next(iter(bench.registry))
    assert session.caller.rtp.latch.remote == ("127.0.0.1", 65535)
    assert session.caller.rtcp.latch.remote is None


def test_a_new_port_replaces_the_answered_one() -> None:
    """Un and Ln."""
    bench = Bench()
    complete(bench)
    assert bench.do(Update("c", "f", "t", F, NEW)) == at(40004)
    assert bench.do(Lookup("c", "f", "t", T, NEW)) == at(40006)
    assert sorted(port for _, port in bench.host.ports) == [40004, 40005, 40006, 40007]


def test_errors_of_allocation_tell_creation_from_change() -> None:
    """E72 and E71; the session that was there stays as it was."""
    bench = Bench(low=40000, high=40002)
    complete(bench)
    assert refused(bench, Update("d", "f", None, F)) == 72
    assert refused(bench, Update("c", "f", "t", F, NEW)) == 71
    bench.host.deliver(rtp(1), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    assert heard_by(bench, 40000) == [(6000, rtp(1))]


@pytest.mark.parametrize(
    "addresses, options, reply",
    [
        ((LocalAddress("0.0.0.0"),), MediaOptions(), at(40000, None)),
        ((LocalAddress("0.0.0.0", advertised="1.2.3.4"),), MediaOptions(), at(40000, "1.2.3.4")),
        ((LocalAddress("127.0.0.1", advertised="1.2.3.4"),), MediaOptions(), at(40000, "1.2.3.4")),
        ((LocalAddress("::1"),), MediaOptions(family=socket.AF_INET6), at(40000, "::1", True)),
        (
            (LocalAddress("127.0.0.1"), LocalAddress("::1", label="x")),
            MediaOptions(family=socket.AF_INET6),
            at(40000, "::1", True),
        ),
        (
            (LocalAddress("127.0.0.1"), LocalAddress("127.0.0.2", label="x")),
            MediaOptions(local=LocalByLabel("x")),
            at(40000, "127.0.0.2"),
        ),
        (
            (LocalAddress("0.0.0.0"),),
            MediaOptions(local=LocalByHost("127.0.0.2")),
            at(40000, "127.0.0.2"),
        ),
        ((LocalAddress("0.0.0.0"),), MediaOptions(local=LocalByRoute("127.9.9.9")), at(40000)),
    ],
)
def test_replies_name_the_local_address(
    addresses: tuple[LocalAddress, ...], options: MediaOptions, reply: Reply
) -> None:
    """Wildcards are silent unless they are advertised; IPv6 is said."""
    bench = Bench(addresses=LocalAddresses(addresses))
    assert bench.do(Update("c", "f", None, F, options)) == reply


@pytest.mark.parametrize(
    "options, code",
    [
        (MediaOptions(local=LocalByLabel("nosuch")), 31),
        (MediaOptions(local=LocalByRoute("192.0.2.1")), 32),
        (MediaOptions(family=socket.AF_INET6), 36),
        (MediaOptions(local=LocalByHost("192.0.2.7")), 72),
    ],
)
def test_addresses_that_cannot_be_used_have_their_codes(options: MediaOptions, code: int) -> None:
    """Nothing is created."""
    bench = Bench(route=lambda host: None)
    assert refused(bench, Update("c", "f", None, F, options)) == code
    assert not len(bench.registry)


BRIDGE = LocalAddresses((LocalAddress("127.0.0.1"),), external=LocalAddress("127.0.0.2"))
GATEWAY = LocalAddresses((LocalAddress("127.0.0.1"),), external=LocalAddress("::1"))


@pytest.mark.parametrize(
    "sides, callee, caller",
    [
        (("i", "e"), "127.0.0.2", "127.0.0.1"),
        (("e", "i"), "127.0.0.1", "127.0.0.2"),
        (("e",), "127.0.0.1", "127.0.0.2"),
        (("i",), "127.0.0.1", "127.0.0.1"),
        ((), "127.0.0.1", "127.0.0.1"),
    ],
)
def test_bridging_letters_put_each_leg_on_its_side(
    sides: tuple[str, ...], callee: str, caller: str
) -> None:
    """The first letter is the caller's leg, the second the callee's."""
    bench = Bench(addresses=BRIDGE)
    options = MediaOptions(sides=sides)
    assert bench.do(Update("c", "f", None, F, options)) == at(40000, callee)
    assert bench.do(Lookup("c", "f", "t", T)) == at(40002, caller)


def test_a_bridge_may_join_the_families() -> None:
    """IPv4 inside, IPv6 outside; port numbers are per family."""
    bench = Bench(addresses=GATEWAY)
    options = MediaOptions(sides=("i", "e"))
    assert bench.do(Update("c", "f", None, F, options)) == at(40000, "::1", True)
    assert bench.do(Lookup("c", "f", "t", Remote(("::1", 6000)))) == at(40000)
    bench.host.deliver(rtp(1), ("127.0.0.1", 5000), ("127.0.0.1", 40000))
    assert bench.host.sent(("::1", 40000)) == [(rtp(1), ("::1", 6000))]


def test_letters_move_a_leg_only_with_a_new_port_and_both_of_them() -> None:
    """Lnie: the answered leg goes to the side of the second letter."""
    bench = Bench(addresses=BRIDGE)
    complete(bench)
    assert bench.do(Lookup("c", "f", "t", T, MediaOptions(sides=("i", "e")))) == at(40002)
    moved = MediaOptions(sides=("i", "e"), new_port=True)
    assert bench.do(Lookup("c", "f", "t", T, moved)) == at(40004, "127.0.0.2")


def test_an_address_for_an_existing_leg_is_ignored() -> None:
    """The reply goes on naming the real one."""
    bench = Bench()
    complete(bench)
    options = MediaOptions(local=LocalByHost("127.0.0.2"))
    assert bench.do(Update("c", "f", "t", F, options)) == at(40000)


def test_codecs_and_packet_sizes_are_replaced_by_every_command() -> None:
    """A command without c or z erases them."""
    bench = Bench()
    options = MediaOptions(codecs=(8, 101), packet_ms=40, asymmetric=True)
    bench.do(Update("c", "f", None, F, options))
    caller = next(iter(bench.registry)).caller
    assert (caller.codecs, caller.packet_ms) == ((8, 101), 40)
    assert caller.rtp.latch.payload_types == (8, 101)
    assert caller.rtp.latch.asymmetric
    bench.do(Update("c", "f", None, F))
    assert (caller.codecs, caller.packet_ms) == ((), 0)
    assert not caller.rtp.latch.asymmetric


def test_a_draining_relay_serves_existing_sessions_only() -> None:
    """E99 after SIGHUP."""
    bench = Bench()
    complete(bench)
    bench.negotiator.draining = True
    assert refused(bench, Update("d", "f", None, F)) == 99
    assert bench.do(Update("c", "f", "t", F)) == at(40000)


def test_a_timeout_target_is_taken_replaced_and_cleared() -> None:
    """Every U sets it anew, also to nothing; L leaves it alone."""
    bench = Bench(notify=("/n",))
    session = NotifySocket("unix", "/n")
    bench.do(Update("c", "f", None, F, notify=NotifyTarget("/n", b"tag")))
    (made,) = bench.registry
    assert made.notify == (session, b"tag")
    bench.do(Lookup("c", "f", "t", T))
    assert made.notify == (session, b"tag")
    bench.do(Update("c", "f", "t", F, notify=NotifyTarget("t;1", b"x")))
    assert made.notify is None
    bench.do(Update("c", "f", "t", F))
    assert made.notify is None


def test_a_to_tag_in_the_place_of_a_notify_socket_is_still_one() -> None:
    """Kamailio up to 5.7 sends seven words on re-INVITEs; the callee's must not make a session."""
    bench = Bench(notify=("/n",))
    bench.do(Update("c", "f;1", None, F))
    bench.do(Lookup("c", "f;1", "t;1", T))
    broken = NotifyTarget("f;1", b"tcp:127.0.0.10:9999")
    assert bench.do(Update("c", "t;1", None, T, notify=broken)) == at(40002)
    assert len(bench.registry) == 1


def test_a_timeout_target_without_any_configured_is_e75() -> None:
    """And changes nothing."""
    bench = Bench()
    assert refused(bench, Update("c", "f", None, F, notify=NotifyTarget("/n", b"t"))) == 75
    assert not len(bench.registry)


def test_the_results_of_subcommands_follow_the_direction() -> None:
    """After an L the other party is the named one."""
    bench = Bench()
    subs = (SubLookup(MediaOptions(), T), SetTtl(44), SubLookup(MediaOptions(), F))
    reply = bench.do(Update("s", "f", "t", F, subs=subs))
    assert reply == WithResults(at(40000), (at(40002), 0, at(40000)))


def test_the_first_failing_subcommand_ends_the_chain() -> None:
    """What follows is not executed."""
    bench = Bench()
    subs = (SetTtl(3), Outlet("nocall", "x", "y"), SubLookup(MediaOptions(), T))
    reply = bench.do(Update("s", "f", "t", F, subs=subs))
    assert reply == WithResults(at(40000), (0, -1))
    assert len(bench.host.ports) == 2


def test_a_lookup_after_an_update_that_cannot_work_keeps_both_from_being_done() -> None:
    """An unknown label is known to be one before anything is changed."""
    bench = Bench()
    sub = SubLookup(MediaOptions(local=LocalByLabel("nosuch")), T)
    assert refused(bench, Update("s", "f", "t", F, subs=(sub,))) == 3
    assert not len(bench.registry)


def test_a_lookup_after_an_update_may_fail_alone() -> None:
    """The main command stands."""
    bench = Bench(low=40000, high=40000)
    reply = bench.do(Update("s", "f", "t", F, subs=(SubLookup(MediaOptions(), T),)))
    assert reply == WithResults(at(40000), (-1,))


def test_tos_is_set_on_the_leg_that_faces_the_named_party() -> None:
    """S tos= for IPv4, also before the socket exists; -1 for IPv6."""
    bench = Bench()
    bench.do(Update("c", "f", None, F, subs=(SetTos(32), SetTos(64, reverse=True))))
    bench.do(Lookup("c", "f", "t", T))
    assert bench.host.ports["127.0.0.1", 40000].tos == 64
    assert bench.host.ports["127.0.0.1", 40002].tos == 32
    six = Bench(addresses=LocalAddresses((LocalAddress("::1"),)))
    options = MediaOptions(family=socket.AF_INET6)
    reply = six.do(Update("c", "f", None, Remote(("::1", 5)), options, subs=(SetTos(32),)))
    assert isinstance(reply, WithResults)
    assert reply.results == (-1,)


def test_statistics_and_deletion_in_one_command() -> None:
    """Q … && D."""
    bench = Bench()
    complete(bench)
    reply = bench.do(Query("c", "f", "t", subs=(SubDelete(), SetTtl(3))))
    assert reply == WithResults(Text("60 0 0 0 0", 26), (0, -1))
    assert not len(bench.registry)


def test_an_outlet_sends_the_media_of_another_call() -> None:
    """Both directions, RTP and RTCP; its own media stops, the source's goes on; ends with it."""
    bench = Bench()
    complete(bench, "src")  # callee leg 40000, caller leg 40002
    bench.do(Update("dst", "df", "dt", Remote(("127.0.0.1", 7000))))
    bench.do(Lookup("dst", "df", "dt", Remote(("127.0.0.1", 8000))))  # 40004, 40006
    bench.do(Update("dst", "df", "dt", Remote(), subs=(Outlet("src", "f", "t"),)))
    bench.host.deliver(rtp(1), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    assert heard_by(bench, 40000) == [(6000, rtp(1))]
    assert heard_by(bench, 40004) == [(8000, rtp(1))]
    bench.host.deliver(rtp(2), ("127.0.0.1", 6000), ("127.0.0.1", 40000))
    assert heard_by(bench, 40006) == [(7000, rtp(2))]
    bench.host.deliver(b"c" * 8, ("127.0.0.1", 5001), ("127.0.0.1", 40003))
    assert heard_by(bench, 40005) == [(8001, b"c" * 8)]
    bench.host.deliver(rtp(9), ("127.0.0.1", 7000), ("127.0.0.1", 40006))
    assert heard_by(bench, 40004) == []
    assert bench.do(Query("dst", "df", "dt")) == Text("60 1 0 0 1", 26)
    bench.do(Delete("dst", "df", None))
    bench.host.deliver(rtp(3), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    assert heard_by(bench, 40000) == [(6000, rtp(3))]
    assert not any(stream.feeds for s in bench.registry for leg in s.legs for stream in leg.streams)


def test_a_session_is_no_outlet_of_itself() -> None:
    """That would be a loop."""
    bench = Bench()
    reply = bench.do(Update("c", "f", "t", F, subs=(Outlet("c", "f", "t"),)))
    assert isinstance(reply, WithResults)
    assert reply.results == (-1,)


def test_counters_are_seen_from_the_first_tag() -> None:
    """npkts_ina is what the owner of the first tag sent."""
    bench = Bench()
    complete(bench)
    for sequence in range(3):
        bench.host.deliver(rtp(sequence), ("127.0.0.1", 5000), ("127.0.0.1", 40002))
    bench.host.deliver(b"junk", ("127.0.0.1", 6000), ("127.0.0.1", 40000))
    names = ("npkts_ina", "npkts_ino", "nrelayed", "rtpa_nrcvd", "rtpa_perrs", "longest_ipi")
    assert bench.do(Query("c", "f", "t")) == Text("60 3 1 4 0", 26)
    assert bench.do(Query("c", "t", "f")) == Text("60 1 3 4 0", 26)
    assert bench.do(Query("c", "f", "t", names)) == Text("3 1 4 3 0 0.000000", 26)
    assert bench.do(Query("c", "t", "f", names[3:5], verbose=True)) == Text(
        "rtpa_nrcvd=0 rtpa_perrs=1", 26
    )


def test_a_query_is_judged_after_its_session_was_found() -> None:
    """E50 comes before E19 and E62."""
    bench = Bench()
    bad = Query("c", "f", "t", ("nosuch",))
    worse = Query("c", "f", "t", bad_modifier="x")
    assert refused(bench, bad) == refused(bench, worse) == 50
    complete(bench)
    assert refused(bench, bad) == 62
    assert refused(bench, worse) == 19


def test_global_counters_are_told_by_name() -> None:
    """Integers plain, the two others with six decimals; none named, an empty line."""
    bench = Bench()
    complete(bench)
    names = ("nsess_created", "nsess_complete", "total_duration", "pps_in")
    assert bench.do(Statistics(names)) == Text("1 1 0.000000 0.000000", 25)
    assert bench.do(Statistics(names[:1], verbose=True)) == Text("nsess_created=1", 25)
    assert bench.do(Statistics(())) == Text("", 25)
    assert refused(bench, Statistics(("nosuch",))) == 68


def test_the_heartbeat_has_its_five_lines() -> None:
    """Sippy B2BUA parses them every second."""
    bench = Bench()
    bench.do(Update("c", "f", None, F))
    reply = bench.do(Info(load=True))
    assert isinstance(reply, Text)
    assert reply.text.splitlines() == [
        "sessions created: 1",
        "active sessions: 1",
        "active streams: 2",
        "packets received: 0",
        "packets transmitted: 0",
        "average load: 0.000000",
    ]


def test_notification_is_a_feature_only_where_it_is_configured() -> None:
    """VF 20081224; unknown dates are 0, not an error."""
    for notify, known in (((), 0), (("/n",), 1)):
        bench = Bench(notify=notify)
        assert bench.do(Feature("20081224")) == Number(known)
        assert bench.do(Feature("20050322")) == Number(1)
        assert bench.do(Feature("20170313")) == Number(0)


def test_playing_is_refused_as_if_the_prompt_was_missing() -> None:
    """Until there are prompts: E50 first, E35 for an unknown codec list, stopping always works."""
    bench = Bench()
    assert refused(bench, Play("c", "p", "0", "f", "t")) == 50
    complete(bench)
    assert refused(bench, Play("c", "p", "0", "f", "t")) == 60
    assert refused(bench, Play("c", "p", None, "f", "t")) == 35
    assert bench.do(Play("c", "p", "0", "f", "t", count=0)) == Number(0)
    assert bench.do(StopPlay("c", "f", "t")) == Number(0)
    assert refused(bench, StopPlay("d", "f", "t")) == 50


def test_recording_commands_reach_every_medium_of_the_call() -> None:
    """Bare tags, as Kamailio and OpenSIPS send them."""
    bench = Bench()
    for medium in (1, 2):
        bench.do(Update("c", f"f;{medium}", None, F))
    assert bench.do(Record("c", "f", "t")) == Number(0)
    assert {leg.side.value for leg in bench.recorders.recording} == {"caller"}
    assert bench.do(Record("c", "t", "f")) == Number(0)
    assert len(bench.recorders.recording) == 4
    assert bench.do(StopRecord("c", "f", "t", both=True)) == Number(0)
    assert refused_or_failed(bench, StopRecord("c", "f", "t")) == 50
    assert refused_or_failed(bench, Record("d", "f", "t")) == 50
    assert bench.do(Copy("c", "name", "f;1", "t;1")) == Number(0)
    assert list(bench.recorders.recording.values()) == ["name"]
    assert refused(bench, Copy("c", "name", "f;1", "t;1", show_port=True)) == 65


def refused_or_failed(bench: Bench, command: Command) -> int:
    """The code, whether raised or answered."""
    try:
        reply = bench.do(command)
    except CommandError as error:
        return error.code
    code: int = getattr(reply, "code", -1)
    return code


def test_without_a_directory_nothing_is_recorded() -> None:
    """E50 from R, E65 from C."""
    bench = Bench(recording=False)
    complete(bench)
    assert refused_or_failed(bench, Record("c", "f", "t")) == 50
    assert refused(bench, Copy("c", "name", "f", "t")) == 65


def test_a_timeout_is_told_to_the_observers_as_such() -> None:
    """Deletion is not a timeout."""
    bench = Bench()
    complete(bench)
    bench.do(Delete("c", "f", "t"))
    assert bench.observer.endings == [Ending.DELETED]


def test_the_callees_tag_is_known_from_whichever_command_has_it() -> None:
    bench = Bench()
    bench.do(Update("a", "f", None, F))
    session = next(iter(bench.registry))
    assert session.to_tag is None
    bench.do(Lookup("a", "f", "branch1;1", T))
    assert session.to_tag == "branch1;1"
    bench.do(Update("a", "t", "f", T))
    assert session.to_tag == "t"
    bench.do(Lookup("a", "t", "f", F))
    assert session.to_tag == "t"
    bench.do(Update("a", "f", None, F))
    assert session.to_tag == "t"
