"""The body: human sizes, left on the left, joints where the mesh is, points on the skin."""

import pytest
import torch

from common.body.anatomy import COCO_KEYPOINTS, FINGER_BONES, JOINT_INDEX, SKELETON, mirror_permutation
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def turned(joint: str, axis_angle: tuple[float, float, float]) -> BodyParameters:
    parameters = BodyParameters.rest()
    parameters.rotations[0, JOINT_INDEX[joint]] = axis_angle_to_matrix(torch.tensor(axis_angle))
    return parameters


def test_rest_stands_upright_and_faces_the_camera(body: BodyModel) -> None:
    vertices = body(BodyParameters.rest(distance_m=3.0)).vertices
    keypoints = dict(zip(COCO_KEYPOINTS, body.coco_keypoints(vertices)[0], strict=True))
    height = vertices[0, :, 1].max() - vertices[0, :, 1].min()
    assert 1.5 < height < 1.9
    assert keypoints["nose"][1] < keypoints["left_hip"][1] < keypoints["left_ankle"][1]
    assert keypoints["nose"][2] < keypoints["left_ear"][2]
    assert keypoints["left_shoulder"][0] > keypoints["right_shoulder"][0]


def test_every_person_of_the_table_has_human_height(body: BodyModel) -> None:
    vertices, _ = body.rest(body.shape_table[::64])
    heights = vertices[..., 1].amax(1) - vertices[..., 1].amin(1)
    assert heights.min() > 0.8
    assert heights.max() < 2.3


def test_shape_coefficients_are_standardised(body: BodyModel) -> None:
    assert body.shape_table.mean(0).abs().max() < 0.05
    assert (body.shape_table.std(0) - 1).abs().max() < 0.05


def test_forward_kinematics_agrees_with_skinning(body: BodyModel) -> None:
    parameters = turned("upperarm01.L", (0.3, -0.4, 0.8))
    output = body(parameters)
    positions, rotations = body.forward_kinematics(parameters)
    torch.testing.assert_close(output.joint_positions, positions)
    elbow = body.coco_keypoints(output.vertices)[0, COCO_KEYPOINTS.index("left_elbow")]
    assert (elbow - positions[0, JOINT_INDEX["lowerarm01.L"]]).norm() < 0.06
    torch.testing.assert_close(rotations @ rotations.transpose(-1, -2), torch.eye(3).expand_as(rotations))


def test_bending_a_joint_moves_only_what_hangs_on_it(body: BodyModel) -> None:
    rest, bent = body(BodyParameters.rest()), body(turned("lowerleg01.R", (0.9, 0.0, 0.0)))
    moved = (rest.joint_positions - bent.joint_positions)[0].norm(dim=-1) > 1e-5
    assert [SKELETON[index] for index in moved.nonzero().flatten()] == ["foot.R"]
    assert bent.joint_positions[0, JOINT_INDEX["foot.R"], 2] > rest.joint_positions[0, JOINT_INDEX["foot.R"], 2]


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


def test_rest_is_its_own_mirror_image(body: BodyModel) -> None:
    positions, _ = body.forward_kinematics(BodyParameters.rest())
    mirrored = positions[0, mirror_permutation(SKELETON)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored, positions[0], atol=2e-3, rtol=0)


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


def test_tokens_are_neighbourhoods(body: BodyModel) -> None:
    points, _ = body.surface_points(body(BodyParameters.rest()).vertices)
    tokens = points.reshape(128, 16, 3)
    radius = (tokens - tokens.mean(1, keepdim=True)).norm(dim=-1).mean(1)
    assert radius.median() < 0.08
