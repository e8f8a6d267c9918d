"""Images of every mode, depth and orientation give the right pixels."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from sender.capture.images import read_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(path: Path, image: PillowImage.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def grey(path: Path) -> list[int]:
    """The levels of an image that must be grey."""
    image = read_image(path)
    assert (image[:, :, 0] == image[:, :, 1]).all()
    assert (image[:, :, 0] == image[:, :, 2]).all()
    return [int(level) for level in image[:, :, 0].ravel()]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey(tmp_path: Path, suffix: str) -> None:
    levels = np.array([[0, 257, 128 * 257, 65_535]], np.uint16)
    assert grey(save(tmp_path / f"grey{suffix}", PillowImage.fromarray(levels))) == [0, 1, 128, 255]


def test_dark_16_bit_grey_stays_dark(tmp_path: Path) -> None:
    levels = np.array([[0, 200]], np.uint16)
    assert grey(save(tmp_path / "dark.png", PillowImage.fromarray(levels))) == [0, 1]


def test_big_endian_16_bit_grey(tmp_path: Path) -> None:
    big = PillowImage.frombytes("I;16B", (2, 1), np.array([0, 65_535], ">u2").tobytes())
    assert grey(save(tmp_path / "big.tif", big)) == [0, 255]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0, 128, 255], [0, 128, 255]),
        ([0, 128 * 257, 65_535], [0, 128, 255]),
        ([-5, 2**30, 2**31 - 1], [0, 128, 255]),
    ],
)
def test_32_bit_integer_grey(tmp_path: Path, levels: list[int], expected: list[int]) -> None:
    image = PillowImage.fromarray(np.array([levels], np.int32))
    assert image.mode == "I"
    assert grey(save(tmp_path / "grey.tif", image)) == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0.0, 0.5, 1.0, 1.1], [0, 128, 255, 255]),
        ([0.0, 128.0, 255.0], [0, 128, 255]),
        ([0.0, 128 * 257.0, 65_535.0], [0, 128, 255]),
        ([0.0, 5e11, 1e12], [0, 128, 255]),
        ([np.nan, -1.0, 1.0, np.inf, -np.inf], [0, 0, 255, 255, 0]),
        ([np.nan, np.nan], [0, 0]),
    ],
)
def test_32_bit_real_grey(tmp_path: Path, levels: list[float], expected: list[int]) -> None:
    image = PillowImage.fromarray(np.array([levels], np.float32))
    assert image.mode == "F"
    assert grey(save(tmp_path / "grey.tif", image)) == expected


def test_16_bit_colour(tmp_path: Path) -> None:
    # Pillow writes none: a PPM of 16 bits is text and big-endian numbers.
    path = tmp_path / "colour.ppm"
    path.write_bytes(b"P6 2 1 65535\n" + np.array([65_535, 0, 32_896, 0, 65_535, 257], ">u2").tobytes())
    assert [tuple(pixel) for pixel in read_image(path)[0]] == [(255, 0, 128), (0, 255, 1)]


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    image = PillowImage.new("RGBA", (3, 1))
    for x, pixel in enumerate([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)]):
        image.putpixel((x, 0), pixel)
    pixels = read_image(save(tmp_path / "alpha.png", image))[0]
    assert [tuple(pixel) for pixel in pixels[:2]] == [RED, WHITE]
    assert pixels[2] == pytest.approx(127, abs=1)


def test_grey_with_alpha(tmp_path: Path) -> None:
    image = PillowImage.new("LA", (2, 1), (100, 255))
    image.putpixel((1, 0), (100, 0))
    assert grey(save(tmp_path / "alpha.png", image)) == [100, 255]


def test_palette(tmp_path: Path) -> None:
    image = PillowImage.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    assert [tuple(pixel) for pixel in read_image(save(tmp_path / "palette.png", image))[0]] == [RED, GREEN]


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = PillowImage.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    path = save(tmp_path / "palette.png", image, transparency=1)
    assert [tuple(pixel) for pixel in read_image(path)[0]] == [RED, WHITE]


@pytest.mark.parametrize(
    ("ink", "expected"), [((0, 0, 0, 0), WHITE), ((0, 0, 0, 255), (0, 0, 0)), ((0, 255, 255, 0), RED)]
)
def test_cmyk(tmp_path: Path, ink: tuple[int, int, int, int], expected: tuple[int, int, int]) -> None:
    image = read_image(save(tmp_path / "print.jpg", PillowImage.new("CMYK", (8, 8), ink), quality=95))
    assert image.reshape(-1, 3).mean(0) == pytest.approx(expected, abs=3)


def test_one_bit(tmp_path: Path) -> None:
    image = PillowImage.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert grey(save(tmp_path / "fax.tif", image)) == [0, 255]


Corners = npt.NDArray[np.uint8]


def corners(image: npt.NDArray[np.uint8]) -> list[list[tuple[int, ...]]]:
    return [[tuple(map(int, image[y, x])) for x in (0, -1)] for y in (0, -1)]


# Where the upper left (red), upper right (green) and lower left (blue) corner of the scene are stored; EXIF 2.3, 4.6.4.
STORED_AS = {
    1: lambda scene: scene,
    2: np.fliplr,
    3: lambda scene: np.rot90(scene, 2),
    4: np.flipud,
    5: lambda scene: scene.transpose(1, 0, 2),
    6: lambda scene: np.rot90(scene, 1),
    7: lambda scene: np.rot90(scene, 2).transpose(1, 0, 2),
    8: lambda scene: np.rot90(scene, -1),
}


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    scene = np.full((32, 48, 3), 255, np.uint8)
    scene[:16, :16], scene[:16, -16:], scene[-16:, :16] = RED, GREEN, BLUE
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    stored = PillowImage.fromarray(np.ascontiguousarray(STORED_AS[orientation](scene)))
    options = {"lossless": True} if suffix == ".webp" else {"quality": 95} if suffix == ".jpg" else {}
    image = read_image(save(tmp_path / f"phone{suffix}", stored, exif=exif, **options))
    assert image.shape == (32, 48, 3)
    assert np.abs(np.array(corners(image)) - [[RED, GREEN], [BLUE, WHITE]]).max() <= 12


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    stored = PillowImage.new("RGB", (6, 4), RED)
    path = save(tmp_path / "phone.jpg", stored, exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40, quality=95)
    assert read_image(path).shape == (4, 6, 3)
