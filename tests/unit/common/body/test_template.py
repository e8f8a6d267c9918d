import numpy as np
import pytest
import torch

from common.body.model import BodyModel, BodyParameters
from common.body.template import BodyTemplate


@pytest.fixture(scope="module")
def model() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def template(model: BodyModel) -> BodyTemplate:
    return BodyTemplate.from_model(model)


def test_template_is_closed_and_wound_outwards(template: BodyTemplate) -> None:
    edges = np.concatenate([template.faces[:, [0, 1]], template.faces[:, [1, 2]], template.faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)
    np.testing.assert_array_equal(np.unique(edges, axis=0), np.unique(edges[:, ::-1], axis=0))
    a, b, c = (template.rest[template.faces[:, corner]] for corner in range(3))
    assert 0.04 < np.einsum("ij,ij->", a, np.cross(b, c)) / 6 < 0.12, "litres of a person"


def test_posed_template_without_displacement_is_the_body(model: BodyModel, template: BodyTemplate) -> None:
    parameters = BodyParameters.rest(2)
    posed = template.posed(model, parameters, torch.zeros(2, len(template), 3)).vertices
    torch.testing.assert_close(posed, model(parameters).vertices[:, template.kept], atol=1e-5, rtol=0)


def test_displacement_turns_with_the_bones(model: BodyModel, template: BodyTemplate) -> None:
    turned = BodyParameters.rest()
    turned.rotations[0, 0] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    displacement = torch.zeros(1, len(template), 3)
    displacement[..., 2] = -0.1
    still = torch.zeros_like(displacement)
    moved = template.posed(model, turned, displacement).vertices - template.posed(model, turned, still).vertices
    torch.testing.assert_close(moved[0].mean(0), torch.tensor([-0.1, 0, 0]), atol=1e-4, rtol=0)
