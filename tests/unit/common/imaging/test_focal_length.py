"""Where a focal length comes from, and how sure it is."""

import io

import numpy as np
import pytest
from PIL import Image

from common.frames import Camera
from common.imaging.pictures import (
    EXIF_SIGMA,
    GUESSED_SIGMA,
    exif_of_lens,
    focal_length_px,
    focal_px_of_equivalent,
    focal_sigma,
    guessed_focal_px,
)

SIZES = [(640, 480), (480, 640), (1920, 1080), (4032, 3024), (333, 777)]


def sent(width: int, height: int, focal_px: float) -> Camera:
    """The camera with the precision of a packet."""
    return Camera(width, height, float(np.float32(focal_px)))


@pytest.mark.parametrize("size", SIZES)
def test_guess_is_unsure(size: tuple[int, int]) -> None:
    assert focal_sigma(sent(*size, guessed_focal_px(*size))) == GUESSED_SIGMA


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("equivalent_mm", [8, 26, 50, 1200])
def test_exif_data_are_nearly_sure(size: tuple[int, int], equivalent_mm: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "JPEG", exif=exif_of_lens(equivalent_mm))
    with Image.open(file) as picture:
        focal_px = focal_length_px(picture)
    assert focal_px is not None and focal_sigma(sent(*size, focal_px)) == EXIF_SIGMA


def test_equivalent_refers_to_the_diagonal_of_film() -> None:
    # A picture of film's proportions, of 100 pixels a millimetre, and one of 4:3.
    assert focal_px_of_equivalent(50, 3600, 2400) == pytest.approx(5000)
    assert focal_px_of_equivalent(26, 4000, 3000) == pytest.approx(26 / 43.267 * 5000, rel=1e-4)
