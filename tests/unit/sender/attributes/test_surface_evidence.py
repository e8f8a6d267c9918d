"""Evidence of clothes where perception is perfect and the body is known exactly."""

from dataclasses import replace

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.model import BodyModel
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.garments import Canvas
from common.synthetic.renderer import Renderer
from sender.attributes.surface import FEATURES, PROBES_M, evidence
from sender.perception.perception_network import PerceptionOutput
from tests.support.pictures.synthetic_observation import CAMERA, CROP, RenderedPerson, render_person

COSINE, NEARER, VALID, MASK = 0, 1, 2, slice(3, 3 + len(PROBES_M))
DEPTH_UNIT_M = 0.05


@pytest.fixture(scope="module")
def person() -> RenderedPerson:
    model = BodyModel.load()
    tight = sample_appearance(np.random.default_rng(0))
    finish = tight.finish.copy()
    finish[:, 2] = 0
    return render_person(Renderer(Canvas.from_model(model)), model, replace(tight, finish=finish))


def features(person: RenderedPerson, output: PerceptionOutput, grown_m: float = 0.0) -> FloatArray:
    """Of the true body, or one that is thinner than the picture by `grown_m`."""
    points = person.points - grown_m * person.normals
    picture = np.divide(CROP.cut(person.image, 128), 255, dtype=np.float32)
    root_m = float(person.parameters.translation[0, 2])
    return evidence(points, person.normals, root_m, picture, output, CROP, CAMERA)


def seen(table: FloatArray) -> FloatArray:
    """The rows of points that face the camera."""
    return table[(table[:, VALID] > 0) & (table[:, COSINE] > 0.7)]


def test_a_bare_body_shows_no_clothes(person: RenderedPerson) -> None:
    table = features(person, person.observed().output)
    assert table.shape == (2048, FEATURES) and np.isfinite(table).all()
    assert len(seen(table)) > 300
    assert abs(float(np.median(seen(table)[:, NEARER]))) * DEPTH_UNIT_M < 0.01


def test_a_surface_in_front_of_the_skin_is_nearer(person: RenderedPerson) -> None:
    rows = seen(features(person, person.observed().output, grown_m=0.04))
    # Points that face the camera are behind the surface by the distance over the cosine.
    assert float(np.median(rows[:, NEARER])) * DEPTH_UNIT_M == pytest.approx(0.04, abs=0.015)


def test_the_mask_reaches_as_far_as_the_surface(person: RenderedPerson) -> None:
    output = person.observed().output
    bare, grown = features(person, output), features(person, output, grown_m=0.06)
    outline = np.abs(bare[:, COSINE]) == 0
    probe = MASK.start + PROBES_M.index(0.06)
    assert float(grown[outline, probe].mean()) > float(bare[outline, probe].mean()) + 0.02
