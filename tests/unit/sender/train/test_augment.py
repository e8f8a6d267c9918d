"""What pictures look like to networks that learn: framing, patches, places, composed frames."""

from pathlib import Path

import numpy as np
import pytest

from common.arrays import Float64Array
from common.body.anatomy import COCO_KEYPOINTS
from common.synthetic.dataset import Split
from common.synthetic.render_shards import CropDataset
from common.synthetic.scene.scene import CROP_FIELDS
from sender.train.augment import (
    FrameComposer,
    Framing,
    before_place,
    cover,
    covered,
    moved,
    patch,
    perspective,
    warped,
)

LEFT_WRIST, RIGHT_WRIST = (COCO_KEYPOINTS.index(f"{side}_wrist") for side in ("left", "right"))


def bar_people(directory: Path, size: int, split: Split = "train") -> CropDataset:
    """A data set whose crops show a blue upright bar; all other fields of its shard are empty."""
    shard = directory / f"{split}-0000"
    shard.mkdir(parents=True)
    image, mask = np.zeros((8, size, size, 3), np.uint8), np.zeros((8, size, size), np.uint8)
    where = (slice(None), slice(size // 8, -size // 8), slice(3 * size // 8, -3 * size // 8))
    image[where], mask[where] = (0, 0, 255), 255
    for name in CROP_FIELDS:
        np.save(shard / f"{name}.npy", {"image": image, "mask": mask}.get(name, np.zeros(8)))
    return CropDataset([directory], split)


def test_frames_have_boxes_of_people_of_every_data_set(tmp_path: Path) -> None:
    datasets = [bar_people(tmp_path / "fine", 64), bar_people(tmp_path / "coarse", 32)]
    composer = FrameComposer(datasets, np.random.default_rng(5), 128, backgrounds=4)
    frames = [composer.frame() for _ in range(12)]
    boxes = np.concatenate([boxes for _, boxes in frames])
    assert len(boxes) >= 6
    assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0 and boxes.max() <= 128
    whole = boxes[(boxes.min(axis=1) > 0) & (boxes.max(axis=1) < 128)]
    shape = (whole[:, 3] - whole[:, 1]) / (whole[:, 2] - whole[:, 0])
    assert np.median(shape) == pytest.approx(3, abs=0.4), "proportions of the bar"
    corners = [(image, box.astype(int)) for image, people in frames for box in people]
    blue = [image[top:bottom, left:right].mean(axis=(0, 1)) for image, (left, top, right, bottom) in corners]
    # Exposure, blur and noise change the colours, but in most boxes blue stays the strongest channel.
    assert np.mean([colour.argmax() == 2 for colour in blue]) > 0.6
    again = FrameComposer(datasets, np.random.default_rng(5), 128, backgrounds=4).frame()[0]
    assert np.array_equal(again, frames[0][0]), "the same seed gives the same frame"


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


def test_keypoints_move_with_the_pixels_and_mirroring_exchanges_sides() -> None:
    keypoints = np.full((17, 3), 2.0, np.float32)
    keypoints[LEFT_WRIST, :2], keypoints[RIGHT_WRIST, :2] = (80.5, 90.5), (120.5, 100.5)
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[88:93, 78:83], picture[98:103, 118:123] = (255, 0, 0), (0, 0, 255)
    rng, framing, sides = np.random.default_rng(0), Framing(0.45, 0.6, 0.3, 0.08, 0.3), set[bool]()
    for _ in range(10):
        matrix, mirrored = framing.drawn(rng, np.array([100.0, 100.0]), 125.0, 128)
        image, places = warped(picture, matrix, 128, border=0), moved(keypoints, matrix, mirrored, 128)
        wrists = (RIGHT_WRIST, LEFT_WRIST) if mirrored else (LEFT_WRIST, RIGHT_WRIST)
        for channel, joint in zip((0, 2), wrists, strict=True):
            x, y = places[joint, :2] * 128
            assert 4 < x < 124 and 4 < y < 124 and places[joint, 2] == 2
            assert np.argwhere(image[..., channel] > 100).mean(axis=0) + 0.5 == pytest.approx([y, x], abs=0.8)
        assert mirrored == (np.linalg.det(matrix[:, :2]) < 0)
        sides.add(mirrored)
    assert sides == {False, True}


@pytest.mark.parametrize("fill", [np.zeros(3), np.zeros((7, 5, 3), np.uint8)], ids=["one colour", "a piece"])
def test_a_patch_covers_the_keypoints_that_it_names(fill: np.ndarray) -> None:
    rng, image = np.random.default_rng(1), np.full((200, 200, 3), 300.0, np.float32)
    places, corners = rng.uniform(0, 1, (50, 2)).astype(np.float32), patch(rng, 0.3, 0.5)
    cover(image, *corners, fill)
    hidden = covered(places, *corners)
    assert 0 < hidden.sum() < len(hidden)
    assert (
        image[(200 * places[:, 1]).astype(int), (200 * places[:, 0]).astype(int), 0] < 300
    ).tolist() == hidden.tolist()


def test_a_person_stays_before_another_place() -> None:
    image, mask = np.full((64, 64, 3), 200, np.uint8), np.zeros((32, 32), np.uint8)
    mask[8:24, 12:20] = 255
    seen = before_place(image, mask, np.zeros_like(image))
    assert seen[32, 32].min() == 200 and seen[5, 5].max() == 0 and seen[32, 5].max() == 0
