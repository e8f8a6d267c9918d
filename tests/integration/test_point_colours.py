"""Surface colours from the image at the sender to the mesh at the receiver, against rendered ground truth."""

from collections.abc import Iterator

import numpy as np
import pytest

from common.arrays import FloatArray
from common.blobs import COLOURS
from common.body.anatomy import REGIONS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.synthetic.assets.appearance import sample_appearance, sample_light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.renderer.renderer import Renderer
from common.texture.point_colours import decode
from receiver.texture.colouring import Colouring
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


def errors(model: BodyModel, renderer: Renderer) -> Iterator[tuple[float, float]]:
    """Mean error (0…255 per channel) of each person with colours of regions, and with colours of points."""
    region, space, colouring = model.point_regions().numpy(), LabelSpace.load(), Colouring(model)
    rng = np.random.default_rng(11)
    for _ in range(_PEOPLE):
        painted, light = sample_appearance(rng), sample_light(rng)
        observed = [render_person(renderer, model, painted, yaw, light) for yaw in _OBSERVED_YAWS]
        evaluated = [render_person(renderer, model, painted, yaw, light) for yaw in _EVALUATED_YAWS]
        texture_stage = TextureStage(space, model)
        blobs = [
            blob
            for picture in observed
            for _ in range(150)
            for blob in texture_stage.update(picture.frame, [picture.observed()], [picture.labels(space)])
            if blob.kind == COLOURS
        ]
        regions = region_means(observed, region)
        points = colouring.colours(decode(blobs[-1].data), regions)
        yield _error(evaluated, regions[region]), _error(evaluated, points)


def _error(pictures: list[RenderedPerson], colours: FloatArray) -> float:
    errors = [np.abs(255 * colours - picture.colours_at_points())[picture.truly_visible()] for picture in pictures]
    return float(np.concatenate(errors).mean())


def test_points_are_more_accurate_than_regions(model: BodyModel) -> None:
    measured = np.array(list(errors(model, Renderer(Canvas.from_model(model)))))
    print(f"mean error per channel: regions {measured[:, 0]}, points {measured[:, 1]}")
    assert (measured[:, 1] < measured[:, 0]).all()
    assert measured[:, 1].mean() < 0.7 * measured[:, 0].mean()
