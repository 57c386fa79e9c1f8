"""Whether a relay with these settings would start on this host, and safely.

``examine`` is pure: it judges :class:`~rtpproxy_tw.checkup.facts.World`, which ``reading`` takes
from the kernel and the file system.
"""
