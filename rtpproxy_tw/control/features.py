"""The protocol's version and its dated extensions, as V, VF and ``-v`` tell them."""

from __future__ import annotations

BASE = 20040107
"""What V answers: the original's basic protocol version; clients accept no other."""

NOTIFICATION = "20081224"
"""The extension that is there only when a notification socket is configured."""

FEATURES: dict[str, str] = {
    "20040107": "Basic RTP proxy functionality",
    "20050322": "Support for multiple RTP streams and MOH",
    "20060704": "Support for extra parameter in the V command",
    "20071116": "Support for RTP re-packetization",
    "20071218": "Support for forking (copying) RTP stream",
    "20080403": "Support for RTP statistics querying",
    "20081102": "Support for setting codecs in the update/lookup command",
    "20081224": "Support for session timeout notifications",
    "20090810": "Support for automatic bridging",
    "20140323": "Support for tracking/reporting load",
    "20140617": "Support for anchoring session connect time",
    "20141004": "Support for extendable performance counters",
    "20150330": 'Support for allocating a new port ("Un"/"Ln" commands)',
    "20150420": "Support for SEQ tracking and new rtpa_ counters; Q command extended",
    "20150617": "Support for the wildcard %%CC_SELF%% as a disconnect notify target",
    "20191015": "Support for the && sub-command specifier",
    "20200226": "Support for the N command to stop recording",
    "20230205": "Support for counting lost packets and for hiding caught DTMF",
    "20230314": "Support for deleting a session after querying it",
    "20230424": "Support for the longest inter-packet interval and jitter counters",
    "20250523": "Support for the port of a copied stream",
    "20251015": "Support for setting TTL and TOS of a session",
    "20260306": "Support for choosing the local address by label",
    "20260308": "Support for a lookup within an update",
    "20260309": "Support for a session as an outlet of another",
}
"""Date of the extension -> what it is."""
