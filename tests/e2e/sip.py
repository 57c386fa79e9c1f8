"""SIPp as a SIP user agent, and what can be read from the messages it saw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from rtpproxy_tw.addresses import Address
from tests.e2e import loopback
from tests.e2e.process import Process

SCENARIOS = Path(__file__).parent / "scenarios"

_ENTRY = re.compile(
    r"^-{20,} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})\nUDP message (sent|received) .*:\n\n",
    re.MULTILINE,
)

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


class Medium(NamedTuple):
    """One ``m=`` line of an SDP with the address that holds for it (RFC 8866 section 5.7)."""

    kind: str
    address: Address
    rtcp: int | None
    direction: str

    @property
    def wanted(self) -> bool:
        """Whether whoever reads this is to send here."""
        host, port = self.address
        return port != 0 and host != "0.0.0.0" and self.direction in ("sendrecv", "recvonly")


class Message(NamedTuple):
    """A SIP message as one side saw it, with the wall-clock time."""

    when: float
    sent: bool
    text: str

    @property
    def method(self) -> str:
        """The method of a request or of the request a response belongs to."""
        found = re.search(r"^CSeq: *\d+ +(\w+)", self.text, re.MULTILINE)
        return found[1] if found else ""

    @property
    def status(self) -> int | None:
        """The code of a response, None for a request."""
        found = re.match(r"SIP/2.0 (\d{3})", self.text)
        return int(found[1]) if found else None

    @property
    def media(self) -> list[Medium]:
        """What its SDP says, [] when there is none."""
        _, _, body = self.text.partition("\n\n")
        return read_sdp(body)


def read_sdp(sdp: str) -> list[Medium]:
    """The media of an SDP, in order."""
    session, *sections = re.split(r"^(?=m=)", sdp, flags=re.MULTILINE)
    return [_read_section(session, section) for section in sections]


def _read_section(session: str, section: str) -> Medium:
    kind, port = section.removeprefix("m=").split()[:2]
    host = _first(r"^c=IN IP4 (\S+)", section, session)
    assert host is not None
    rtcp = _first(r"^a=rtcp:(\d+)", section)
    direction = _first(rf"^a=({'|'.join(DIRECTIONS)})$", section, session)
    return Medium(kind, (host, int(port)), int(rtcp) if rtcp else None, direction or "sendrecv")


def _first(pattern: str, *texts: str) -> str | None:
    for text in texts:
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return found[1]
    return None


def write_sdp(
    host: str,
    media: Sequence[tuple[str, int]],
    *,
    version: int = 1,
    direction: str = "sendrecv",
) -> str:
    """An SDP of a party at ``host`` with media of the given kinds and ports; port 0: refused."""
    lines = ["v=0", f"o=- 1 {version} IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"]
    for kind, port in media:
        if kind == "image":
            lines.append(f"m=image {port} udptl t38")
            continue
        lines.append(f"m={kind} {port} RTP/AVP 0")
        if port:
            lines += [f"a=rtcp:{port + 1}", f"a={direction}"]
    return "".join(line + "\r\n" for line in lines)


class Sipp(Process):
    """SIPp with one of our scenarios, for one call, at ``host``.

    ``folder`` holds the SDP files the scenario includes. A caller's scenario needs the host of
    the ``proxy`` and of its ``peer``, the callee.
    """

    def __init__(
        self,
        scenario: str,
        host: str,
        folder: Path,
        *,
        proxy: str | None = None,
        peer: str | None = None,
        length_ms: int = 1000,
        call_id: str | None = None,
    ) -> None:
        self.host = host
        self._trace = folder / f"{scenario}-{host}.messages"
        argv = ["sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-m", "1", "-nostdin"]
        argv += ["-i", host, "-p", str(loopback.SIP_PORT), "-bind_local", "-mi", host, "-ci", host]
        argv += ["-d", str(length_ms), "-recv_timeout", "8000", "-timeout", "30s", "-timeout_error"]
        argv += ["-trace_msg", "-message_file", str(self._trace)]
        argv += ["-trace_err", "-error_file", str(folder / f"{scenario}-{host}.errors")]
        if call_id is not None:
            argv += ["-cid_str", call_id]
        if peer is not None:
            argv += ["-key", "callee", f"{peer}:{loopback.SIP_PORT}"]
            argv += [f"{proxy}:{loopback.SIP_PORT}"]
        super().__init__(argv, folder / f"{scenario}-{host}.out", folder)

    @property
    def ready(self) -> bool:
        """Whether it takes messages by now."""
        return loopback.is_bound((self.host, loopback.SIP_PORT))

    def messages(self) -> list[Message]:
        """What it sent and received so far, in order."""
        if not self._trace.exists():
            return []
        return read_trace(self._trace.read_bytes().decode().replace("\r\n", "\n"))


def read_trace(trace: str) -> list[Message]:
    """The messages in what SIPp writes with ``-trace_msg``."""
    _, *pieces = _ENTRY.split(trace)
    return [
        Message(datetime.strptime(when, "%Y-%m-%d %H:%M:%S.%f").timestamp(), way == "sent", text)
        for when, way, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True)
    ]
