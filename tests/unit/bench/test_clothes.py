"""People in pictures of all sides, and the summary of the clothes bench."""

import numpy as np
import pytest
import torch

from common.body.model import BodyModel
from common.synthetic.dataset.presets import DRESSED
from tests.bench.clothes import summary
from tests.bench.dressed_people import SIDES, DressedPeople, turns
from tests.bench.measures import Surface, ratio_of_means


def test_ratio_of_means_and_its_standard_error() -> None:
    bare = np.array([10.0, 20.0, 30.0, 40.0])
    assert ratio_of_means(0.8 * bare, bare) == pytest.approx((0.8, 0.0), abs=1e-12)
    ratio, error = ratio_of_means(bare + np.array([1.0, -1.0, 1.0, -1.0]), bare)
    assert ratio == pytest.approx(1.0)
    assert error == pytest.approx(np.std([1, -1, 1, -1], ddof=1) / 2 / 25)


def test_summary_compares_with_the_body_without_clothes() -> None:
    def person(surface_mm: float, bare_mm: float) -> dict[str, dict[str, float]]:
        own = {"chamfer_surface_mm": surface_mm, "chamfer_body_mm": bare_mm, "chamfer_bare_mm": bare_mm}
        return {"8 views": own}

    found = summary([person(6.0, 10.0), person(12.0, 10.0)])["8 views"]
    assert found["surface_over_bare"] == pytest.approx(0.9)
    assert found["body_over_bare"] == pytest.approx(1.0)
    assert found["worse_share"] == 0.5


def test_turns_are_a_full_circle_in_equal_steps() -> None:
    step = turns(SIDES)[1]
    assert torch.allclose(torch.linalg.matrix_power(step, SIDES), torch.eye(3), atol=1e-5)
    assert torch.allclose(turns(SIDES)[3], torch.linalg.matrix_power(step, 3), atol=1e-5)


def test_person_is_seen_from_all_sides_and_the_shell_lies_around_the_body() -> None:
    body = BodyModel.load()
    person = next(DressedPeople(body, DRESSED, 7, 64).people(1))
    again = next(DressedPeople(body, DRESSED, 7, 64).people(1))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(person.pictures, again.pictures, strict=True))
    shapes = torch.cat([picture.parameters.shape for picture in person.pictures])
    assert torch.equal(shapes, shapes[:1].expand_as(shapes))
    roots = torch.cat([picture.parameters.rotations[:, 0] for picture in person.pictures])
    # The angle between successive pictures, from the trace of the rotation between them.
    between = roots[1:] @ roots[:-1].mT
    angles = torch.acos((between.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2)
    assert angles.numpy() == pytest.approx(2 * np.pi / SIDES, abs=1e-3)
    skin = body(person.pictures[0].parameters).vertices[0].numpy()[::50]
    distance_m, _ = Surface(person.shell.vertices, person.shell.faces).nearest(skin.astype(np.float64))
    assert distance_m.mean() < 0.05
