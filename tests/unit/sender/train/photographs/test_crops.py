"""Views of panoramas, and transforms of photographs."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.arrays import Float64Array
from common.body.anatomy import COCO_KEYPOINTS
from sender.train.photographs.crops import (
    PhotographCropSampler,
    crop_transform,
    crops_in_boxes,
    crops_of,
    moved,
    occlude,
    perspective,
    warped,
)
from sender.train.photographs.dataset import INDEX, PSEUDO, PhotographDataset, convert
from tests.support.pictures.photograph_sources import write_photographs


def extent_of_red(image: np.ndarray) -> list[float]:
    red = (image[..., 0].astype(int) - image[..., 2]) > 128
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_reduced_picture_keeps_its_place() -> None:
    picture = np.full((400, 400, 3), 60, np.uint8)
    picture[100:300, 200:360] = (255, 0, 0)
    matrix: Float64Array = np.array([[0.25, 0, 10], [0, 0.25, 20]])
    assert extent_of_red(warped(picture, matrix, 128)) == pytest.approx([60, 45, 100, 95], abs=1)


def test_perspective_looks_where_the_camera_is_turned() -> None:
    panorama = np.zeros((64, 128, 3), np.uint8)
    panorama[30:34, 94:98] = 255  # On the horizon, a quarter turn to the right.
    view = perspective(panorama, np.pi / 2, 0.0, 0.0, 1.0, 33)
    assert view[16, 16].min() > 128
    assert view[2:8].max() == 0
    upwards = perspective(panorama, np.pi / 2, 0.3, 0.0, 1.0, 33)
    assert np.flatnonzero(upwards[..., 0].max(axis=1)).min() > 20


LEFT_WRIST, RIGHT_WRIST = (COCO_KEYPOINTS.index(f"{side}_wrist") for side in ("left", "right"))


def dotted_picture() -> tuple[np.ndarray, np.ndarray]:
    """A picture with a red dot at the left and a blue one at the right wrist, and keypoints (17, 3)."""
    keypoints = np.concatenate([np.random.default_rng(0).uniform(60, 140, (17, 2)), np.full((17, 1), 2.0)], axis=1)
    keypoints[LEFT_WRIST, :2], keypoints[RIGHT_WRIST, :2] = (80.5, 90.5), (120.5, 100.5)
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[88:93, 78:83], picture[98:103, 118:123] = (255, 0, 0), (0, 0, 255)
    return picture, keypoints.astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_keypoints_move_with_the_pixels_and_mirroring_exchanges_sides(seed: int) -> None:
    picture, keypoints = dotted_picture()
    box = np.array([50, 50, 150, 150], np.float32)
    matrix, mirrored = crop_transform(np.random.default_rng(seed), box, keypoints, 128)
    image = warped(picture, matrix, 128, border=0)
    places = moved(keypoints, matrix, mirrored, 128)
    wrists = (RIGHT_WRIST, LEFT_WRIST) if mirrored else (LEFT_WRIST, RIGHT_WRIST)
    for channel, joint in zip((0, 2), wrists, strict=True):
        lit = np.argwhere(image[..., channel] > 100)
        x, y = places[joint, :2] * 128
        if 4 < x < 124 and 4 < y < 124:
            assert lit.mean(axis=0) + 0.5 == pytest.approx([y, x], abs=0.8)
    assert mirrored == (np.linalg.det(matrix[:, :2]) < 0)


def test_hidden_unlabelled_and_occluded_keypoints_are_not_visible() -> None:
    keypoints = np.concatenate([np.full((1, 17, 2), 0.5), np.full((1, 17, 1), 2.0)], axis=2).astype(np.float32)
    keypoints[0, 0, 2], keypoints[0, 1, 2], keypoints[0, 2, 0] = 0, 1, 1.2
    occluded = np.zeros((1, 17), np.bool_)
    occluded[0, 3] = True
    crops = crops_of(np.zeros((1, 32, 32, 3), np.uint8), keypoints, occluded)
    assert crops.labelled[0, :4].tolist() == [0, 1, 1, 1]
    assert crops.visible[0, :5].tolist() == [0, 0, 0, 0, 1]
    assert crops.judged[0, :3].tolist() == pytest.approx([0.3, 1, 1])
    few = keypoints.copy()
    few[0, 5:, 2] = 0
    assert crops_of(np.zeros((1, 32, 32, 3), np.uint8), few, occluded).judged.sum() == 4
    pseudo = keypoints.copy()
    pseudo[0, 1:, 2] = PSEUDO
    crops = crops_of(np.zeros((1, 32, 32, 3), np.uint8), pseudo, occluded)
    assert [crops.labelled.sum().item(), crops.judged.sum().item()] == [16, 0]


@pytest.mark.parametrize("piece", [None, np.zeros((7, 5, 3), np.uint8)], ids=["one colour", "a piece of a picture"])
def test_occlusion_covers_the_keypoints_that_it_names(piece: np.ndarray | None) -> None:
    _, keypoints = dotted_picture()
    keypoints[:, :2] /= 200
    image = np.full((200, 200, 3), 300.0, np.float32)
    occluded = occlude(np.random.default_rng(1), image, keypoints, piece)
    assert 0 < occluded.sum() < len(occluded)
    for place, covered in zip(keypoints, occluded, strict=True):
        assert (image[int(place[1] * 200), int(place[0] * 200), 0] < 300) == covered


def test_sampler_and_validation_crops(tmp_path: Path) -> None:
    convert(write_photographs(tmp_path), tmp_path / "out")
    sampler = PhotographCropSampler(PhotographDataset(tmp_path / "out", "train"), np.random.default_rng(0), 64)
    batch = next(sampler.batches(6))
    assert batch.image.shape == (6, 3, 64, 64)
    assert batch.labelled.sum() == 6 * 16
    crops = list(crops_in_boxes(PhotographDataset(tmp_path / "out", "val"), 64))
    assert sum(len(part) for part in crops) == 2
    # The annotated box is the inner 1/1.25 of the crop.
    first = crops[0].keypoints_2d[0, 1:]
    assert ((first >= 0.1) & (first <= 0.9)).all()


def test_some_crops_are_of_places_where_nobody_is(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    convert(write_photographs(tmp_path), folder)
    document = json.loads((folder / INDEX).read_text())
    document["photographs"][0]["nobody"] = [[0, 0, 40, 60]]
    document["photographs"][0]["split"] = "train"
    (folder / INDEX).write_text(json.dumps(document))
    sampler = PhotographCropSampler(PhotographDataset(folder, "train"), np.random.default_rng(0), 64)
    crops = next(sampler.batches(100))
    nobody = crops.labelled.sum(dim=1) == 0
    assert 3 < nobody.sum() < 25
    assert bool((crops.judged[nobody] == 1).all())
    assert bool((crops.visible[nobody] == 0).all())
