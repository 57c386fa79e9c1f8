"""The survey of slots, against one that looks at each flow by itself."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpproxy_tw.media.kernel import layout, survey
from rtpproxy_tw.media.kernel.path import FlowId, Glance, Upto
from rtpproxy_tw.media.kernel.survey import GlanceSurvey, SlotSurvey

WORDS = layout.SLOT_SIZE // 8
SLOTS = 7
FIRST = 10
"""Its first packet's number; before that nobody asks whether a flow goes on."""

STEPS = st.lists(
    st.dictionaries(
        st.integers(0, SLOTS - 1),
        st.sampled_from(["on", "lost", "late", "twice", "lost and twice", "source", "odd", "new"]),
    ),
    max_size=12,
)


class Slots:
    """Some slots with RTP, and what happens to them."""

    def __init__(self) -> None:
        self.words = memoryview(array("Q", bytes(SLOTS * layout.SLOT_SIZE)))
        for slot in range(SLOTS):
            self.clear(slot)

    def __getitem__(self, place: tuple[int, int]) -> int:
        word: int = self.words[place[0] * WORDS + place[1]]
        return word

    def __setitem__(self, place: tuple[int, int], value: int) -> None:
        self.words[place[0] * WORDS + place[1]] = value % (1 << 64)

    def hear(self, slot: int, what: str) -> None:
        packets, numbers, received = {
            "on": (3, 3, 3),
            "lost": (2, 3, 2),
            "late": (1, 0, 1),
            "twice": (1, 0, 0),
            "lost and twice": (2, 2, 1),
        }.get(what, (0, 0, 0))
        self[slot, layout.PACKETS] += packets
        self[slot, layout.HIGHEST] += numbers
        self[slot, layout.RECEIVED] += received
        self[slot, layout.SOURCE] += what == "source"
        self[slot, layout.UNUSUAL] += what == "odd"

    def clear(self, slot: int) -> None:
        for word in survey._COLUMNS:
            self[slot, word] = 0
        self[slot, layout.HIGHEST] = FIRST

    def glance(self, slot: int) -> Glance:
        return (
            *(self[slot, layout.PACKETS], 0, 0),
            *(self[slot, layout.UNUSUAL], self[slot, layout.SOURCE]),
            *(self[slot, layout.HIGHEST], self[slot, layout.RECEIVED]),
        )


@pytest.mark.parametrize("portion", [1, 3, SLOTS, 1024])
@given(steps=STEPS)
def test_columns_tell_what_glances_tell(portion: int, steps: list[dict[int, str]]) -> None:
    """Of flows that have been there before; and packets are the same of all."""
    slots, glances = Slots(), GlanceSurvey()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "PORTION", portion)
        columns = SlotSurvey(slots.words)
        known: dict[int, FlowId] = {}
        for number, step in enumerate([dict.fromkeys(range(SLOTS), "new"), *steps]):
            for slot, what in step.items():
                if what == "new":
                    if slot in known:
                        columns.count(slot, slots[slot, layout.PACKETS])
                        glances.forget(known.pop(slot))
                    slots.clear(slot)
                    columns.begin(slot)
                    known[slot] = FlowId(number * SLOTS + slot)
                else:
                    slots.hear(slot, what)
            fresh, stirred = 0, dict[int, Upto]()
            for packets, some in columns.look():
                fresh += packets
                stirred |= some
            told_now = {id: slots.glance(slot) for slot, id in known.items()}
            expected = [*glances.look(told_now, told_now.get)]
            assert fresh == sum(it.packets for it in expected)
            told = {id: to for it in expected for id, to in it.stirred.items()}
            old = {
                slot for slot, what in step.items() if what != "new"
            } | known.keys() - step.keys()
            for slot, id in known.items():
                if slot in old:
                    assert stirred.get(slot) == told.get(id), (number, slot)


def test_flows_that_go_between_two_steps_are_not_counted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(survey, "FLOWS", 1)
    glances, known = GlanceSurvey(), {FlowId(1): 5, FlowId(2): 7}
    steps = glances.look(known, lambda id: (known[id], 0, 0, 0, 0) if id in known else None)
    assert next(steps).packets == 5
    assert glances.count(FlowId(2), 7) == 7
    glances.forget(FlowId(2))
    del known[FlowId(2)]
    assert [*steps] == [(0, {})]
    assert not glances._counted.keys() - known.keys()


def test_a_portion_is_looked_at_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "PORTION", 3)
    slots = Slots()
    columns = SlotSurvey(slots.words)
    assert not [*columns.look()]
    columns.begin(SLOTS - 1)
    assert len([*columns.look()]) == 3


def test_what_nobody_has_asked_for_is_not_counted() -> None:
    slots = Slots()
    columns = SlotSurvey(slots.words)
    for slot in range(3):
        slots.hear(slot, "on")
        columns.skip(slot)
    ((packets, _),) = columns.look()
    assert packets == 0
    columns.begin(1)
    assert columns.count(1, 3) == 3
    for slot in range(3):
        slots.hear(slot, "on")
    ((packets, _),) = columns.look()
    assert packets == 3
