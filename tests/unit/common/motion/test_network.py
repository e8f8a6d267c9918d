"""What the motion network reads of labels."""

import math

import numpy as np
import pytest
import torch

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters, axis_angle_to_matrix
from common.labels import group_slices
from common.motion.label_track import DampedExtrapolation, LabelTrack, MotionPredictor
from common.motion.network import (
    POSE,
    POSE_SIZE,
    TOKENS,
    WINDOW_TOKENS,
    LearnedMotion,
    Poses,
    after_change,
    chosen_labels,
    tokens,
)
from common.synthetic.motion.poses import clips
from tests.support.motion.made_motion import labels_of


def some_poses(people: int, labels: int) -> Poses:
    generator = torch.Generator().manual_seed(3)
    vectors = 0.4 * torch.randn(people, labels, 3, generator=generator)
    return Poses(
        torch.randn(people, labels, POSE_SIZE, generator=generator),
        axis_angle_to_matrix(vectors),
        torch.randn(people, labels, 3, generator=generator),
    )


def counted(ages_s: list[float]) -> list[list[int]]:
    """The labels that count of each window."""
    label, counts = chosen_labels(torch.tensor([ages_s]))
    windows = zip(label[0].split(WINDOW_TOKENS), counts[0].split(WINDOW_TOKENS), strict=True)
    return [chosen[known].tolist() for chosen, known in windows]


def test_windows_take_what_is_near_their_times_once() -> None:
    near, middle, far = counted([number / 30 for number in range(121)])
    assert near == list(range(8)) and far == [15 * number for number in range(8)]
    assert len(middle) == 8 and all(abs(age - 3.75 * number) < 0.6 for number, age in enumerate(middle))
    assert counted([number / 4 for number in range(17)]) == [[0], [0, 1, 2, 3], [0, 2, 4, 6, 8, 10, 12, 14]]
    assert counted([0.0, math.inf]) == [[0], [0], [0]]


def test_tokens_do_not_depend_on_where_somebody_is_and_what_way_they_face() -> None:
    poses, ages = some_poses(2, TOKENS), torch.rand(2, TOKENS)
    about = axis_angle_to_matrix(torch.tensor([0.0, 2.1, 0.0]))
    elsewhere = Poses(poses.entries, about @ poses.orientation, poses.position @ about.T + 3.0)
    for here, there in zip(tokens(poses, ages), tokens(elsewhere, ages), strict=True):
        torch.testing.assert_close(here, there, atol=2e-5, rtol=1e-4)
    change = torch.randn(2, POSE_SIZE + 6)
    moved, moved_there = (
        after_change(Poses(*(column[:, 0] for column in each.columns())), change) for each in (poses, elsewhere)
    )
    torch.testing.assert_close(about @ moved.orientation, moved_there.orientation, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved.position @ about.T + 3.0, moved_there.position, atol=1e-5, rtol=1e-4)


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
