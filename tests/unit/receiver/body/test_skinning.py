import torch

from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from receiver.body.skinning import BodySkin
from tests.support.meshes.posed_templates import templates


def test_displacements_follow_the_bones() -> None:
    model = BodyModel.load()
    skin, turned = BodySkin.from_model(model), BodyParameters.rest(1)
    turned.rotations[:, 0] = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, torch.pi / 2]]))
    worn = [skin.span.clothes(torch.tensor([0.02, 0.0, 0.0]).expand(len(skin.template), 3))]
    with torch.no_grad():
        moved = templates(skin, turned, worn).vertices - templates(skin, turned).vertices
    torch.testing.assert_close(moved, torch.tensor([0.0, 0.02, 0.0]).expand_as(moved), rtol=0, atol=1e-4)
