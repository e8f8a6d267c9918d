"""Keypoints from the skeleton are those of the skinned mesh."""

import torch

from common.body.keypoint_kinematics import KeypointKinematics
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix


def test_agrees_with_the_skinned_mesh() -> None:
    body = BodyModel.load()
    g = torch.Generator().manual_seed(0)
    parameters = BodyParameters(
        rotations=axis_angle_to_matrix(torch.randn(3, 22, 3, generator=g)),
        curl=torch.rand(3, 4, generator=g),
        shape=torch.randn(3, 10, generator=g),
        translation=torch.randn(3, 3, generator=g),
    )
    with torch.no_grad():
        keypoints, bones = KeypointKinematics(body)(parameters)
        skinned = body(parameters)
    assert torch.allclose(keypoints, body.coco_keypoints(skinned.vertices), atol=5e-4)
    assert torch.allclose(bones, skinned.joint_positions, atol=1e-5)
