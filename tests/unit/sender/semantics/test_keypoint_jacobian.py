import pytest
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import KeypointKinematics
from common.body.rotations import axis_angle_to_matrix, left_jacobian
from sender.semantics.crop_labels import body_in_crop
from sender.semantics.cvae import ENTRIES
from sender.semantics.keypoint_jacobian import KeypointJacobian

PEOPLE = 3


def test_keypoints_and_derivatives_are_those_of_the_posed_body(
    space: LabelSpace, kinematics: KeypointKinematics
) -> None:
    entries = 0.7 * torch.randn(PEOPLE, ENTRIES, generator=torch.Generator().manual_seed(1))
    focal = torch.tensor([1.1, 1.7, 2.4])

    def posed(entries: Tensor) -> tuple[Tensor, Tensor]:
        keypoints, joints = kinematics(body_in_crop(space, entries, focal))
        return keypoints - joints[:, :1], joints[:, 0]

    from_pelvis, pelvis = torch.autograd.functional.jacobian(posed, entries)
    own = torch.arange(PEOPLE)
    found = KeypointJacobian(space, kinematics)(entries, focal)
    torch.testing.assert_close(found.keypoints - found.pelvis[:, None], posed(entries)[0], atol=2e-6, rtol=0)
    # The orientation's derivative is a difference.
    torch.testing.assert_close(found.from_pelvis, from_pelvis[own, :, :, own], atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(found.pelvis_by_entries, pelvis[own, :, own], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.5, 3.0])
def test_left_jacobian_is_the_derivative_of_the_exponential(angle: float) -> None:
    vector = angle * torch.tensor([0.48, -0.6, 0.64], dtype=torch.float64)
    step = 1e-6 * torch.eye(3, dtype=torch.float64)
    turns = axis_angle_to_matrix(vector + step) @ axis_angle_to_matrix(vector - step).transpose(1, 2)
    axes = torch.stack([turns[:, 2, 1], turns[:, 0, 2], turns[:, 1, 0]]) / 2e-6
    torch.testing.assert_close(left_jacobian(vector), axes, atol=1e-6, rtol=0)
