"""Which addresses the host has, and that whoever asked is told of changes by a real kernel."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any

import pytest

from rtpproxy_tw.host_addresses import HostAddresses
from tests.kernel.network import Namespace, Pump, require_namespaces


def test_without_the_kernels_word_it_is_asked_each_time() -> None:
    answers = [[ip_interface("192.0.2.1/24")], []]
    addresses = HostAddresses(None, lambda: None, lambda: answers.pop(0))
    assert addresses.has("192.0.2.1")
    assert not addresses.has("192.0.2.1")
    assert addresses.has("127.0.7.7")


def test_where_the_kernel_does_not_answer_every_address_is_taken_to_be_here() -> None:
    def silent() -> list[Any]:
        raise OSError("no")

    assert HostAddresses(None, lambda: None, silent).has("192.0.2.1")


@pytest.mark.kernel
def test_the_kernel_tells_of_an_address_that_comes_and_of_one_that_goes() -> None:
    require_namespaces()
    told: list[bool] = []
    pump = Pump()
    space = Namespace("addresses")
    try:
        with space:
            addresses = HostAddresses(pump, lambda: told.append(addresses.has("192.0.2.1")))
            addresses.startService()
            assert not addresses.has("192.0.2.1")
            space.ip("addr add 192.0.2.1/32 dev lo")
            pump.run()
            space.ip("addr add 2001:db8::1/128 dev lo")
            pump.run()
            assert addresses.has("2001:db8::1")
            space.ip("addr del 192.0.2.1/32 dev lo")
            pump.run()
            addresses.stopService()
    finally:
        space.delete()
    assert (told[0], told[-1]) == (True, False)
    assert pump.readers == []
