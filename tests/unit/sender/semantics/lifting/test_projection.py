import numpy as np
import numpy.testing as npt
import pytest
import torch

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from sender.semantics.crop_labels import ENTRIES
from sender.semantics.keypoint_jacobian import KeypointJacobian
from sender.semantics.lifting.projection import linearised, moved_to_keypoints, projected
from sender.train.lifting.objective import Bodies

_FOCAL = np.full((6, 1), 2.0, np.float32)


@pytest.fixture(scope="module")
def kinematics() -> KeypointJacobian:
    return KeypointJacobian.of_body(LabelSpace.load(), KeypointKinematics(BodyModel.load()))


def _entries() -> FloatArray:
    upright = np.eye(9, ENTRIES)
    entries = np.random.default_rng(0).normal(0, 0.3, (6, ENTRIES)) + (upright[0] + upright[4]) / 0.6
    return np.asarray(entries, np.float32)


def test_derivatives_are_those_of_the_projection(kinematics: KeypointJacobian) -> None:
    entries, step = _entries(), 0.02
    places, rows = linearised(kinematics, entries, _FOCAL)
    npt.assert_allclose(places.reshape(6, 17, 2), projected(kinematics, entries, _FOCAL), atol=1e-5)
    for entry in (3, 6, 8, 12, 40, 70):
        by = np.eye(ENTRIES, dtype=np.float32)[entry] * step
        change = projected(kinematics, entries + by, _FOCAL) - projected(kinematics, entries - by, _FOCAL)
        npt.assert_allclose(rows[:, :, entry], change.reshape(6, 34) / (2 * step), atol=2e-3)


def test_bodies_move_to_keypoints_that_are_certain_only(kinematics: KeypointJacobian) -> None:
    true = _entries()
    entries = true + np.random.default_rng(1).normal(0, 0.15, true.shape).astype(np.float32)
    places, free = projected(kinematics, true, _FOCAL), np.full_like(true, 0.15)
    for sigma, share in ((0.002, 0.1), (10.0, 0.99)):
        sigmas = np.full((6, 17), sigma, np.float32)
        moved = moved_to_keypoints(kinematics, entries, free, places, sigmas, _FOCAL)
        before, after = (np.abs(projected(kinematics, each, _FOCAL) - places).mean() for each in (entries, moved))
        assert (after < share * before) == (share < 0.5), "far from keypoints that are certain, else as it was"
        tensors = (torch.from_numpy(each) for each in (entries, free, places, sigmas, _FOCAL))
        same = moved_to_keypoints(Bodies(kinematics).kinematics, *tensors)
        npt.assert_allclose(same.numpy(), moved, atol=1e-3)
