import torch

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.synthetic.motion.poses import PoseSampler
from sender.semantics.bodies import ENTRIES, body_in_crop, crop_entries


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
