"""How tall people are, and how sure their height and distance are."""

from dataclasses import replace

import numpy as np
import pytest

from common.body.anatomy import KEYPOINT_GROUPS
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.frames import MAX_LABEL, Camera, PersonLabels
from receiver.body.person_scale import PersonScale, ScaleEstimator, keypoint_confidence

GIVEN, GUESSED = Camera(640, 480, 700.0), Camera(640, 480, 768.0)
SEEN = dict.fromkeys(KEYPOINT_GROUPS, 0.9)
PERSON = PersonLabels(0, 1.0, {"shape": np.zeros(10, np.float32)}, confidence=SEEN)
# Four metres away.
JOINTS = np.tile(np.array([0, 0, 4], np.float32), (17, 1))


@pytest.fixture(scope="module")
def estimator() -> ScaleEstimator:
    return ScaleEstimator(BodyModel.load())


def scale(
    estimator: ScaleEstimator, person: PersonLabels = PERSON, camera: Camera = GIVEN, nearer: float = 1.0
) -> PersonScale:
    return estimator.scale(person, camera, JOINTS / nearer, float(keypoint_confidence([person]).mean()))


def test_height_is_that_of_the_body_at_rest(estimator: ScaleEstimator) -> None:
    model = BodyModel.load()
    rest = model.rest_vertices[:, BodyTemplate.from_model(model).kept, 1].numpy()
    for shape in np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32):
        vertical = rest[0] + shape @ rest[1:]
        person = replace(PERSON, labels={"shape": shape})
        assert estimator.height_m(person) == pytest.approx(np.ptp(vertical), abs=4e-3)


def test_without_shape_height_is_the_mean(estimator: ScaleEstimator) -> None:
    short = replace(PERSON, labels={"shape": np.array([1.0], np.float32)})
    assert estimator.height_m(replace(PERSON, labels={})) == estimator.height_m(PERSON) > estimator.height_m(short)


def test_distance_is_as_unsure_as_lens_and_height(estimator: ScaleEstimator) -> None:
    given, guessed = scale(estimator), scale(estimator, camera=GUESSED)
    size = given.height_sigma_m / given.height_m
    assert given.distance_sigma_m / 4 == pytest.approx(size, rel=0.1) and 0.07 < size < 0.11
    assert guessed.distance_sigma_m / 4 == pytest.approx(np.hypot(0.4, size), rel=0.02)
    assert guessed.height_sigma_m == given.height_sigma_m, "a crop shows the height, whatever the lens"
    assert scale(estimator, nearer=2).distance_sigma_m == pytest.approx(given.distance_sigma_m / 2)


def test_known_shape_makes_both_surer(estimator: ScaleEstimator) -> None:
    sure = scale(estimator, replace(PERSON, confidence={**SEEN, "shape": 1.0}))
    unsure = scale(estimator)
    assert sure.height_sigma_m < 0.3 * unsure.height_sigma_m
    assert sure.distance_sigma_m < 0.3 * unsure.distance_sigma_m


def test_of_whom_little_is_seen_little_is_sure(estimator: ScaleEstimator) -> None:
    by_confidence = [
        scale(estimator, replace(PERSON, confidence=dict.fromkeys(KEYPOINT_GROUPS, seen))) for seen in (0.9, 0.3, 0.1)
    ]
    sigmas = [each.distance_sigma_m for each in by_confidence]
    assert sigmas == sorted(sigmas) and sigmas[-1] > 3
    assert scale(estimator, replace(PERSON, confidence={})).distance_sigma_m == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("entry", [-MAX_LABEL, MAX_LABEL])
def test_labels_of_nobody_have_a_height(estimator: ScaleEstimator, entry: float) -> None:
    found = scale(estimator, replace(PERSON, labels={"shape": np.full(10, entry, np.float32)}))
    assert found.height_m > 0 and np.isfinite([found.height_sigma_m, found.distance_sigma_m]).all()
