"""From the packets of two parties to their sound, and to what could not be heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from rtpproxy_tw.recording import comfort, pcm
from rtpproxy_tw.recording.audiofiles import Sound
from rtpproxy_tw.recording.codecs import NOISE, SOUNDLESS, STATIC, Codec, Sample, guess
from rtpproxy_tw.recording.decoding import Decoding, Undecodable
from rtpproxy_tw.recording.placement import Piece, Placement, Stretch, place
from rtpproxy_tw.recording.readback import Packet
from rtpproxy_tw.recording.sources import Party
from rtpproxy_tw.rtp import Header, peek

LONGEST = 24 * 3600
"""Seconds. What claims to be later is of a clock that went wrong, and would be all silence."""

PLAIN_RATE = 8000

Progress = Callable[[float], None]
"""Is told which part of the work is done, from 0 to 1."""


@dataclass(slots=True)
class Extracted:
    """The sound of both parties from a common beginning on."""

    start: float = 0.0
    """Seconds since the epoch."""
    rate: int = PLAIN_RATE
    pcm: dict[Party, bytes] = field(default_factory=dict)
    placements: dict[Party, Placement] = field(default_factory=dict)
    codecs: dict[Party, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What the user should know: guesses, and what was not heard."""
    complete: bool = True
    """Whether everything that is sound was decoded."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return max(map(len, self.pcm.values()), default=0) / (2 * self.rate)

    @property
    def empty(self) -> bool:
        """Whether there is no RTP at all."""
        return not any(placement.stretches for placement in self.placements.values())

    def stereo(self) -> Sound:
        """The answerer left, the originator right."""
        left, right = self.pcm[Party.ANSWERER], self.pcm[Party.ORIGINATOR]
        return Sound(pcm.interleaved(left, right), self.rate, 2)

    def mixed(self) -> Sound:
        """Both in one channel, each at half its loudness."""
        mean = pcm.mean(self.pcm[Party.ANSWERER], self.pcm[Party.ORIGINATOR])
        return Sound(mean, self.rate, 1)


def extract(
    parties: Mapping[Party, Sequence[Packet]],
    decoding: Decoding,
    *,
    named: Mapping[int, Codec] | None = None,
    together: bool = True,
    progress: Progress = lambda done: None,
) -> Extracted:
    """Place, decode and join. ``named`` tells what payload types are, where it is known.

    ``together``: what was said at a time is heard at a time; else both begin at the beginning.
    """
    return _Extraction(decoding, {**STATIC, **(named or {})}, together, progress).run(parties)


class _Extraction:
    """One run of it."""

    def __init__(
        self, decoding: Decoding, known: dict[int, Codec], together: bool, progress: Progress
    ) -> None:
        self._decoding = decoding
        self._known = known
        self._together = together
        self._progress = progress
        self._found = Extracted()
        self._refused: set[tuple[Party, int]] = set()
        self._done = self._all = 0

    def run(self, parties: Mapping[Party, Sequence[Packet]]) -> Extracted:
        found = self._found
        for party in Party:
            heard = [(packet.when, packet.datagram) for packet in parties.get(party, ())]
            self._guess(heard)
            clocks = {kind: codec.clock for kind, codec in self._known.items()}
            found.placements[party] = place(heard, clocks)
        stretches = [each for some in found.placements.values() for each in some.stretches]
        found.start = min((stretch.start for stretch in stretches), default=0.0)
        found.rate = self._rate(stretches)
        self._all = sum(len(stretch.pieces) for stretch in stretches)
        for party in Party:
            found.pcm[party] = self._party(party, found.placements[party])
        return found

    def _rate(self, stretches: Sequence[Stretch]) -> int:
        """That of the codec with the most samples, so that nothing is lost."""
        kinds = {stretch.payload_type for stretch in stretches}
        codecs = [self._known[kind] for kind in kinds if kind in self._known]
        rates = [codec.rate for codec in codecs if codec.name not in SOUNDLESS]
        return max(rates, default=PLAIN_RATE)

    def _guess(self, heard: Sequence[tuple[float, bytes]]) -> None:
        """Name what is not named yet, as far as can be."""
        for kind, sample in clues(heard, set(self._known)).items():
            codec = guess(sample)
            if codec is not None:
                self._known[kind] = codec
                self._found.notes.append(
                    f"payload type {kind} looks like {codec.text}; --codec {kind}=NAME says better"
                )

    def _party(self, party: Party, placement: Placement) -> bytes:
        found = self._found
        track = pcm.Track(found.rate)
        start = found.start
        if not self._together and placement.stretches:
            start = placement.stretches[0].start
        names = found.codecs[party] = []
        ends = _ends(placement.stretches)
        for stretch, end in zip(placement.stretches, ends, strict=True):
            codec = self._known.get(stretch.payload_type)
            name = codec.text if codec else f"payload type {stretch.payload_type}"
            if name not in names:
                names.append(name)
            if stretch.start - start > LONGEST:
                self._miss(f"what {party.name.lower()} said more than a day later is left out")
            elif codec is None:
                self._refuse(party, stretch.payload_type, "a codec that is not known")
            elif codec.name not in SOUNDLESS or codec.name == NOISE:
                self._put(track, party, stretch, codec, stretch.start - start, end - start)
            self._done += len(stretch.pieces)
            self._progress(self._done / self._all)
        return track.pcm

    def _put(
        self,
        track: pcm.Track,
        party: Party,
        stretch: Stretch,
        codec: Codec,
        at: float,
        end: float,
    ) -> None:
        try:
            decoded = self._decoding.decode(codec, [piece.payload for piece in stretch.pieces])
        except Undecodable as error:
            self._refuse(party, stretch.payload_type, str(error))
            return
        begin, rate = round(at * track.rate), track.rate
        places = [
            begin + _ticks(stretch, piece) * rate // stretch.clock for piece in stretch.pieces
        ]
        untils = [*places[1:], round(end * rate)]
        for piece, sound, where, until in zip(stretch.pieces, decoded, places, untils, strict=True):
            loudness = comfort.described(codec.name, piece.payload)
            sound = pcm.resample(sound, codec.rate, rate)
            if loudness is not None:
                missing = min(until - where, round(comfort.LONGEST * rate)) - len(sound) // 2
                sound += comfort.noise(loudness, max(0, missing))
            if sound:
                track.put(where, sound, stretch.ssrc)

    def _refuse(self, party: Party, kind: int, why: str) -> None:
        if (party, kind) not in self._refused:
            self._refused.add((party, kind))
            self._miss(f"payload type {kind} of the {party.name.lower()} is not heard: {why}")

    def _miss(self, note: str) -> None:
        self._found.complete = False
        if note not in self._found.notes:
            self._found.notes.append(note)


def _ticks(stretch: Stretch, piece: Piece) -> int:
    return min(max(piece.ticks, 0), LONGEST * stretch.clock)


def _ends(stretches: Sequence[Stretch]) -> list[float]:
    """When the same source was heard again after each stretch; its beginning if it was not."""
    following = [*stretches[1:], *stretches[-1:]]
    return [
        (then if then.ssrc == each.ssrc else each).start
        for each, then in zip(stretches, following, strict=True)
    ]


def clues(
    heard: Sequence[tuple[float, bytes]], known: set[int], most: int = 500
) -> dict[int, Sample]:
    """Of each payload type not ``known``: what packets that follow each other have in common."""
    before: dict[int, tuple[float, Header]] = {}
    steps: dict[int, list[tuple[int, float, bytes]]] = {}
    for when, datagram in heard:
        header = peek(datagram)
        if header is None or header.payload_type in known:
            continue
        kind = header.payload_type
        rows = steps.setdefault(kind, [])
        last = before.get(kind)
        before[kind] = when, header
        if last is None or len(rows) >= most or last[1].ssrc != header.ssrc:
            continue
        if header.sequence == last[1].sequence + 1 & 0xFFFF:
            ticks = header.timestamp - last[1].timestamp & 0xFFFFFFFF
            rows.append((ticks, when - last[0], datagram[header.start : header.end]))
    samples = {}
    for kind, rows in steps.items():
        if rows:
            usual = Counter(ticks for ticks, _, _ in rows).most_common(1)[0][0]
            alike = [row for row in rows if row[0] == usual]
            seconds = median(row[1] for row in alike)
            samples[kind] = Sample(usual, seconds, [row[2] for row in alike])
    return samples
