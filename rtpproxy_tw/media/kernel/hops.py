"""Where the neighbours are, for the program to write Ethernet headers by itself. Pure.

==========  ====================================================================================
entry       of one neighbour on one device, for all flows that go there; counted by its users
place       what a slot has of it: where it is in the table, and its mark
mark        of one entry from its first user to its last. The program believes an address only
            with the slot's mark, so whatever else is at that place in the meantime, by a slot that
            has not heard of it or a process before us, is no address at all
valid       the kernel has an address and would send there
across      packets may go right to the other end of the pair of devices (veth) whose end this is
==========  ====================================================================================

A valid entry is what the kernel would do itself; all else (a neighbour being looked for, one that
does not answer, one nobody has heard of) is an entry without address, and the program asks the
kernel as it would without this table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass

from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.rtnetlink import Neighbour

MARKS = 0xFFFF
"""How many there are; 0 is none."""

OCTETS = 6
"""Of an Ethernet address. Devices with longer ones are left to the kernel."""

_WORDS = layout.HOP.size // 8
_TO, _FROM, _, _ACROSS = range(_WORDS)

Key = tuple[int, str]
"""Device and host."""


@dataclass(slots=True)
class _Entry:
    at: int
    mark: int
    users: int = 0
    address: bytes = b""


class Hops:
    """Entries in ``words``, the table's memory as words of eight octets."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._entries: dict[Key, _Entry] = {}
        self._own: dict[int, bytes] = {}
        self._across: Set[int] = frozenset()
        count = len(words) // _WORDS
        self._free = deque(range(1, count))
        for at in self._free:
            self._tell(at, 0, 0, 0)

    def __contains__(self, key: Key) -> bool:
        """Whether anybody uses that neighbour."""
        return key in self._entries

    def take(self, key: Key) -> int:
        """The place for one more user of the neighbour; 0 where there is no room."""
        entry = self._entries.get(key)
        if entry is None:
            if not self._free:
                return 0
            # The oldest one free, so that a mark is long gone when it comes again.
            entry = self._entries[key] = _Entry(self._free.popleft(), self._new_mark())
        entry.users += 1
        return entry.mark << 16 | entry.at

    def leave(self, key: Key) -> None:
        """One user less, of whom no packet is under way any more."""
        entry = self._entries[key]
        entry.users -= 1
        if not entry.users:
            del self._entries[key]
            self._tell(entry.at, 0, 0, 0)
            self._free.append(entry.at)

    def learn(self, told: Neighbour) -> None:
        """The kernel has a neighbour there, or none any more."""
        entry = self._entries.get((told.device, told.host))
        if entry is not None:
            entry.address = told.address
            self._write(told.device, entry)

    def learn_all(self, told: Iterable[Neighbour]) -> None:
        """These are all that the kernel has.

        The whole table is written anew, too: another process may have used it, a new relay that
        was to take over and could not, and nobody looks after what it has left.
        """
        addresses = {(it.device, it.host): it.address for it in told}
        for at in self._free:
            self._tell(at, 0, 0, 0)
        for key, entry in self._entries.items():
            entry.address = addresses.get(key, b"")
            self._write(key[0], entry)

    def own(self, device: int, address: bytes) -> None:
        """The device has that address itself; empty where it is no Ethernet device, or gone."""
        if self._own.get(device, b"") == address:
            return
        if address:
            self._own[device] = address
        else:
            del self._own[device]
        for (on, _), entry in self._entries.items():
            if on == device:
                self._write(device, entry)

    def own_only(self, addresses: dict[int, bytes]) -> None:
        """These are all devices that there are."""
        for gone in self._own.keys() - addresses.keys():
            self.own(gone, b"")
        for device, address in addresses.items():
            self.own(device, address)

    def across(self, devices: Set[int]) -> None:
        """By these devices, and no others, packets go right to the other end."""
        if devices == self._across:
            return
        changed, self._across = devices ^ self._across, devices
        for (on, _), entry in self._entries.items():
            if on in changed:
                self._write(on, entry)

    def forget(self) -> None:
        """Nothing is known of anybody."""
        self.learn_all(())

    def _write(self, device: int, entry: _Entry) -> None:
        own = self._own.get(device, b"")
        if len(entry.address) == len(own) == OCTETS:
            across = entry.mark << 48 | 1 if device in self._across else 0
            to, own_word = _marked(entry.address, entry.mark), _marked(own, entry.mark)
            self._tell(entry.at, to, own_word, across)
        else:
            self._tell(entry.at, 0, 0, 0)

    def _tell(self, at: int, to: int, own: int, across: int) -> None:
        """Each word is read by itself: the program may see the new one of one with the other's old
        one, but never a neighbour's address with that of a device it is not on."""
        words, base = self._words, at * _WORDS
        if words[base + _ACROSS] != across:
            words[base + _ACROSS] = across
        if words[base + _FROM] != own:
            words[base + _TO] = 0
            words[base + _FROM] = own
        if words[base + _TO] != to:
            words[base + _TO] = to

    def _new_mark(self) -> int:
        """Counted where nobody has an entry, for all processes that use the table."""
        mark = self._words[0] = self._words[0] % MARKS + 1
        return mark


def _marked(address: bytes, mark: int) -> int:
    return mark << 48 | int.from_bytes(address, "little")
