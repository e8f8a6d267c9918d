"""Angles are found again from landmarks, as far as these tell them."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import JOINT_INDEX, JOINTS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyOutput, BodyParameters, axis_angle_to_matrix
from common.labels import OPTIONAL_GROUPS, concatenate, split
from sender.hands.fit import ANGLES, FINGERS, HandFitter, HandSkeleton, Wrists

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


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    return LabelSpace.load()


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def posed(space: LabelSpace) -> dict[str, FloatArray]:
    """Labels of somebody in any pose."""
    vectors = torch.from_numpy(np.random.default_rng(1).normal(0, 0.25, (1, len(JOINTS), 3)).astype(np.float32))
    rest = BodyParameters.rest()
    parameters = BodyParameters(axis_angle_to_matrix(vectors), rest.curl, rest.shape, rest.translation)
    groups = split(space.encode(parameters)[0].numpy())
    return {name: group for name, group in groups.items() if name not in OPTIONAL_GROUPS}


def shown(space: LabelSpace, body: BodyModel, labels: dict[str, FloatArray]) -> BodyOutput:
    with torch.inference_mode():
        output: BodyOutput = body(space.decode(torch.from_numpy(concatenate(labels))[None]))
    return output


@pytest.mark.parametrize(("side", "joint"), [(0, "wrist.L"), (1, "wrist.R")])
def test_hand_is_turned_as_it_was_seen(space: LabelSpace, body: BodyModel, side: int, joint: str) -> None:
    labels, wrists = posed(space), Wrists(space, body)
    before = shown(space, body, labels)
    index = JOINT_INDEX[joint]
    turn = Rotation.from_rotvec([0.5, -0.6, 0.4]).as_matrix()
    orientation = before.joint_rotations[0, index].double().numpy() @ turn
    against = wrists.against_forearm(labels, orientation, side)
    assert against is not None
    after = shown(space, body, labels | wrists.turned(labels, {side: against}))
    assert np.allclose(after.joint_rotations[0, index], orientation, atol=2e-3)
    # Forearms turn about themselves: arms, and the other hand, stay where they are.
    assert torch.allclose(after.joint_positions[:, : len(JOINTS)], before.joint_positions[:, : len(JOINTS)], atol=2e-3)
    other = JOINT_INDEX["wrist.R" if side == 0 else "wrist.L"]
    assert torch.allclose(after.joint_rotations[0, other], before.joint_rotations[0, other], atol=2e-3)


def test_wrist_that_would_break_is_not_turned(space: LabelSpace, body: BodyModel) -> None:
    labels, wrists = posed(space), Wrists(space, body)
    now = shown(space, body, labels).joint_rotations[0, JOINT_INDEX["wrist.L"]].double().numpy()
    across = np.cross(wrists._axes[0], [0, 0, 1])
    backwards = now @ Rotation.from_rotvec(2.5 * across / np.linalg.norm(across)).as_matrix()
    assert wrists.against_forearm(labels, backwards, 0) is None
