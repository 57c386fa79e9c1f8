"""What is recorded together, and what is told of it in its sidecar and in events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rtpproxy_tw.recording.codecs import STATIC
from rtpproxy_tw.recording.sinks import Place, Sink
from rtpproxy_tw.recording.space import SUFFIX
from rtpproxy_tw.session import Component, Leg, Session, Side
from rtpproxy_tw.views.text import identifier, shown, to_json

VERSION = 1
"""Of what sidecars look like."""

MOST_KINDS = 64
"""Different streams of which is told; a stranger could send any number."""


@dataclass(slots=True)
class Heard:
    """Which SSRCs and payload types came, in order of appearance."""

    latest: bytes = b""
    """SSRC and payload type of the packet before, as octets."""
    ssrcs: dict[str, None] = field(default_factory=dict)
    payload_types: dict[int, None] = field(default_factory=dict)

    def look(self, datagram: bytes) -> None:
        """Note what is new. To be called where these octets are not those before."""
        self.latest = datagram[8:12] + datagram[1:2]
        if len(datagram) < 12 or len(self.ssrcs) > MOST_KINDS:
            return
        self.ssrcs[f"0x{datagram[8:12].hex()}"] = None
        self.payload_types[datagram[1] & 0x7F] = None


@dataclass(slots=True)
class Pause:
    """A time in which a party was not recorded, in seconds since the epoch."""

    party: Side
    start: float
    end: float | None = None


class Earlier(NamedTuple):
    """What a recording that goes on in further files is known by."""

    recording: str
    """What all its parts have in common, and no other recording has."""
    part: int
    """How many there were before."""


@dataclass(slots=True, eq=False)
class Files:
    """A file for each component, or ``single``, one for all, of ``session``."""

    session: Session
    names: tuple[str, ...]
    sinks: tuple[Sink, ...]
    single: bool
    is_pcap: bool
    started: float
    """Seconds since the epoch; so is ``ended``."""
    ended: float | None = None
    parties: int = 0
    """How many legs are recorded into it."""
    sides: list[Side] = field(default_factory=list)
    """Of the legs that ever were."""
    ports: dict[Side, dict[int, None]] = field(default_factory=dict)
    heard: Heard = field(default_factory=Heard)
    pauses: list[Pause] = field(default_factory=list)
    finished: bool = False
    """Whether everything of it is where it belongs."""
    failure_told: bool = False
    loss_told: bool = False
    place: Place | None = None
    """Where the files are, if another process has begun them."""
    target: str | None = None
    """The name that the command gave."""
    recording: str = ""
    """See Earlier."""
    part: int = 1
    """The first files of a recording are part 1, those after a crash the next."""

    def sink(self, component: Component) -> Sink:
        """Where packets of ``component`` go."""
        return self.sinks[0] if self.single else self.sinks[component - 1]

    @property
    def failed(self) -> bool:
        """Whether some of it can no longer be written."""
        return any(sink.failed for sink in self.sinks)

    @property
    def packets(self) -> int:
        """How many packets are in the files so far."""
        return sum(sink.outcome.packets for sink in self.sinks)

    @property
    def lost(self) -> int:
        """How many are not in them though they should be."""
        return sum(sink.outcome.lost for sink in self.sinks)

    @property
    def sidecar(self) -> str:
        """The name of the file that tells about them."""
        return self.names[0] + SUFFIX

    def join(self, leg: Leg) -> None:
        """Another party is recorded into them."""
        self.parties += 1
        if leg.side not in self.sides:
            self.sides.append(leg.side)
        if leg.port:
            self.ports.setdefault(leg.side, {})[leg.port] = None

    def pause(self, leg: Leg, now: float) -> None:
        """The party is not recorded for a while."""
        self.pauses.append(Pause(leg.side, now))

    def resume(self, leg: Leg, now: float) -> None:
        """It is again."""
        for pause in self.pauses:
            if pause.party is leg.side and pause.end is None:
                pause.end = now
        if leg.port:
            self.ports.setdefault(leg.side, {})[leg.port] = None

    @property
    def state(self) -> str:
        """``recording``, ``finished`` or ``failed``."""
        if self.failed:
            return "failed"
        return "recording" if self.ended is None else "finished"

    def told(self) -> dict[str, Any]:
        """What the sidecar says; times are seconds since the epoch."""
        outcomes = [sink.outcome for sink in self.sinks]
        call_id, from_tag = self.session.key
        to_tag = self.session.to_tag
        kinds = list(self.heard.payload_types)
        return {
            "version": VERSION,
            "state": self.state,
            "call_id": shown(call_id),
            "call_id_encoded": identifier(call_id),
            "from_tag": shown(from_tag),
            "from_tag_encoded": identifier(from_tag),
            "to_tag": None if to_tag is None else shown(to_tag),
            "to_tag_encoded": None if to_tag is None else identifier(to_tag),
            "parties": [side.value for side in self.sides],
            "format": "pcap" if self.is_pcap else "adhoc",
            "started": round(self.started, 3),
            "ended": None if self.ended is None else round(self.ended, 3),
            "pauses": [
                {"party": each.party.value, "start": each.start, "end": each.end}
                for each in self.pauses
            ],
            "packets": sum(each.packets for each in outcomes),
            "lost": sum(each.lost for each in outcomes),
            "ssrcs": list(self.heard.ssrcs),
            "payload_types": kinds,
            "codecs": [STATIC[kind].text for kind in kinds if kind in STATIC],
            "ports": {side.value: list(ports) for side, ports in self.ports.items()},
            "files": [
                {"name": name, **outcome._asdict()}
                for name, outcome in zip(self.names, outcomes, strict=True)
            ],
            "exports": [],
            "recording": self.recording,
            "part": self.part,
        }

    def as_json(self) -> bytes:
        """The sidecar's content."""
        return to_json(self.told()) + b"\n"


@dataclass(frozen=True, slots=True)
class PartyState:
    """What is to be seen of a recording in its leg's state."""

    files: Files
    paused: bool = False

    @property
    def name(self) -> str:
        """Of the first file."""
        return self.files.names[0]

    @property
    def packets(self) -> int:
        """How many packets are in the files."""
        return self.files.packets

    @property
    def lost(self) -> int:
        """How many should be and are not."""
        return self.files.lost

    @property
    def failed(self) -> bool:
        """Whether nothing more will be written."""
        return self.files.failed


@dataclass(frozen=True, slots=True)
class Finished:
    """All files of a session, where they belong."""

    session: Session
    directory: str
    files: tuple[Files, ...]


Event = dict[str, Any]
Tell = Callable[[Event], None]
"""Takes what happened to a recording: ``event`` and all that its sidecar says."""


def event(name: str, files: Files) -> Event:
    """``recording.NAME`` happened."""
    return {"event": f"recording.{name}", **files.told()}
