"""The linear model of motions."""

import numpy as np
import pytest

from common.codec.orientation import rotation_of
from common.codec.quantiser import UNIT, to_fixed
from common.errors import WeightsError
from common.weights import loader
from receiver.concealment.motion_model import (
    COORDINATES,
    ENTRY_OF_COORDINATE,
    ORIENTATION,
    POSE,
    MotionModel,
    coordinates_of,
    orientation_of,
)
from tests.support.label_motion import moving_labels

UPRIGHT = rotation_of([0] * 6)


@pytest.fixture(scope="module")
def model() -> MotionModel:
    return MotionModel.load()


def test_coordinates_are_the_labels_but_for_the_orientation() -> None:
    labels = to_fixed(moving_labels(1, seed=1)[0])
    coordinates = coordinates_of(labels, UPRIGHT)
    np.testing.assert_array_equal(coordinates[ORIENTATION.stop :], labels[ENTRY_OF_COORDINATE[3:]] / UNIT)
    np.testing.assert_allclose(coordinates_of(labels, orientation_of(labels))[ORIENTATION], 0.0, atol=1e-6)
    assert np.abs(coordinates[ORIENTATION]).max() > 0.01


def test_covariances_are_valid_and_the_groups_are_coupled(model: MotionModel) -> None:
    for covariance in (model.noise, model.pose, model.velocity, model.initial):
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-6)
        assert np.linalg.eigvalsh(covariance).min() > -1e-6
    assert np.abs(model.noise - np.diag(np.diag(model.noise))).max() > 1e-4


def test_pose_and_velocity_stay_bounded_however_long_nothing_arrives(model: MotionModel) -> None:
    moving = np.arange(2 * COORDINATES) >= POSE.start
    step = model.after(1)[0][np.ix_(moving, moving)]
    assert np.abs(np.linalg.eigvals(step)).max() < 1.0


def test_two_steps_are_one_step_twice(model: MotionModel) -> None:
    step, noise = model.after(1)
    twice, total = model.after(2)
    np.testing.assert_allclose(twice, step @ step)
    np.testing.assert_allclose(total, step @ noise @ step.T + noise)


def test_step_moves_each_coordinate_by_its_new_velocity(model: MotionModel) -> None:
    state = np.random.default_rng(2).normal(size=2 * COORDINATES)
    after = model.after(1)[0] @ state
    velocity = model.regression @ np.concatenate([state[POSE], state[COORDINATES:]])
    np.testing.assert_allclose(after[COORDINATES:], velocity)
    np.testing.assert_allclose(after[:COORDINATES], state[:COORDINATES] + velocity)


def test_matrix_of_another_shape_is_refused(model: MotionModel) -> None:
    with pytest.raises(ValueError, match="motion model"):
        MotionModel(model.regression, model.noise, model.pose[1:], model.velocity)


def test_weights_with_other_names_are_refused(model: MotionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    right = loader.load_weights("concealment")
    monkeypatch.setattr("receiver.concealment.motion_model.load_weights", lambda *_: {"other": right["pose"], **right})
    with pytest.raises(WeightsError, match="another version"):
        MotionModel.load()
