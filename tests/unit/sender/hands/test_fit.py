"""Angles are found again from landmarks, as far as these tell them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from common.body.model import BodyModel
from sender.hands.fit import ANGLES, FINGERS, HandFitter, HandSkeleton

_FLEXIONS = np.tile([False, True, False, True, True], FINGERS)


@pytest.fixture(scope="module")
def skeleton() -> HandSkeleton:
    return HandSkeleton.from_body(BodyModel.load())


@pytest.fixture(scope="module")
def fitter() -> HandFitter:
    return HandFitter.load(BodyModel.load())


def pose(seed: int) -> Float64Array:
    """A hand whose fingers are curled each on its own."""
    curl = np.random.default_rng(seed).uniform(0, 1.2, (FINGERS, 1))
    return np.asarray((curl * np.array([0, 0.8, 0, 1, 0.7])).ravel())


def seen(fitter: HandFitter, angles: Float64Array, turn: tuple[float, float, float]) -> Float64Array:
    """(L, 3) pixels of a hand of 90 px."""
    landmarks = fitter._skeleton.pose(angles).landmarks
    return np.asarray(480 * landmarks @ Rotation.from_rotvec(turn).as_matrix().T + [320, 240, 0])


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.4, -0.3, 1.2), (-0.5, 0.8, -2.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_fit_finds_the_angles_of_a_hand_that_is_turned(
    fitter: HandFitter, turn: tuple[float, float, float], seed: int
) -> None:
    angles = pose(seed)
    fitted = fitter.fit(seen(fitter, angles, turn))
    assert np.degrees(np.abs(fitted.angles - angles))[_FLEXIONS].mean() < 10
    assert fitted.residual < 0.05


def test_landmarks_that_no_hand_has_leave_a_residual(fitter: HandFitter) -> None:
    impossible = seen(fitter, np.zeros(FINGERS * ANGLES), (0.0, 0.0, 0.0))
    impossible[5:] = impossible[5:][::-1]
    assert fitter.fit(impossible).residual > 0.1


def test_jacobian_is_the_derivative_of_the_landmarks(skeleton: HandSkeleton) -> None:
    angles, step = pose(4), 1e-6
    posed = skeleton.pose(angles)
    for angle in range(FINGERS * ANGLES):
        moved = skeleton.pose(angles + step * np.eye(FINGERS * ANGLES)[angle]).landmarks
        assert np.allclose((moved - posed.landmarks) / step, posed.jacobian[..., angle], atol=1e-6)
