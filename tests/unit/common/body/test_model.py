"""The body model: size, orientation, kinematics, skinning, keypoints, mirroring and surface points."""

import pytest
import torch

from common.body.anatomy import COCO_KEYPOINTS, FINGER_BONES, JOINT_INDEX, SKELETON
from common.body.model import BodyModel, BodyParameters, KeypointKinematics, axis_angle_to_matrix


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


def test_surface_points_lie_on_the_skin_with_outward_normals(body: BodyModel) -> None:
    vertices = body(BodyParameters.rest()).vertices
    points, normals = body.surface_points(vertices)
    assert points.shape == normals.shape == (1, 2048, 3)
    nearest = torch.cdist(points[0], vertices[0]).min(dim=1).values
    assert nearest.max() < 0.03
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(1, 2048))
    # The divergence theorem: outward normals of a closed surface enclose a positive, human volume.
    corners = vertices[0, body.faces]
    volume = (corners[:, 0] * torch.linalg.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.03 < volume < 0.15
