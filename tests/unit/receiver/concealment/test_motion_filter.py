"""The Kalman filter over a person's labels."""

import numpy as np
import pytest

from common.arrays import FloatArray, IntArray
from common.labels import FAST_GROUPS, LABEL_SIZE, group_slices
from receiver.concealment.motion_filter import MotionFilter
from receiver.concealment.motion_model import COORDINATES, POSE, MotionModel
from receiver.decode.session_decoder import COORDINATES_OF_GROUP
from tests.support.label_motion import moving_labels, with_rotation

FAST_ENTRIES = np.concatenate([np.arange(LABEL_SIZE)[group_slices()[name]] for name in FAST_GROUPS])
ALL = np.arange(COORDINATES)
SMALL = 1e-6


@pytest.fixture(scope="module")
def model() -> MotionModel:
    return MotionModel.load()


def observe(motion: MotionFilter, labels: FloatArray, coordinates: IntArray = ALL) -> None:
    motion.observe(labels, coordinates, np.full(len(coordinates), SMALL))


def steady(frames: int, speed: float) -> FloatArray:
    """(frames, LABEL_SIZE) with the coarsest entry of the left arm moving at a constant speed, and a turning body."""
    labels = np.zeros((frames, LABEL_SIZE), np.float32)
    labels[:, group_slices()["left_arm"].start] = speed * np.arange(frames)
    angle = 0.05 * np.arange(frames)
    zero, one = np.zeros(frames), np.ones(frames)
    turn = np.stack([np.cos(angle), zero, -np.sin(angle), zero, one, zero], axis=1) / 0.6
    labels[:, :6] = turn
    return np.array([with_rotation(row) for row in labels])


def test_estimate_is_what_arrived(model: MotionModel) -> None:
    labels = moving_labels(1, seed=3)[0]
    motion = MotionFilter(model)
    observe(motion, labels)
    np.testing.assert_allclose(motion.labels()[FAST_ENTRIES], labels[FAST_ENTRIES], atol=2e-3)


def test_prediction_goes_on_with_velocity_and_turn(model: MotionModel) -> None:
    labels = steady(8, 0.05)
    motion = MotionFilter(model)
    for row in labels[:7]:
        observe(motion, row)
        motion.advance(1)
    arm = group_slices()["left_arm"].start
    predicted, held = (abs(row - labels[7])[arm] for row in (motion.labels(), labels[6]))
    assert predicted < 0.6 * held
    turned, stayed = (np.abs(row - labels[7])[:6].max() for row in (motion.labels(), labels[6]))
    assert turned < 0.4 * stayed


def test_groups_that_arrive_correct_one_that_is_lost(model: MotionModel) -> None:
    """The correction is what the joint covariance says: the regression of the lost group on the others."""
    labels = steady(4, 0.02)
    alone, together = MotionFilter(model), MotionFilter(model)
    for motion in (alone, together):
        for row in labels[:3]:
            observe(motion, row)
            motion.advance(1)
    surprising = labels[3] + np.float32(0.2) * (np.arange(LABEL_SIZE) >= POSE.start)
    lost = COORDINATES_OF_GROUP["left_leg"]
    observe(together, surprising, np.setdiff1d(ALL, lost))
    leg = group_slices()["left_leg"]
    assert np.abs(together.labels() - alone.labels())[leg].max() > 0.02


def test_group_that_never_arrived_is_its_conditional_mean(model: MotionModel) -> None:
    labels = moving_labels(1, seed=5)[0]
    motion = MotionFilter(model)
    lost = COORDINATES_OF_GROUP["left_leg"]
    arrived = np.setdiff1d(ALL, lost)
    observe(motion, labels, arrived)
    pose, hidden = motion._mean[POSE], lost - POSE.start
    others = np.setdiff1d(np.arange(len(pose)), hidden)
    expected = model.pose[np.ix_(hidden, others)] @ np.linalg.inv(model.pose[np.ix_(others, others)]) @ pose[others]
    np.testing.assert_allclose(motion.labels()[group_slices()["left_leg"]], expected, atol=1e-3)
    assert np.abs(expected).max() > 0.05
    assert motion.has_seen(arrived) and not motion.has_seen(lost)


def test_nothing_known_is_the_mean(model: MotionModel) -> None:
    assert not MotionFilter(model).labels()[6:].any()


def test_uncertainty_grows_while_a_group_is_lost(model: MotionModel) -> None:
    motion = MotionFilter(model)
    observe(motion, moving_labels(1, seed=6)[0])
    lost = COORDINATES_OF_GROUP["right_arm"]
    variances = []
    for _ in range(5):
        motion.advance(1)
        observe(motion, moving_labels(1, seed=6)[0], np.setdiff1d(ALL, lost))
        variances.append(motion._covariance[lost, lost].sum())
    assert variances == sorted(variances)


def test_hostile_labels_leave_a_finite_estimate(model: MotionModel) -> None:
    rng, motion = np.random.default_rng(7), MotionFilter(model)
    for number in range(200):
        motion.advance(1 + number % 30)
        observe(motion, (32 * rng.choice([-1, 1], size=LABEL_SIZE)).astype(np.float32), rng.permutation(ALL)[:20])
    labels = motion.labels()
    assert np.isfinite(labels).all() and np.abs(labels).max() <= 32.0
