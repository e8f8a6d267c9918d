"""Images of every mode, depth and orientation give the right pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from sender.capture.images import read_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def levels(kind: type[np.generic], *row: float) -> PillowImage.Image:
    return PillowImage.fromarray(np.array([row], kind))


def row_of(mode: str, *pixels: Any) -> PillowImage.Image:
    """One row of pixels; of a palette of red and green in mode `P`."""
    image = PillowImage.new(mode, (len(pixels), 1))
    if mode == "P":
        image.putpalette([*RED, *GREEN])
    for x, pixel in enumerate(pixels):
        image.putpixel((x, 0), pixel)
    return image


GREYS: dict[str, tuple[str, PillowImage.Image, list[int]]] = {
    "16 bits": (".png", levels(np.uint16, 0, 257, 128 * 257, 65_535), [0, 1, 128, 255]),
    "16 bits in TIFF": (".tif", levels(np.uint16, 0, 257, 128 * 257, 65_535), [0, 1, 128, 255]),
    "dark 16 bits stay dark": (".png", levels(np.uint16, 0, 200), [0, 1]),
    "big-endian": (".tif", PillowImage.frombytes("I;16B", (2, 1), np.array([0, 65_535], ">u2").tobytes()), [0, 255]),
    "integers of 8 bits": (".tif", levels(np.int32, 0, 128, 255), [0, 128, 255]),
    "integers of 16 bits": (".tif", levels(np.int32, 0, 128 * 257, 65_535), [0, 128, 255]),
    "integers of 31 bits": (".tif", levels(np.int32, -5, 2**30, 2**31 - 1), [0, 128, 255]),
    "real, white 1": (".tif", levels(np.float32, 0.0, 0.5, 1.0, 1.1), [0, 128, 255, 255]),
    "real, white 255": (".tif", levels(np.float32, 0.0, 128.0, 255.0), [0, 128, 255]),
    "real, white 65535": (".tif", levels(np.float32, 0.0, 128 * 257.0, 65_535.0), [0, 128, 255]),
    "real, no agreed white": (".tif", levels(np.float32, 0.0, 5e11, 1e12), [0, 128, 255]),
    "not finite": (".tif", levels(np.float32, np.nan, -1.0, 1.0, np.inf, -np.inf), [0, 0, 255, 255, 0]),
    "nothing finite": (".tif", levels(np.float32, np.nan, np.nan), [0, 0]),
    "transparent": (".png", row_of("LA", (100, 255), (100, 0)), [100, 255]),
    "one bit": (".tif", row_of("1", 0, 1), [0, 255]),
}


@pytest.mark.parametrize(("suffix", "image", "expected"), GREYS.values(), ids=GREYS)
def test_grey(tmp_path: Path, suffix: str, image: PillowImage.Image, expected: list[int]) -> None:
    image.save(tmp_path / f"grey{suffix}")
    assert read_image(tmp_path / f"grey{suffix}")[0].tolist() == [[level] * 3 for level in expected]


def test_colours(tmp_path: Path) -> None:
    rows: list[tuple[PillowImage.Image, dict[str, object], list[tuple[int, int, int]]]] = [
        (row_of("P", 0, 1), {}, [RED, GREEN]),
        (row_of("P", 0, 1), {"transparency": 1}, [RED, WHITE]),
        (row_of("RGBA", (*RED, 255), (*RED, 0), (0, 0, 0, 128)), {}, [RED, WHITE, (127, 127, 127)]),
    ]
    for image, options, expected in rows:
        image.save(tmp_path / "a.png", **options)  # type: ignore[arg-type]
        assert read_image(tmp_path / "a.png")[0].tolist() == [pytest.approx(pixel, abs=1) for pixel in expected]
    for ink, paper in (((0, 0, 0, 0), WHITE), ((0, 0, 0, 255), (0, 0, 0)), ((0, 255, 255, 0), RED)):
        PillowImage.new("CMYK", (8, 8), ink).save(tmp_path / "print.jpg", quality=95)
        assert read_image(tmp_path / "print.jpg").reshape(-1, 3).mean(0) == pytest.approx(paper, abs=3)
    # Pillow writes none: a PPM of 16 bits is text and big-endian numbers.
    content = b"P6 2 1 65535\n" + np.array([65_535, 0, 32_896, 0, 65_535, 257], ">u2").tobytes()
    (tmp_path / "colour.ppm").write_bytes(content)
    assert read_image(tmp_path / "colour.ppm")[0].tolist() == [[255, 0, 128], [0, 255, 1]]


# How a scene is stored under each orientation; EXIF 2.3, 4.6.4.
STORED_AS: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    1: lambda scene: scene,
    2: np.fliplr,
    3: lambda scene: np.rot90(scene, 2),
    4: np.flipud,
    5: lambda scene: scene.transpose(1, 0, 2),
    6: lambda scene: np.rot90(scene, 1),
    7: lambda scene: np.rot90(scene, 2).transpose(1, 0, 2),
    8: lambda scene: np.rot90(scene, -1),
}


@pytest.mark.parametrize(
    ("suffix", "options"), [(".png", {}), (".jpg", {"quality": 95}), (".tif", {}), (".webp", {"lossless": True})]
)
def test_exif_orientation(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    scene = np.full((32, 48, 3), 255, np.uint8)
    scene[:16, :16], scene[:16, -16:], scene[-16:, :16] = RED, GREEN, BLUE
    for orientation, stored_as in STORED_AS.items():
        exif = PillowImage.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"phone{suffix}"
        PillowImage.fromarray(np.ascontiguousarray(stored_as(scene))).save(path, exif=exif, **options)
        image = read_image(path).astype(int)
        assert image.shape == (32, 48, 3)
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert np.abs(corners - [RED, GREEN, BLUE, WHITE]).max() <= 12, f"orientation {orientation}"


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40
    PillowImage.new("RGB", (6, 4), RED).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    assert read_image(tmp_path / "phone.jpg").shape == (4, 6, 3)
