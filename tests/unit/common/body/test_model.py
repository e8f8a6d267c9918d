"""Conversions between rotation representations, at ordinary and at limiting angles."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from common.body.anatomy import COCO_KEYPOINTS, FINGER_BONES, JOINT_INDEX, MIRROR_SIGNS, REGION_INDEX, SKELETON
from common.body.model import (
    GROUP,
    BodyModel,
    BodyParameters,
    KeypointKinematics,
    axis_angle_to_matrix,
    load_head_shapes,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from common.body.template import BodyTemplate
from common.labels import GROUP_BY_NAME

angles = st.floats(-3.0, 3.0, width=32)


@given(st.tuples(angles, angles, angles))
def test_axis_angle_and_6d_round_trip(vector: tuple[float, float, float]) -> None:
    matrix = axis_angle_to_matrix(torch.tensor(vector))
    torch.testing.assert_close(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, atol=2e-5, rtol=0)
    torch.testing.assert_close(rotation_6d_to_matrix(matrix_to_rotation_6d(matrix)), matrix, atol=2e-5, rtol=0)


def test_quarter_turn_about_y_takes_z_to_x() -> None:
    matrix = axis_angle_to_matrix(torch.tensor([0.0, torch.pi / 2, 0.0]))
    torch.testing.assert_close(matrix @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0)


def test_zero_rotation_has_a_finite_gradient() -> None:
    vector = torch.zeros(3, requires_grad=True)
    axis_angle_to_matrix(vector).sum().backward()
    assert vector.grad is not None
    assert torch.isfinite(vector.grad).all()


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def test_rest_pose_is_upright_and_faces_the_camera(body: BodyModel) -> None:
    vertices = body(BodyParameters.rest(distance_m=3.0)).vertices
    keypoints = dict(zip(COCO_KEYPOINTS, body.coco_keypoints(vertices)[0], strict=True))
    height = vertices[0, :, 1].max() - vertices[0, :, 1].min()
    assert 1.5 < height < 1.9
    assert keypoints["nose"][1] < keypoints["left_hip"][1] < keypoints["left_ankle"][1]
    assert keypoints["nose"][2] < keypoints["left_ear"][2]
    assert keypoints["left_shoulder"][0] > keypoints["right_shoulder"][0]


def test_curl_closes_every_finger(body: BodyModel) -> None:
    fist = BodyParameters.rest()
    fist.curl[:] = 1.0
    open_hand, _ = body.forward_kinematics(BodyParameters.rest())
    closed, _ = body.forward_kinematics(fist)
    for name in FINGER_BONES:
        if "-3." in name:
            tip, wrist = SKELETON.index(name), JOINT_INDEX[f"wrist{name[-2:]}"]
            reach_open = (open_hand[0, tip] - open_hand[0, wrist]).norm()
            assert (closed[0, tip] - closed[0, wrist]).norm() < 0.85 * reach_open


def test_keypoint_kinematics_agrees_with_the_skinned_mesh(body: BodyModel) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = BodyParameters(
        rotations=axis_angle_to_matrix(torch.randn(3, 22, 3, generator=generator)),
        curl=torch.rand(3, 4, generator=generator),
        shape=torch.randn(3, 10, generator=generator),
        translation=torch.randn(3, 3, generator=generator),
    )
    with torch.no_grad():
        keypoints, bones = KeypointKinematics(body)(parameters)
        skinned = body(parameters)
    assert torch.allclose(keypoints, body.coco_keypoints(skinned.vertices), atol=5e-4)
    assert torch.allclose(bones, skinned.joint_positions, atol=1e-5)


def test_triangles_face_outwards(body: BodyModel) -> None:
    vertices = body(BodyParameters.rest()).vertices
    # The divergence theorem: outward normals of a closed surface enclose a positive, human volume.
    corners = vertices[0, body.faces]
    volume = (corners[:, 0] * torch.linalg.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.03 < volume < 0.15


@pytest.fixture(scope="module")
def shapes(body: BodyModel) -> Tensor:
    return load_head_shapes(body)


def test_every_entry_moves_the_face_by_less_than_a_centimetre_and_nothing_below_the_neck(
    body: BodyModel, shapes: Tensor
) -> None:
    assert len(shapes) == GROUP_BY_NAME[GROUP].size
    distance, face = shapes.norm(dim=2), body.vertex_region == REGION_INDEX["face"]
    farthest = distance[:, face].amax(dim=1)
    assert ((farthest > 0.0005) & (distance.amax(dim=1) < 0.01)).all()
    # The base of the neck is 6 cm below its joint.
    assert distance[:, body.rest_vertices[0, :, 1] > body.rest_joints[0, 6, 1] + 0.065].max() == 0


def test_heads_are_symmetric(body: BodyModel, shapes: Tensor) -> None:
    template = BodyTemplate.from_model(body)
    shapes = shapes[:, template.kept]
    torch.testing.assert_close(shapes[:, template.mirror] * torch.tensor(MIRROR_SIGNS), shapes, atol=1e-4, rtol=0)
