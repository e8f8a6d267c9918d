"""Errors of what a receiver has of a clip."""

import numpy as np
import pytest

from common.arrays import FloatArray
from common.labels import LABEL_SIZE, group_slices, split
from tests.bench.rivals.bodies import Bodies, Posed, Reference, chosen, held


@pytest.fixture(scope="module")
def reference() -> Reference:
    bodies = Bodies()
    labels = np.random.default_rng(0).normal(0, 0.5, (4, LABEL_SIZE)).astype(np.float32)
    labels[:, group_slices()["root"]] = [1 / 0.6, 0, 0, 0, 1 / 0.6, 0, 0, 0, 0]
    # The nose is 10 mm off in each direction.
    truth = bodies.pose(bodies.parameters(labels)).joints.copy()
    truth[:, 0] += 0.01
    return Reference(bodies, labels, truth)


def test_uncoded_bodies_have_only_the_error_of_the_labels(reference: Reference) -> None:
    found = reference.errors(reference.posed)
    assert found["added_joint_error_mm"] == pytest.approx(0, abs=1e-6)
    assert found["added_chamfer_mm"] < 0.01
    assert found["mpjpe_mm"] == pytest.approx(10 * 3**0.5 / 17, rel=1e-3)


def test_position_is_no_error(reference: Reference) -> None:
    moved = Posed(reference.posed.joints + np.float32(0.5), reference.posed.skins + np.float32(0.5))
    assert reference.errors(moved)["added_joint_error_mm"] == pytest.approx(0, abs=1e-3)


def test_frames_without_a_person_are_left_out(reference: Reference) -> None:
    joints = reference.posed.joints.copy()
    joints[1] = np.nan
    assert reference.errors(Posed(joints, reference.posed.skins))["added_joint_error_mm"] == pytest.approx(0, abs=1e-6)


def test_meshes_are_measured_by_their_own_vertices(reference: Reference) -> None:
    exact = reference.mesh_errors(reference.posed.skins)
    assert exact["added_joint_error_mm"] == pytest.approx(0, abs=1e-6)
    assert exact["mpjpe_mm"] == pytest.approx(reference.errors(reference.posed)["mpjpe_mm"])
    noise = np.random.default_rng(1).normal(0, 0.02, reference.posed.skins.shape).astype(np.float32)
    rough = reference.mesh_errors(reference.posed.skins + noise)
    assert rough["added_joint_error_mm"] > 0.1
    assert rough["added_chamfer_mm"] > 1


def test_skins_are_those_of_the_chosen_frames(reference: Reference) -> None:
    assert len(reference.posed.skins) == len(chosen(4)) == 1
    assert reference.posed.joints.shape == (4, 17, 3)


def test_frame_without_a_person_keeps_the_last_labels() -> None:
    rows: FloatArray = np.random.default_rng(2).normal(size=(2, LABEL_SIZE)).astype(np.float32)
    first, second = (split(row) for row in rows)
    found = held([None, first, None, second])
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1:], rows[[0, 0, 1]])
