"""A relay that stops, by a signal to itself, when another one has handed everything over to it.

For tests; they let it go on. By then it has nothing more to hear, and has not said that it serves.
"""

from __future__ import annotations

import os
import signal
import sys

from rtpproxy_tw.continuity.channel import Channel
from rtpproxy_tw.tools import launcher

_send = Channel.send


def _stopping(self: Channel, kind: str, *arguments: object, **fields: object) -> None:
    if kind == "serving":
        os.kill(os.getpid(), signal.SIGSTOP)
    _send(self, kind, *arguments, **fields)  # type: ignore[arg-type]  # passed on as they are


if __name__ == "__main__":
    Channel.send = _stopping  # type: ignore[method-assign]  # that is what this is for
    sys.exit(launcher.main())
