"""Which of this host's addresses the kernel would send from."""

from __future__ import annotations

import socket

from rtpproxy_tw.addresses import family_of


def local_for(host: str) -> str | None:
    """The local address from which numeric ``host`` is reached; None where no route leads there.

    Asks the kernel's routing table through an unsent, connected UDP socket: a few microseconds,
    nothing on the wire.
    """
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return None
        name: str = probe.getsockname()[0]
        return name
