"""Records in memory: after a death at any time the last whole ones are found, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtpproxy_tw.continuity.blocks import BLOCK, HEADER, Blocks, read

Step = tuple[int, bytes | None]
"""A number and its record from then on; None: there is none any more."""

steps = st.lists(
    st.tuples(st.integers(0, 6), st.none() | st.binary(max_size=3 * BLOCK)), max_size=40
)


@contextmanager
def memory() -> Iterator[int]:
    """An empty file without a name."""
    descriptor = os.memfd_create("test")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def content(descriptor: int) -> bytes:
    """All of a file."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def written(descriptor: int, life: list[Step]) -> tuple[Blocks, dict[int, bytes]]:
    """A file that has seen something, and what it must have in the end."""
    blocks, model = Blocks(descriptor), dict[int, bytes]()
    for number, octets in life:
        if octets is None:
            blocks.drop(number)
            model.pop(number, None)
        else:
            blocks.put(number, octets)
            model[number] = octets
    return blocks, model


def found(octets: bytes) -> dict[int, bytes]:
    """What is read, by number."""
    return {each.number: each.octets for each in read(octets)}


@given(life=steps)
def test_the_latest_record_of_each_number_is_found(life: list[Step]) -> None:
    with memory() as descriptor:
        blocks, model = written(descriptor, life)
        assert found(content(descriptor)) == model
        assert len(blocks) == len(model)


@given(life=steps, octets=st.binary(max_size=3 * BLOCK), cut=st.integers(0, 4 * BLOCK))
@example(life=[(0, b""), (0, b""), (0, None)], octets=b"", cut=4)
def test_a_death_amid_writing_leaves_the_record_before(
    life: list[Step], octets: bytes, cut: int
) -> None:
    """So much of the new record has been written when the process dies."""
    with memory() as descriptor, pytest.MonkeyPatch.context() as patch:
        blocks, model = written(descriptor, [*life, (1, b"before")])
        before = content(descriptor)
        # The earlier record is given up last, so it is not yet.
        patch.setattr(Blocks, "drop", lambda self, number: None)
        blocks.put(1, octets)
        after = content(descriptor)
    before = before.ljust(len(after), b"\0")
    torn = bytearray(before)
    for at in [at for at in range(len(after)) if after[at] != before[at]][:cut]:
        torn[at] = after[at]
    seen = found(bytes(torn))
    assert seen.pop(1) in (b"before", octets)
    del model[1]
    assert seen == model


@given(life=steps, at=st.integers(0, 1 << 16), wrong=st.binary(min_size=1, max_size=64))
@settings(max_examples=300)
def test_damage_costs_the_damaged_records_only(life: list[Step], at: int, wrong: bytes) -> None:
    """Whatever is found is what was written, and what was not touched is found."""
    with memory() as descriptor:
        _, model = written(descriptor, life)
        octets = bytearray(content(descriptor))
    at %= max(1, len(octets))
    octets[at : at + len(wrong)] = wrong
    ever = {(number, each) for number, each in life if each is not None}
    assert {(number, each) for number, each in found(bytes(octets)).items()} <= ever
    spans = 2 + len(wrong) // BLOCK
    assert len(found(bytes(octets)).keys() & model.keys()) >= len(model) - spans


@given(st.binary(max_size=5 * BLOCK))
def test_any_octets_can_be_read(octets: bytes) -> None:
    assert found(octets) == {}
    assert found(HEADER.pack(b"RTWb", 0, 1, 1, 1 << 20, 3) + octets) == {}


def test_room_is_used_again() -> None:
    """A call that changes all day needs no more memory than one that has changed twice."""
    with memory() as descriptor:
        blocks = Blocks(descriptor)
        for number in range(1000):
            blocks.put(5, b"x" * (number % 400))
        assert blocks.octets == 2 * BLOCK
