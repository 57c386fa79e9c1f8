"""Keeping the program's table of neighbours as the kernel's own is: by its news, at once."""

from __future__ import annotations

from collections.abc import Mapping, Set

from twisted.logger import Logger

from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel import netlink
from rtpproxy_tw.media.kernel import rtnetlink as rt
from rtpproxy_tw.media.kernel.hops import Hops, Key
from rtpproxy_tw.media.kernel.layout import Hop


class Neighbours:
    """The neighbours of all flows. ``hears`` is False once no news come any more."""

    _log = Logger()

    def __init__(self, table: bpf.Map, requests: rt.Requests) -> None:
        """Raises OSError."""
        self._requests = requests
        self._memory = table.map()
        self._words = memoryview(self._memory).cast("Q")
        self._hops = Hops(self._words)
        self._kinds: dict[int, int] = {}
        self.hears = True

    def take(self, hop: Hop) -> int:
        """The place of one more flow that goes that way; 0: the kernel finds it for each packet."""
        key = self._key(hop)
        if key is None:
            return 0
        known = key in self._hops
        place = self._hops.take(key)
        if place and not known:
            self._ask(key)
        return place

    def leave(self, hop: Hop, place: int) -> None:
        """A flow that had got ``place`` goes that way no more."""
        if place:
            assert hop.via is not None, "only a neighbour has a place"
            self._hops.leave((hop.device, hop.via))

    def _key(self, hop: Hop) -> Key | None:
        """Only packets of Ethernet devices have a header that the program can write."""
        if hop.via is None or hop.local or self._kinds.get(hop.device) != rt.ETHERNET:
            return None
        return hop.device, hop.via

    def _ask(self, key: Key) -> None:
        if not self.hears:
            return
        try:
            address = self._requests.neighbour(*key)
        except OSError:
            return  # from Linux 5.0 on there is an answer, and news come all the same
        self._hops.learn(rt.Neighbour(*key, address))

    def follow(self, links: Mapping[int, rt.Link]) -> None:
        """These are the devices."""
        self._kinds = {device: link.kind for device, link in links.items()}
        self._hops.own_only(
            {it.device: it.address for it in links.values() if it.kind == rt.ETHERNET}
        )

    def across(self, devices: Set[int]) -> None:
        """By these devices, and no others, packets go right to the other end."""
        self._hops.across(devices)

    def heard(self, message: netlink.Message) -> None:
        """Something has changed."""
        match message.kind:
            case rt.NEW_NEIGHBOUR:
                told = rt.parse_neighbour(message.body)
                if told is not None:
                    self._hops.learn(told)
            case rt.DEL_NEIGHBOUR:
                told = rt.parse_neighbour(message.body)
                if told is not None:
                    self._hops.learn(told._replace(address=b""))
            case rt.NEW_LINK:
                link = rt.parse_link(message.body)
                if link.kind == rt.ETHERNET and link.address:
                    self._hops.own(link.device, link.address)
            case rt.DEL_LINK:
                self._hops.own(rt.parse_link(message.body).device, b"")

    def missed(self, hears: bool) -> None:
        """There were news that did not come here; ``hears``: whether others will."""
        self._hops.forget()
        self.hears = hears
        self.refresh()

    def refresh(self) -> None:
        """Look at all of them. What is written here by mistake lasts no longer than to this."""
        if not self.hears:
            return
        try:
            self._hops.learn_all(self._requests.neighbours())
        except OSError as error:
            self._hops.forget()
            self._log.warn("cannot look at neighbours: {error}", error=error)

    def close(self) -> None:
        """Unmap. Idempotent."""
        self._words.release()
        self._memory.close()
