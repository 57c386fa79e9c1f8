"""Answers of the relay as text for a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

View = dict[str, Any]

SHOWN = 12
"""Intervals of a leg that a terminal is shown: two minutes; --json has all."""

QUIET = ("ok", "learning", "held")
"""Verdicts that nobody has to look at."""


def visible(text: object) -> str:
    """``text`` on one line, control characters escaped: call-ids are anybody's text."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in str(text)
    )


def table(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Rows in columns; the first row is the heading."""
    texts = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def call_rows(calls: Iterable[View]) -> Iterator[tuple[object, ...]]:
    """A row for each session."""
    yield ("CALL", "STATE", "SECONDS", "CALLER", "CALLEE", "PACKETS")
    for call in calls:
        for session in call["sessions"]:
            caller, callee = session["legs"]
            yield (
                call["call_id"],
                session["state"],
                f"{session['seconds']:.0f}",
                caller["verdict"],
                callee["verdict"],
                f"{caller['packets']}/{callee['packets']}",
            )


def why(answer: View) -> Iterator[str]:
    """The verdicts in words."""
    for session in answer["sessions"]:
        if len(answer["sessions"]) > 1:
            yield f"medium {visible(session['from_tag'])}:"
        if session["ended"] is not None:
            yield f"ended: {session['ended']}"
        for leg in session["legs"]:
            yield f"{leg['side']}: {visible(leg['sentence'])} [{leg['code']}]"
            for text in leg["evidence"]:
                yield f"    {visible(text)}"
            if leg["hint"]:
                yield f"    -> {visible(leg['hint'])}"


def show(answer: View) -> Iterator[str]:
    """All of one call."""
    yield f"call {visible(answer['call_id'])}"
    for session in answer["sessions"]:
        yield from _session(session)


def _session(session: View) -> Iterator[str]:
    ended = f", ended: {session['ended']}" if session["ended"] else ""
    yield ""
    yield (
        f"session {visible(session['from_tag'])}: {session['state']},"
        f" since {clock(session['created'])} ({session['seconds']:.1f} s){ended}"
    )
    for leg in session["legs"]:
        yield from _leg(leg)
    if session["timeline"]:
        yield "  timeline"
        for entry in session["timeline"]:
            at = "..." if entry["at"] is None else clock(entry["at"])
            yield f"    {at:<12}  {entry['kind']:<9}  {visible(entry['text'])}"


def _leg(leg: View) -> Iterator[str]:
    verdict, quality = leg["verdict"], leg["quality"]
    yield f"  {leg['side']}: {visible(verdict['sentence'])} [{verdict['code']}]"
    yield (
        f"    we listen on {leg['local'] or '-'}, it said {leg['signalled'] or '-'},"
        f" sends from {leg['source'] or '-'} ({leg['latch']})"
    )
    for name in ("rtp", "rtcp"):
        stream = leg[name]
        counted = ", ".join(
            f"{stream[key]} {key}" for key in ("accepted", "relayed", "dropped", "ignored")
        )
        yield f"    {name.upper()}: {counted}"
    if quality["packets"]:
        yield f"    {_quality(quality)}"
    far_end = quality["far_end"]
    if far_end is not None:
        yield f"    the other party reports {_far_end(far_end)}"
    if leg["history"]:
        yield from _history(leg["history"])


def _history(intervals: list[View]) -> Iterator[str]:
    shown = intervals[-SHOWN:]
    of_all = f", the last {len(shown)} of {len(intervals)}" if len(shown) < len(intervals) else ""
    yield f"    in intervals of 10 s{of_all}"
    for each in shown:
        jitter, mos = each["jitter_ms"], each["mos"]
        yield (
            f"      {clock(each['at'])}  {each['packets']:5} packets  {each['lost']:4} lost"
            f"  jitter {'   -' if jitter is None else f'{jitter:4.1f}'} ms"
            f"  MOS {'-' if mos is None else f'{mos:.2f}'}"
        )


def _far_end(told: View) -> str:
    parts = []
    if told["lost"] is not None:
        parts.append(f"{told['lost']} lost")
    if told["jitter_ms"] is not None:
        parts.append(f"jitter {told['jitter_ms']:.2f} ms")
    voip = told["voip"]
    if voip is not None:
        parts.append(f"{100 * voip['loss_ratio']:.1f} % lost")
        parts.append(f"{100 * voip['discard_ratio']:.1f} % too late")
        if voip["mos_listening"] is not None:
            parts.append(f"MOS-LQ {voip['mos_listening']:.1f}")
        if voip["mos_conversational"] is not None:
            parts.append(f"MOS-CQ {voip['mos_conversational']:.1f}")
    return ", ".join(parts)


def _quality(quality: View) -> str:
    parts = [f"lost {quality['lost']} ({100 * quality['loss_ratio']:.2f} %)"]
    for key, name, unit in (
        ("jitter_ms", "jitter", " ms"),
        ("rtt_ms", "round trip", " ms"),
        ("mos", "MOS", f" ({quality['mos_scale']}, estimated)"),
        ("mos_min", "worst", ""),
    ):
        if quality[key] is not None:
            parts.append(f"{name} {quality[key]:.2f}{unit}")
    return ", ".join([visible(quality["codec"] or "codec unknown"), *parts])


def stats(answer: View) -> Iterator[str]:
    """Totals, a line each."""
    yield f"version: {answer['version']}"
    yield f"sessions: {answer['sessions']}"
    yield f"draining: {'yes' if answer['draining'] else 'no'}"
    for name, value in answer["totals"].items():
        yield f"{name}: {value}"


def capacity(answer: View) -> Iterator[str]:
    """How many calls there can be."""
    yield f"room for {answer['calls']} calls, {visible(answer['why'])}"
    yield f"{answer['sessions']} sessions now"
    for row in answer["ports"]:
        yield f"{row['family']}: {row['free']} of {row['pairs']} port pairs are free"


def drain(answer: View) -> Iterator[str]:
    """Whether new sessions are refused."""
    seconds = answer.get("seconds_left")
    left = f"{answer['sessions']} are left"
    if seconds is not None:
        left += f", and ended in {seconds:.0f} s"
    if answer["ending"]:
        yield f"the relay ends with its last session; {left}"
    elif answer["draining"]:
        yield f"no new sessions are taken; {left}"
    else:
        yield f"new sessions are taken; there are {answer['sessions']}"


def fleet(answer: View) -> Iterator[str]:
    """The nodes, and who has which address."""
    rows: list[tuple[str, ...]] = [
        ("NODE", "STATE", "CALLS", "ROOM", "OWNS", "STANDS BY FOR", "VERSION")
    ]
    for node in answer["nodes"]:
        owns = node.get("owns") or []
        others = [each for each in node.get("addresses") or [] if each not in owns]
        state = "draining" if node.get("draining") else "up" if node["alive"] else "silent"
        rows.append(
            (
                visible(node["node"]),
                state,
                *(
                    "-" if node.get(word) is None else str(node[word])
                    for word in ("sessions", "room")
                ),
                visible(" ".join(owns) or "-"),
                visible(" ".join(others) or "-"),
                visible(node.get("version") or "-"),
            )
        )
    yield from table(rows)
    store = answer.get("store")
    if store and not store["usable"]:
        yield f"Redis at {visible(store['where'])} is not to be used: {visible(store['why'])}"


def clock(at: float) -> str:
    """The time of day, to the millisecond."""
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03}"
