"""Colours of surface points from the picture of one end to the mesh of the other, against a rendered truth."""

from collections.abc import Iterator

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import REGIONS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.synthetic.assets.appearance import sample_appearance, sample_light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.renderer.renderer import Renderer
from common.texture.point_colours import decode
from receiver.body.colouring import Colouring
from sender.texture.stage import TextureStage
from tests.support.synthetic_observation import CAMERA, RenderedPerson, render_person

_SHOWN = (0.0, np.pi)
_JUDGED = (0.0, 0.7, np.pi - 0.7, np.pi, np.pi + 0.7, 2 * np.pi - 0.7)
_PEOPLE = 4


@pytest.fixture(scope="module")
def model() -> BodyModel:
    return BodyModel.load()


def region_means(pictures: list[RenderedPerson], region: np.ndarray) -> FloatArray:
    """(R, 3) 0…1: what a perfect eye would say of the regions, having seen the same pictures."""
    visible = np.concatenate([picture.truly_visible() for picture in pictures])
    colours = np.concatenate([picture.colours_at_points() for picture in pictures])[visible]
    where = np.tile(region, len(pictures))[visible]
    means = [
        colours[where == index].mean(axis=0) if (where == index).any() else [128] * 3 for index in range(len(REGIONS))
    ]
    return np.asarray(np.divide(means, 255), np.float32)


def errors(model: BodyModel, renderer: Renderer) -> Iterator[tuple[float, float]]:
    """Of some people, mean error (0…255 a channel) with colours of regions, and with colours of points."""
    region, space, colouring = model.point_regions().numpy(), LabelSpace.load(), Colouring(model)
    rng = np.random.default_rng(11)
    for _ in range(_PEOPLE):
        painted, light = sample_appearance(rng), sample_light(rng)
        shown = [render_person(renderer, model, painted, yaw, light) for yaw in _SHOWN]
        judged = [render_person(renderer, model, painted, yaw, light) for yaw in _JUDGED]
        texture_stage = TextureStage(space, model)
        sent = [
            blob
            for picture in shown
            for _ in range(150)
            for _, blob in texture_stage.update(picture.image, CAMERA, [picture.observed()], [picture.labels(space)])
        ]
        regions = region_means(shown, region)
        points = colouring.colours(decode(sent[-1]), regions)
        yield _error(judged, regions[region]), _error(judged, points)


def _error(judged: list[RenderedPerson], colours: FloatArray) -> float:
    off = [np.abs(255 * colours - picture.colours_at_points())[picture.truly_visible()] for picture in judged]
    return float(np.concatenate(off).mean())


def test_points_are_truer_than_regions(model: BodyModel) -> None:
    found = np.array(list(errors(model, Renderer(Canvas.from_model(model)))))
    print(f"mean error a channel: regions {found[:, 0]}, points {found[:, 1]}")
    assert (found[:, 1] < found[:, 0]).all()
    assert found[:, 1].mean() < 0.7 * found[:, 0].mean()
