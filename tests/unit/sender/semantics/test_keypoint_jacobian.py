import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import KeypointKinematics
from sender.semantics.bodies import ENTRIES, KeypointJacobian, body_in_crop

PEOPLE = 3


def test_keypoints_and_derivatives_are_those_of_the_posed_body(
    space: LabelSpace, kinematics: KeypointKinematics
) -> None:
    entries = 0.7 * torch.randn(PEOPLE, ENTRIES, generator=torch.Generator().manual_seed(1))
    # A bone that does not turn.
    entries[0, 19:] = 0
    focal = torch.tensor([1.1, 1.7, 2.4])

    def posed(entries: Tensor) -> tuple[Tensor, Tensor]:
        keypoints, joints = kinematics(body_in_crop(space, entries, focal))
        return keypoints, joints[:, 0]

    keypoints, pelvis = posed(entries)
    by_entries, _ = torch.autograd.functional.jacobian(posed, entries)
    own = torch.arange(PEOPLE)
    jacobian = KeypointJacobian.of_body(space, kinematics)
    from_pelvis, found_pelvis, found = map(
        torch.from_numpy, jacobian.derivatives(entries.numpy(), focal[:, None].numpy())
    )
    torch.testing.assert_close(found_pelvis, pelvis, atol=2e-6, rtol=0)
    torch.testing.assert_close(from_pelvis, keypoints - pelvis[:, None], atol=4e-6, rtol=0)
    torch.testing.assert_close(found, by_entries[own, :, :, own], atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(torch.from_numpy(jacobian.keypoints(entries.numpy())), from_pelvis, atol=4e-6, rtol=0)
