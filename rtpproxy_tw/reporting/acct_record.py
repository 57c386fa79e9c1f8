"""One session as a line of the accounting file: the columns of the original's acct_csv module.

In these columns ``a`` and ``ina`` are about the caller, ``o`` and ``ino`` about the callee.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from rtpproxy_tw.quality.analyzer import Analyzer
from rtpproxy_tw.session import Leg, Session, Stream

VERSION = "1.2"

_RTPA = ("nsent", "nrcvd", "ndups", "nlost", "perrs", "ssrc_last", "ssrc_cnt", "pt_last")

COLUMNS = (
    *("rec_ver", "rtpp_node_id", "rtpp_pid", "sess_uid", "call_id", "from_tag"),
    *("setup_ts", "teardown_ts"),
    *("first_rtp_ts_ino", "last_rtp_ts_ino", "first_rtp_ts_ina", "last_rtp_ts_ina"),
    *("rtp_npkts_ina", "rtp_npkts_ino", "rtp_nrelayed", "rtp_ndropped"),
    *("rtcp_npkts_ina", "rtcp_npkts_ino", "rtcp_nrelayed", "rtcp_ndropped"),
    *(f"rtpa_{name}_{side}" for side in ("ino", "ina") for name in _RTPA),
    *(f"rtpa_jitter_{name}_{side}" for side in ("ino", "ina") for name in ("last", "max", "avg")),
    *(
        f"rtpp_{protocol}_rmt_{what}_{side}"
        for protocol in ("rtp", "rtcp")
        for side in ("o", "a")
        for what in ("ip", "pt")
    ),
    *("rtpp_hld_sts_o", "rtpp_hld_sts_a", "rtpp_hld_cnt_o", "rtpp_hld_cnt_a"),
)

_SILENT = Analyzer()


def line(values: Iterable[object]) -> str:
    """A line with its end; what has commas, quotes or line ends in it is quoted (RFC 4180)."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()


HEADER = line(COLUMNS)


def record(session: Session, *, node: str, pid: int, uid: int, now: float, epoch: float) -> str:
    """The line of ``session`` as of ``now``, seconds of the relay's clock.

    ``epoch`` is what has to be added for seconds since 1970.
    """

    def stamp(when: float) -> str:
        return f"{when + epoch:.6f}"

    call_id, from_tag = session.key
    return line(
        (
            *(VERSION, node, pid, uid, call_id, from_tag),
            *(stamp(session.created), stamp(now)),
            *_traffic(session, epoch),
            *_analysis(session),
            *_remotes(session),
            *("t" if leg.held else "f" for leg in (session.callee, session.caller)),
            *(session.callee.holds, session.caller.holds),
        )
    )


def _traffic(session: Session, epoch: float) -> Iterator[object]:
    caller, callee = session.legs
    for leg in (callee, caller):
        for when in (leg.rtp.first_heard, leg.rtp.last_heard):
            yield f"{when + epoch if leg.rtp.accepted else 0:.6f}"
    for one, other in ((caller.rtp, callee.rtp), (caller.rtcp, callee.rtcp)):
        yield one.accepted
        yield other.accepted
        yield one.relayed + other.relayed
        yield one.dropped + other.dropped


def _analysis(session: Session) -> Iterator[object]:
    parties = [_analyzer(session.callee), _analyzer(session.caller)]
    for each in parties:
        yield each.sent
        yield each.received
        yield each.duplicates
        yield each.lost
        yield each.errors
        yield "" if each.ssrc is None else f"0x{each.ssrc:08X}"
        yield each.ssrc_changes
        yield -1 if each.payload_type is None else each.payload_type
    for each in parties:
        for jitter in (each.jitter_last, each.jitter_max, each.jitter_mean):
            yield f"{jitter:f}"


def _analyzer(leg: Leg) -> Analyzer:
    return leg.rtp.analyzer or _SILENT


def _remotes(session: Session) -> Iterator[object]:
    caller, callee = session.legs
    for stream in (callee.rtp, caller.rtp, callee.rtcp, caller.rtcp):
        yield from _remote(stream)


def _remote(stream: Stream) -> tuple[object, object]:
    return stream.latch.remote or ("", "")
