"""Frames made of photographs: boxes follow the pixels, and what is uncertain is left out."""

from pathlib import Path

import numpy as np
import pytest

from common.arrays import Float64Array
from sender.perception.inference.detector import STRIDE
from sender.train.frames.composed import Frame, tolerances
from sender.train.photographs.dataset import SOURCES, PhotographDataset, convert
from sender.train.photographs.frames import (
    PhotographFrames,
    clipped,
    perspective,
    placement,
    transformed,
    warped,
)
from tests.support.pictures.photograph_sources import write_photographs

NOBODY = np.zeros((0, 4), np.float32)


def extent_of_red(image: np.ndarray) -> list[float]:
    red = (image[..., 0].astype(int) - image[..., 2]) > 128
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("seed", range(12))
def test_boxes_move_with_the_pixels(seed: int) -> None:
    picture = np.full((200, 300, 3), 60, np.uint8)
    box = np.array([[120, 60, 180, 150]], np.float32)
    picture[60:150, 120:180] = (255, 0, 0)
    matrix = placement(np.random.default_rng(seed), picture.shape[:2], box, 256, 0.3)
    turned = abs(matrix[0, 1]) > 1e-9
    expected = transformed(box, matrix)[0].clip(0, 256)
    if np.ptp(expected[[0, 2]]) > 8 and np.ptp(expected[[1, 3]]) > 8:
        # A rotated rectangle is larger than the ellipse in it, whose box is asked for.
        tolerance = 14.0 if turned else 1.5
        assert extent_of_red(warped(picture, matrix, 256)) == pytest.approx(expected.tolist(), abs=tolerance)


def test_enlarged_picture_fills_the_frame_and_a_small_one_lies_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix = placement(rng, (480, 640), NOBODY, 320, 0.0)
        corners = np.array([[0, 0], [640, 0], [0, 480], [640, 480]]) @ matrix[:, :2].T + matrix[:, 2]
        low, high = corners.min(axis=0), corners.max(axis=0)
        fits = high - low <= 320
        assert ((low >= -1e-6) & (high <= 320 + 1e-6))[fits].all()
        assert ((low <= 1e-6) & (high >= 320 - 1e-6))[~fits].all()


def test_reduced_picture_keeps_its_place() -> None:
    picture = np.full((400, 400, 3), 60, np.uint8)
    picture[100:300, 200:360] = (255, 0, 0)
    matrix: Float64Array = np.array([[0.25, 0, 10], [0, 0.25, 20]])
    assert extent_of_red(warped(picture, matrix, 128)) == pytest.approx([60, 45, 100, 95], abs=1)


def test_small_and_truncated_people_are_ignored() -> None:
    boxes = np.array([[10, 10, 40, 90], [50, 50, 60, 58], [-90, 10, 10, 90], [200, 0, 300, 50]], np.float32)
    kept, ignored = clipped(boxes, 128)
    assert kept.tolist() == [[10, 10, 40, 90]]
    assert ignored.tolist() == [[50, 50, 60, 58], [0, 10, 10, 90]]


def test_tolerance_is_zero_in_ignored_boxes_and_one_around_people() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    person, crowd = np.array([[0, 0, 16, 32]], np.float32), np.array([[8, 0, 60, 24]], np.float32)
    cells = tolerances(Frame(image, person, crowd, 0.3), 64)
    assert cells.shape == (64 // STRIDE, 64 // STRIDE)
    assert (cells[:4, :2] == 1).all()
    assert (cells[:3, 2:] == 0).all()
    assert cells[5, 5] == np.float32(0.3)


def test_frames_show_the_person_in_the_box(tmp_path: Path) -> None:
    convert(write_photographs(tmp_path), tmp_path / "out")
    photographs = PhotographDataset(tmp_path / "out", "train")
    for source in SOURCES[:2]:
        draw = PhotographFrames(photographs, source, np.random.default_rng(1), 128)
        frames = [draw() for _ in range(16)]
        assert sum(len(frame.boxes) for frame in frames) >= 10
        assert all(frame.image.shape == (128, 128, 3) and 0 < frame.tolerance < 1 for frame in frames)
        excess = [
            np.ptp(frame.image[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])].mean(axis=(0, 1)))
            for frame in frames
            for box in frame.boxes
        ]
        assert np.median(excess) > 40


def test_perspective_looks_where_the_camera_is_turned() -> None:
    panorama = np.zeros((64, 128, 3), np.uint8)
    panorama[30:34, 94:98] = 255  # On the horizon, a quarter turn to the right.
    view = perspective(panorama, np.pi / 2, 0.0, 0.0, 1.0, 33)
    assert view[16, 16].min() > 128
    assert view[2:8].max() == 0
    upwards = perspective(panorama, np.pi / 2, 0.3, 0.0, 1.0, 33)
    assert np.flatnonzero(upwards[..., 0].max(axis=1)).min() > 20
