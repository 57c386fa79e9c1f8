"""A whole relay that learns its address from a STUN server, and that server's mind changes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from rtpproxy_tw import advertiser, stun
from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import ControlAddress, Settings
from tests.test_tap import Running

pytestmark = pytest.mark.network


class Server:
    """A STUN server that says what it is told to say."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.address: tuple[str, int] = self.socket.getsockname()

    def serve(self, host: str) -> bool:
        """Answer what has come; whether anything had."""
        try:
            octets, client = self.socket.recvfrom(1500)
        except BlockingIOError:
            return False
        _, transaction, _ = stun.parse(octets)
        self.socket.sendto(stun.response(transaction, (host, client[1])), client)
        return True


@pytest.fixture
def server() -> Iterator[Server]:
    """Closed at the end."""
    made = Server()
    yield made
    made.socket.close()


def until_served(relay: Running, server: Server, host: str) -> None:
    """Let the relay ask and hear the answer."""
    for _ in range(2000):
        relay.turn(1)
        if server.serve(host):
            relay.turn(20)
            return
    raise AssertionError("the relay has not asked")


def test_replies_name_what_the_server_sees_and_then_what_it_sees_next(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New calls, and re-INVITEs of old ones; the timeline tells of the change."""
    monkeypatch.setattr(advertiser, "EVERY", 0.05)
    told = f"stun:127.0.0.1:{server.address[1]}"
    relay = Running(
        Settings(
            control=(ControlAddress("udp", "127.0.0.1", 0),),
            addresses=LocalAddresses((LocalAddress("127.0.0.1", told),)),
            fast_path="none",
        )
    )
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        until_served(relay, server, "198.51.100.7")
        client.connect(("127.0.0.1", relay.ports()[0]))
        assert b" 198.51.100.7" in relay.ask(client, b"1 U call 127.0.0.1 5000 from")
        until_served(relay, server, "198.51.100.8")
        assert b" 198.51.100.8" in relay.ask(client, b"2 U call 127.0.0.1 5000 from")
        assert b" 198.51.100.8" in relay.ask(client, b"3 U other 127.0.0.1 5000 from")
        (session,) = relay.relay.registry.of_call("call")
        assert [entry.text for entry in session.timeline if entry.kind == "address"] == [
            "the relay is at 198.51.100.8 now, no longer at 198.51.100.7"
        ]
    finally:
        client.close()
        relay.stop()
