"""Kamailio with its rtpproxy module, as a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from tests.e2e import loopback
from tests.e2e.process import Process, wait_until

EXAMPLES = Path(__file__).parent.parent.parent / "packaging" / "examples"

CONFIG = EXAMPLES / "kamailio.cfg"

PROGRAM = shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""Where it is installed; None: it is not, or without the rtpproxy module."""

_PING = (
    "OPTIONS sip:{proxy} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP {me};branch=z9hG4bKping\r\n"
    "From: <sip:ping@{me}>;tag=ping\r\n"
    "To: <sip:{proxy}>\r\n"
    "Call-ID: ping@{me}\r\n"
    "CSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 1\r\n"
    "Content-Length: 0\r\n\r\n"
)


class Kamailio(Process):
    """A proxy at ``host`` with our configuration; the rest are the settings at its top."""

    def __init__(
        self,
        folder: Path,
        relays: str,
        *,
        flags: str = "co",
        retry_after: int = 60,
        host: str = loopback.PROXY,
    ) -> None:
        assert PROGRAM is not None
        self.host = host
        work = folder / f"kamailio-{host}"
        work.mkdir(exist_ok=True)
        argv = [PROGRAM, "-DD", "-E", "-f", str(CONFIG), "-w", str(work), "-Y", str(work)]
        argv += ["-P", str(work / "pid"), "-m", "32", "-M", "4", "-n", "2"]
        argv += ["-l", f"udp:{host}:{loopback.SIP_PORT}"]
        argv += ["-A", f'RELAYS="{relays}"', "-A", f'FLAGS="{flags}"']
        argv += ["-A", f"RETRY_AFTER={retry_after}"]
        super().__init__(argv, folder / f"kamailio-{host}.log")
        try:
            wait_until(lambda: not self.running or self._answers(), "Kamailio answers", 20)
            assert self.running
        except AssertionError:
            self.kill()
            raise AssertionError(f"Kamailio did not start:\n{self.printed()}") from None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.2)
            sock.connect((self.host, loopback.SIP_PORT))
            me = "{}:{}".format(*sock.getsockname())
            try:
                sock.send(_PING.format(proxy=f"{self.host}:{loopback.SIP_PORT}", me=me).encode())
                return sock.recv(2048).startswith(b"SIP/2.0 200 ")
            except OSError:
                return False
