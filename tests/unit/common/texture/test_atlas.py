"""The atlas's layout on the body."""

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE, MIRROR_SIGNS, REGION_INDEX
from common.body.model import BodyModel
from common.texture.atlas import AtlasLayout, sample


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def layout(body: BodyModel) -> AtlasLayout:
    return AtlasLayout.from_body(body)


def positions(layout: AtlasLayout, body: BodyModel) -> np.ndarray:
    """(T, 3) where each texel is on the mean body at rest."""
    rest = body.rest_vertices[0].numpy()
    return np.asarray(np.einsum("tc,tcd->td", layout.barycentric, rest[layout.corners]))


def test_texels_are_where_the_texture_coordinates_say(layout: AtlasLayout, body: BodyModel) -> None:
    coordinates = body.texture_coordinates.numpy()[layout.face]
    found = ATLAS_SIZE * np.einsum("tc,tcd->td", layout.barycentric, coordinates) - 0.5
    distance = np.abs(found - np.column_stack([layout.texel % ATLAS_SIZE, layout.texel // ATLAS_SIZE])).max(axis=1)
    # A texel that a triangle only touches is moved to its border.
    assert np.median(distance) < 1e-3 and np.percentile(distance, 99) < 1.5


def test_mirror_texels_show_mirror_points(layout: AtlasLayout, body: BodyModel) -> None:
    has_mirror = layout.mirror >= 0
    points = positions(layout, body)
    apart_m = np.linalg.norm(points[has_mirror] * MIRROR_SIGNS - points[layout.mirror[has_mirror]], axis=1)
    assert has_mirror.mean() > 0.95 and apart_m.max() < 0.011
    hand = layout.region == REGION_INDEX["hand.L"]
    assert (layout.region[layout.mirror[hand & has_mirror]] == REGION_INDEX["hand.R"]).mean() > 0.95


def test_extended_atlas_keeps_the_skin_and_has_no_holes(layout: AtlasLayout) -> None:
    colours = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
    colours[layout.texel] = 1 + np.arange(len(layout.texel))[:, None] % 250
    extended = layout.extended(colours.reshape(ATLAS_SIZE, ATLAS_SIZE, 3))
    assert extended.all()
    np.testing.assert_array_equal(extended.reshape(-1, 3)[layout.texel], colours[layout.texel])


def test_sample_interpolates_between_texel_centres() -> None:
    image = np.arange(16, dtype=np.float32).reshape(4, 4, 1).repeat(3, axis=2)
    at = np.array([[0.125, 0.125], [0.25, 0.125], [0.125, 0.25], [0.875, 0.875]], np.float32)
    np.testing.assert_allclose(sample(image, at)[:, 0], [0, 0.5, 2, 15])
    assert sample(image, np.zeros((70_000, 2), np.float32)).shape == (70_000, 3)
