"""``rtpproxy-demo``: a call between two built-in phones through a relay, and what came of it.

Without ``--control`` the relay is the one at the default control socket, or a new one that is
started with no options at all and ended again.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType

from rtpproxy_tw.tools.control_client import ControlUrl, NoAnswer, control_of, read_url
from rtpproxy_tw.tools.demo_advice import advice
from rtpproxy_tw.tools.demo_call import Call, Report
from rtpproxy_tw.tools.demo_relay import DefaultRelay
from rtpproxy_tw.tools.demo_screen import WIDTH, Silent, parties, screen_for
from rtpproxy_tw.tools.demo_verdict import Verdict, judge
from rtpproxy_tw.tools.error_codes import Refused
from rtpproxy_tw.tools.hearing import Delay

LONGEST = 1200.0
"""Seconds: more packets than that would use a sequence number twice."""

GOOD, BAD, STOPPED = 0, 1, 130
"""Exit statuses."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit status is 0 where both parties heard each other well."""
    options = _options(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    demo = Demo(seconds=options.seconds, as_json=options.json, plain=options.plain)
    try:
        return demo.run(options.control)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return STOPPED


class Demo:
    """One run of the program; what is for people is not printed ``as_json``."""

    def __init__(self, *, seconds: float, as_json: bool, plain: bool) -> None:
        self._seconds = seconds
        self._as_json = as_json
        self._screen = Silent() if as_json else screen_for(sys.stdout, plain=plain)

    def run(self, url: ControlUrl | None) -> int:
        """Call through the relay at ``url``, None being the default; the exit status."""
        report, own = Report(url=url.text if url else "", seconds=self._seconds), False
        try:
            with self._relay(url) as (url, own):
                report = Report(url=url.text, seconds=self._seconds)
                report = self._call(url)
                verdict = judge(report)
        except NoAnswer as error:
            where = f" at {url.text}" if url else ""
            verdict = Verdict(False, _sentence(f"No relay answers{where}: {error}"))
        except Refused as error:
            verdict = Verdict(False, _sentence(f"The relay refuses the call: {error}"))
        except OSError as error:
            verdict = Verdict(False, _sentence(f"The phones cannot call from here: {error}"))
        self._conclude(report, verdict, url if verdict.good else None, own=own)
        return GOOD if verdict.good else BAD

    @contextmanager
    def _relay(self, url: ControlUrl | None) -> Iterator[tuple[ControlUrl, bool]]:
        """The relay to use, and whether it was started for this."""
        if url is not None:
            self._tell(f"Calling through the relay at {url.text}.")
            yield url, False
            return
        self._tell("Looking for a relay at the default control socket ...")
        with DefaultRelay() as relay:
            if relay.pid is None:
                self._tell(f"One runs already at {relay.url.text}; calling through it.")
            else:
                self._tell(f"Started one with no options (pid {relay.pid}): {relay.url.text}")
            yield relay.url, relay.pid is not None

    def _call(self, url: ControlUrl) -> Report:
        with Call(control_of(url), self._seconds) as call:
            call.set_up()
            self._tell("", *parties(call.report(0.0)), "")
            call.talk(self._screen.show)
            call.hang_up()
            report = call.report(self._seconds, final=True)
            self._screen.finish(report)
            return report

    def _conclude(
        self, report: Report, verdict: Verdict, url: ControlUrl | None, *, own: bool
    ) -> None:
        if self._as_json:
            print(json.dumps(as_dict(report, verdict), indent=2))
            return
        self._tell("", *_wrapped(verdict.text))
        if url is not None:
            self._tell("", *advice(url, own=own))

    def _tell(self, *lines: str) -> None:
        if not self._as_json:
            print(*lines, sep="\n", flush=True)


def as_dict(report: Report, verdict: Verdict) -> dict[str, object]:
    """All that is known, for programs; times are milliseconds but for the two of the call."""
    return {
        "good": verdict.good,
        "verdict": verdict.text,
        "control": report.url,
        "seconds": report.seconds,
        "parties": [party._asdict() for party in report.parties],
        "directions": [
            {"from": talker, "to": listener, **_plain(asdict(figures))}
            for talker, listener, figures in report.directions
        ],
        "queries": list(report.queries),
    }


def _sentence(text: str) -> str:
    """With a full stop, unless it ends with lines of a program's output."""
    return text if "\n" in text or text.endswith(".") else f"{text}."


def _wrapped(text: str) -> list[str]:
    """Lines of WIDTH columns at most; the text's own line ends stay."""
    return [row for part in text.splitlines() for row in textwrap.wrap(part, WIDTH)]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="rtpproxy-demo",
        description="Place a call through a relay with two built-in phones behind pretended NATs.",
        epilog="Exit status: 0 when both parties heard each other well, 1 when not, 130 when"
        " stopped.",
    )
    parser.add_argument(
        "--control",
        metavar="URL",
        type=_url,
        help="the relay's control socket: unix:PATH, PATH, cunix:PATH, tcp:HOST:PORT, tcp6:,"
        " udp:HOST:PORT, udp6: (otherwise the default one; a relay is started if none is there)",
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=10.0, help="how long they talk (10)", metavar="N"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
    parser.add_argument("--plain", action="store_true", help="a line each second, no repainting")
    return parser.parse_args(arguments)


def _url(text: str) -> ControlUrl:
    try:
        return read_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.5 <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text}: must be from 0.5 to {LONGEST:g} seconds")
    return seconds


def _plain(figures: dict[str, object]) -> dict[str, object]:
    delay = figures["delay"]
    return {**figures, "delay": delay._asdict() if isinstance(delay, Delay) else None}


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ends the call and the relay as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
