"""All eight orientations, of EXIF and of display matrices."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL import Image as PillowImage

from common.frames import Camera
from common.imaging.pictures import (
    EXIF_SIGMA,
    GUESSED_SIGMA,
    exif_of_lens,
    focal_length_px,
    focal_px_of_equivalent,
    focal_sigma,
    guessed_focal_px,
    orientation_of_matrix,
    to_rgb,
    turned_upright,
    upright,
)

# Where first row and first column of a stored picture are to be seen (EXIF 2.3, 4.6.4), and the matrix that says so.
Place = tuple[int | slice, int | slice]
ALL = slice(None)
TOP, BOTTOM, LEFT, RIGHT = (0, ALL), (-1, ALL), (ALL, 0), (ALL, -1)
ORIENTATIONS: dict[int, tuple[Place, Place, tuple[int, int, int, int]]] = {
    1: (TOP, LEFT, (1, 0, 0, 1)),
    2: (TOP, RIGHT, (-1, 0, 0, 1)),
    3: (BOTTOM, RIGHT, (-1, 0, 0, -1)),
    4: (BOTTOM, LEFT, (1, 0, 0, -1)),
    5: (LEFT, TOP, (0, 1, 1, 0)),
    6: (RIGHT, TOP, (0, 1, -1, 0)),
    7: (RIGHT, BOTTOM, (0, -1, -1, 0)),
    8: (LEFT, BOTTOM, (0, -1, 1, 0)),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_rows_and_columns_are_where_exif_says(orientation: int) -> None:
    row, column, _ = ORIENTATIONS[orientation]
    for place, marked in ((row, 0), (column, 1)):
        stored = np.zeros((4, 6, 3), np.uint8)
        stored[TOP if marked == 0 else LEFT] = 255
        expected = np.zeros((6, 4, 3) if orientation >= 5 else (4, 6, 3), np.uint8)
        expected[place] = 255
        assert (upright(stored, orientation) == expected).all()
        assert (np.asarray(turned_upright(Image.fromarray(stored), orientation)) == expected).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_matrix_moves_corners_as_its_orientation_does(orientation: int) -> None:
    a, b, c, d = ORIENTATIONS[orientation][2]
    one = 65_536
    assert orientation_of_matrix((a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)) == orientation
    # A matrix that turns by a few degrees more, as of an editor.
    assert orientation_of_matrix((a * one + b * 900, b * one - a * 900, 0, c * one, d * one, 0, 7, 9, 1)) == orientation


def test_matrix_that_is_none_changes_nothing() -> None:
    assert orientation_of_matrix([0] * 9) == orientation_of_matrix([0, 5, 0, 0, 5, 0, 0, 0, 0]) == 1
    assert (upright(np.arange(24, dtype=np.uint8).reshape(2, 4, 3), 77).ravel() == np.arange(24)).all()


RED, GREEN = (255, 0, 0), (0, 255, 0)


def swapping_profile() -> bytes:
    """A profile whose first colour is the green of sRGB, and whose second one is its red."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in (
        (b"rXYZ", b"????"),
        (b"gXYZ", b"rXYZ"),
        (b"????", b"gXYZ"),
        ("sRGB".encode("utf-16-be"), b"\0x" * 4),
    ):
        data = data.replace(old, new)
    return data


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_profile_is_applied(mode: str) -> None:
    picture = PillowImage.new("RGB", (4, 4), RED).convert(mode)
    picture.info["icc_profile"] = swapping_profile()
    assert to_rgb(picture).getpixel((1, 1)) == pytest.approx(GREEN, abs=3)


@pytest.mark.parametrize(
    "profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"", b"no profile", bytes(3000)]
)
def test_picture_without_a_profile_that_says_otherwise_is_srgb(profile: bytes) -> None:
    picture = PillowImage.new("RGB", (4, 4), RED)
    picture.info["icc_profile"] = profile
    assert to_rgb(picture).getpixel((1, 1)) == RED


def test_profile_of_other_colours_than_the_picture_has_is_ignored() -> None:
    picture = PillowImage.new("L", (4, 4), 100)
    picture.info["icc_profile"] = swapping_profile()
    assert to_rgb(picture).getpixel((1, 1)) == (100, 100, 100)


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
