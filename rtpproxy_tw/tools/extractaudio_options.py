"""The command line of ``rtpproxy-extractaudio``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from rtpproxy_tw.recording.audiofiles import CONTAINERS
from rtpproxy_tw.recording.codecs import Codec, named
from rtpproxy_tw.recording.sources import Party
from rtpproxy_tw.recording.srtp import KeyProblem, MasterKey, master_key

USAGE = """\
rtpproxy-extractaudio [-idsne] [-F FMT] [-D FMT] RDIR OUT [LINK ...]
       rtpproxy-extractaudio [-idsne] [-F FMT] [-D FMT] [-A FILE] [-B FILE] OUT [LINK ...]
       rtpproxy-extractaudio -S RDIR-OR-FILE ..."""


class UsageError(Exception):
    """Options that cannot be; the text says why."""


@dataclass(slots=True)
class Asked:
    """What the user wants."""

    inputs: list[str] = field(default_factory=list)
    out: str = ""
    links: list[str] = field(default_factory=list)
    answer: str | None = None
    originate: str | None = None
    stereo: bool = False
    idle: bool = False
    delete: bool = False
    together: bool = True
    both: bool = False
    scan: bool = False
    progress: bool = True
    container: str | None = None
    coding: str | None = None
    codecs: dict[int, Codec] = field(default_factory=dict)
    keys: dict[Party, MasterKey] = field(default_factory=dict)
    """Of parties whose media is encrypted."""
    picture: str | None = None
    memory: int = 0
    help: str = ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}\n{self.format_usage().rstrip()}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="rtpproxy-extractaudio",
        usage=USAGE,
        description="Makes a sound file of a recorded call. RDIR is the recording's name without"
        " .a.rtp, .o.rtp or .pcap, or a file that has both parties.",
        add_help=False,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("names", nargs="*", help=argparse.SUPPRESS)
    add("-h", "--help", action="store_true", help="print this text and exit")
    add("-s", dest="stereo", action="store_true", help="the answerer left, the originator right")
    add("-i", dest="idle", action="store_true", help="use only time that nobody else needs")
    add("-d", dest="delete", action="store_true", help="delete the recording afterwards")
    add("-n", dest="apart", action="store_true", help="both parties begin at the beginning")
    add("-e", dest="both", action="store_true", help="fail if one party's file cannot be read")
    add("-F", dest="container", metavar="FMT", help=f"of {', '.join(CONTAINERS)}; by OUT's ending")
    add("-D", dest="coding", metavar="FMT", help="pcm_16, ulaw, alaw, pcm_u8, ...")
    add("-A", dest="answer", metavar="FILE", help="what the answerer sent")
    add("-B", dest="originate", metavar="FILE", help="what the originator sent")
    add("-S", dest="scan", action="store_true", help="count packets only, and print figures")
    for party, who in (("alice", "answerer"), ("bob", "originator")):
        add(f"--{party}-crypto", metavar="SUITE:KEY", help=f"decrypt the {who}'s SRTP")
    add("--codec", action="append", default=[], metavar="PT=NAME[/CLOCK]", help="a dynamic type")
    add("--picture", metavar="FILE", help="draw waveforms and losses as SVG")
    add("--quiet", action="store_true", help="no progress bar")
    add("--memory-limit", type=int, default=0, metavar="MB", help="give up rather than take more")
    return parser


def asked_for(arguments: Sequence[str]) -> Asked:
    """Read the command line. Raises UsageError."""
    parser = _parser()
    given = parser.parse_args(list(arguments))
    if given.help:
        return Asked(help=parser.format_help().rstrip())
    names: list[str] = given.names
    asked = Asked(
        answer=given.answer,
        originate=given.originate,
        stereo=given.stereo,
        idle=given.idle,
        delete=given.delete,
        together=not given.apart,
        both=given.both,
        scan=given.scan,
        progress=not given.quiet,
        container=given.container.lower() if given.container else None,
        coding=given.coding.lower() if given.coding else None,
        picture=given.picture,
        memory=given.memory_limit,
    )
    for party, option, text in (
        (Party.ANSWERER, "--alice-crypto", given.alice_crypto),
        (Party.ORIGINATOR, "--bob-crypto", given.bob_crypto),
    ):
        try:
            if text is not None:
                asked.keys[party] = master_key(text)
        except KeyProblem as error:
            raise UsageError(f"{option}: {error}") from error
    try:
        asked.codecs = dict(named(text) for text in given.codec)
    except ValueError as error:
        raise UsageError(f"--codec {error}") from error
    if asked.scan:
        asked.inputs = [*filter(None, (asked.answer, asked.originate)), *names]
    elif asked.answer or asked.originate:
        asked.out, asked.links = (names or [""])[0], names[1:]
    elif names:
        asked.inputs, asked.out, asked.links = names[:1], (names[1:] or [""])[0], names[2:]
    if not (asked.inputs if asked.scan else asked.out):
        parser.error("a name is missing")
    return asked
