"""The files of one call's recording, as what each party said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.recording import pcap
from rtpproxy_tw.recording.readback import Packet, Reading
from rtpproxy_tw.rtp import peek


class Party(Enum):
    """Who speaks: by the letter in the names of files."""

    ANSWERER = "a"
    ORIGINATOR = "o"


@dataclass(slots=True)
class Source:
    """One file read: its packets in order, and what is to be said of it."""

    name: str
    packets: list[Packet]
    damage: str | None = None

    @classmethod
    def read(cls, name: str, octets: bytes) -> Source:
        """Read all of it, whatever it is."""
        reading = Reading(octets)
        packets = list(reading)
        return cls(name, packets, reading.damage)

    def lines(self) -> list[str]:
        """Its figures, as the original prints them."""
        analyzer = Analyzer()
        for packet in self.packets:
            analyzer.heard(packet.datagram, packet.when)
        return _figures(analyzer)


def _figures(analyzer: Analyzer) -> list[str]:
    offset = analyzer.snapshot()["offset"]
    ssrc = f"0x{analyzer.ssrc or 0:08X}"
    sent = analyzer.sent if analyzer.received else 0
    lines = [
        f"pcount={analyzer.received}, min_seq={analyzer.lowest},"
        f" max_seq={max(analyzer.highest, 0)}, seq_offset={offset}, ssrc={ssrc},"
        f" duplicates={analyzer.duplicates}",
        f"ssrc_changes={analyzer.ssrc_changes}, psent={sent}, precvd={analyzer.received},"
        f" plost={sent - analyzer.received}",
    ]
    if analyzer.jitter_max:
        lines.append(
            f"last_jitter={analyzer.jitter_last:f},average_jitter={analyzer.jitter_mean:f},"
            f"max_jitter={analyzer.jitter_max:f}"
        )
    return lines


def parted(
    packets: Sequence[Packet], ports: Mapping[int, Party] | None = None
) -> dict[Party, list[Packet]]:
    """A file with both parties, cut in two by the ports they sent RTP to.

    ``ports`` tells whose ports are known. Of others the first is the answerer's, as nothing in the
    file tells, and a further one is of the party that is at the same host, else the originator's.
    """
    by_port: dict[Address, list[Packet]] = {}
    for packet in packets:
        if packet.to is not None and peek(packet.datagram) is not None:
            by_port.setdefault(packet.to, []).append(packet)
    found: dict[Party, list[Packet]] = {party: [] for party in Party}
    hosts: dict[str, Party] = {}
    for (_, port), heard in by_port.items():
        host = heard[0].source[0]
        free = [party for party in Party if not found[party]]
        party = (ports or {}).get(port)
        if party is None:
            party = free[0] if free else hosts.get(host, Party.ORIGINATOR)
        hosts.setdefault(host, party)
        found[party] += heard
    for each in found.values():
        each.sort(key=lambda packet: packet.when)
    return found


def as_pcap(packets: Sequence[Packet]) -> bytes:
    """The packets as a capture that any program for that reads."""
    records = [pcap.header()]
    for number, (when, source, to, datagram) in enumerate(packets):
        nowhere = ("::" if ":" in source[0] else "0.0.0.0", 0)
        records.append(pcap.record(datagram, source, to or nowhere, when, number))
    return b"".join(records)
