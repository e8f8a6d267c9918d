"""The motion network in use."""

import numpy as np
import pytest
import torch

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters, axis_angle_to_matrix
from common.labels import group_slices
from common.motion.label_track import DampedExtrapolation, LabelTrack, MotionPredictor
from common.motion.network import POSE, LearnedMotion
from common.synthetic.motion.poses import clips
from tests.support.motion.made_motion import labels_of

FPS = 30.0
MOVING = np.r_[0:9, POSE.start : POSE.stop]
_ROOT = group_slices()["root"]


@pytest.fixture(scope="module")
def motion() -> LearnedMotion:
    return LearnedMotion.load()


def walk() -> FloatArray:
    """Labels (T, LABEL_SIZE) of a walk of the test split, before the camera."""
    (clip,) = (clip for clip in clips("test") if clip.name == "deepmimic/long_walk3")
    return labels_of(clip)


def gliding(speed_mps: float, rate: float, count: int = 30) -> tuple[Float64Array, FloatArray]:
    """Times, and labels of somebody in the rest pose who moves to the left before the camera, 4 m away."""
    times = np.arange(count) / rate
    bodies = BodyParameters.rest(count, 4.0)
    bodies.translation[:, 0] += torch.from_numpy(speed_mps * (times - times[-1])).float()
    return times, LabelSpace.load().encode(bodies).numpy()


def position(labels: FloatArray) -> FloatArray:
    return LabelSpace.load().decode(torch.from_numpy(labels)[None]).translation[0].numpy()


@pytest.mark.parametrize("every", [2, 6, 10])
def test_walks_that_nobody_trained_on_go_on_where_extrapolation_is_further_off(
    motion: LearnedMotion, every: int
) -> None:
    labels = walk()
    times, newest = np.arange(len(labels)) / FPS, range(60, len(labels) - 6, 7)

    def off(predictor: MotionPredictor) -> float:
        """Mean error of the entries 0.2 s after the newest of labels that come so rarely."""
        rows = [np.arange(t % every, t + 1, every) for t in newest]
        shown = [predictor.predict(LabelTrack(times[each], labels[each], 0.0), times[each[-1]] + 0.2) for each in rows]
        return float(np.abs(np.stack(shown) - labels[np.array(newest) + 6])[:, MOVING].mean())

    assert off(motion) < 0.8 * off(DampedExtrapolation())


def test_one_label_is_enough_and_people_are_not_mixed_up(motion: LearnedMotion) -> None:
    times, labels = gliding(1.2, 10.0)
    once = motion.predict(LabelTrack(times[-1:], labels[-1:], 0.0), times[-1] + 0.1)
    assert np.isfinite(once).all() and np.linalg.norm(position(once) - position(labels[-1])) < 0.1
    turned = labels.copy()
    turn = axis_angle_to_matrix(torch.tensor([0.0, 1.0, 0.0])).numpy()
    turned[:, _ROOT][:, :6] = np.concatenate([turn[:, 0], turn[:, 1]]) / 0.6
    first = motion.predict(LabelTrack(times, labels, 0.0), times[-1] + 0.1)
    second = motion.predict(LabelTrack(times, turned, 0.0), times[-1] + 0.1)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(first, motion.predict(LabelTrack(times, labels, 0.0), times[-1] + 0.1))
