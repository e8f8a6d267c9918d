from collections.abc import Sequence

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.model import axis_angle_to_matrix, matrix_to_rotation_6d
from common.labels import LABEL_SIZE, ROTATION_SCALE, group_slices
from sender.semantics.smoothing import Facing, FacingResolver, Filtered, LabelSmoother, turn_between

FPS = 30
ROOT, ARM, SHAPE = (group_slices()[name] for name in ("root", "left_arm", "shape"))


def person(heading: float, arm: float = 0.0) -> FloatArray:
    """Labels (104,) of a person who faces `heading`, degrees from the camera; `arm` is the pose of the left arm."""
    turn = axis_angle_to_matrix(torch.tensor([[0.0, np.radians(heading), 0.0]], dtype=torch.float32))
    labels = np.zeros(LABEL_SIZE, np.float32)
    labels[ROOT.start : ROOT.start + 6] = matrix_to_rotation_6d(turn)[0].numpy() / ROTATION_SCALE
    labels[ARM] = arm
    return labels


def judged(headings: Sequence[float]) -> str:
    """What each frame says, as its initial, when what is shown follows at once."""
    resolver, shown, out = FacingResolver(), person(headings[0]), ""
    for index, heading in enumerate(headings):
        facing = resolver.judge(index / 32, person(heading), shown, (index - 1) / 32)
        shown = shown if facing is Facing.WAITS else person(heading)
        out += facing.name[0]
    return out


def published(headings: Sequence[float], fps: float = FPS) -> list[float]:
    """By how much what the smoother shows is turned from each heading, degrees."""
    smoother, filtered = LabelSmoother(), Filtered()
    rows = [smoother.smooth(filtered, index / fps, person(heading)) for index, heading in enumerate(headings)]
    return [float(np.degrees(turn_between(row, person(heading)))) for row, heading in zip(rows, headings, strict=True)]


def test_frames_from_behind_in_between_are_not_believed() -> None:
    assert judged([0] * 5 + [180] * 4 + [0] * 3 + [180, 0, 180, 180, 0]) == "FFFFFWWWWFFFWFWWF"


def test_frames_that_agree_long_enough_are_believed() -> None:
    assert judged([0] * 5 + [180] * 10) == "FFFFF" + "WWWWWWWTFF"
    # A third pose is another one.
    assert judged([0] * 5 + [180] * 4 + [100] * 10) == "FFFFF" + "WWWW" + "WWWWWWWTFF"


@pytest.mark.parametrize(("speed", "fps"), [(360, 10), (720, 10), (720, 60)])
def test_person_who_spins_is_followed(speed: float, fps: int) -> None:
    headings = [0.0] * fps + [speed * step / fps for step in range(2 * fps)]
    assert max(published(headings, fps)) < 20


def test_pose_waits_with_the_orientation_and_the_rest_is_new() -> None:
    smoother, filtered = LabelSmoother(), Filtered()
    for index in range(30):
        smoother.smooth(filtered, index / FPS, person(0, arm=0.5))
    seen = person(180, arm=-2.0)
    seen[ROOT.stop - 2], seen[SHAPE] = 1.5, 0.7
    kept = smoother.smooth(filtered, 1.0, seen)
    assert kept[ARM] == pytest.approx(0.5, abs=1e-5) and kept[ROOT.stop - 2] > 1 and kept[SHAPE].min() > 0.02
    assert (seen[ARM] == -2.0).all()
    # Somebody else is taken as they are seen.
    np.testing.assert_array_equal(smoother.smooth(Filtered(), 1.0, seen), seen)
