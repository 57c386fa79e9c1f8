"""What a soak tells: for the terminal, and as a page with plots for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.soaking.curves import Curve, svg
from bench.soaking.watch import Sample

if TYPE_CHECKING:
    from bench.soaking.command import Run

GROWTH = 0.05
"""Of the memory, from the second tenth of a run to its last."""

LEFT_OVER = 8
"""Descriptors, timers or threads that may be there after a run and were not before: a connection
of whoever asks, a timer for something that has only now begun."""

NAME = "soak"


def growth(samples: Sequence[Sample]) -> float:
    """Of the resident memory from the second tenth to the last one, as a part of it."""
    tenth = max(1, len(samples) // 10)
    early = median(each.resident for each in samples[tenth : 2 * tenth] or samples[:1])
    late = median(each.resident for each in samples[-tenth:])
    return late / early - 1


def complaints(run: Run) -> list[str]:
    """What is not as it should be."""
    found = []
    if growth(run.samples) > GROWTH:
        found.append(f"memory has grown by {growth(run.samples):.1%}")
    for name in ("descriptors", "timers", "threads"):
        more = getattr(run.after, name) - getattr(run.before, name)
        if more > LEFT_OVER:
            found.append(f"{more} {name} are left over")
    for name in ("sessions", "ports", "recordings"):
        if getattr(run.after, name) != 0:
            found.append(f"{getattr(run.after, name)} {name} are left over")
    if run.counts["tracebacks"]:
        found.append(f"{run.counts['tracebacks']} tracebacks in the log")
    found += [f"{count} times {what}" for what, count in run.wrong.items()]
    lost = run.counts["packets sent"] - run.counts["packets heard"]
    if lost:
        found.append(f"{lost} packets were lost")
    return found


def text(run: Run) -> str:
    """Everything, as a few blocks of text."""
    blocks = [
        _block("", run.about),
        _block("Asked for", {name: f"{value:g}" for name, value in run.asked.items()}),
        _block("Calls", {name: f"{count:,}" for name, count in run.counts.items()}),
        _block("How they ended", {name: f"{count:,}" for name, count in run.fates.items()}),
        _block("Faults", {name: f"{count:,}" for name, count in run.faults.items()}),
        _block("Refused because of a fault", {k: f"{v:,}" for k, v in run.refused.items()}),
        _looks(run),
        _block("Lines of the log", {name: f"{count:,}" for name, count in run.log.items()}),
    ]
    wrong = complaints(run)
    blocks.append("\n".join(("What should not be:", *wrong)) if wrong else "Nothing is left over.")
    return "\n\n".join(block for block in blocks if block)


def _looks(run: Run) -> str:
    tenth = max(1, len(run.samples) // 10)
    columns = {
        "before": run.before,
        "early": run.samples[min(tenth, len(run.samples) - 1)],
        "middle": run.samples[len(run.samples) // 2],
        "late": run.samples[-1],
        "after": run.after,
    }
    rows = [" " * 24 + "".join(f"{name:>11}" for name in columns)]
    for title, name, scale in (
        ("memory (RSS), MB", "resident", 1e6),
        ("descriptors", "descriptors", 1),
        ("threads", "threads", 1),
        ("sessions", "sessions", 1),
        ("timers", "timers", 1),
        ("port pairs in use", "ports", 1),
        ("recordings", "recordings", 1),
        ("lines of the log", "log_lines", 1),
    ):
        values = (getattr(sample, name) / scale for sample in columns.values())
        digits = 1 if scale > 1 else 0
        rows.append(f"{title:24}" + "".join(f"{value:11,.{digits}f}" for value in values))
    rows.append("")
    rows.append(f"memory, second tenth to last tenth: {growth(run.samples):+.2%}")
    return "\n".join(rows)


def _block(title: str, rows: dict[str, str]) -> str:
    if not rows:
        return ""
    width = max(map(len, rows))
    lines = [f"{name.ljust(width)}  {value}" for name, value in rows.items()]
    return "\n".join([f"{title}:", *lines] if title else lines)


def write(folder: Path, run: Run) -> list[Path]:
    """Write page and plot into ``folder``, which exists. Raises OSError."""
    picture = folder / f"{NAME}.svg"
    picture.write_text(plot(run.samples))
    page = folder / f"{NAME}.rst"
    page.write_text(
        _PAGE.format(text="\n".join(f"   {line}".rstrip() for line in text(run).split("\n")))
    )
    return [page, picture]


def plot(samples: Sequence[Sample]) -> str:
    """The curves of a run, as SVG."""

    # What could not be asked for stays as it was.
    def known(name: str) -> list[float]:
        values: list[float] = []
        for sample in samples:
            value = getattr(sample, name)
            values.append(value if value >= 0 else values[-1] if values else 0)
        return values

    curves = [
        Curve("calls begun, 1,000", [each.calls / 1000 for each in samples]),
        Curve("memory (RSS), MB", [each.resident / 1e6 for each in samples]),
        Curve("descriptors", known("descriptors")),
        Curve("sessions", known("sessions")),
        Curve("timers", known("timers")),
        Curve("port pairs in use", known("ports")),
        Curve("processor time of the relay, s", [each.cpu for each in samples]),
        Curve("lines of the log", known("log_lines")),
        Curve("slowest command, ms", [each.slowest * 1000 for each in samples]),
    ]
    return svg("A soak", [each.when for each in samples], curves)


_PAGE = """Soak
====

What is left of very many calls in the relay: nothing, if all is well. ::

   python -m bench soak --seconds N --rate R --report docs

begins R calls a second for N seconds and writes this page. A call has U and L, lasts 0.3 s and is
deleted; of the answered ones a quarter has media both ways, one in ten a re-INVITE that moves the
caller to another port, one in fifty is recorded, one in twenty-five hears a prompt. Two in a
hundred calls are deleted before they are answered, two are deleted twice, one is never answered,
and one is never deleted, so that the relay must end it. Twice a second something goes wrong beside
them, by chance: garbage and strangers on the control socket, connections that end within a command
or before the reply, datagrams of a stranger to ports of calls, the process stopped, the directory
of recordings gone for half a second, no descriptors to be had for half a second. ``--seed``
repeats a run.

Commands do not wait for the replies to others, so the rate is the relay's as long as it is not the
machine's; calls that are not begun within a second of their time are counted as such. Parties hang
up, or move, when they have heard what is on its way to them, or after two seconds.

Every reply is compared with what it must be; while a fault is at work that commands may notice, an
error is counted and is none, and so is the end of a session that was deleted only after its time to
live. Every packet of a call must arrive. The figures of the process are the
kernel's and those of :doc:`metrics`; *before* is after some seconds of warming up, with more calls
at once than later and with every kind of fault; *after* when the last forgotten call has been ended
by its time to live. The command fails where memory has grown by
more than 5 % from the second tenth of the run to the last, where a descriptor, a timer, a port or a
recording is left over, where there is a traceback, or where a packet was lost.

.. image:: soak.svg
   :alt: Memory, descriptors, sessions, timers, ports, processor time and lines of the log over time

::

{text}
"""
