"""What `reconstruct` takes for a picture."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from bodywire.pictures import read_picture
from common.errors import SourceError

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
ALPHA = np.linspace(0, 255, 30).round().astype(np.uint8).reshape(6, 5, 1)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I;16"]
)
def test_pillow_image_is_read_as_a_file_of_its_pixels(mode: str) -> None:
    image = PillowImage.fromarray(COLOURS).convert(mode)
    found = read_picture(image)[1].image
    assert found.shape == COLOURS.shape and found.dtype == np.uint8
    if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image.save(file := io.BytesIO(), "PNG")
        np.testing.assert_array_equal(found, read_picture(file.getvalue())[1].image)


def test_arrays_of_grey_levels_and_with_alpha() -> None:
    rgba = np.concatenate([COLOURS, ALPHA], axis=2)
    PillowImage.fromarray(rgba).save(file := io.BytesIO(), "PNG")
    as_file = read_picture(bytearray(file.getvalue()))[1].image
    np.testing.assert_array_equal(read_picture(rgba)[1].image, as_file)
    assert (as_file[0, 0] == 255).all() and (as_file[-1, -1] == COLOURS[-1, -1]).all()
    for grey in (COLOURS[..., 0], COLOURS[..., :1]):
        np.testing.assert_array_equal(read_picture(grey)[1].image, COLOURS[..., :1].repeat(3, axis=2))
    np.testing.assert_array_equal(read_picture(COLOURS[:, ::-1])[1].image, COLOURS[:, ::-1])


def test_open_file_of_pillow_is_turned_upright_and_tells_its_lens(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # orientation
    exif.get_ifd(0x8769)[0xA405] = 28  # focal length for film
    PillowImage.fromarray(COLOURS).save(path, exif=exif)
    with PillowImage.open(path) as image:
        name, picture = read_picture(image)
    assert name == "turned.png" and picture.focal_px == read_picture(path)[1].focal_px is not None
    np.testing.assert_array_equal(picture.image, np.rot90(COLOURS, -1))


@pytest.mark.parametrize(
    ("given", "what", "remedy"),
    [
        (3, TypeError, r"not int: stream\(3\) reads a camera"),
        (None, TypeError, "a picture is the path or content of an image file, .*; not NoneType"),
        (1.5, TypeError, "not float"),
        (np.int64(3), TypeError, "not int64"),
        (["photo.jpg"], TypeError, "not list: call it for each picture"),
        (io.BytesIO(), TypeError, r"not BytesIO: give what its read\(\) returns"),
        (np.zeros((4, 4)), ValueError, r"not \(4, 4\) float64: if white is 1, give \(255 \* picture\)"),
        (np.zeros((4, 4, 3), np.uint16), ValueError, r"if white is 65535, give \(picture // 257\)"),
        (np.zeros((4, 4, 3), np.int64), ValueError, 'if white is 255, give picture.astype'),
        (np.zeros((4, 4), bool), ValueError, r"give \(255 \* picture\)"),
        (np.zeros((3, 8, 9), np.uint8), ValueError, r"give picture.transpose\(1, 2, 0\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), ValueError, "call it for each picture"),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r"not \(4, 4, 2\) uint8"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"not \(0, 4, 3\) uint8"),
        (np.zeros(()), ValueError, r"not \(\) float64"),
        (PillowImage.new("F", (4, 4)), ValueError, "mode F is no picture: convert it to RGB"),
        (PillowImage.new("RGB", (0, 4)), ValueError, r"\(0, 4\) in mode RGB is no picture"),
        ("https://example.org/photo.jpg", SourceError, "download the file"),
        (Path(__file__).parent, SourceError, "is a folder: stream gives the people"),
    ],
)  # fmt: skip
def test_what_is_no_picture_says_what_to_give(given: object, what: type[Exception], remedy: str) -> None:
    with pytest.raises(what, match=remedy):
        read_picture(given)  # type: ignore[arg-type]
