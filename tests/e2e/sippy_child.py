"""A program around the rtpproxy client classes of the sippy package, driven line by line.

``python sippy_child.py SOCKET CALLER_SDP CALLEE_SDP CALLER_HOST CALLEE_HOST [NOTIFY_SOCKET]``

It prints ``online`` once its client is; then each word read from standard input is done and
answered by one JSON line ``{"word": ..., "result": ...}``. sippy has an event loop of its own,
hence a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from threading import Thread
from typing import Any

from sippy.CLIManager import CLIConnectionManager
from sippy.Core.EventDispatcher import ED2
from sippy.MsgBody import MsgBody
from sippy.Rtp_proxy.client import Rtp_proxy_client
from sippy.Rtp_proxy.session import Rtp_proxy_session
from sippy.Time.Timeout import Timeout


def report(word: str, result: object) -> None:
    """Tell the test."""
    print(json.dumps({"word": word, "result": result}), flush=True)


class Conversation:
    """What the words mean."""

    def __init__(self, arguments: list[str]) -> None:
        socket, caller_sdp, callee_sdp, self._caller, self._callee, *notify = arguments
        self._sdps = {"caller": caller_sdp, "callee": callee_sdp}
        self._config: dict[str, Any] = {"_sip_address": self._caller, "my_pid": os.getpid()}
        self._client: Any = Rtp_proxy_client(self._config, spath=socket)
        self._config["rtp_proxy_client"] = self._client
        self._session: Any = None
        if notify:
            self._client.notify_socket = notify[0]
            self._listener = listener(notify[0])
        self._waiting: Any = Timeout(self._look, 0.05, -1)

    def _look(self) -> None:
        if self._client.online:
            self._waiting.cancel()
            names = ("copy", "stat", "tnot", "sbind", "wdnt", "copy_p")
            report("online", {name: getattr(self._client, f"{name}_supported") for name in names})

    def say(self, word: str) -> None:
        """Do what ``word`` asks for."""
        match word:
            case "create":
                self._session = Rtp_proxy_session(self._config, notify_tag="r%201")
                # The B2BUA names the address its rewritten SDP goes to.
                self._session.caller.raddress = (self._callee, 5060)
                self._session.callee.raddress = (self._caller, 5060)
                report(word, None)
            case "caller":
                self._session.on_caller_sdp_change(self._body(word), self._rewritten(word))
            case "callee":
                self._session.on_callee_sdp_change(self._body(word), self._rewritten(word))
            case "stats":
                self._session.stats(lambda result: report(word, result))
            case "heartbeat":
                report(word, self._client.active_sessions)
            case "delete":
                self._session.delete()
                report(word, None)
            case "end":
                self._client.shutdown()
                ED2.breakLoop()

    def _body(self, side: str) -> Any:
        return MsgBody(Path(self._sdps[side]).read_bytes().decode())

    def _rewritten(self, side: str) -> Any:
        def done(body: Any, ex: Exception | None = None) -> None:
            report(side, str(body) if ex is None else repr(ex))

        return done


def listener(socket: str) -> Any:
    """sippy's own listener for notifications at ``socket``."""

    def heard(connection: Any, line: str) -> None:
        report("notified", line)
        connection.send("OK\n")
        connection.close()

    kind, _, address = socket.partition(":")
    if kind == "unix":
        return CLIConnectionManager(heard, address)
    host, _, port = address.rpartition(":")
    return CLIConnectionManager(heard, (host, int(port)), tcp=True)


def main() -> None:
    """Converse until told to end."""
    conversation = Conversation(sys.argv[1:])

    def read() -> None:
        for line in sys.stdin:
            ED2.callFromThread(conversation.say, line.strip())

    Thread(target=read, daemon=True).start()
    ED2.loop()


if __name__ == "__main__":
    main()
