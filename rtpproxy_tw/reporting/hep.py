"""HEP3, the encapsulation in which Homer takes reports: chunks in a datagram. Pure.

========  =======================================================================================
type 5    RTCP as JSON
type 34   figures on one direction of a call as JSON, of the kind that RTP agents send
========  =======================================================================================

Both carry the Call-ID as correlation, so that Homer shows them with the call's SIP messages.
"""

from __future__ import annotations

import json
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from struct import Struct
from typing import Any

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.quality.report import LegQuality
from rtpproxy_tw.rtcp import (
    NTP_EPOCH,
    ExtendedReport,
    Packet,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    VoipMetrics,
)
from rtpproxy_tw.views.text import shown

RTCP_JSON = 5
RTP_REPORT = 34

MAX_CORRELATION = 512
"""Octets of a Call-ID that are sent; collectors store them in columns of some hundred."""

_HEAD = Struct("!4sH")
_CHUNK = Struct("!HHH")
_FIXED = Struct("!" + "HHHB" + "HHHH" * 2 + "HHHI" * 2 + "HHHB" + "HHHI")
"""The chunks of fixed length in a row: vendor, type, length and content of each."""

_UDP = 17
_AF_INET, _AF_INET6 = 2, 10
_FRACTION = 2**32


def packet(
    payload: bytes,
    *,
    kind: int,
    source: Address,
    destination: Address,
    when: float,
    capture_id: int,
    correlation: str,
) -> bytes:
    """One datagram for the collector; ``when`` is seconds since the epoch.

    Hosts are numeric and of one family; where they are not, ``destination``'s is taken for the
    unspecified address of the source's.
    """
    seconds, fraction = divmod(round(when * 1_000_000), 1_000_000)
    call_id = correlation.encode("utf-8", "surrogateescape")[:MAX_CORRELATION]
    body = b"".join(
        (
            _addresses(source[0], destination[0]),
            _FIXED.pack(
                *(0, 2, 7, _UDP),
                *(0, 7, 8, source[1]),
                *(0, 8, 8, destination[1]),
                *(0, 9, 10, seconds & 0xFFFFFFFF),
                *(0, 10, 10, fraction),
                *(0, 11, 7, kind),
                *(0, 12, 10, capture_id & 0xFFFFFFFF),
            ),
            _chunk(17, call_id),
            _chunk(15, payload),
        )
    )
    return _HEAD.pack(b"HEP3", _HEAD.size + len(body)) + body


def _chunk(kind: int, content: bytes) -> bytes:
    """One of the generic vendor, 0."""
    return _CHUNK.pack(0, kind, _CHUNK.size + len(content)) + content


@lru_cache(maxsize=1024)
def _addresses(source: str, destination: str) -> bytes:
    sender, receiver = ip_address(source), ip_address(destination)
    if isinstance(sender, IPv4Address):
        packed = receiver.packed if receiver.version == 4 else bytes(4)
        return _chunk(1, bytes((_AF_INET,))) + _chunk(3, sender.packed) + _chunk(4, packed)
    packed = receiver.packed if receiver.version == 6 else bytes(16)
    return _chunk(1, bytes((_AF_INET6,))) + _chunk(5, sender.packed) + _chunk(6, packed)


def rtcp_json(found: Packet) -> bytes | None:
    """A report in the keys that Homer knows; None for packets that report nothing."""
    match found:
        case SenderReport():
            return _json(
                {
                    "sender_information": {
                        "ntp_timestamp_sec": found.ntp_seconds - NTP_EPOCH,
                        "ntp_timestamp_usec": found.ntp_fraction * 1_000_000 // _FRACTION,
                        "rtp_timestamp": found.timestamp,
                        "packets": found.packets,
                        "octets": found.octets,
                    },
                    **_reported(200, found.ssrc, found.blocks),
                }
            )
        case ReceiverReport():
            return _json(_reported(201, found.ssrc, found.blocks))
        case ExtendedReport(voip=VoipMetrics() as voip):
            return _json({"type": 207, "ssrc": found.ssrc, "report_blocks_xr": _metrics(voip)})
        case _:
            return None


def _metrics(voip: VoipMetrics) -> dict[str, Any]:
    """In the units of the packet: shares in 1/256, times in milliseconds."""
    return {
        "type": 7,
        "id": voip.ssrc,
        "fraction_lost": round(voip.loss_ratio * 256),
        "fraction_discard": round(voip.discard_ratio * 256),
        "burst_density": round(voip.burst_density * 256),
        "gap_density": round(voip.gap_density * 256),
        "burst_duration": voip.burst_ms,
        "gap_duration": voip.gap_ms,
        "round_trip_delay": voip.round_trip_ms,
        "end_system_delay": voip.end_system_ms,
    }


def _reported(kind: int, ssrc: int, blocks: tuple[ReportBlock, ...]) -> dict[str, Any]:
    return {
        "type": kind,
        "ssrc": ssrc,
        "report_count": len(blocks),
        "report_blocks": [
            {
                "source_ssrc": block.ssrc,
                # As in the packet, in 1/256, which is what Homer divides by.
                "fraction_lost": round(block.fraction_lost * 256),
                "packets_lost": block.lost,
                "highest_seq_no": block.highest,
                "ia_jitter": block.jitter,
                "lsr": block.lsr,
                "dlsr": block.dlsr,
            }
            for block in blocks
        ],
    }


def report_json(
    call_id: str,
    party: str,
    quality: LegQuality,
    *,
    verdict: str,
    source: Address,
    destination: Address,
    when: float,
    final: bool,
) -> bytes:
    """The figures of what ``party`` sends; jitter and gaps in milliseconds, loss in packets."""
    return _json(
        {
            "CORRELATION_ID": shown(call_id),
            "RTP_SIP_CALL_ID": shown(call_id),
            "REPORT_NAME": f"{destination[0]}:{destination[1]}",
            "REPORT_TS": round(when, 3),
            "TYPE": "HANGUP" if final else "PERIODIC",
            "PARTY": party,
            "VERDICT": verdict,
            "SRC_IP": source[0],
            "SRC_PORT": source[1],
            "DST_IP": destination[0],
            "DST_PORT": destination[1],
            "SSRC": quality.ssrc,
            "SSRC_CHG": quality.ssrc_changes,
            "CODEC_NAME": quality.codec,
            "TL_BYTE": quality.octets,
            "TOTAL_PK": quality.packets,
            "EXPECTED_PK": quality.packets + quality.lost,
            "PACKET_LOSS": quality.lost,
            "OUT_ORDER": quality.reordered,
            "DUPLICATES": quality.duplicates,
            "JITTER": quality.jitter_ms,
            "MAX_JITTER": quality.jitter_max_ms,
            "MAX_DELTA": round(quality.longest_gap * 1000, 1),
            "RTT": quality.rtt_ms,
            "MOS": quality.mos,
            "MIN_MOS": quality.mos_min,
            "MOS_SCALE": quality.mos_scale,
        }
    )


_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def _json(value: dict[str, Any]) -> bytes:
    return _encode(value).encode()
