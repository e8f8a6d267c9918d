"""Views of panoramas, and transforms of photographs."""

import numpy as np
import pytest

from common.arrays import Float64Array
from sender.train.photographs.crops import perspective, warped


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
