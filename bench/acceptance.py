"""What is aimed at, and whether a run has shown it: one line for each aim.

An aim is *met* when the median reaches it, *met in every repeat* when all repeats do, *not met*
else; *not measured* where its section or a contestant took no part. Comparisons of what a packet
costs count only those repeats in which both have relayed what they were offered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.results import Better, Quantity, Section, aligned, spread
from bench.wide import EVEN, NARROW

SAME = 1.0
"""Per cent of the packets; who has lost more has not done the same work."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One aim, what was measured, and what that says."""

    aim: str
    measured: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Aim:
    """What ``values`` finds in the sections is to be at least, or at most, ``bound``."""

    aim: str
    bound: float
    unit: str
    digits: int
    values: Callable[[_Run], Sequence[float]]
    better: Better = Better.MORE

    def judge(self, run: _Run) -> Verdict:
        """What ``run`` says of it."""
        values = self.values(run)
        if not values:
            return Verdict(self.aim, "-", "not measured")
        told = f"{spread(values, self.digits)} {self.unit}"
        if all(map(self._reached, values)):
            return Verdict(self.aim, told, "met in every repeat" if len(values) > 1 else "met")
        return Verdict(self.aim, told, "met" if self._reached(median(values)) else "not met")

    def _reached(self, value: float) -> bool:
        return value >= self.bound if self.better is Better.MORE else value <= self.bound


class _Run:
    """The quantities of all sections, by section and name."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self._quantities = {
            (section.name, quantity.name): quantity
            for section in sections
            for quantity in section.quantities
        }

    def values(self, section: str, name: str, contestant: str = "relay") -> list[float]:
        """One value a repeat."""
        quantity = self._quantities.get((section, name))
        return [] if quantity is None else quantity.values.get(contestant, [])

    def ratios(self, section: str, name: str, peer: str, ours: str = "relay") -> list[float]:
        """How many times better than ``peer``, one value a repeat."""
        quantity = self._quantities.get((section, name))
        return [] if quantity is None else quantity.ratios(ours, peer)

    def same_work(self, name: str, at: str, peer: str) -> list[float]:
        """The ratios of those repeats in which neither lost much."""
        cost = self._quantities.get(("media", f"{name} {at}"))
        lost = self._quantities.get(("media", f"lost or late {at}"))
        if cost is None or lost is None:
            return []
        kept = [number for number, both in enumerate(_pairs(lost, peer)) if max(both) < SAME]
        pairs = list(_pairs(cost, peer))
        return [pairs[each][1] / pairs[each][0] for each in kept if min(pairs[each]) > 0]


def _pairs(quantity: Quantity, peer: str) -> list[tuple[float, float]]:
    ours, others = quantity.values.get("relay", []), quantity.values.get(peer, [])
    return list(zip(ours, others, strict=False))


def _ratio(
    section: str, name: str, peer: str, ours: str = "relay"
) -> Callable[[_Run], list[float]]:
    return lambda run: run.ratios(section, name, peer, ours)


def _value(
    section: str, name: str, who: str = "relay", per: float = 1
) -> Callable[[_Run], list[float]]:
    return lambda run: [value / per for value in run.values(section, name, who)]


def _across(
    name: str, ours: tuple[str, str], other: tuple[str, str]
) -> Callable[[_Run], list[float]]:
    """The ratios of ``ours`` to the median of ``other``, a section and a contestant each."""

    def ratios(run: _Run) -> list[float]:
        section, peer = other
        others = run.values(section, name, peer)
        mine = run.values(ours[0], name, ours[1])
        return [value / median(others) for value in mine] if others and median(others) else []

    return ratios


HIGHEST = "highest rate with < 0.1 % lost"
PROCESS = "CPU of the process"


def _cost(peer: str, at: str) -> Callable[[_Run], list[float]]:
    return lambda run: run.same_work(PROCESS, at, peer)


AIMS = (
    Aim("highest rate, to the engine's", 1.6, "x", 2, _ratio("media", HIGHEST, "engine")),
    Aim("highest rate, to rtpengine's", 0.75, "x", 2, _ratio("media", HIGHEST, "rtpengine")),
    Aim(
        "the same, two media processes beside a load that gives way",
        *(1.0, "x", 2, _ratio("wide", HIGHEST, "rtpengine", "processes")),
    ),
    Aim(
        "these to rtpengine's on a processor of its own",
        *(1.0, "x", 2, _across(HIGHEST, ("wide", "processes"), ("media", "rtpengine"))),
    ),
    Aim(
        "two media processes beside an overload that does not give way",
        *(1.0, "x", 2, _ratio("wide", f"relayed, {EVEN}", "rtpengine", "processes")),
    ),
    Aim(
        "CPU per packet at 100 kpps, to the engine's, per packet relayed",
        *(1.0, "x", 2, _ratio("media", f"{PROCESS} at 100 kpps", "engine")),
    ),
    Aim(
        "CPU per packet at 100 kpps, to rtpengine's, same work",
        *(1.0, "x", 2, _cost("rtpengine", "at 100 kpps")),
    ),
    Aim(
        "CPU per packet under overload, to rtpengine's",
        *(1.0, "x", 2, _ratio("media", f"{PROCESS} under overload", "rtpengine")),
    ),
    Aim(
        "set-ups, to the engine's", 1.0, "x", 2, _ratio("setup", "call set-ups (U and L)", "engine")
    ),
    Aim("deletes, to the engine's", 1.0, "x", 2, _ratio("setup", "call ends (D)", "engine")),
    *(
        Aim(
            f"99 of 100 {verb}, at the whole rate",
            *(1.0, "ms", 2, _value("setup", f"{verb}, p99", per=1e3), Better.LESS),
        )
        for verb in "ULD"
    ),
    Aim(
        "start to the first answer",
        500,
        "ms",
        0,
        _value("start", "start to first answer"),
        Better.LESS,
    ),
    Aim(
        "500 set-ups a second add to p99 at 50 kpps",
        *(5.0, "ms", 1, _value("busy", "added to p99", per=1e3), Better.LESS),
    ),
    *(
        Aim(
            f"p99 at 50 kpps, {what}",
            *(5.0, "ms", 1, _value("heard", f"p99, {what}", per=1e3), Better.LESS),
        )
        for what in ("scrapes", "lists of all calls", "recordings")
    ),
    Aim(
        f"{NARROW} lost, late or not offered on two processors",
        *(
            0.1,
            "%",
            1,
            _value("wide", f"lost, late or not offered, {NARROW}", "processes"),
            Better.LESS,
        ),
    ),
    Aim(
        f"{NARROW}, by the CPU per packet",
        *(200.0, "kpps", 0, _value("wide", f"2 processors of its own, {NARROW}", "processes")),
    ),
    Aim(
        "memory of an idle session, the kernel's apart",
        *(12.0, "KiB", 1, _value("memory", "process, before any packet (RSS)"), Better.LESS),
    ),
)
"""In the order of the table."""


def judged(sections: Sequence[Section]) -> list[Verdict]:
    """What the sections say of every aim."""
    run = _Run(sections)
    return [aim.judge(run) for aim in AIMS]


def table(sections: Sequence[Section]) -> str:
    """The same as text."""
    rows = [["aim", "bound", "measured", "verdict"]]
    for aim, verdict in zip(AIMS, judged(sections), strict=True):
        sign = ">=" if aim.better is Better.MORE else "<="
        rows.append(
            [verdict.aim, f"{sign} {aim.bound:g} {aim.unit}", verdict.measured, verdict.verdict]
        )
    return "\n".join(["Aims: medians (least to greatest of all repeats)", "", *aligned(rows)])
