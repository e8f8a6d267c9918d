"""The shapes of heads: they move the head alone, by millimetres, as their mirror images."""

import pytest
import torch
from torch import Tensor

from common.body.anatomy import MIRROR_SIGNS, REGION_INDEX
from common.body.model import GROUP, BodyModel, load_head_shapes
from common.body.template import BodyTemplate
from common.labels import GROUP_BY_NAME


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


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
