"""How to point SIP proxies at a relay: lines to paste, for the control socket in use."""

from __future__ import annotations

import os
import shutil
import sys

from rtpproxy_tw.tools.control_client import ControlUrl

KAMAILIO_KINDS = ("unix", "udp", "udp6")
"""Kamailio's module knows no streams that stay open."""

LOCAL = "udp:127.0.0.1:22222"

REMOTE = "192.0.2.10"
"""Stands for this machine's address (RFC 5737)."""


def advice(url: ControlUrl, *, own: bool) -> list[str]:
    """Lines for the operator; ``own``: the relay was started for the demo and has ended."""
    lines = ["To use this relay, paste into", "", *_pasted(url), ""]
    relay = _program()
    if own:
        lines += [f"It has ended now; {relay} -f starts it again.", ""]
    if url.unix:
        lines += [
            "A UNIX socket serves proxies on this machine that may write to it (-u USER:GROUP).",
            f"Any proxy on this machine:  {relay} -f -s {LOCAL}",
            f"Proxies on other machines:  {relay} -f -s udp:{REMOTE}:22222 -l {REMOTE}",
            f'with this machine\'s address; they take "{LOCAL}" or "udp:{REMOTE}:22222".',
        ]
    else:
        lines.append("Whoever reaches this socket commands the relay: let only proxies reach it.")
    return lines


def _pasted(url: ControlUrl) -> list[str]:
    text = url.text
    if url.kind in KAMAILIO_KINDS:
        kamailio = [
            "Kamailio   " + 'loadmodule "rtpproxy.so"',
            "           " + f'modparam("rtpproxy", "rtpproxy_sock", "{text}")',
            "           " + 'rtpproxy_manage("co");      # each request and reply with SDP',
        ]
    else:
        kamailio = [f"Kamailio   does not know {url.kind}: - give the relay -s {LOCAL}, too"]
    return [
        *kamailio,
        "OpenSIPS   " + 'loadmodule "rtpproxy.so"',
        "           " + f'modparam("rtpproxy", "rtpproxy_sock", "{text}")',
        "           " + 'rtpproxy_offer("co");  rtpproxy_answer("co");  rtpproxy_unforce();',
        "Sippy      " + f"b2bua_radius -r {text}",
    ]


def _program() -> str:
    """How the relay is started from here: it may lie in a virtual environment not on the path."""
    name = "rtpproxy-tw"
    beside = os.path.join(os.path.dirname(sys.executable), name)
    if shutil.which(name) is None and os.path.exists(beside):
        return os.path.relpath(beside) if beside.startswith(os.getcwd() + os.sep) else beside
    return name
