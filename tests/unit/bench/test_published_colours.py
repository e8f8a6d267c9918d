"""Colours between sender and receiver, and coloured views of them."""

from dataclasses import replace

import numpy as np
import pytest

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.stage import SurfaceStage
from sender.perception.stage import ObservedPerson
from sender.train.texture_people import CAMERA, TexturePeople
from tests.bench import measures
from tests.bench.crops import people_of
from tests.bench.published_colours import PublishedColours
from tests.bench.reconstruction_scores import VIEW, TrueViews, views_of
from tests.support.shapes import sphere


def painted(rgb: tuple[int, int, int]) -> SurfaceMesh:
    """A sphere around the origin."""
    mesh = SurfaceStage().reconstruct(*sphere())
    vertices = (mesh.vertices - mesh.vertices.mean(axis=0)).astype(np.float32)
    return SurfaceMesh(vertices, mesh.faces, np.tile(np.array(rgb, np.uint8), (len(vertices), 1)))


def test_colours_of_a_picture_arrive_under_the_identity_and_are_forgotten() -> None:
    body = BodyModel.load()
    picture = TexturePeople(body, 20_000_007, 1).pictures(0, [0.0])[0]
    labels = replace(people_of(LabelSpace.load().encode(picture.parameters))[0], identity=3)
    colours = PublishedColours(stills=True)
    colours.update(picture.lit, CAMERA, [ObservedPerson(3, 1.0, picture.crop, picture.output)], [labels])
    assert colours.textures.keys() == colours.points.keys() == {3}
    texture = colours.textures[3].texture()
    assert texture.known.mean() > 0.1
    truth = picture.unlit[picture.mask].mean(axis=0)
    assert texture.colours[texture.known].mean(axis=0) == pytest.approx(truth, abs=60)
    colours.reset()
    assert not colours.textures and not colours.points


def test_views_compare_colours_on_one_background() -> None:
    background = np.random.default_rng(1).integers(0, 255, (VIEW.height, VIEW.width, 3)).astype(np.uint8)
    truth = TrueViews.of(painted((200, 60, 60)), background)
    same, other = (views_of(painted(rgb), background) for rgb in ((200, 60, 60), (60, 60, 200)))
    assert all(measures.view_mse(a, b) == 0 for a, b in zip(same, truth.pictures, strict=True))
    assert all(measures.view_mse(a, b) > 0.001 for a, b in zip(other, truth.pictures, strict=True))
    assert all(np.array_equal(view[:8, :8], background[:8, :8]) for view in truth.pictures)
