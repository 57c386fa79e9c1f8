"""How to point SIP proxies at a relay: lines to paste, for the control socket in use."""

from __future__ import annotations

from rtpproxy_tw.tools.control_client import ControlUrl

KAMAILIO_KINDS = ("unix", "udp", "udp6")
"""Kamailio's module knows no streams that stay open."""

REMOTE = ControlUrl("udp", "192.0.2.10", 22222)
"""Stands for the address of a relay on a machine of its own (RFC 5737)."""


def advice(url: ControlUrl, *, own: bool) -> list[str]:
    """Lines for the operator; ``own``: the relay was started for the demo and is gone."""
    lines = []
    if own:
        lines += ["To run the relay for good:", "", f"    rtpproxy-tw -f -s {url.text}", ""]
    lines += ["To use it, paste into", "", *_pasted(url), ""]
    if url.unix:
        lines += [
            "A UNIX socket is for proxies on this machine that may write to it (-u USER:GROUP).",
            f"For others: rtpproxy-tw -s {REMOTE.text} -l {REMOTE.host},",
            f'with this machine\'s address; the proxies then take "{REMOTE.text}".',
        ]
    return lines


def _pasted(url: ControlUrl) -> list[str]:
    text = url.text
    kamailio = text if url.kind in KAMAILIO_KINDS else None
    lines = []
    if kamailio:
        lines += [
            "Kamailio    " + 'loadmodule "rtpproxy.so"',
            "            " + f'modparam("rtpproxy", "rtpproxy_sock", "{kamailio}")',
            "            " + 'rtpproxy_manage("co");      # for each request and reply with SDP',
        ]
    else:
        lines.append(f"Kamailio    (knows no {url.kind}: sockets; give the relay a udp: one, too)")
    return [
        *lines,
        "OpenSIPS    " + 'loadmodule "rtpproxy.so"',
        "            " + f'modparam("rtpproxy", "rtpproxy_sock", "{text}")',
        "            " + 'rtpproxy_offer("co");  rtpproxy_answer("co");  rtpproxy_unforce();',
        "Sippy       " + f"b2bua_radius -r {text}",
    ]
