"""Surface colours from the image at the sender to the mesh at the receiver, against rendered ground truth."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.spatial import cKDTree

from common.arrays import FloatArray
from common.body.anatomy import REGIONS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.renderer.renderer import Renderer
from common.texture.atlas import AtlasLayout
from common.texture.atlas_tiles import Tile
from receiver.texture.painting import complete
from receiver.texture.received_texture import ReceivedTexture
from sender.texture.stage import TextureStage
from tests.support.synthetic_observation import RenderedPerson, render_person

_OBSERVED_YAWS = (0.0, np.pi)
_EVALUATED_YAWS = (0.0, 0.7, np.pi - 0.7, np.pi, np.pi + 0.7, 2 * np.pi - 0.7)
_PEOPLE = 2


@pytest.fixture(scope="module")
def model() -> BodyModel:
    return BodyModel.load()


def region_means(pictures: list[RenderedPerson], region: np.ndarray) -> FloatArray:
    """(R, 3) 0…1: true mean colours of the regions in the same images."""
    visible = np.concatenate([picture.truly_visible() for picture in pictures])
    colours = np.concatenate([picture.colours_at_points() for picture in pictures])[visible]
    regions = np.tile(region, len(pictures))[visible]
    means = [
        colours[regions == index].mean(axis=0) if (regions == index).any() else [128] * 3
        for index in range(len(REGIONS))
    ]
    return np.asarray(np.divide(means, 255), np.float32)


def nearest_texels(model: BodyModel, layout: AtlasLayout) -> np.ndarray:
    """(2048,) the texel of the flat atlas that is nearest to each surface point."""
    rest = model.rest_vertices[:1]
    texels = np.einsum("tc,tcd->td", layout.barycentric, rest[0].numpy()[layout.corners])
    points = model.surface_points(rest)[0][0].numpy()
    return np.asarray(layout.texel[cKDTree(texels).query(points)[1]])


def errors(model: BodyModel, renderer: Renderer) -> Iterator[tuple[float, float]]:
    """Mean error (0…255 per channel) of each person with colours of regions, and with the texture."""
    space, layout = LabelSpace.load(), AtlasLayout.from_body(model)
    region, texels = model.vertex_region[model.point_corners[:, 0]].numpy(), nearest_texels(model, layout)
    rng = np.random.default_rng(11)
    for _ in range(_PEOPLE):
        painted = sample_appearance(rng)
        observed = [render_person(renderer, model, painted, yaw) for yaw in _OBSERVED_YAWS]
        evaluated = [render_person(renderer, model, painted, yaw) for yaw in _EVALUATED_YAWS]
        texture_stage, received = TextureStage(space, model), ReceivedTexture()
        for picture in observed:
            for _ in range(100):
                for blob in texture_stage.update(picture.frame, [picture.observed()], [picture.labels(space)]):
                    received = received.with_tile(Tile.of_key(blob.key)[0], blob.data)
        regions = region_means(observed, region)
        atlas = complete(layout, received.texture(), regions).reshape(-1, 3)
        yield _error(evaluated, regions[region]), _error(evaluated, np.asarray(atlas[texels] / 255, np.float32))


def _error(pictures: list[RenderedPerson], colours: FloatArray) -> float:
    errors = [np.abs(255 * colours - picture.colours_at_points())[picture.truly_visible()] for picture in pictures]
    return float(np.concatenate(errors).mean())


def test_textures_are_more_accurate_than_regions(model: BodyModel) -> None:
    measured = np.array(list(errors(model, Renderer(Canvas.from_model(model)))))
    print(f"mean error per channel: regions {measured[:, 0]}, textures {measured[:, 1]}")
    assert (measured[:, 1] < measured[:, 0]).all()
    assert measured[:, 1].mean() < 0.7 * measured[:, 0].mean()
