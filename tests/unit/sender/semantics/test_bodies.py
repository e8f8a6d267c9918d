import numpy as np
import numpy.testing as npt
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics, axis_angle_to_matrix
from common.frames import Camera
from common.synthetic.motion.poses import PoseSampler
from sender.perception.crop import CropBox
from sender.semantics.bodies import (
    ENTRIES,
    KeypointJacobian,
    body_in_crop,
    crop_entries,
    entries_in_crops,
    entries_in_frame,
)


def test_round_trip_at_any_focal_length() -> None:
    body, space = BodyModel.load(), LabelSpace.load()
    poses = PoseSampler("test", 20_000_000).sample(20)
    truth = BodyParameters(
        axis_angle_to_matrix(torch.from_numpy(poses.rotation_vectors)),
        torch.from_numpy(poses.curl),
        body.shape_table[:20],
        torch.tensor([[0.2, -0.1, 4.0]]).expand(20, 3),
    )
    focal = torch.linspace(0.8, 6.0, 20)
    entries = crop_entries(space, truth, focal)
    decoded = body_in_crop(space, entries, focal)
    assert entries.shape == (20, ENTRIES)
    torch.testing.assert_close(decoded.translation, truth.translation, atol=1e-4, rtol=0)
    found, true = body.forward_kinematics(decoded)[0], body.forward_kinematics(truth)[0]
    assert (found - true)[:, :22].norm(dim=-1).mean() < 0.006


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


def test_bodies_go_from_crops_to_the_frame_and_back() -> None:
    camera = Camera(640, 480, 700.0)
    crops = [CropBox(300, 120, 260), CropBox(20, -40, 300, 0.3), CropBox(330, 100, 240, -0.2)]
    entries = np.random.default_rng(0).normal(0, 0.3, (3, ENTRIES)).astype(np.float32)
    entries[:, :6] = np.array([1, 0, 0, 0, 1, 0])
    in_frame = entries_in_frame(entries, crops, camera)
    npt.assert_allclose(in_frame[:, 9:], entries[:, 9:])
    scaled = entries_in_crops(in_frame, crops, camera)
    npt.assert_allclose(scaled[:, 6:], entries[:, 6:], atol=1e-5)
    npt.assert_allclose(scaled[:, :6] / np.linalg.norm(scaled[:, :3], axis=1, keepdims=True), entries[:, :6], atol=1e-5)
