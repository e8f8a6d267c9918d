from pathlib import Path

import numpy as np
import pytest

from common.arrays import FloatArray, IntArray
from common.body.anatomy import REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.synthetic.clothed.binding import (
    BindingFitter,
    GarmentBinding,
    OuterSurface,
    load_bindings,
    save_bindings,
)


@pytest.fixture(scope="module")
def template() -> BodyTemplate:
    return BodyTemplate.from_model(BodyModel.load())


@pytest.fixture(scope="module")
def hips(template: BodyTemplate) -> IntArray:
    """Vertices that a pair of shorts would hide."""
    return np.flatnonzero((template.region == REGION_INDEX["hips"]) & template.outside)


def shorts(template: BodyTemplate, hips: IntArray, thickness_m: float) -> OuterSurface:
    """The hips' own skin, moved outwards."""
    faces = template.faces[np.isin(template.faces, hips).all(1)].astype(np.int64)
    return OuterSurface(template.rest + thickness_m * template.vertex_normals(template.rest), faces)


def exposure(template: BodyTemplate, hidden: IntArray) -> FloatArray:
    shares = np.full(len(template), 0.4, np.float32)
    shares[hidden] = 0.0
    return shares


def test_fit_finds_a_layer_parallel_to_the_skin(template: BodyTemplate, hips: IntArray) -> None:
    garment = shorts(template, hips, 0.02)
    bare = exposure(template, np.zeros(0, np.int64))
    binding = BindingFitter(template).fit(garment, exposure(template, hips), bare)
    assert np.isin(binding.vertices, hips).all()
    assert len(binding.vertices) > 0.95 * len(hips)
    moved = binding.targets(garment.vertices) - template.rest[binding.vertices]
    assert np.median(np.linalg.norm(moved, axis=1)) == pytest.approx(0.02, abs=0.004)
    assert np.median(np.einsum("nd,nd->n", moved, template.vertex_normals(template.rest)[binding.vertices])) > 0.015


def test_bindings_are_stored_to_a_tenth_of_a_millimetre(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    binding = GarmentBinding(
        np.arange(50),
        rng.integers(0, 300, (50, 3)),
        rng.dirichlet(np.ones(3), 50).astype(np.float32),
        rng.normal(0, 0.02, (50, 3)).astype(np.float32),
    )
    save_bindings({"hat": binding}, tmp_path / "bindings.npz")
    stored = load_bindings(tmp_path / "bindings.npz")["hat"]
    garment = rng.normal(0, 0.2, (300, 3)).astype(np.float32)
    np.testing.assert_array_equal(stored.vertices, binding.vertices)
    np.testing.assert_allclose(stored.targets(garment), binding.targets(garment), atol=3e-4)


def test_points_that_were_cut_off_do_not_remain() -> None:
    binding = GarmentBinding(
        np.arange(2),
        np.array([[0, 1, 2], [1, 2, 3]]),
        np.full((2, 3), 1 / 3, np.float32),
        np.zeros((2, 3), np.float32),
    )
    assert binding.remains(None).all()
    assert binding.remains(np.array([-1, -1, -1, 5], np.float32)).tolist() == [True, False]
