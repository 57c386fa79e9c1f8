"""``rtpproxy-extractaudio``: recordings become sound files.

Takes the original's options. It may run beside a busy relay (``-i``), and decodes in a process
of its own, since what was recorded came from strangers.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from rtpproxy_tw.recording.audiofiles import FormatError, check, container_of, made
from rtpproxy_tw.recording.decoding import Decoding
from rtpproxy_tw.recording.extraction import Extracted, extract
from rtpproxy_tw.recording.parts import parts_of
from rtpproxy_tw.recording.picture import picture
from rtpproxy_tw.recording.readback import Packet
from rtpproxy_tw.recording.sources import Party, Source, as_pcap, parted
from rtpproxy_tw.recording.srtp import KeyProblem, decrypted
from rtpproxy_tw.tools.extractaudio_options import Asked, UsageError, asked_for
from rtpproxy_tw.tools.extractaudio_progress import Bar

DONE, FAILED, PARTLY = 0, 1, 2
"""Exit statuses; PARTLY: there is something that could not be heard, and a capture of it."""


class Failure(Exception):
    """Nothing came of it; the text says why."""


class Extraction:
    """One run of the program."""

    def __init__(self, asked: Asked, out: TextIO, err: TextIO) -> None:
        self._asked = asked
        self._out = out
        self._err = err
        self._read: list[Path] = []
        self._refused = 0
        """Packets that are not authentic, and so are not heard."""
        self._damaged = False

    def run(self) -> int:
        """Do what was asked for. Raises Failure, OSError or FormatError."""
        asked = self._asked
        if asked.idle:
            os.nice(20)
        if asked.memory:
            limit = asked.memory << 20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if asked.scan:
            return self._scan()
        container = asked.container or container_of(asked.out)
        check(container, asked.coding)
        parties = self._parties()
        with Decoding() as decoding, Bar(self._err, asked.progress) as bar:
            found = extract(
                self._decrypted(parties),
                decoding,
                named=asked.codecs,
                together=asked.together,
                progress=bar,
            )
        for note in found.notes:
            self._say(note)
        found.complete = found.complete and not self._refused
        if found.empty:
            self._say("there is no RTP in it: no file is made")
        else:
            self._write(found, container)
        if not found.complete:
            self._leave_capture(parties)
            return PARTLY
        if asked.delete:
            self._delete()
        return DONE

    def _delete(self) -> None:
        """Remove what was read, unless not all of it could be."""
        if self._damaged:
            self._say("the recording is kept, as it is damaged")
            return
        for path in self._read:
            path.unlink()

    def _scan(self) -> int:
        for name in self._asked.inputs:
            path = Path(name)
            found = [path] if path.is_file() else [each for _, each in _halves(name)]
            found = [each for each in found if each.is_file()]
            if not found:
                raise Failure(f"{name}: there is no such recording")
            for each in found:
                source = Source.read(str(each), each.read_bytes())
                self._print(f"{source.name}: {len(source.packets)}", *source.lines())
                self._complain(source)
        return DONE

    def _parties(self) -> dict[Party, list[Packet]]:
        """Both parties' packets, of two files or of one. Raises Failure."""
        asked = self._asked
        if asked.answer or asked.originate:
            halves = [(Party.ANSWERER, asked.answer), (Party.ORIGINATOR, asked.originate)]
            return self._two([(party, Path(name)) for party, name in halves if name])
        (name,) = asked.inputs
        halves_of_it = _halves(name)
        if any(path.is_file() for _, path in halves_of_it):
            return self._two(halves_of_it)
        for path in (Path(name), Path(f"{name}.pcap")):
            if path.is_file():
                packets = self._packets(path)
                if packets and packets[0].to is None:
                    return {Party.ORIGINATOR: packets}
                return parted(packets, _ports(path))
        raise Failure(f"{name}: there is no {name}.a.rtp, {name}.o.rtp or {name}.pcap")

    def _decrypted(self, parties: Mapping[Party, list[Packet]]) -> dict[Party, list[Packet]]:
        """The same, without encryption where keys were given. Raises KeyProblem."""
        found = dict(parties)
        for party, key in self._asked.keys.items():
            packets = parties.get(party, [])
            found[party], refused = decrypted(packets, key)
            if refused:
                self._refused += refused
                self._say(
                    f"{refused} of {len(packets)} packets of the {party.name.lower()} are not"
                    " authentic with this key, and are not heard"
                )
        return found

    def _two(self, halves: Sequence[tuple[Party, Path]]) -> dict[Party, list[Packet]]:
        parties: dict[Party, list[Packet]] = {}
        for party, path in halves:
            try:
                parties[party] = self._packets(path)
            except OSError as error:
                if self._asked.both:
                    raise Failure(f"{path}: {error.strerror}") from error
                self._say(f"{path}: {error.strerror}; this party is silent")
        if not parties:
            raise Failure("neither of the files can be read")
        return parties

    def _packets(self, path: Path) -> list[Packet]:
        """Those of all parts of the recording that the file is one of."""
        return [
            packet for part in parts_of(str(path)) for packet in self._source(Path(part)).packets
        ]

    def _source(self, path: Path) -> Source:
        source = Source.read(str(path), path.read_bytes())
        self._read.append(path)
        self._print(*source.lines())
        self._complain(source)
        return source

    def _write(self, found: Extracted, container: str) -> None:
        asked = self._asked
        sound = found.stereo() if asked.stereo else found.mixed()
        _replace(Path(asked.out), made(sound, container, asked.coding))
        for link in asked.links:
            with suppress(FileExistsError):
                os.link(asked.out, link)
        if asked.picture:
            _replace(Path(asked.picture), picture(found).encode())
        counts = ", ".join(
            f"{party.value.upper()}: {len(found.pcm[party]) // 2}"
            for party in (Party.ORIGINATOR, Party.ANSWERER)
        )
        self._say(f"samples decoded: {counts}; {found.seconds:.3f} s at {found.rate} Hz")

    def _leave_capture(self, parties: Mapping[Party, list[Packet]]) -> None:
        path = Path(f"{self._asked.out}.pcap")
        packets = sorted(packet for each in parties.values() for packet in each)
        _replace(path, as_pcap(packets))
        self._say(f"{path}: has all packets")

    def _complain(self, source: Source) -> None:
        if source.damage:
            self._damaged = True
            self._say(f"{source.name}: damaged: {source.damage}")

    def _say(self, text: str) -> None:
        print(text, file=self._err)

    def _print(self, *lines: str) -> None:
        for line in lines:
            print(line, file=self._out)


def _halves(name: str) -> list[tuple[Party, Path]]:
    """The files of a recording in two, by the original's names."""
    return [(party, Path(f"{name}.{party.value}.rtp")) for party in Party]


def _ports(path: Path) -> dict[int, Party]:
    """Whose ports were which, as far as sidecars of the recording's parts say so."""
    sides = {"caller": Party.ORIGINATOR, "callee": Party.ANSWERER}
    found: dict[int, Party] = {}
    for part in parts_of(str(path)):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            told = json.loads(Path(f"{part}.json").read_text(encoding="utf-8"))["ports"]
            found |= {int(port): sides[side] for side, ports in told.items() for port in ports}
    return found


def _replace(path: Path, octets: bytes) -> None:
    """Make the file, or replace it, as a whole: nobody sees half of it. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}."[:100], dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns its exit status."""
    try:
        asked = asked_for(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        print(error, file=sys.stderr)
        return FAILED
    if asked.help:
        print(asked.help)
        return DONE
    try:
        return Extraction(asked, sys.stdout, sys.stderr).run()
    except (Failure, FormatError, KeyProblem) as error:
        print(f"rtpproxy-extractaudio: {error}", file=sys.stderr)
    except OSError as error:
        print(f"rtpproxy-extractaudio: {error.filename}: {error.strerror}", file=sys.stderr)
    except MemoryError:
        print("rtpproxy-extractaudio: the recording is too long for the memory", file=sys.stderr)
    return FAILED


def run() -> None:
    """What the installed program calls."""
    sys.exit(main())


if __name__ == "__main__":
    run()
