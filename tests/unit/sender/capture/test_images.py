import logging
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, ImageCms
from PIL import Image as PillowImage

from common.clock import Clock
from common.errors import SourceError
from common.frames import Camera
from sender.capture.images import ImageSource, decode_image, is_image, read_image
from sender.metrics import SenderMetrics
from tests.support.pictures import fake_pictures

HEIC = Path(fake_pictures.__file__).with_name("red_blue.heic")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def paint(path: Path, colour: tuple[int, int, int] = RED, width: int = 6, height: int = 4) -> Path:
    PillowImage.new("RGB", (width, height), colour).save(path)
    return path


def damaged(path: Path) -> Path:
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    PillowImage.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".webp", ".bmp", ".tif"):
        with pytest.raises(SourceError, match=f"cut{suffix}"):
            read_image(damaged(tmp_path / f"cut{suffix}"))
    # Pillow's decoder of PostScript would run Ghostscript.
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    for content in (b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", page):
        (tmp_path / "text.jpg").write_bytes(content)
        with pytest.raises(SourceError, match=r"text\.jpg is (not an image that can be read|damaged)"):
            read_image(tmp_path / "text.jpg")
    with pytest.raises(SourceError, match="No such file"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": 6}, {"icc_profile": 1}])
def test_content_is_decoded_as_its_file(tmp_path: Path, mode: str, how: dict[str, Any]) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB" if mode != "RGB" else "sRGB")).tobytes()
    options = (
        how | ({"exif": exif} if "exif" in how else {}) | ({"icc_profile": profile} if "icc_profile" in how else {})
    )
    path = tmp_path / "noise.jpg"
    PillowImage.fromarray(noise).convert(mode).save(path, quality=60, **options)
    own, file = decode_image(path.read_bytes()), read_image(path)
    assert own.image.shape == file.image.shape and own.focal_px == file.focal_px
    assert np.abs(own.image.astype(int) - file.image).max() <= 1
    with pytest.raises(SourceError, match="the picture"):
        decode_image(path.read_bytes()[:-200])


def claim(path: Path, width: int, height: int) -> Path:
    """Lets the header of a PNG claim a size."""
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    return path


def test_images_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ((70_000, 1), (1, 70_000), (30_000, 30_000), (13_500, 13_500), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(SourceError, match=r"huge\.png.* too large"):
            read_image(claim(paint(tmp_path / "huge.png"), *size))
    path = paint(tmp_path / "bomb.png", width=60, height=40)
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(SourceError, match="too large"):
        read_image(path)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("sender.capture.images.to_rgb", fail)
    with pytest.raises(SourceError, match=r"a\.png is too large: too little memory"):
        read_image(paint(tmp_path / "a.png"))


def test_source_yields_each_image_in_order(tmp_path: Path) -> None:
    paths = [paint(tmp_path / "a.png", RED), paint(tmp_path / "b.png", BLUE, width=4, height=10)]
    times = iter([100.0, 101.0])
    with ImageSource(paths, clock=Clock(wall=lambda: next(times))) as source:
        frames = list(source)
    assert not source.live and source.stills and source.ends
    assert [(frame.sequence, frame.source, frame.captured_at) for frame in frames] == [
        (0, "a.png", 100.0),
        (1, "b.png", 101.0),
    ]
    assert (frames[1].image == BLUE).all()
    assert [frame.camera for frame in frames] == [Camera(6, 4, 1.2 * 6), Camera(4, 10, 1.2 * 10)]


def test_unreadable_images_are_skipped_counted_and_summed_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "b.jpg").write_text("no")
    (tmp_path / "d.png").touch()
    paths = [paint(tmp_path / "a.png"), tmp_path / "b.jpg", paint(tmp_path / "c.png"), tmp_path / "d.png"]
    paths += [paint(tmp_path / "e.png", width=70_000, height=1), damaged(tmp_path / "f.jpg")]
    paths += [tmp_path / f"gone{index}.png" for index in range(3)]
    metrics = SenderMetrics()
    with caplog.at_level(logging.WARNING):
        with ImageSource(paths, metrics=metrics) as source:
            frames = list(source)
        source.close()
    assert [(frame.sequence, frame.source) for frame in frames] == [(0, "a.png"), (1, "c.png")]
    assert metrics.registry.get_sample_value("bodywire_sender_frames_total", {"fate": "unreadable"}) == 7
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 8
    assert "b.jpg" in messages[0]
    assert messages[-1] == "skipped 7 of 9 images"


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif", ".heic"])
def test_pictures_of_phones_and_first_frames_of_animations_are_read(tmp_path: Path, suffix: str) -> None:
    path = HEIC
    if suffix != ".heic":
        path = tmp_path / f"moving{suffix}"
        green = PillowImage.new("RGB", (64, 48), GREEN)
        PillowImage.new("RGB", (64, 48), RED).save(path, save_all=True, append_images=[green])
    assert is_image(path)
    (frame,) = ImageSource([path])
    assert frame.image.shape == (48, 64, 3)
    assert np.abs(frame.image[5, 5].astype(int) - RED).max() < 12


def test_pictures_of_one_name_in_several_folders_are_several_sources(tmp_path: Path) -> None:
    for folder in "abc":
        (tmp_path / folder).mkdir()
    sources = [frame.source for frame in ImageSource([paint(tmp_path / folder / "me.png") for folder in "abc"])]
    assert sources[0] != sources[1] != sources[2] and all(source.startswith("me.png") for source in sources)


def test_name_that_does_not_print(tmp_path: Path) -> None:
    (frame,) = ImageSource([paint(tmp_path / "a\n\x1b[31m\udcff.png")], focal_px=50.0)
    assert (frame.source, frame.camera.focal_px) == ("a??[31m?.png", 50.0)


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
    "transparent": (".png", row_of("LA", (100, 255), (100, 0)), [100, 255]),
    "one bit": (".tif", row_of("1", 0, 1), [0, 255]),
}


@pytest.mark.parametrize(("suffix", "image", "expected"), GREYS.values(), ids=GREYS)
def test_grey(tmp_path: Path, suffix: str, image: PillowImage.Image, expected: list[int]) -> None:
    image.save(tmp_path / f"grey{suffix}")
    assert read_image(tmp_path / f"grey{suffix}").image[0].tolist() == [[level] * 3 for level in expected]


def test_colours(tmp_path: Path) -> None:
    rows: list[tuple[PillowImage.Image, dict[str, object], list[tuple[int, int, int]]]] = [
        (row_of("P", 0, 1), {}, [RED, GREEN]),
        (row_of("P", 0, 1), {"transparency": 1}, [RED, WHITE]),
        (row_of("RGBA", (*RED, 255), (*RED, 0), (0, 0, 0, 128)), {}, [RED, WHITE, (127, 127, 127)]),
    ]
    for image, options, expected in rows:
        image.save(tmp_path / "a.png", **options)  # type: ignore[arg-type]
        assert read_image(tmp_path / "a.png").image[0].tolist() == [pytest.approx(pixel, abs=1) for pixel in expected]
    for ink, paper in (((0, 0, 0, 0), WHITE), ((0, 0, 0, 255), (0, 0, 0)), ((0, 255, 255, 0), RED)):
        PillowImage.new("CMYK", (8, 8), ink).save(tmp_path / "print.jpg", quality=95)
        assert read_image(tmp_path / "print.jpg").image.reshape(-1, 3).mean(0) == pytest.approx(paper, abs=3)
    # Pillow writes none: a PPM of 16 bits is text and big-endian numbers.
    content = b"P6 2 1 65535\n" + np.array([65_535, 0, 32_896, 0, 65_535, 257], ">u2").tobytes()
    (tmp_path / "colour.ppm").write_bytes(content)
    assert read_image(tmp_path / "colour.ppm").image[0].tolist() == [[255, 0, 128], [0, 255, 1]]


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
        image = read_image(path).image.astype(int)
        assert image.shape == (32, 48, 3)
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert np.abs(corners - [RED, GREEN, BLUE, WHITE]).max() <= 12, f"orientation {orientation}"


def photographed(path: Path, size: tuple[int, int], tags: Mapping[ExifTags.Base, float], orientation: int = 1) -> Path:
    """A picture whose EXIF data have these tags of the Exif block."""
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif).update({int(tag): value for tag, value in tags.items()})
    PillowImage.new("RGB", size, RED).save(path, exif=exif.tobytes())
    return path


def test_focal_length_is_that_of_the_metadata(tmp_path: Path) -> None:
    focal, width, height = (
        ExifTags.Base.FocalLengthIn35mmFilm,
        ExifTags.Base.ExifImageWidth,
        ExifTags.Base.ExifImageHeight,
    )
    whole = {focal: 26, width: 4000, height: 3000}
    for suffix in (".jpg", ".avif", ".webp", ".png"):
        picture = read_image(photographed(tmp_path / f"phone{suffix}", (400, 300), whole))
        assert picture.focal_px == pytest.approx(26 / 43.27 * 500, rel=1e-3), suffix
    turned = read_image(photographed(tmp_path / "turned.jpg", (400, 300), whole, orientation=6))
    assert turned.image.shape == (400, 300, 3)
    assert turned.focal_px == pytest.approx(26 / 43.27 * 500, rel=1e-3)
    cropped, missing, unlikely = whole | {width: 3000}, {width: 4000, height: 3000}, whole | {focal: 2}
    for tags in (cropped, missing, unlikely):
        assert read_image(photographed(tmp_path / "other.jpg", (400, 300), tags)).focal_px is None


def test_given_focal_length_comes_before_that_of_the_metadata(tmp_path: Path) -> None:
    path = photographed(tmp_path / "a.jpg", (400, 300), {ExifTags.Base.FocalLengthIn35mmFilm: 50})
    assert [frame.camera.focal_px for frame in ImageSource([path])] == [pytest.approx(577.8, abs=0.1)]
    assert [frame.camera.focal_px for frame in ImageSource([path], 250.0)] == [250.0]
    plain = paint(tmp_path / "plain.png", width=100, height=50)
    assert [frame.camera.focal_px for frame in ImageSource([plain])] == [120.0]
