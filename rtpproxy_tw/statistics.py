"""The relay's global counters, under the names the G command knows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Totals:
    """Counts since start; the field names are the protocol's."""

    nsess_created: int = 0
    nsess_destroyed: int = 0
    nsess_timeout: int = 0
    nsess_complete: int = 0
    nsess_nortp: int = 0
    nsess_owrtp: int = 0
    nsess_nortcp: int = 0
    nsess_owrtcp: int = 0
    nplrs_created: int = 0
    nplrs_destroyed: int = 0
    npkts_rcvd: int = 0
    npkts_played: int = 0
    npkts_relayed: int = 0
    npkts_resizer_in: int = 0
    npkts_resizer_out: int = 0
    npkts_resizer_discard: int = 0
    npkts_discard: int = 0
    total_duration: float = 0.0
    ncmds_rcvd: int = 0
    ncmds_rcvd_ndups: int = 0
    ncmds_succd: int = 0
    ncmds_errs: int = 0
    ncmds_repld: int = 0
    rtpa_nsent: int = 0
    rtpa_nrcvd: int = 0
    rtpa_ndups: int = 0
    rtpa_nlost: int = 0
    rtpa_perrs: int = 0
    pps_in: float = 0.0
