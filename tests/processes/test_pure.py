"""What is said between relay and media processes, and what a lane foresees, without either."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.media.kernel.path import RtpState
from rtpproxy_tw.media.processes import layout
from rtpproxy_tw.media.processes.layout import Lane, Published

numbers = st.integers(min_value=0, max_value=(1 << 62) - 1)
words = st.integers(min_value=0, max_value=(1 << 32) - 1)
reals = st.floats(min_value=0, max_value=1e15)
states = st.builds(
    RtpState,
    received=numbers,
    duplicates=numbers,
    errors=numbers,
    ssrc=st.none() | words,
    ssrc_changes=numbers,
    payload_type=st.none() | st.integers(min_value=0, max_value=127),
    earlier=numbers,
    offset=numbers,
    lowest=st.integers(min_value=-70_000, max_value=1 << 40),
    highest=st.integers(min_value=-1, max_value=1 << 40),
    seen=st.integers(min_value=0, max_value=layout.WINDOW),
    jitter_last=reals,
    jitter_peak=reals,
    jitter_total=reals,
    jitter_samples=numbers,
    source_samples=numbers,
    clock_rate=words,
    ticks=numbers,
    timestamp=words,
    recent=st.lists(words, max_size=layout.RECENT).map(tuple),
)
addresses = st.tuples(
    st.sampled_from(["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"]),
    st.integers(min_value=1, max_value=65535),
)


@given(st.builds(Published, numbers, reals, numbers, numbers, numbers, states))
def test_what_is_published_is_what_is_read_and_fits_its_slot(told: Published) -> None:
    octets = layout.pack_published(told)
    assert layout.unpack_published(octets) == told
    assert len(octets) <= layout.SLOT_SIZE - layout.PUBLISHED_AT


@given(st.builds(Lane, numbers, words, words, words, st.just(15), addresses, addresses, states))
def test_a_lane_arrives_as_it_was_sent(lane: Lane) -> None:
    message = layout.pack_add(lane)
    assert message[0] == layout.ADD
    assert layout.unpack_add(message) == lane


@given(st.lists(numbers))
def test_flows_are_named_whole(ids: list[int]) -> None:
    assert layout.unpack_ids(layout.pack_ids(layout.DROP, ids)) == tuple(ids)


@given(numbers, addresses, st.binary(max_size=65507))
def test_a_strangers_datagram_is_told_whole(
    id: int, source: tuple[str, int], datagram: bytes
) -> None:
    message = layout.pack_stranger(id, source, datagram)
    assert layout.unpack_stranger(message) == (id, source, datagram)
    assert len(message) <= layout.LONGEST


def test_a_media_process_knows_no_twisted() -> None:
    """It is small, and there again at once."""
    said = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys, rtpproxy_tw.media.processes.worker\n"
            "print([name for name in sys.modules if name.startswith(('twisted', 'zope'))])",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said == "[]\n"
