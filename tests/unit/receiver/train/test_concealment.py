"""Fit of the model of motions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.arrays import Float64Array
from common.errors import SourceError
from common.synthetic.motion.motion_table import clips
from receiver.concealment.motion_model import COORDINATES, POSE_SIZE, MotionModel
from receiver.train.concealment import fit, mirrored, motions, pose_covariance, scores, spectral_radius, stable


def simulated(seed: int) -> list[tuple[Float64Array, Float64Array]]:
    """Poses and velocities of which each velocity is half of the one before and noise, the same in all coordinates."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(4):
        velocities = np.zeros((300, COORDINATES))
        for t in range(1, len(velocities)):
            velocities[t] = 0.5 * velocities[t - 1] + 0.01 * rng.normal() + 0.001 * rng.normal(size=COORDINATES)
        found.append((0.1 * rng.normal(size=(300, POSE_SIZE)), velocities))
    return found


def test_fit_finds_the_dynamics_and_the_coupling() -> None:
    model = fit(simulated(1), np.eye(POSE_SIZE))
    np.testing.assert_allclose(model.regression[:, POSE_SIZE:].sum(axis=1), 0.5, atol=0.1)
    correlation = model.noise[0, 30] / np.sqrt(model.noise[0, 0] * model.noise[30, 30])
    assert correlation > 0.95
    figures = scores(model, simulated(2))
    assert figures["unpredicted_share"] == pytest.approx(0.75, abs=0.05)
    assert figures["unpredicted_share_of_constant_velocity"] == pytest.approx(1.0, abs=0.1)


def test_growing_model_is_made_stable_and_a_stable_one_is_left_alone() -> None:
    model = fit(simulated(1), np.eye(POSE_SIZE))
    growing = replace(model, regression=0.0 * model.regression)
    growing.regression[10, 4] = 0.004  # the pose coordinate 4 is coordinate 10: it drifts away from its mean
    assert spectral_radius(growing) > 1.0
    assert spectral_radius(stable(growing)) < 1.0
    calm = stable(growing)
    np.testing.assert_array_equal(stable(calm).regression, calm.regression)


def test_mirror_image_swaps_the_sides() -> None:
    (clip,) = clips("val")
    there_and_back = mirrored(mirrored(clip))
    np.testing.assert_allclose(there_and_back.rotation_vectors, clip.rotation_vectors, atol=1e-6)
    np.testing.assert_array_equal(mirrored(clip).root_translation[:, 0], -clip.root_translation[:, 0])
    assert not np.allclose(mirrored(clip).rotation_vectors, clip.rotation_vectors)


def test_shipped_model_has_the_covariance_of_the_training_poses() -> None:
    np.testing.assert_allclose(MotionModel.load().pose, pose_covariance(), atol=1e-5)


def test_folder_without_motions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot read the motions"):
        list(motions(tmp_path, "val"))
