"""Both sides at once: packets on two processors, and flows that come and go under them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel import layout
from rtpproxy_tw.media.kernel.program import ETHERNET
from tests.kernel.bench_program import Bench, new_bench
from tests.kernel.frames import Datagram, rtp

pytestmark = pytest.mark.kernel

# What leaves is what came, so that one call can hand the same packet to the program many times.
LOCAL, PARTY = ("192.0.2.1", 35000), ("192.0.2.9", 40000)
FRAME = bytes(Datagram(PARTY, LOCAL, rtp(1)))

RUNS = 20_000


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = new_bench()
    yield made
    made.close()


def send(bench: Bench, times: int) -> threading.Thread:
    """Packets from another thread, which needs no turn of the interpreter meanwhile."""
    program = bench.program.programs[ETHERNET]
    thread = threading.Thread(target=bpf.run, args=(program, FRAME), kwargs={"times": times})
    thread.start()
    return thread


def rounds(bench: Bench) -> Iterator[None]:
    """Fifty rounds at least, while packets come; however seldom this thread gets its turn."""
    made = 0
    while made < 50:
        thread = send(bench, 10 * RUNS)
        while thread.is_alive():
            yield
            made += 1
        thread.join()


def test_every_packet_is_counted_once_on_however_many_processors(bench: Bench) -> None:
    slot = bench.flow(LOCAL, PARTY, PARTY, LOCAL)
    for thread in [send(bench, RUNS) for _ in range(4)]:
        thread.join()
    sample = bench.sample(slot)
    assert sample.packets + sample.handed_up == 4 * RUNS
    assert sample.octets == 32 * sample.packets
    assert (sample.rtp.received, sample.rtp.duplicates) == (1, sample.packets - 1)


def test_final_counters_are_final(bench: Bench) -> None:
    counted = 0
    while not counted:
        for _ in rounds(bench):
            slot = bench.flow(LOCAL, PARTY, PARTY, LOCAL)
            for _ in range(50):
                bench.table.traffic(slot)
            final = bench.table.remove(slot)
            now = bench.table._whole(slot)
            # A packet that had found the slot before may still look in: it only shows as busy.
            assert now[16:] == final[16:]
            sample = layout.unpack_sample(final)
            assert sample.rtp.received + sample.rtp.duplicates == sample.packets
            counted += sample.packets


def test_samples_taken_meanwhile_hold_together(bench: Bench) -> None:
    slot = bench.flow(LOCAL, PARTY, PARTY, LOCAL)
    torn = looked = 0
    for _ in rounds(bench):
        sample = bench.sample(slot)
        looked += 1
        torn += sample.octets != 32 * sample.packets
    # A stream without any pause may be caught in the act; a real one never is.
    assert torn <= looked // 2


def test_a_changed_description_is_never_half_used(bench: Bench) -> None:
    slot = bench.flow(LOCAL, PARTY, PARTY, LOCAL)
    now = bench.table._whole(slot)
    description = layout.Halves(
        now[layout.DESCRIPTION_AT :][: layout.DESCRIPTION.size],
        now[layout.SLOT_SIZE :][: layout.REST_DESCRIPTION.size],
    )
    while not bench.sample(slot).packets:  # on a busy machine all may fall between two changes
        for _ in rounds(bench):
            bench.table.change(slot, description)
    sample = bench.sample(slot)
    assert sample.rtp.received + sample.rtp.duplicates == sample.packets
