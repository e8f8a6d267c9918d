import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.rotations import axis_angle_to_matrix, matrix_to_rotation_6d
from common.labels import LABEL_SIZE, ROTATION_SCALE, group_slices
from sender.semantics.facing import FacingResolver, turn_between
from sender.semantics.smoothing import LabelSmoother

FPS = 30
ROOT, ARM, SHAPE = (group_slices()[name] for name in ("root", "left_arm", "shape"))


def person(heading: float, arm: float = 0.0) -> FloatArray:
    """Labels (104,) of a person who faces `heading`, degrees from the camera; `arm` is the pose of the left arm."""
    turn = axis_angle_to_matrix(torch.tensor([[0.0, np.radians(heading), 0.0]], dtype=torch.float32))
    labels = np.zeros(LABEL_SIZE, np.float32)
    labels[ROOT.start : ROOT.start + 6] = matrix_to_rotation_6d(turn)[0].numpy() / ROTATION_SCALE
    labels[ARM] = arm
    return labels


def resolved(headings: list[float]) -> list[float]:
    """Which heading is published in each frame, of those that were seen."""
    resolver = FacingResolver()
    out = []
    for index, heading in enumerate(headings):
        labels = resolver.resolve(0, index / FPS, person(heading))
        out.append(min(set(headings), key=lambda other: turn_between(labels, person(other))))
    return out


@pytest.mark.parametrize("angle", [0.0, 30.0, 170.0])
def test_turn_is_the_angle_between_headings(angle: float) -> None:
    assert turn_between(person(20), person(20 + angle)) == pytest.approx(np.radians(angle), abs=1e-3)


def test_frames_from_behind_in_between_are_not_believed() -> None:
    seen = [0.0] * 5 + [180.0] * 4 + [0.0] * 3 + [180.0, 0.0, 180.0, 180.0, 0.0]
    assert resolved(seen) == [0.0] * len(seen)


def test_frames_that_agree_long_enough_are_believed() -> None:
    published = resolved([0.0] * 5 + [180.0] * 10)
    assert published[:11] == [0.0] * 11
    assert published[12:] == [180.0] * 3


def test_person_who_turns_once_around_is_followed_without_delay() -> None:
    headings = [12.0 * step for step in range(31)]
    resolver = FacingResolver()
    for index, heading in enumerate(headings):
        labels = person(heading)
        assert resolver.resolve(0, index / FPS, labels) is labels


def test_limbs_are_kept_with_the_orientation_and_the_rest_is_new() -> None:
    resolver = FacingResolver()
    resolver.resolve(0, 0.0, person(0, arm=0.5))
    seen = person(180, arm=-2.0)
    seen[ROOT.stop - 1], seen[SHAPE] = 1.5, 0.7
    kept = resolver.resolve(0, 1 / FPS, seen)
    assert (kept[ARM] == 0.5).all() and kept[ROOT.stop - 1] == 1.5 and (kept[SHAPE] == np.float32(0.7)).all()
    assert (seen[ARM] == -2.0).all()
    # Another person, and the same one when forgotten, are taken as they are seen.
    np.testing.assert_array_equal(resolver.resolve(1, 1 / FPS, seen), seen)
    resolver.forget(0)
    np.testing.assert_array_equal(resolver.resolve(0, 2 / FPS, seen), seen)


def test_smoother_passes_no_flicker_and_forgets_after_a_gap() -> None:
    smoother = LabelSmoother()
    rows = [smoother.smooth(0, index / FPS, person(180.0 if index in (7, 8) else 0.0)) for index in range(12)]
    assert max(turn_between(row, person(0)) for row in rows) < np.radians(5)
    assert turn_between(smoother.smooth(0, 5.0, person(180)), person(180)) < np.radians(1)
