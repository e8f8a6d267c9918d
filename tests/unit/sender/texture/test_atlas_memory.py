"""The atlas of a person, from rendered pictures."""

import numpy as np
import pytest

from common.body.anatomy import ATLAS_SIZE
from common.body.model import BodyModel
from common.texture.atlas import AtlasLayout
from sender.texture.atlas import AtlasCamera, AtlasMemory, AtlasView
from tests.support.pictures.synthetic_observation import RenderedPerson
from tests.unit.sender.texture.test_atlas_view import view_of


def flat_view(layout: AtlasLayout, colour: float, weight: float = 0.5) -> AtlasView:
    """Every texel in one colour, as from the front."""
    count = len(layout.texel)
    normals = np.tile(np.array([0, 0, -1], np.float32), (count, 1))
    colours = np.full((count, 3), colour, np.float32)
    return AtlasView(np.arange(count), colours, np.full(count, weight, np.float32), normals)


def test_texels_have_the_colours_of_the_picture(
    front: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera
) -> None:
    memory = AtlasMemory(atlas_camera.layout, 0.01, remove_light=False)
    view = view_of(front, model, atlas_camera)
    memory.add(view)
    texture = memory.texture
    known = texture.known.ravel()[atlas_camera.layout.texel[view.texels]]
    found = texture.colours.reshape(-1, 3)[atlas_camera.layout.texel[view.texels]]
    assert known.mean() > 0.9
    assert np.abs(found[known] - view.colours[known]).mean() < 4


@pytest.mark.parametrize(
    ("views", "least", "most"),
    [
        ([(100, 0.5)] * 10 + [(250, 0.5)], 99, 106),
        ([(40, 0.5)] * 10 + [(220, 0.5)] * 120, 180, 220),
        ([(100, 0.9)] + [(130, 0.1)] * 10, 100, 104),
    ],
    ids=["a passing occluder changes little", "other clothes replace the first", "a worse view does not blur"],
)
def test_mean_of_views(layout: AtlasLayout, views: list[tuple[float, float]], least: float, most: float) -> None:
    memory = AtlasMemory(layout, remove_light=False)
    for colour, weight in views:
        memory.add(flat_view(layout, colour, weight))
    texture = memory.texture
    assert least <= texture.colours.reshape(-1, 3)[layout.texel].mean() <= most
    assert texture.known.all() and texture.known.shape == (ATLAS_SIZE, ATLAS_SIZE), "it extends beyond the skin"


@pytest.mark.parametrize(
    ("before", "unlike", "restarts"),
    [(6, 3, 1), (6, 2, 0), (60, 10, 0), (60, 12, 1)],
    ids=["dark at first", "a blink", "of somebody long known", "other light"],
)
def test_what_all_observations_contradict_is_given_up(
    layout: AtlasLayout, before: int, unlike: int, restarts: int
) -> None:
    memory = AtlasMemory(layout, remove_light=False)
    for colour in [60.0] * before + [200.0] * unlike:
        memory.add(flat_view(layout, colour, 0.5))
    assert memory.restarts == restarts and memory.known.all()
    assert (memory.means.mean() == pytest.approx(200, abs=1)) == bool(restarts)
