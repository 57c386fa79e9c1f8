"""The rows of the hostile plan: what each does, and what besides its own test shows the outcome.

The test of row A1 is called ``test_a01_…``, and so on. Paths are below ``tests``.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Row(NamedTuple):
    """One kind of attack or fault."""

    name: str
    what: str
    elsewhere: tuple[str, ...] = ()
    """Further tests; the only ones where the row has none of its own."""


def _rows(letter: str, *rows: str | tuple[str, ...]) -> tuple[Row, ...]:
    return tuple(
        Row(f"{letter}{number}", row)
        if isinstance(row, str)
        else Row(f"{letter}{number}", row[0], row[1:])
        for number, row in enumerate(rows, 1)
    )


MEDIA = _rows(
    "A",
    ("RTP to every port before the victim's first packet", "e2e/test_attacks.py"),
    ("the same, victim behind a NAT", "e2e/test_attacks.py"),
    ("a stranger's stream into an established call", "e2e/test_attacks.py"),
    ("a stranger's stream while the address is repeated", "e2e/test_attacks.py"),
    ("a stranger's stream after the address changed", "e2e/test_attacks.py"),
    ("the right SSRC and the next number, guessed", "test_latch_moves.py"),
    ("a NAT that gives another port after a second of silence", "test_latch_moves.py"),
    ("one stream by turns from two sources", "test_latch_moves.py"),
    "a call with itself",
    ("sources that can be no party", "test_latch_strict.py"),
    ("datagrams of 0, 1, 3 and 11 octets", "test_latch_properties.py"),
    ("ZRTP, STUN, DTLS, other versions on the RTP port", "test_latch_contest.py"),
    ("CSRCs, extension, padding beyond the packet", "test_rtp.py"),
    "datagrams of up to 65,507 octets, in fragments",
    ("a flood to one port", "media/test_epoll_plane.py", "kernel/test_carrying.py"),
    "a spray over 10,000 closed ports",
    ("a party that crashed", "media/test_epoll_plane.py"),
    ("forged ICMP: unreachable, too big, redirect", "reporting/test_icmp.py"),
    "sends the kernel refuses: EPERM, EHOSTUNREACH, EACCES, EINVAL",
    ("another SSRC with every packet", "quality/test_analyzer.py"),
    ("numbers and stamps that jump and wrap", "quality/test_jitter.py"),
    "all 256 payload types",
    ("damaged RTCP", "test_rtcp.py"),
    ("RTCP of four octets", "test_known_weaknesses.py"),
    ("encrypted RTCP", "test_rtcp.py"),
    ("reports with impossible figures", "quality/test_second_opinion.py"),
    ("duplicates, reordering, half of all lost", "quality/test_as_the_original.py"),
    ("telephone events three times, too long, unknown", "media/test_dtmf.py"),
    ("a stranger's DTLS handshake", "test_known_weaknesses.py"),
    ("10,000 packets with bad SRTP tags", "test_known_weaknesses.py"),
    ("RTP on the RTCP port and the other way round", "e2e/test_attacks.py"),
    ("late packets of a call that has ended", "test_late_packets.py"),
    ("IPv4 in the guise of IPv6", "control/test_destinations.py"),
    "TTL 1, ECN and DSCP",
)

CONTROL = _rows(
    "B",
    ("noise, NULs, 64 KiB lines", "control/test_language_properties.py"),
    ("empty, endless and hostile cookies", "control/test_datagrams.py"),
    ("one command a hundred times", "control/test_replies.py"),
    ("another command behind the same cookie", "control/test_replies.py"),
    ("one cookie of two proxies", "control/test_replies.py"),
    ("slow, endless and idle connections", "control/test_framing.py"),
    ("a client that never reads", "control/test_framing.py"),
    ("a client that is gone before its reply", "control/test_control_sockets.py"),
    "10,000 new calls in a row",
    ("200 media of one call", "test_registry.py"),
    ("commands for calls that are not there", "control/test_responder.py"),
    "ending twice, early, amid prompts and recordings",
    "a call of the same name again",
    ("odd addresses and ports", "control/test_language.py"),
    ("families mixed up", "test_negotiation.py"),
    ("media to ourselves, to loopback, to metadata services", "control/test_destinations.py"),
    ("Call-IDs that are paths, markup, 3,000 octets", "test_hostile_names.py"),
    ("equal, empty and swapped tags", "test_negotiation.py"),
    ("notices to where they may not go", "reporting/test_targets.py"),
    ("a listener that is away or resets", "reporting/test_outages.py"),
    ("notices with line ends", "control/test_tokens.py"),
    ("prompts outside, FIFOs, devices, 10 GB", "media/test_prompts.py"),
    ("prompts for ever", "media/test_player.py"),
    ("recording to where nothing can be written", "recording/test_disk.py"),
    ("X where it is not allowed", "control/test_access.py"),
    ("lists of all sessions", "web/test_slices.py"),
    ("modifiers and sub-commands nobody knows", "test_negotiation.py"),
    ("commands cut and joined anyhow", "control/test_framing.py"),
    ("UDP from where nobody is named", "e2e/test_commanding.py"),
    "two proxies with the same Call-ID",
    "a storm of commands while calls go on",
    ("bencode and deep JSON", "web/test_openapi.py"),
    ("huge bodies, traversal, other origins, 200 listeners", "web/test_guard.py"),
    ("markup in names", "browser/test_dashboard.py"),
)

HOST = _rows(
    "C",
    ("no descriptors left", "media/test_plane.py"),
    ("no ports left, ports of other programs", "test_ports.py"),
    ("of a pair one port is taken", "media/test_plane.py"),
    ("receive buffers full", "test_hostcheck.py"),
    "no memory left",
    ("the process stands still for seconds", "test_registry.py"),
    ("the wall clock is set by days and years", "recording/test_clock.py"),
    "the wall clock goes back and forth",
    ("disk full, then read-only", "recording/test_disk_trouble.py"),
    ("a disk that stands still", "recording/test_spool.py"),
    ("no inodes, long names", "recording/test_names.py"),
    ("signals in heaps", "test_launcher.py"),
    ("kill -9 and a new start", "e2e/test_crash.py"),
    ("helpers that hang or die", "recording/test_helpers.py"),
    "network and address gone and back",
    "an address that is not here",
    "no IPv6, or nothing else",
    ("rules of the packet filter come and go", "kernel/test_changes.py"),
    ("a log nobody reads", "test_logs.py"),
    ("what dead and living relays left; closed standard streams", "test_paths.py"),
    "two relays with the same ports and sockets",
    "no rights, then a hand-over",
    "descriptors in helpers",
    ("bugs in callbacks", "control/test_responder.py"),
    ("sessions made and ended in thousands", "test_collecting.py"),
    "names that would collide",
    "no HOME, no passwd entry, no locale, read-only file system",
    ("systemd's watchdog", "test_supervision.py"),
)

STORE = _rows(
    "D",
    "no Redis at the start",
    "a Redis that hangs",
    "a Redis that lost everything",
    "nonsense in place of Redis",
    "a Redis that refuses: read-only, no memory",
    "damaged records",
    "records with ports of others",
    "who slept through its replacement",
    "the next relay takes all calls over",
    "a call that ends elsewhere",
    "commands for another relay's call",
    (
        "strange and damaged descriptors, a hand-over broken off",
        "continuity/test_inheritance.py::test_strange_descriptors_are_left_out",
        "continuity/test_inheritance.py::test_damaged_memory_costs_what_was_damaged_at_most",
        "e2e/test_handover.py",
    ),
    (
        "20,000 descriptors kept by systemd",
        "continuity/test_safe.py::test_twenty_thousand_descriptors_fit_into_the_environment",
    ),
    "clocks five minutes apart",
)

TITLES = ["Row", "What is done", "Outcome", "In the kernel", "s"]
"""Of the table in docs/hostile.csv: the third column is with media in the process, the fourth, of
rows A only, with media in the kernel."""

ROWS = (*MEDIA, *CONTROL, *HOST, *STORE)


def own_tests() -> dict[str, list[str]]:
    """The names of each row's own tests."""
    found: dict[str, list[str]] = {row.name: [] for row in ROWS}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and (name := row_of(node.name)):
                found.setdefault(name, []).append(f"{path.name}::{node.name}")
    return found


def row_of(test: str) -> str | None:
    """``A1`` for ``test_a01_…``; None for tests of no row."""
    word = test.split("_")[1] if test.startswith("test_") else ""
    if len(word) == 3 and word[0] in "abcd" and word[1:].isdigit():
        return f"{word[0].upper()}{int(word[1:])}"
    return None
