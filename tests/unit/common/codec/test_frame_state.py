from dataclasses import replace

import numpy as np

from common.codec.frame_state import SLOW_GROUPS, with_newer
from common.codec.person import PersonState, unknown_person
from common.codec.tables import load
from common.labels import GROUP_NAMES, LABEL_SIZE, group_slices

SHAPE, TORSO = GROUP_NAMES.index("shape"), GROUP_NAMES.index("torso")


def state_of(value: int, velocity: int = 0, **updated: int) -> PersonState:
    """A state with all groups of frame 0, or as `updated`."""
    sent = np.array([updated.get(name, 0) for name in GROUP_NAMES])
    return replace(
        unknown_person(load()),
        values=np.full(LABEL_SIZE, value),
        velocity=np.full(LABEL_SIZE, velocity),
        age=np.ones(LABEL_SIZE, dtype=np.int64),
        level=np.zeros(len(GROUP_NAMES), dtype=np.int64),
        updated=sent,
    )


def test_only_groups_that_were_sent_later_are_taken() -> None:
    merged = with_newer(state_of(1, shape=3, torso=5), state_of(2, shape=4, torso=4), 0)
    assert set(merged.values[group_slices()["shape"]]) == {2}
    assert set(np.delete(merged.values, np.arange(9, 19))) == {1}
    assert (merged.updated[SHAPE], merged.updated[TORSO]) == (4, 5)


def test_groups_can_be_limited_by_kind_and_age() -> None:
    before, other = state_of(1), state_of(2, shape=4, torso=4)
    assert with_newer(before, other, 0, SLOW_GROUPS).updated[TORSO] == 0
    assert with_newer(before, other, 0, SLOW_GROUPS).updated[SHAPE] == 4
    assert with_newer(before, other, 0, oldest=5) is before
    assert with_newer(before, None, 0) is before
