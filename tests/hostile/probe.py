"""A relay whose timers can be counted from outside: started in place of the launcher.

A thread answers whoever connects to the socket named by the environment with the number of timers
that wait. Nothing else differs.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import suppress

from rtpproxy_tw.tools import launcher

PATH = "RTPPROXY_TW_TEST_PROBE"
"""Names the socket."""


def answer(listener: socket.socket) -> None:
    """Tell everybody, for ever."""
    while True:
        client, _ = listener.accept()
        with client:
            from twisted.internet import reactor

            client.sendall(b"%d" % len(reactor.getDelayedCalls()))


if __name__ == "__main__":
    made = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError):
        os.unlink(os.environ[PATH])  # of one that was killed
    made.bind(os.environ[PATH])
    made.listen()
    threading.Thread(target=answer, args=(made,), daemon=True).start()
    sys.exit(launcher.main())
