import torch

from common.body.model import BodyModel
from common.body.surface_space import SurfaceSpace
from common.body.template import BodyTemplate


def test_zero_is_the_average_and_each_entry_adds_its_displacement() -> None:
    space, template = SurfaceSpace.load(), BodyTemplate.from_model(BodyModel.load())
    assert space.mean.shape == template.rest.shape
    decoded = space.decode(2 * torch.eye(len(space.basis)) - torch.eye(len(space.basis))[:1])
    torch.testing.assert_close(space.decode(torch.zeros(1, len(space.basis)))[0], space.mean)
    torch.testing.assert_close(decoded[1], space.mean + 2 * space.basis[1] - space.basis[0], atol=1e-6, rtol=0)
