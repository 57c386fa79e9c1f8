"""What tests of the configuration share: a machine of their own, and settings in one call."""

from __future__ import annotations

import shlex
import socket

from rtpproxy_tw.configuration.configure import configure
from rtpproxy_tw.configuration.host import Host
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.configuration.switches import read_arguments

DEFAULT_SOCKET = "/run/test/rtpproxy.sock"


class FakeHost(Host):
    """A machine that knows two names, the users root and daemon, and the group daemon."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def resolve(self, name: str, family: int, *, numeric: bool) -> str:
        """media.test is on 192.0.2.7, six.test on 2001:db8::7."""
        self.asked.append(name)
        known: dict[tuple[str, int], str] = {
            ("media.test", socket.AF_INET): "192.0.2.7",
            ("six.test", socket.AF_INET6): "2001:db8::7",
        }
        if numeric or (name, family) not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        return known[name, family]

    def check_user(self, name: str) -> None:
        """Only two of them."""
        if name not in ("root", "daemon"):
            raise KeyError(name)

    def check_group(self, name: str) -> None:
        """Only one."""
        if name != "daemon":
            raise KeyError(name)

    def default_socket(self) -> str:
        """Always the same."""
        return DEFAULT_SOCKET


def settings(line: str = "", host: Host | None = None) -> Settings:
    """The settings that a command line gives."""
    return configure(read_arguments(shlex.split(line)), host or FakeHost()).settings


def notes(line: str) -> tuple[str, ...]:
    """The remarks on a command line."""
    return configure(read_arguments(shlex.split(line)), FakeHost()).notes
