"""Animated images as clips: times, composition, what is cut, and where their pictures are not played."""

import logging
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from common.errors import SourceError
from sender.capture.images import ImageSource, read_image
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame
from sender.capture.video import AnimationSource, VideoFileSource
from tests.support.pictures.clips import write_clip
from tests.unit.sender.capture.test_images import HEIC, claim

KINDS = ("gif", "png", "webp", "avif")
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0))
DURATIONS_MS = (200, 50, 300, 100)


def moving(path: Path, durations_ms: Sequence[int] = DURATIONS_MS, pictures: int = 4) -> Path:
    """Noise, of which a cut file keeps some pictures, in changing colours."""
    noise = np.random.default_rng(5).integers(0, 40, (pictures, 48, 64, 1))
    images = [
        PillowImage.fromarray((COLOURS[n % 4] + noise[n]).astype(np.uint8)).convert("RGB") for n in range(pictures)
    ]
    options: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
    images[0].save(path, save_all=True, append_images=images[1:], duration=list(durations_ms), **options)
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def frames_of(path: Path) -> list[CapturedFrame]:
    with open_source(str(path)) as source:
        return list(source)


def likeliest(frame: CapturedFrame) -> tuple[int, ...]:
    """The one of `COLOURS` that a frame has."""
    mean = frame.image.reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda colour: float(np.abs(mean - colour).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_is_a_frame_at_its_time(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    path = moving(tmp_path / f"wave.{kind}")
    with open_source(str(path)) as source:
        assert (source.stills, source.live, source.length) == (False, False, 4)
        assert source.fps == pytest.approx(4 / 0.65)
        frames = list(source)
    assert [frame.media_time_s for frame in frames] == pytest.approx([0.0, 0.2, 0.25, 0.55])
    assert [likeliest(frame) for frame in frames] == list(COLOURS)
    assert {(frame.source, frame.image.shape) for frame in frames} == {(f"wave.{kind}", (48, 64, 3))}
    assert not caplog.records


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_times_that_were_left_out_are_those_of_browsers(tmp_path: Path, kind: str) -> None:
    frames = frames_of(moving(tmp_path / f"a.{kind}", (0, 10, 20, 100)))
    assert [frame.media_time_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.22])


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "avif"])
def test_what_is_left_of_a_cut_animation_is_played(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    frames = frames_of(cut(moving(tmp_path / f"a.{kind}", 12 * (100,), pictures=12)))
    assert 1 <= len(frames) < 12
    assert [likeliest(frame) for frame in frames] == [COLOURS[n % 4] for n in range(len(frames))]
    assert "cut" in caplog.text and f"a.{kind}" in caplog.text


RED, GREEN, BLUE, WHITE = [200, 0, 0], [0, 200, 0], [0, 0, 200], [255, 255, 255]


@pytest.mark.parametrize(("disposal", "behind"), [(1, GREEN), (2, WHITE), (3, RED)])
def test_pictures_of_a_gif_are_composed(tmp_path: Path, disposal: int, behind: list[int]) -> None:
    """Each is a rectangle of one colour: all, the right half, and the upper row."""
    content = b"GIF89a" + struct.pack("<HHBBB", 64, 48, 0xF1, 0, 0) + bytes(WHITE + RED + GREEN + BLUE)
    for colour, left, width, height, kept in ((1, 0, 64, 48, 1), (2, 32, 32, 48, disposal), (3, 0, 64, 1, 1)):
        content += b"\x21\xf9\x04" + struct.pack("<BHBB", kept << 2, 10, 0, 0)
        content += b"," + struct.pack("<HHHHB", left, 0, width, height, 0) + b"\x02"
        # LZW without matches: codes of 3 bits, and a clear code (4) before they grow.
        codes = [code for _ in range(width * height // 2) for code in (4, colour, colour)] + [5]
        bits = sum(code << 3 * place for place, code in enumerate(codes))
        data = bits.to_bytes(3 * len(codes) // 8 + 1, "little")
        content += b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
        content += b"\0"
    (tmp_path / "a.gif").write_bytes(content + b";")
    images = [frame.image for frame in frames_of(tmp_path / "a.gif")]
    assert (images[1][24, 10] == RED).all() and (images[1][24, 50] == GREEN).all()
    assert (images[2][24, 10] == RED).all() and (images[2][24, 50] == behind).all() and (images[2][0] == BLUE).all()


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_transparent_pixels_become_white(tmp_path: Path, kind: str) -> None:
    images = [PillowImage.new("RGBA", (64, 48), (200, 0, 0, alpha)) for alpha in (0, 255)]
    images[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=images[1:], duration=100, lossless=True)
    first, second = frames_of(tmp_path / f"a.{kind}")
    assert (first.image == 255).all() and np.abs(second.image[0, 0].astype(int) - (200, 0, 0)).max() < 4


def test_metadata_of_an_apng_turns_its_pictures(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    pictures = [PillowImage.new("RGB", (64, 48), colour) for colour in COLOURS]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], exif=exif)
    frames = frames_of(tmp_path / "a.png")
    assert [(frame.image.shape, likeliest(frame)) for frame in frames] == [((64, 48, 3), each) for each in COLOURS]


def test_picture_for_programs_that_play_no_apng_is_left_out(tmp_path: Path) -> None:
    images = [PillowImage.new("RGB", (64, 48), colour) for colour in COLOURS]
    images[0].save(tmp_path / "a.png", save_all=True, default_image=True, append_images=images[1:], duration=100)
    assert [likeliest(frame) for frame in frames_of(tmp_path / "a.png")] == list(COLOURS[1:])


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_animation_that_is_too_large_is_refused_before_it_is_decoded(tmp_path: Path, kind: str) -> None:
    path = moving(tmp_path / f"a.{kind}")
    if kind == "png":
        claim(path, 60_000, 60_000)
    else:
        content = path.read_bytes()
        path.write_bytes(content[:6] + b"\xff" * 4 + content[10:])
    with pytest.raises(SourceError, match=f"a.{kind}.*(too large|exceeds limit)"):
        frames_of(path)


def test_pages_are_pictures_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = [PillowImage.new("RGB", (64 + n, 48), colour) for n, colour in enumerate(COLOURS)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    with open_source(str(tmp_path / "scan.tif")) as source:
        frames = list(source)
        assert source.stills and source.length == 4
    assert [frame.source for frame in frames] == ["scan.tif", "scan.tif (2)", "scan.tif (3)", "scan.tif (4)"]
    assert [likeliest(frame) for frame in frames] == list(COLOURS)
    assert [frame.image.shape[1] for frame in frames] == [64, 65, 66, 67]
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        read_image(tmp_path / "scan.tif")
    assert "scan.tif has 4 pictures, of which the first is used" in caplog.text


def test_smaller_copies_are_no_pages(tmp_path: Path) -> None:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    path, copy = tmp_path / "a.tif", ImageFileDirectory_v2()
    copy[254] = 1
    large, small = PillowImage.new("RGB", (64, 48), COLOURS[0]), PillowImage.new("RGB", (16, 12), COLOURS[0])
    small.encoderinfo = {"tiffinfo": copy}
    large.save(path, save_all=True, append_images=[small])
    assert [frame.image.shape for frame in frames_of(path)] == [(48, 64, 3)]


def test_animation_among_images_is_its_first_picture_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    moving(tmp_path / "b.gif")
    PillowImage.new("RGB", (64, 48), COLOURS[2]).save(tmp_path / "a.png")
    for camera in (tmp_path, tmp_path / "*.[gp]*"):
        frames = frames_of(camera)
        assert [frame.source for frame in frames] == ["a.png", "b.gif"]
    assert caplog.text.count("b.gif has 4 pictures, of which the first is used: give the file alone") == 2
    (tmp_path / "a.png").unlink()
    assert len(frames_of(tmp_path)) == 4


def test_previews_beside_a_photograph_are_not_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Such as the map of the light that phones write; the other view of a stereo camera is."""
    images = [PillowImage.new("RGB", (64, 48), colour) for colour in COLOURS[:2]]
    path = tmp_path / "a.jpg"
    images[0].save(path, "MPO", save_all=True, append_images=images[1:])
    (frame,) = frames_of(path)
    assert likeliest(frame) == COLOURS[0] and not caplog.records
    content = bytearray(path.read_bytes())
    entries = content.index(b"MPF\0") + 4
    first = content.index(b"\x00\x00\x03\x00", content.index(b"0100", entries))
    for at in (first, first + 16):
        content[at : at + 4] = b"\x02\x00\x02\x00"
    path.write_bytes(content)
    assert len(frames_of(path)) == 1 and "a.jpg has 2 pictures" in caplog.text


def test_sequence_of_a_phone_is_played(tmp_path: Path) -> None:
    images = [np.full((64, 64, 3), colour, np.uint8) for colour in COLOURS]
    quiet = {"x265-params": "log-level=none"}
    path, content = (
        tmp_path / "burst.heic",
        write_clip(tmp_path / "a.mp4", images, "libx265", fps=5, options=quiet).read_bytes(),
    )
    head = b"\x00\x00\x00\x1cftypmsf1\0\0\0\0msf1hevciso8"
    assert len(head) == int.from_bytes(content[:4], "big")
    path.write_bytes(head + content[len(head) :].replace(b"\0vide\0", b"\0pict\0"))
    with open_source(str(path)) as source:
        assert isinstance(source, VideoFileSource)
        frames = list(source)
    assert [frame.media_time_s for frame in frames] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert [likeliest(frame) for frame in frames] == list(COLOURS)
    with pytest.raises(SourceError, match=r"burst\.heic is not an image"):
        list(ImageSource([path]))


def box(kind: bytes, content: bytes, version: int | None = None) -> bytes:
    head = b"" if version is None else bytes([version, 0, 0, 0])
    return struct.pack(">I", 8 + len(head) + len(content)) + kind + head + content


def heic_of(pictures: int, extent: int | None = None) -> bytes:
    """The shipped HEIC with its picture several times, each as an item of its own."""
    source = HEIC.read_bytes()
    ipco, data, items = source[source.index(b"ipco") - 4 : source.index(b"ipma") - 4], source[417:555], range(pictures)

    def meta(offset: int) -> bytes:
        places = b"".join(struct.pack(">HHIHII", n + 1, 0, offset, 1, 0, extent or len(data)) for n in items)
        entries = b"".join(box(b"infe", struct.pack(">HH", n + 1, 0) + b"hvc1\0", 2) for n in items)
        shown = b"".join(struct.pack(">HB", n + 1, 5) + b"\x81\x02\x03\x05\x84" for n in items)
        iloc = box(b"iloc", b"\x44\x40" + struct.pack(">H", pictures) + places, 0)
        iinf = box(b"iinf", struct.pack(">H", pictures) + entries, 0)
        iprp = box(b"iprp", ipco + box(b"ipma", struct.pack(">I", pictures) + shown, 0))
        return box(b"meta", source[40:73] + iloc + iinf + box(b"pitm", b"\0\x01", 0) + iprp, 0)

    return source[:28] + meta(28 + len(meta(0)) + 8) + box(b"mdat", data)


def test_pictures_of_a_heic_are_pages(tmp_path: Path) -> None:
    (tmp_path / "burst.heic").write_bytes(heic_of(3))
    frames = frames_of(tmp_path / "burst.heic")
    assert [frame.source for frame in frames] == ["burst.heic", "burst.heic (2)", "burst.heic (3)"]
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}


def test_small_file_with_many_large_pictures_is_its_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.capture.video._MAX_PIXELS", 1000)
    path = moving(tmp_path / "a.gif")
    with open_source(str(path)) as source:
        assert isinstance(source, ImageSource)
    with pytest.raises(SourceError, match=r"a\.gif: its pictures have more than"):
        AnimationSource(path)
