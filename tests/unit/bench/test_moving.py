"""Figures of the bench on moving people."""

import numpy as np
import pytest

from common.synthetic.motion.motion_table import Clip
from tests.bench.moving import Followed
from tests.bench.moving_clips import turned

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(0, 0.3, (20, 17, 3))


def test_exact_joints_have_no_error() -> None:
    figures = Followed(TRUTH, TRUTH).figures()
    assert figures == pytest.approx(
        {"seen": 1, "mpjpe_mm": 0, "pa_mpjpe_mm": 0, "acceleration_mm": 0, "side_in_front": 1}, abs=1e-6
    )


def test_frames_without_a_person_are_left_out() -> None:
    joints = TRUTH + np.array([0.01, 0, 0])
    joints[5] = np.nan
    figures = Followed(joints, TRUTH).figures()
    assert figures["seen"] == pytest.approx(0.95)
    assert figures["mpjpe_mm"] == pytest.approx(10)
    assert figures["acceleration_mm"] == pytest.approx(0, abs=1e-6)


def test_person_taken_for_their_back_and_a_jump_are_counted() -> None:
    joints = TRUTH.copy()
    joints[:5, :, 0] *= -1
    joints[:5, :, 2] *= -1
    across = TRUTH[:5, 11] - TRUTH[:5, 12]
    wrong = (across[:, 1] ** 2 < across[:, 0] ** 2 + across[:, 2] ** 2).sum()
    assert Followed(joints, TRUTH).figures()["side_in_front"] == pytest.approx(1 - wrong / 20)
    jump = TRUTH.copy()
    jump[10:] += 0.018
    # The second difference is off in two of 18 frames, by the jump each.
    assert Followed(jump, TRUTH).figures()["acceleration_mm"] == pytest.approx(2 * 18 * 3**0.5 / 18)


def test_turned_motion_ends_where_it_began() -> None:
    vectors = np.zeros((40, 22, 3), np.float32)
    path = np.stack([np.arange(40), np.ones(40), np.zeros(40)], axis=1).astype(np.float32)
    clip = Clip("walk", vectors, path, 30.0)
    half = turned(clip, np.pi / 2, 0.0)
    np.testing.assert_allclose(half.rotation_vectors[:, 0], np.tile([0, np.pi / 2, 0], (40, 1)), atol=1e-5)
    np.testing.assert_allclose(half.root_translation[:, 2], -path[:, 0], atol=1e-4)
    once = turned(clip, 0.0, 1.0)
    angle = np.linalg.norm(once.rotation_vectors[:, 0], axis=1)
    assert angle.max() == pytest.approx(np.pi, abs=1e-4)
    assert angle[[1, -1]] == pytest.approx([2 * np.pi / 40] * 2, abs=1e-4)
    assert np.ptp(once.root_translation, axis=0) == pytest.approx(0)
