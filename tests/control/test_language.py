"""The control language: what each command means, and with which number each fault is answered.

The tables follow the original; where they do not, docs/deviations.rst says so.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from rtpproxy_tw.commands import (
    Command,
    Copy,
    Delete,
    DeleteAll,
    Feature,
    Info,
    LocalByHost,
    LocalByLabel,
    LocalByRoute,
    Lookup,
    MediaOptions,
    NotifyTarget,
    Outlet,
    Play,
    Query,
    Record,
    Remote,
    SetTos,
    SetTtl,
    Statistics,
    StopPlay,
    StopRecord,
    SubCommand,
    SubDelete,
    SubLookup,
    Update,
    Version,
)
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.errors import CommandError

PLAIN = RtpproxyDialect()
BRIDGING = RtpproxyDialect(bridging=True)

V6 = socket.AF_INET6
HOME = Remote(("127.0.0.1", 5000))
UPDATE = Update("a", "f", None, HOME)
LOOKUP = Lookup("a", "f", "t", HOME)


def code(command: str | bytes, dialect: RtpproxyDialect = PLAIN) -> int:
    """The error number of a command."""
    line = command.encode("utf-8", "surrogateescape") if isinstance(command, str) else command
    with pytest.raises(CommandError) as caught:
        dialect.parse(line)
    assert caught.value.reason.isprintable()
    return caught.value.code


def options(**named: Any) -> MediaOptions:
    """Media options that differ from the default ones in ``named``."""
    return MediaOptions(**named)


COMMANDS: dict[str, Command] = {
    "V": Version(),
    "v": Version(),
    "VF 20050322": Feature("20050322"),
    "vf 20050322": Feature("20050322"),
    "Vf anything": Feature("anything"),
    "X": DeleteAll(),
    "I": Info(),
    "Ib": Info(),
    "Ibl": Info(load=True),
    "IL": Info(load=True),
    "G": Statistics(()),
    "Gv nsess_created": Statistics(("nsess_created",), verbose=True),
    "Gvv no_such_name": Statistics(("no_such_name",), verbose=True),
    "U a 127.0.0.1 5000 f": UPDATE,
    "U a 127.0.0.1 5000 f t": replace(UPDATE, to_tag="t"),
    "U a 127.0.0.1 5000 f /s x%20y": replace(UPDATE, notify=NotifyTarget("/s", b"x y")),
    "U a 127.0.0.1 5000 f t /s x": replace(UPDATE, to_tag="t", notify=NotifyTarget("/s", b"x")),
    "L a 127.0.0.1 5000 f t": LOOKUP,
    "L a 127.0.0.1 5000 f": replace(LOOKUP, to_tag=None),
    "D a f": Delete("a", "f", None),
    "D a f t": Delete("a", "f", "t"),
    "DW a f t": Delete("a", "f", "t", weak=True),
    "Dww a f": Delete("a", "f", None, weak=True),
    "P a p 0,8 f": Play("a", "p", "0,8", "f", None),
    "P-1 a p session f t": Play("a", "p", None, "f", "t", -1),
    "P3 a p SESSION f t": Play("a", "p", "SESSION", "f", "t", 3),
    "P+010 a p x f t": Play("a", "p", "x", "f", "t", 10),
    "P-0 a p x f t": Play("a", "p", "x", "f", "t", 0),
    "S a f": StopPlay("a", "f", None),
    "S a f t": StopPlay("a", "f", "t"),
    "R a f": Record("a", "f", None),
    "Rss a f t": Record("a", "f", "t", single=True),
    "C a x f": Copy("a", "x", "f", None),
    "Cps a udp:127.0.0.1:9 f t": Copy("a", "udp:127.0.0.1:9", "f", "t", True, True),
    "N a f": StopRecord("a", "f", None),
    "NA a f t": StopRecord("a", "f", "t", both=True),
    "Q a f": Query("a", "f", None),
    "Q a f t": Query("a", "f", "t"),
    "Qv a f t ttl nonsense": Query("a", "f", "t", ("ttl", "nonsense"), verbose=True),
    "Qvx a f": Query("a", "f", None, verbose=True, bad_modifier="x"),
    "Qxv a f": Query("a", "f", None, verbose=True, bad_modifier="x"),
}


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_mean(line: str) -> None:
    assert PLAIN.parse(line.encode()) == COMMANDS[line]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" ", b" \n"])
@pytest.mark.parametrize("line", ["V", "P-1 cid file session f;1", "S cid f;1"])
def test_the_end_of_a_line_means_nothing(line: str, end: bytes) -> None:
    assert PLAIN.parse(line.encode() + end) == PLAIN.parse(line.encode())


def test_tags_and_call_ids_are_taken_as_they_are() -> None:
    parsed = PLAIN.parse(b"D c\xff;z9hG4bK-1@[::1] f%20;1 t\xc3\xbc")
    assert parsed == Delete("c\udcff;z9hG4bK-1@[::1]", "f%20;1", "tü")


def test_a_query_takes_eleven_counters_and_statistics_twentytwo() -> None:
    parsed = PLAIN.parse(b"Q a f t" + b" ttl" * 11)
    assert isinstance(parsed, Query)
    assert len(parsed.counters) == 11
    assert code(b"Q a f t" + b" ttl" * 12) == 1
    assert PLAIN.parse(b"G" + b" x" * 22) == Statistics(("x",) * 22)


# Modifiers of U and L.

MODIFIERS: dict[str, MediaOptions] = {
    "": options(),
    "A": options(asymmetric=True),
    "s": options(asymmetric=False),
    "as": options(asymmetric=False),
    "sa": options(asymmetric=True),
    "w": options(weak=True),
    "N": options(new_port=True),
    "nn": options(new_port=True),
    "c0,8,101": options(codecs=(0, 8, 101)),
    "C0": options(codecs=(0,)),
    "c,": options(codecs=()),
    "c,0,,8,": options(codecs=(0, 8)),
    "c99999999999999999999,8": options(codecs=(8,)),
    "z20": options(packet_ms=20),
    "Z999": options(packet_ms=999),
    "z+5": options(packet_ms=5),
    "z0020": options(packet_ms=20),
    "z20z30": options(packet_ms=30),
    "c0,8z20a": options(codecs=(0, 8), packet_ms=20, asymmetric=True),
    "r127.0.0.1z20c0,8a": options(
        local=LocalByRoute("127.0.0.1"), packet_ms=20, codecs=(0, 8), asymmetric=True
    ),
    "l127.0.0.1": options(local=LocalByHost("127.0.0.1")),
    "l127.1": options(local=LocalByHost("127.0.0.1")),
    "l[2001:DB8::0:1]": options(local=LocalByHost("2001:db8::1")),
    "l{Inside}": options(local=LocalByLabel("Inside")),
    "L{Ä}a": options(local=LocalByLabel("Ä"), asymmetric=True),
    "R192.0.2.1": options(local=LocalByRoute("192.0.2.1")),
    "r[2001:db8::1]w": options(local=LocalByRoute("2001:db8::1"), weak=True),
    "l127.0.0.1r127.0.0.2": options(local=LocalByRoute("127.0.0.2")),
    "r127.0.0.2l127.0.0.1": options(local=LocalByHost("127.0.0.1")),
    "ASWN": options(asymmetric=False, weak=True, new_port=True),
}


@pytest.mark.parametrize("letters", MODIFIERS)
def test_modifiers_mean(letters: str) -> None:
    update = PLAIN.parse(f"U{letters} a 127.0.0.1 5000 f".encode())
    lookup = PLAIN.parse(f"L{letters} a 127.0.0.1 5000 f t".encode())
    assert update == replace(UPDATE, options=MODIFIERS[letters])
    assert lookup == replace(LOOKUP, options=MODIFIERS[letters])


@pytest.mark.parametrize(
    "letters, sides",
    [("e", ("e",)), ("IE", ("i", "e")), ("eZ20i", ("e", "i")), ("ee", ("e", "e"))],
)
def test_sides_are_named_where_there_is_a_bridging_pair(
    letters: str, sides: tuple[str, ...]
) -> None:
    parsed = BRIDGING.parse(f"U{letters} a 127.0.0.1 5000 f".encode())
    assert isinstance(parsed, Update)
    assert parsed.options.sides == sides


@pytest.mark.parametrize("letters", ["6", "66", "6A6"])
def test_the_modifier_6_may_be_given_for_every_medium(letters: str) -> None:
    parsed = PLAIN.parse(f"U{letters} a ::1 5000 f".encode())
    assert isinstance(parsed, Update)
    assert parsed.options.family == V6
    assert parsed.remote == Remote(("::1", 5000))


# Remote addresses.


@pytest.mark.parametrize(
    "host, port, remote",
    [
        ("192.0.2.1", "5000", Remote(("192.0.2.1", 5000))),
        ("192.0.2.1", "0", Remote(("192.0.2.1", 0))),
        ("192.0.2.1", "65535", Remote(("192.0.2.1", 65535))),
        ("192.0.2.1", "+080", Remote(("192.0.2.1", 80))),
        ("0.0.0.0", "5000", Remote(hold=True)),
        ("0.0.0.0", "0", Remote(hold=True)),
        ("000.000.000.000", "0", Remote(hold=True)),
        ("127.0.1", "5000", Remote(("127.0.0.1", 5000))),
        ("0x7f000001", "5000", Remote(("127.0.0.1", 5000))),
        ("2130706433", "5000", Remote(("127.0.0.1", 5000))),
        ("192.168.010.1", "5000", Remote(("192.168.8.1", 5000))),
        ("1.1", "5000", Remote()),
        ("::1", "5000", Remote()),
        ("1.1", "abc", Remote()),
        ("very.long.host.name", "abc", Remote()),
        ("255.255.255.255", "5000", Remote()),
        ("224.0.0.1", "5000", Remote()),
        ("::ffff:192.0.2.1", "5000", Remote(("192.0.2.1", 5000))),
        ("::FFFF:c000:201", "5000", Remote(("192.0.2.1", 5000))),
        ("::ffff:0.0.0.0", "5000", Remote(hold=True)),
        ("::ffff:224.0.0.1", "5000", Remote()),
        ("::ffff:nonsense.at.all", "5000", Remote()),
    ],
)
def test_remote_addresses_mean(host: str, port: str, remote: Remote) -> None:
    assert PLAIN.parse(f"U a {host} {port} f".encode()) == replace(UPDATE, remote=remote)


@pytest.mark.parametrize(
    "host, port, remote",
    [
        ("2001:DB8:0::1", "5000", Remote(("2001:db8::1", 5000))),
        ("::", "5000", Remote(hold=True)),
        ("0:0:0:0:0:0:0:0", "5000", Remote(hold=True)),
        ("1", "abc", Remote()),
        ("0000:" * 9 + "0000", "abc", Remote()),
        ("ff02::1", "5000", Remote()),
        ("::ffff:192.0.2.1", "5000", Remote()),
    ],
)
def test_remote_ipv6_addresses_mean(host: str, port: str, remote: Remote) -> None:
    expected = replace(UPDATE, remote=remote, options=options(family=V6))
    assert PLAIN.parse(f"U6 a {host} {port} f".encode()) == expected


# Sub-commands.

SUBS: dict[str, SubCommand] = {
    "S ttl=30": SetTtl(30),
    "s ttl=+030": SetTtl(30),
    "SR ttl=2147483647": SetTtl(2147483647, reverse=True),
    "Sx ttl=1": SetTtl(1),
    "S tos=184": SetTos(184),
    "Sr tos=1": SetTos(1, reverse=True),
    "D": SubDelete(),
    "dW": SubDelete(weak=True),
    "L 127.0.0.1 6000": SubLookup(options(), Remote(("127.0.0.1", 6000))),
    "Lwc0,8 0.0.0.0 0": SubLookup(options(weak=True, codecs=(0, 8)), Remote(hold=True)),
    "C src sf st": Outlet("src", "sf", "st"),
}


@pytest.mark.parametrize("sub", SUBS)
def test_sub_commands_of_an_update_mean(sub: str) -> None:
    parsed = PLAIN.parse(f"U a 127.0.0.1 5000 f t && {sub}".encode())
    assert parsed == replace(UPDATE, to_tag="t", subs=(SUBS[sub],))


def test_several_sub_commands_stay_in_order() -> None:
    parsed = PLAIN.parse(b"U a 127.0.0.1 5000 f t /s x && D && S ttl=1 && C x y z")
    assert isinstance(parsed, Update)
    assert parsed.subs == (SubDelete(), SetTtl(1), Outlet("x", "y", "z"))


@pytest.mark.parametrize("main", ["L a 127.0.0.1 5000 f t", "Q a f t", "U a 127.0.0.1 5000 f"])
@pytest.mark.parametrize("sub", ["S ttl=30", "Sr tos=1", "D", "dW"])
def test_time_marks_and_deletion_follow_any_of_the_three(main: str, sub: str) -> None:
    parsed = PLAIN.parse(f"{main} && {sub}".encode())
    assert isinstance(parsed, Update | Lookup | Query)
    assert parsed.subs == (SUBS[sub],)


@pytest.mark.parametrize(
    "main", ["L a 127.0.0.1 5000 f t", "Q a f t", "U a 127.0.0.1 5000 f", "U a 127.0.0.1 5 f /s x"]
)
@pytest.mark.parametrize("sub", ["L 127.0.0.1 6000", "C src sf st"])
def test_a_lookup_or_an_outlet_follows_an_update_with_both_tags_only(main: str, sub: str) -> None:
    assert code(f"{main} && {sub}") == 3


# Faults.

FAULTS = {
    "": 5,
    "U a 127.0.0.1 5000 f &&": 5,
    # E0: unknown commands, cookies on streams among them
    "Z": 0,
    "bogus": 0,
    "25752_4 V": 0,
    "Zx && V": 0,
    "Z a b c d e f g h i": 0,
    "\x0bV": 0,
    "ÜV": 0,
    # E1: number of words
    "V x": 1,
    "VF": 1,
    "VF 1 2": 1,
    "VFx": 1,
    "X a": 1,
    "I x": 1,
    "Ix x": 1,
    "U": 1,
    "U a 127.0.0.1 5000": 1,
    "Uq a": 1,
    "U a 127.0.0.1 5000 f t n m x": 1,
    "L a 127.0.0.1 5000": 1,
    "L a 127.0.0.1 5000 f t x": 1,
    "D a": 1,
    "D a f t x": 1,
    "P a p c": 1,
    "P a p c f t x": 1,
    "Sx a": 1,
    "S a f t x": 1,
    "R a": 1,
    "R a f t x": 1,
    "C a x": 1,
    "C a x f t y": 1,
    "N a": 1,
    "N a f t x": 1,
    "Q a": 1,
    "V x && V": 1,
    "U z && V": 1,
    "V\nV\n": 1,
    # E2: modifiers of commands without any
    "VX": 2,
    "V0": 2,
    "V\x0b": 2,
    "VFx 1": 2,
    "VFF 1": 2,
    "Xa": 2,
    "Sx a f": 2,
    "Vx && V": 2,
    # E3: sub-commands where there are none
    "V && V": 3,
    "VF 1 && V": 3,
    "X && V": 3,
    "I && V": 3,
    "Gx && V": 3,
    "Dx a f && D": 3,
    "P1x a p c f && D": 3,
    "S a f && D": 3,
    "Rx a f && D": 3,
    "C a x f && D": 3,
    "Nb a f && D": 3,
    # E6, E7: recording
    "Rp a f": 6,
    "Rsp a f": 6,
    "Rpx a f": 6,
    "Nab a f": 6,
    "Naa a f": 6,
    "Rx a f": 7,
    "Rxp a f": 7,
    "Cx a x f": 7,
    "Nb a f": 7,
    "Nba a f": 7,
    # E8, E9, E17, E18
    "Dx a f": 8,
    "Dwx a f": 8,
    "Gx": 9,
    "Gvx nsess_created": 9,
    "P1x a p c f": 17,
    "P- a p c f": 17,
    "P0x10 a p c f": 17,
    "Ix": 18,
    "Iblx": 18,
    # E10: notify tags
    "U a 127.0.0.1 5000 f t /s %zz": 10,
    "U a 127.0.0.1 5000 f /s %4": 10,
    "Uq a 999.1.1.1 5000 f t /s %": 10,
    # E11, E12: no bridging pair here
    "Ue a 127.0.0.1 5000 f": 11,
    "UIE a 127.0.0.1 5000 f": 12,
    "Uez a 127.0.0.1 5000 f": 11,
    # E13: z
    "Uz a 127.0.0.1 5000 f": 13,
    "Uz0 a 127.0.0.1 5000 f": 13,
    "Uz1000 a 127.0.0.1 5000 f": 13,
    "Uz-1 a 127.0.0.1 5000 f": 13,
    "Uz99999999999999999999999 a 127.0.0.1 5000 f": 13,
    "Uz20z a 127.0.0.1 5000 f": 13,
    "Uze a 127.0.0.1 5000 f": 13,
    # E14: c
    "Uc a 127.0.0.1 5000 f": 14,
    "Uc-1 a 127.0.0.1 5000 f": 14,
    "Uc0c8 a 127.0.0.1 5000 f": 14,
    "Uc0z20c a 127.0.0.1 5000 f": 14,
    # E15, E31: l
    "Ul a 127.0.0.1 5000 f": 15,
    "Ulx a 127.0.0.1 5000 f": 15,
    "Ulr a 127.0.0.1 5000 f": 15,
    "Ul[] a 127.0.0.1 5000 f": 15,
    "Ul[::1 a 127.0.0.1 5000 f": 15,
    "Ul[zz] a 127.0.0.1 5000 f": 15,
    "Ul[127.0.0.1] a 127.0.0.1 5000 f": 15,
    "Ul{} a 127.0.0.1 5000 f": 15,
    "Ul{x a 127.0.0.1 5000 f": 15,
    "Ul} a 127.0.0.1 5000 f": 15,
    "Ul. a 127.0.0.1 5000 f": 31,
    "Ul[1:] a 127.0.0.1 5000 f": 31,
    "Ul999.0.0.1 a 127.0.0.1 5000 f": 31,
    "Ul127.0.0.1.1 a 127.0.0.1 5000 f": 31,
    # E16, E32: r
    "Ur a 127.0.0.1 5000 f": 16,
    "Urx a 127.0.0.1 5000 f": 16,
    "Ur[] a 127.0.0.1 5000 f": 16,
    "Ur[::1 a 127.0.0.1 5000 f": 16,
    "Ur{x} a 127.0.0.1 5000 f": 16,
    "Ur999.1.1.1 a 127.0.0.1 5000 f": 32,
    # E35: unknown letters, whatever the rest
    "Uq a 127.0.0.1 5000 f": 35,
    "Uql a 127.0.0.1 5000 f": 35,
    "Ut60 a 127.0.0.1 5000 f": 35,
    "LT60 a 127.0.0.1 5000 f": 35,
    "Uc0x a 127.0.0.1 5000 f": 35,
    "Uz20.5 a 127.0.0.1 5000 f": 35,
    "Ul127.0.0.1{a} a 127.0.0.1 5000 f": 35,
    "Ul[::1]] a 127.0.0.1 5000 f": 35,
    "Uq a 999.1.1.1 5000 f": 35,
    "Uq a 127.0.0.1 5000 f && Z": 35,
    "U\u212a a 127.0.0.1 5000 f": 35,
    # E37: addresses
    "U a 999.1.1.1 5000 f": 37,
    "U a garbage!!! 5000 f": 37,
    "U a ignored 5000 f": 37,
    "U a localhost 5000 f": 37,
    "U a 2001:db8::1 5000 f": 37,
    "U a 1.2.3.4%lo 5000 f": 37,
    "U a 1.2.3.4\x0bx 5000 f": 37,
    "U a 127.0.0.1234567 5000 f": 37,
    "U a 0.0.0.0 abc f": 37,
    "U a 127.0.0.1 abc f": 37,
    "U a 127.0.0.1 5x f": 37,
    "U a 127.0.0.1 0x50 f": 37,
    "U a 127.0.0.1 -1 f": 37,
    "U a 127.0.0.1 + f": 37,
    "U a 127.0.0.1 65536 f": 37,
    "U a 127.0.0.1 4294967296 f": 37,
    "U a 127.0.0.1 99999999999999999999 f": 37,
    "U a 999.1.1.1 5000 f && Z": 37,
    "L a 999.1.1.1 5000 f t": 37,
    "U6 a 127.0.0.1 5000 f": 37,
    "U6 a ignored 5000 f": 37,
    "U6 a [::1] 5000 f": 37,
    "U6 a ::1%lo 5000 f": 37,
    "U6 a fe80::1%1 5000 f": 37,
    "U6 a 1:2:3:4:5:6:7:8:9 5000 f": 37,
    "U6 a :: abc f": 37,
    # E3: faults after &&
    "U a 127.0.0.1 5000 f && Z": 3,
    "U a 127.0.0.1 5000 f t && V": 3,
    "U a 127.0.0.1 5000 f t && X": 3,
    "U a 127.0.0.1 5000 f t && Q": 3,
    "U a 127.0.0.1 5000 f t && U": 3,
    "U a 127.0.0.1 5000 f t && S ttl=5 && Z": 3,
    "U a 127.0.0.1 5000 f t && S": 3,
    "U a 127.0.0.1 5000 f t && Srr ttl=5": 3,
    "U a 127.0.0.1 5000 f t && S ttl=5 tos=5": 3,
    "U a 127.0.0.1 5000 f t && S ttl": 3,
    "U a 127.0.0.1 5000 f t && S ttl=": 3,
    "U a 127.0.0.1 5000 f t && S ttl=x": 3,
    "U a 127.0.0.1 5000 f t && S ttl=0": 3,
    "U a 127.0.0.1 5000 f t && S ttl=-1": 3,
    "U a 127.0.0.1 5000 f t && S ttl=2147483648": 3,
    "U a 127.0.0.1 5000 f t && S ttl=99999999999999999999999": 3,
    "U a 127.0.0.1 5000 f t && S TTL=5": 3,
    "U a 127.0.0.1 5000 f t && S tos=0": 3,
    "U a 127.0.0.1 5000 f t && S tos=256": 3,
    "U a 127.0.0.1 5000 f t && D x": 3,
    "U a 127.0.0.1 5000 f t && Dx": 3,
    "U a 127.0.0.1 5000 f t && Dwx": 3,
    "U a 127.0.0.1 5000 f t && L 127.0.0.1": 3,
    "U a 127.0.0.1 5000 f t && L 127.0.0.1 6000 x": 3,
    "U a 127.0.0.1 5000 f t && Lq 127.0.0.1 6000": 3,
    "U a 127.0.0.1 5000 f t && Le 127.0.0.1 6000": 3,
    "U a 127.0.0.1 5000 f t && L 999.0.0.1 6000": 3,
    "U a 127.0.0.1 5000 f t && L 127.0.0.1 abc": 3,
    "U a 127.0.0.1 5000 f t && L6 127.0.0.1 6000": 3,
    "U a 127.0.0.1 5000 f t && Cs x y z": 3,
    "U a 127.0.0.1 5000 f t && C x y": 3,
    "U a 127.0.0.1 5000 f t && C x y z u": 3,
    "U a 127.0.0.1 5000 f t && M4:1 D": 3,
    "U a 127.0.0.1 5000 f t && M9:1 D": 3,
    "U a 127.0.0.1 5000 f t && M": 3,
    "Q a f && Q": 3,
    "Q a f && Dx": 3,
}


@pytest.mark.parametrize("line", FAULTS)
def test_faults_have_their_number(line: str) -> None:
    assert code(line) == FAULTS[line]


@pytest.mark.parametrize("letters, number", [("eei", 12), ("iie", 11), ("eie", 11)])
def test_a_third_side_is_a_fault(letters: str, number: int) -> None:
    assert code(f"U{letters} a 127.0.0.1 5000 f", BRIDGING) == number


def test_a_nul_byte_anywhere_is_a_fault() -> None:
    assert code(b"V\0") == 5
    assert code(b"U a 127.0.0.1 5000 f\0 t") == 5


def test_bytes_that_are_no_text_are_faults_or_names_like_any_others() -> None:
    assert code(b"\xff\xfe") == 0
    assert code(b"U\xff a 127.0.0.1 5000 f") == 35
    assert code(b"U a \xff\xff\xff\xff\xff\xff\xff 5000 f") == 37
    assert code(b"U a 127.0.0.1 \xb2 f") == 37


@pytest.mark.parametrize(
    "line, named",
    [
        ("Uq\x1b[31m a 127.0.0.1 5000 f", "'q\\x1b[31m'"),
        ("Z\n", "'Z'"),
        ("U a 999.1.1.1 5000 f", "'999.1.1.1'"),
        ("U a 127.0.0.1 5000 f t && Lq 127.0.0.1 6000", "'q'"),
        ("U a 127.0.0.1 5000 f t && S tos=999", "'tos=999'"),
        ("P" + "9" * 500 + "x a p c f", "…"),
    ],
)
def test_the_reason_names_the_offending_token(line: str, named: str) -> None:
    with pytest.raises(CommandError) as caught:
        PLAIN.parse(line.encode())
    assert named in caught.value.reason
    assert len(caught.value.reason) < 300


# What the usual clients send.

CLIENTS = [
    "Uc8,101 1-25767@127.0.0.11 127.0.0.11 6000 25767C1;1",
    "Lc8,101 1-25767@127.0.0.11 127.0.0.12 6000 25767C1;1 25757S1;1",
    "D 1-3622@127.0.0.11 3622C1 3475S1",
    "Uc8,101 1-1662@127.0.0.11 0.0.0.0 30000 1662C1;1 1621S1;1",
    "U 1-1937@127.0.0.11 127.0.0.11 0 1937C1;3",
    "Uc8,101 1-32554@127.0.0.11;z9hG4bK-32554-1-0 127.0.0.11 30000 32554C1;1",
    "Uc8,101 1-1@h 127.0.0.11 30000 1C1;1 1S1;1 tcp:127.0.0.10:9999",
    "Uc8,101 1-1@h 127.0.0.11 30000 1C1;1 tcp:127.0.0.10:9999;tag",
    "Uc8,101 1-20012@h 127.0.0.11 30000 20012C1;1 tcp:127.0.0.10:9999 Ta4d.fe682422",
    "UR127.0.0.12 1-7688@h-0 127.0.0.11 30000 5e41 tcp:127.0.0.10:9999 r%201",
    "UR[2001:db8::1]c8,101 1-7688@h-0 127.0.0.11 30000 5e41;1",
    "U cid-0 0.0.0.0 0 tag",
    "U6R[2001:db8::1]z20 cid 2001:db8::2 6000 f t",
    "P-1 cid file session f;1 t;1",
    "P1 cid-0 /path/prompt 0,8,101 ftag ttag",
    "Q cid f;1 t",
    "Q cid f;1 t ttl npkts_ina npkts_ino nrelayed ndropped",
    "Cs 1-18570@h udp:127.0.0.77:5004 18537S1;1 18570C1;1",
    "VF 20170313",
    "Ib",
]


@pytest.mark.parametrize("line", CLIENTS)
def test_what_clients_send_is_understood(line: str) -> None:
    PLAIN.parse(line.encode())
    PLAIN.parse(line.encode() + b"\n")


@pytest.mark.parametrize("letters", ["IEZ20c0,8,101", "AEI66c8", "EIz20C0,8", "AIESN"])
def test_what_bridging_clients_send_is_understood(letters: str) -> None:
    host = "2001:db8::1" if "6" in letters else "192.0.2.1"
    BRIDGING.parse(f"U{letters} 1-22236@h {host} 30000 22236C1;1".encode())


def test_kamailios_seven_words_name_no_callee() -> None:
    parsed = PLAIN.parse(b"Uc8 c 127.0.0.11 30000 f;1 t;1 tcp:127.0.0.10:9999")
    assert isinstance(parsed, Update)
    assert parsed.to_tag is None
    assert parsed.notify == NotifyTarget("t;1", b"tcp:127.0.0.10:9999")
