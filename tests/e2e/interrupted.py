"""A relay that, when it takes over, kills itself after so many messages, as a test wants it.

Started in place of the launcher; a file named by the environment has the number.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from rtpproxy_tw.continuity.channel import Channel, Message
from rtpproxy_tw.tools import launcher
from rtpproxy_tw.tools.upgrade import VARIABLE

NUMBER = "RTPPROXY_TW_TEST_MESSAGES"
"""Names the file; nothing in it: live."""


def count_down(left: int) -> None:
    """Die after so many more messages, sent or received."""
    send, receive = Channel.send, Channel.receive

    def die_or_not() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted_send(self: Channel, *arguments: Any, **options: Any) -> None:
        if arguments[0] == "serving":
            die_or_not()
        send(self, *arguments, **options)
        if arguments[0] != "serving":
            die_or_not()

    def counted_receive(self: Channel, *kinds: str) -> Message:
        message = receive(self, *kinds)
        die_or_not()
        return message

    Channel.send = counted_send  # type: ignore[method-assign]
    Channel.receive = counted_receive  # type: ignore[method-assign]


if __name__ == "__main__":
    with open(os.environ[NUMBER], encoding="ascii") as file:
        number = file.read().strip()
    if number and VARIABLE in os.environ:
        count_down(int(number))
    sys.exit(launcher.main())
