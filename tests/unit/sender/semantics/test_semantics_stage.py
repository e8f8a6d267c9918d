"""Builds by silhouettes: bodies at rest before masks of known width."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import COCO_KEYPOINTS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.frames import Camera
from sender.perception.crop import CropBox
from sender.perception.track import ObservedPerson
from sender.semantics.semantics_stage import Build, TrunkWidths
from tests.support.pictures.preview_samples import MASK, observed

CAMERA = Camera(1000, 1000, 1000.0)
HIPS, WAIST = 0, 2
_CROP_PX = 320
CLOTHES_M = np.array([0.05, 0.035, 0.035])


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def widths(body: BodyModel) -> TrunkWidths:
    return TrunkWidths.of_body(body)


@dataclass
class Person:
    """Label entries, keypoints (17, 2) in pixels, and metres of a pixel."""

    entries: FloatArray
    keypoints: FloatArray
    m_per_px: float


def stands(body: BodyModel, turned: float = 0.0) -> Person:
    parameters = BodyParameters.rest()
    parameters.rotations[:, 0] = axis_angle_to_matrix(torch.tensor([[0.0, turned, 0.0]]))
    keypoints = body.coco_keypoints(body(parameters).vertices)[0].numpy()
    entries = LabelSpace.load().encode(parameters)[0].numpy()
    return Person(entries, CAMERA.project(keypoints), 3.0 / CAMERA.focal_px)


def seen(person: Person, width_m: float) -> ObservedPerson:
    """With a mask that is as wide at all heights, around the hips' middle."""
    x, y = person.keypoints[[11, 12]].mean(axis=0) - _CROP_PX / 2
    columns = (np.arange(MASK) + 0.5) / MASK - 0.5
    mask = np.abs(columns) * _CROP_PX * person.m_per_px < width_m / 2
    return observed(CropBox(round(x), round(y), _CROP_PX), np.broadcast_to(mask, (MASK, MASK)))


def test_widths_of_other_shapes_are_linear(body: BodyModel, widths: TrunkWidths) -> None:
    shape = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 10)).astype(np.float32))
    rest = body.rest(shape)[0]
    for row, vertices in enumerate(rest.numpy()):
        keypoints = body.coco_keypoints(rest[row : row + 1])[0].numpy()
        waist = keypoints[[11, 12], 1].mean() * 0.6 + keypoints[[5, 6], 1].mean() * 0.4
        near = np.abs(vertices[:, 1] - waist) < 0.01
        across = vertices[near & (np.abs(vertices[:, 0]) < 0.26), 0]
        assert widths.mean[WAIST] + shape[row].numpy() @ widths.by_shape[:, WAIST] == pytest.approx(
            np.ptp(across), rel=0.05
        )


def test_narrow_masks_make_people_narrow_and_leave_lengths(body: BodyModel, widths: TrunkWidths) -> None:
    person = stands(body)
    ratios = widths.look(person.entries, seen(person, 0.30), person.keypoints, CAMERA)
    assert ratios is not None
    truth = np.log(0.30 / (widths.mean + CLOTHES_M))
    # Cells of the mask are 3 cm wide.
    np.testing.assert_allclose(ratios, truth, atol=0.1)
    build = Build()
    for time_s in np.arange(0, 3, 0.25):
        build.look(widths, np.full(3, -0.1), float(time_s))
    changed = np.log(1 + build.correction @ widths.by_shape / widths.mean)
    np.testing.assert_allclose(changed, -0.09, atol=0.03)
    slim = torch.from_numpy(build.correction)[None]
    before, after = (body.coco_keypoints(body.rest(shape)[0])[0].numpy() for shape in (torch.zeros_like(slim), slim))
    knee, ankle = (COCO_KEYPOINTS.index(f"left_{joint}") for joint in ("knee", "ankle"))
    shins = [np.linalg.norm(each[knee] - each[ankle]) for each in (before, after)]
    assert shins[1] == pytest.approx(shins[0], rel=0.05)


def test_arms_beside_the_trunk_hide_it(body: BodyModel, widths: TrunkWidths) -> None:
    person = stands(body)
    hips = person.keypoints[[11, 12]]
    for side in (0, 1):
        person.keypoints[7 + side] = hips[side] + np.array([30 * (1 - 2 * side), -80])
        person.keypoints[9 + side] = hips[side] + np.array([30 * (1 - 2 * side), 10])
    assert widths.look(person.entries, seen(person, 0.36), person.keypoints, CAMERA) is None


def test_people_who_turn_away_are_not_measured(body: BodyModel, widths: TrunkWidths) -> None:
    person = stands(body, turned=0.8)
    assert widths.look(person.entries, seen(person, 0.36), person.keypoints, CAMERA) is None


def test_hips_of_people_who_sit_are_not_measured(body: BodyModel, widths: TrunkWidths) -> None:
    person = stands(body)
    person.keypoints[[13, 14], 1] = person.keypoints[[11, 12], 1] + 20
    ratios = widths.look(person.entries, seen(person, 0.36), person.keypoints, CAMERA)
    assert ratios is not None
    assert np.isnan(ratios[HIPS]) and np.isfinite(ratios[WAIST])


def test_looks_are_a_fifth_of_a_second_apart_and_small_changes_wait(widths: TrunkWidths) -> None:
    build = Build()
    assert build.is_due(0.0)
    build.look(widths, np.full(3, -0.1), 0.0)
    assert not build.is_due(0.1) and build.is_due(0.25)
    first = build.correction
    build.look(widths, np.array([-0.11, np.nan, np.nan]), 0.25)
    assert build.correction is first
