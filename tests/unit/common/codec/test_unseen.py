"""What nobody sees: it is sent once, rests, and costs nothing, whatever packets are lost."""

from dataclasses import replace

import numpy as np
import pytest

from common.arrays import FloatArray
from common.codec.frame_state import DecodedFrame
from common.frames import LabelFrame, unseen_groups
from common.labels import GROUP_NAMES, OPTIONAL_GROUPS, group_slices
from tests.support.motion.label_motion import FINE_RHO, frame_of, moving_labels, person, transmit

LEGS = frozenset({"left_leg", "right_leg"})


def hiding(motion: FloatArray, hidden: range, groups: frozenset[str] = LEGS) -> list[LabelFrame]:
    """A clip in which groups are unseen for some frames."""
    shown = [replace(person(row), confidence=dict.fromkeys(GROUP_NAMES, 0.8)) for row in motion]
    unseen = [replace(each, confidence={**each.confidence, **dict.fromkeys(groups, 0.0)}) for each in shown]
    return [frame_of(t, (unseen if t in hidden else shown)[t]) for t in range(len(motion))]


def legs(decoded: DecodedFrame) -> FloatArray:
    return np.concatenate([decoded.frame.people[0].labels[name] for name in sorted(LEGS)])


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_unseen_groups_are_sent_once_and_rest(lag: int) -> None:
    frames = hiding(moving_labels(60, seed=1), range(20, 40))
    results = transmit(frames, FINE_RHO, lag)
    for frame, (_, decoded) in zip(frames, results, strict=True):
        assert unseen_groups(decoded.frame.people[0]) == unseen_groups(frame.people[0])
    sent = [
        frame.sequence
        for frame, (encoded, _) in zip(frames, results, strict=True)
        if "left_leg" in encoded.bytes_by_group
    ]
    assert sent == [*range(20 + lag), *range(40, 60)], "until the receiver is known to have them"
    assert all(not LEGS & decoded.rho.keys() for _, decoded in results[20 + lag : 40])
    at_rest = [legs(decoded) for _, decoded in results[20 + lag - 1 : 40]]
    assert all((each == at_rest[0]).all() for each in at_rest)
    means = np.concatenate([frames[20 + lag - 1].people[0].labels[name] for name in sorted(LEGS)])
    assert np.abs(at_rest[0] - means).max() < 0.5, "coarse"
    again = np.concatenate([frames[40].people[0].labels[name] for name in sorted(LEGS)])
    assert np.abs(legs(results[40][1]) - again).max() < 0.2


def test_unseen_group_that_moves_far_is_sent_again_at_most_once_a_second() -> None:
    still = np.repeat(moving_labels(1, seed=3), 200, axis=0)
    drifting = still.copy()
    drifting[:, group_slices()["left_leg"]] += np.linspace(0, 12, 200, dtype=np.float32)[:, None]
    for motion, times in ((still, 0), (drifting, 6)):
        frames = hiding(motion, range(200))
        results = transmit(frames, FINE_RHO)
        sent = [t for t, (encoded, _) in enumerate(results) if t > 5 and "left_leg" in encoded.bytes_by_group]
        assert len(sent) in (times, times - 1) and (np.diff(sent) >= 30).all()
        off = frames[-1].people[0].labels["left_leg"] - results[-1][1].frame.people[0].labels["left_leg"]
        assert np.abs(off).max() < 3.5


def test_confidence_of_a_limb_that_is_seen_is_never_zero() -> None:
    (frame,) = [frame_of(0, replace(person(moving_labels(1, seed=6)[0]), confidence=dict.fromkeys(GROUP_NAMES, 0.01)))]
    ((_, decoded),) = transmit([frame], FINE_RHO)
    assert unseen_groups(decoded.frame.people[0]) == set(OPTIONAL_GROUPS)
    assert decoded.frame.people[0].confidence["left_leg"] == 1 / 15
