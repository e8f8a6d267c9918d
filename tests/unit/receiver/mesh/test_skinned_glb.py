import numpy as np
import pytest

from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.skinned_glb import encode_body, skeleton_from_dense
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_body import posed_box


def test_encoded_body_has_the_pose_with_and_without_skinning() -> None:
    body, skeleton = posed_box()
    glb = Glb(encode_body(body, skeleton))
    expected = to_y_up(body.mesh.vertices)
    position = glb.document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    np.testing.assert_allclose(glb.array(position), expected, atol=1e-6)
    np.testing.assert_allclose(glb.skinned_vertices(), expected, atol=1e-5)


def test_encode_body_rejects_the_skeleton_of_another_body() -> None:
    body, _ = posed_box()
    other = skeleton_from_dense(("root",), np.array([-1]), np.ones((len(body.mesh.vertices), 1), np.float32))
    with pytest.raises(ValueError, match="do not match"):
        encode_body(body, other)


def test_skeleton_from_dense_keeps_the_four_largest_weights() -> None:
    weights = np.array([[0.3, 0.05, 0.25, 0.2, 0.2, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]], np.float32)
    skeleton = skeleton_from_dense(tuple("abcdef"), np.array([-1, 0, 1, 2, 3, 4]), weights, 4)
    assert skeleton.vertex_joints.tolist() == [[0, 2, 3, 4], [1, 0, 0, 0]]
    np.testing.assert_allclose(skeleton.vertex_weights.sum(axis=1), 1.0, rtol=1e-6)
