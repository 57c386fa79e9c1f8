"""What a demo call showed, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rtpproxy_tw.tools.demo_call import Report
from rtpproxy_tw.tools.hearing import Figures

TOLERABLE = 0.01
"""Share of lost packets that nobody hears (G.711 with concealment)."""

SLOW = 50.0
"""Milliseconds; the playout buffers of many phones drop what comes later than that."""

_ACCEPTED = 1
"""In the relay's answer to Q: the packets it took from the party that asks."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``good``: both parties heard each other as they should. ``text`` is one or more sentences."""

    good: bool
    text: str


def judge(report: Report) -> Verdict:
    """The verdict on a call that is over."""
    deaf = [listener for _, listener, figures in report.directions if not figures.arrived]
    if deaf:
        return Verdict(False, " ".join([_who_is_deaf(deaf), *_blame(report, deaf)]))
    faults = list(_faults(report))
    if faults:
        return Verdict(False, " ".join(["Both parties hear each other, but not well.", *faults]))
    return Verdict(True, _praise(report))


def _who_is_deaf(deaf: list[str]) -> str:
    if len(deaf) == 2:
        return "Neither party hears the other."
    return f"One-way audio: the {deaf[0]} hears nothing."


def _blame(report: Report, deaf: list[str]) -> Iterator[str]:
    """For each who hears nothing: whether the relay got what the other one sent."""
    for index, (talker, listener, figures) in enumerate(report.directions):
        if listener not in deaf:
            continue
        if figures.strangers:
            yield _of_strangers(listener, figures)
            continue
        words = report.queries[index].split() if len(report.queries) > index else []
        told = next((party.told for party in report.parties if party.name == talker), None)
        where = f"{told[0]} port {told[1]}" if told else "its address"
        if len(words) > _ACCEPTED and words[_ACCEPTED] != "0":
            yield (
                f"The relay took {words[_ACCEPTED]} of the {talker}'s {figures.sent} packets,"
                f" but none of them arrived: something stops UDP from {where} to the {listener}."
            )
        else:
            yield (
                f"The relay took none of the {talker}'s {figures.sent} packets: they do not get"
                f" to {where}, or the relay does not believe where they come from."
            )


def _faults(report: Report) -> Iterator[str]:
    for talker, listener, figures in report.directions:
        if figures.loss > TOLERABLE:
            due = figures.arrived + figures.lost
            yield (
                f"{figures.lost} of {due} packets ({figures.loss:.1%}) from the {talker} were lost."
            )
        if figures.garbled:
            yield f"{figures.garbled} packets to the {listener} are not what the {talker} sent."
        if figures.strangers:
            yield _of_strangers(listener, figures)
        if figures.late:
            yield (
                f"{figures.late} packets reached the {listener} after the call had been deleted."
            )


def _of_strangers(listener: str, figures: Figures) -> str:
    return (
        f"{figures.strangers} packets reached the {listener} from another address than the one"
        " it was told, and a phone behind a NAT would not have got them."
    )


def _praise(report: Report) -> str:
    ways = report.to_callee, report.to_caller
    learned = max(figures.learned or 0.0 for figures in ways)
    if any(figures.held_back for figures in ways):
        since = f"From when the relay had learned both phones behind their NATs ({learned:.0f} ms)"
    else:
        since = "From the very first one"
    first, second = (f"{way.arrived} of {way.arrived + way.lost}" for way in ways)
    jitter = max(figures.jitter for figures in ways)
    median = max(figures.delay.median for figures in ways if figures.delay)
    p99 = max(figures.delay.p99 for figures in ways if figures.delay)
    sentences = [
        f"Both parties hear each other. {since}, {first} packets arrived one way and {second} the"
        f" other, half of them within {median:.2f} ms and 99 in 100 within {p99:.2f} ms; jitter"
        f" {jitter:.2f} ms."
    ]
    if p99 > SLOW:
        sentences.append("That is slow for some: is this machine, the network or the relay busy?")
    return " ".join(sentences)
