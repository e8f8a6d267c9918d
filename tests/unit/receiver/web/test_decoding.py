import io
import math
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL import Image as PillowImage

from common.errors import SourceError
from common.imaging.pictures import focal_length_px
from receiver.web import decoder
from receiver.web.decoder import CheckedClip, DecodedPicture, Decoder
from receiver.web.decoding import read_clip, read_picture
from receiver.web.places import Refused
from sender.capture.open import open_source
from tests.support.pictures import fake_pictures
from tests.support.pictures.fake_pictures import picture
from tests.support.receiver.published_session import FRAMES, write_clip
from tests.unit.sender.capture.test_images import claim
from tests.unit.sender.capture.test_video import cut, moving


@pytest.fixture
def decodes() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


def test_clip_is_measured_in_a_process_of_its_own(
    decodes: Decoder, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip.parent)
    Path("json.py").write_text("raise SystemExit('a module of the folder where the receiver was started')")
    decodes.prepare()
    clip = Path(clip.name)
    assert decodes.clip(clip) == CheckedClip(".mp4", FRAMES)
    clip.write_bytes(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    with pytest.raises(Refused, match="MP4") as refused:
        decodes.clip(clip)
    assert refused.value.status == 415


def test_cut_or_damaged_clip_is_measured_as_far_as_it_goes(clip: Path, tmp_path: Path) -> None:
    """The sender skips what is damaged, and says what of it was missing."""
    cut = tmp_path / "cut.mkv"
    with av.open(str(clip)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: int(0.8 * len(whole))])
    assert 0 < read_clip(str(cut))["frames"] < FRAMES
    content = bytearray(clip.read_bytes())
    at = content.index(b"mdat")
    content[at + 40 : at + 60] = bytes(20)
    clip.write_bytes(content)
    assert read_clip(str(clip))["frames"] == FRAMES


def test_time_that_is_damaged_makes_no_clip_too_long(tmp_path: Path) -> None:
    path = tmp_path / "jumps.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30, options={"strict": "-1"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        for n in range(4):
            frame = av.VideoFrame(64, 64, "yuvj420p")
            frame.pts = n if n < 3 else 3_000_000
            container.mux(stream.encode(frame))
    assert read_clip(str(path))["frames"] == 4


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("MAX_CLIP_S", 0.1, "cut it"),
        ("MAX_FPS", 1, "frames a second"),
    ],
)
def test_limits_are_said(clip: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, words: str) -> None:
    monkeypatch.setattr(f"receiver.web.decoding.{limit}", value)
    with pytest.raises(Refused, match=words) as refused:
        read_clip(str(clip))
    assert refused.value.status == 413


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "avif"])
def test_image_that_moves_is_a_clip(tmp_path: Path, kind: str) -> None:
    path = moving(tmp_path / f"a.{kind}")
    path = path.rename(tmp_path / "upload")
    assert read_clip(str(path)) == {"suffix": f".{kind}", "frames": 4}
    with pytest.raises(Refused, match=r"is \d\d s long, at most 60 s") as refused:
        read_clip(str(moving(tmp_path / f"long.{kind}", 4 * (20_500,))))
    assert refused.value.status == 413
    PillowImage.new("RGB", (64, 48)).save(tmp_path / f"still.{kind}")
    with pytest.raises(Refused, match="a picture and no clip") as refused:
        read_clip(str(tmp_path / f"still.{kind}"))
    assert refused.value.status == 415


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "avif"])
def test_cut_image_that_moves_is_measured_as_far_as_it_goes(tmp_path: Path, kind: str) -> None:
    path = cut(moving(tmp_path / f"a.{kind}", 12 * (100,), pictures=12))
    assert 0 < read_clip(str(path))["frames"] <= 12


def test_image_that_moves_and_is_too_large_is_not_decoded(tmp_path: Path) -> None:
    path = claim(moving(tmp_path / "a.png"), 60_000, 60_000)
    with pytest.raises(Refused, match="60000 × 60000 pixels") as refused:
        read_clip(str(path))
    assert refused.value.status == 413


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "avif"])
def test_small_file_with_many_large_frames_is_refused_by_its_head(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = moving(tmp_path / f"a.{kind}")
    with PillowImage.open(path) as image:
        width, height = image.size
    monkeypatch.setattr("common.imaging.pictures._MOST_PIXELS", 4 * width * height)
    assert read_clip(str(path))["frames"] == 4
    monkeypatch.setattr("common.imaging.pictures._MOST_PIXELS", 4 * width * height - 1)
    monkeypatch.setattr("receiver.web.decoding.animation", None)
    with pytest.raises(Refused, match=f"has 4 frames of {width} × {height} pixels; at most") as refused:
        read_clip(str(path))
    assert refused.value.status == 413
    with pytest.raises(SourceError, match=f"it has 4 frames of {width} × {height} pixels; at most"):
        open_source(str(path))


def test_frames_of_a_few_bytes_add_up(decodes: Decoder, tmp_path: Path) -> None:
    path = moving(tmp_path / "a.gif", 40 * (100,), pictures=40)
    content = bytearray(path.read_bytes())
    content[6:10] = 2 * (7000).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(Refused, match="the clip has 40 frames of 7000 × 7000 pixels"):
        decodes.clip(path)


HEIC = Path(fake_pictures.__file__).with_name("red_blue.heic")
RED, BLUE, WHITE = (250, 10, 10), (10, 10, 250), (255, 255, 255)


def check(content: bytes) -> DecodedPicture:
    """What the process of the decoder reads, without the process."""
    facts, pictures = read_picture(content)
    size = facts.pop("content_bytes")
    return DecodedPicture(pictures[:size], pictures[size:], **facts)


def refusal(content: bytes) -> Refused:
    with pytest.raises(Refused) as raised:
        check(content)
    return raised.value


def colour(checked: DecodedPicture, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place of the picture, its sides from 0 to 1."""
    image = Image.open(io.BytesIO(checked.content))
    pixel = image.getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(pixel, tuple)
    return pixel


def near(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return bool(np.abs(np.subtract(one, other)).max() <= 12)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, and a few bytes that unpack to many zeros."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(10_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def jpeg_with_size(width: int, height: int) -> bytes:
    """A JPEG whose header says another size than its data."""
    content = bytearray(picture())
    at = content.index(b"\xff\xc0")
    struct.pack_into(">HH", content, at + 5, height, width)
    return bytes(content)


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIC"])
def test_picture_is_coded_again(picture_format: str) -> None:
    size = (64, 48) if picture_format == "HEIC" else (200, 100)
    checked = check(HEIC.read_bytes() if picture_format == "HEIC" else picture(*size, picture_format))
    assert (checked.width, checked.height) == size
    assert near(colour(checked, 0.2, 0.5), RED) and near(colour(checked, 0.8, 0.5), BLUE)
    assert Image.open(io.BytesIO(checked.shown)).size == size


@pytest.mark.parametrize("picture_format", ["PNG", "WEBP", "GIF", "AVIF"])
def test_animation_is_its_first_frame(picture_format: str) -> None:
    later = [Image.new("RGB", (64, 48), (10, level, 10)) for level in (250, 150)]
    checked = check(picture(picture_format=picture_format, save_all=True, append_images=later))
    assert near(colour(checked, 0.2, 0.5), RED) and near(colour(checked, 0.8, 0.5), BLUE)
    assert checked.warnings == ["of its 3 pictures the first was used: upload an animation as a clip, pages one by one"]
    assert not check(picture(picture_format=picture_format)).warnings


def test_avif_is_turned_as_it_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    checked = check(picture(200, 100, "AVIF", exif=exif))
    assert (checked.width, checked.height) == (100, 200) and near(colour(checked, 0.5, 0.2), RED)


@pytest.mark.parametrize(
    ("mode", "picture_format"),
    [
        ("CMYK", "JPEG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("RGBA", "WEBP"),
        *((mode, "PNG") for mode in ("RGB", "L", "LA", "1")),
    ],
)
def test_other_modes_become_rgb(mode: str, picture_format: str) -> None:
    checked = check(picture(picture_format=picture_format, mode=mode))
    assert Image.open(io.BytesIO(checked.content)).mode == "RGB"
    if mode not in ("L", "LA", "1"):
        assert near(colour(checked, 0.2, 0.5), RED) and near(colour(checked, 0.8, 0.5), BLUE)


def test_grey_of_16_bits_keeps_its_levels_and_transparent_becomes_white() -> None:
    levels = np.zeros((48, 64), np.uint16)
    levels[:, 32:] = 40_000
    grey = check(png(Image.fromarray(levels)))
    assert near(colour(grey, 0.2, 0.5), (0, 0, 0)) and near(colour(grey, 0.8, 0.5), (156, 156, 156))
    assert near(colour(check(png(Image.new("RGBA", (64, 48), (10, 200, 10, 0)))), 0.5, 0.5), WHITE)


@pytest.mark.parametrize(
    ("orientations", "red"),
    [((0, 1, 9, 65_535), (0.2, 0.5)), ((2, 3), (0.8, 0.5)), ((5, 6), (0.5, 0.2)), ((7, 8), (0.5, 0.8))],
    ids=["upright", "turned by 180 degrees or mirrored", "red above", "red below"],
)
def test_orientation_is_applied_and_metadata_dropped(orientations: tuple[int, ...], red: tuple[float, float]) -> None:
    for orientation in orientations:
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = orientation, "taken at home"
        checked = check(picture(200, 100, exif=exif, comment=b"secret comment", icc_profile=b"secret profile"))
        assert ((checked.width, checked.height) == (100, 200)) == (5 <= orientation <= 8), orientation
        assert near(colour(checked, *red), RED), orientation
        for content in (checked.content, checked.shown):
            image = Image.open(io.BytesIO(content))
            assert not image.getexif() and b"home" not in content and b"secret" not in content
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize("picture_format", ["JPEG", "AVIF"])
def test_focal_length_is_all_that_is_kept_of_the_metadata(picture_format: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model], exif[ExifTags.Base.Orientation] = "a phone", 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    checked = check(picture(200, 100, picture_format, exif=exif.tobytes()))
    image = Image.open(io.BytesIO(checked.content))
    assert focal_length_px(image) == pytest.approx(26 / 43.27 * math.hypot(200, 100), rel=1e-3)
    assert dict(image.getexif()).keys() == {ExifTags.IFD.Exif}
    assert dict(image.getexif().get_ifd(ExifTags.IFD.Exif)) == {ExifTags.Base.FocalLengthIn35mmFilm: 26}
    assert not Image.open(io.BytesIO(checked.shown)).getexif()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # of Pillow
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 200])
def test_damaged_metadata_are_ignored(exif: bytes) -> None:
    assert check(picture(exif=exif)).width == 64


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP"])
def test_large_picture_is_reduced(picture_format: str) -> None:
    checked = check(picture(4000, 3000, picture_format))
    assert (checked.width, checked.height) == (4000, 3000)
    assert Image.open(io.BytesIO(checked.content)).size == (2560, 1920)
    assert Image.open(io.BytesIO(checked.shown)).size == (1024, 768)
    assert near(colour(checked, 0.2, 0.5), RED) and near(colour(checked, 0.8, 0.5), BLUE)


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 415, "empty"),
        (b"hello", 415, "no picture"),
        (b"<svg onload=alert(1)>", 415, "no picture"),
        (b"%PDF-1.7", 415, "no picture"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", 415, "no picture"),
        (picture(picture_format="BMP"), 415, "no picture"),
        (picture(picture_format="TIFF"), 415, "no picture"),
        (picture(16, 16), 422, "below 32"),
        (picture(2000, 40), 422, "cut out"),
        (png_bomb(60_000, 60_000), 413, "shrink"),
        (png_bomb(2**31 - 1, 2**31 - 1), 413, "shrink"),
        (jpeg_with_size(65_500, 65_500), 413, "shrink"),
        (jpeg_with_size(640, 480), 200, ""),  # what is missing is grey
        (png_bomb(40, 40), 200, ""),  # more data than pixels is no harm
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(content: bytes, status: int, reason: str) -> None:
    if status == 200:
        assert check(content).width in (40, 640)
        return
    refused = refusal(content)
    assert refused.status == status and reason in refused.detail, refused.detail


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_cut_picture_is_refused_and_a_damaged_one_never_fails_otherwise(picture_format: str) -> None:
    content = picture(200, 100, picture_format)
    for share in (0.3, 0.6, 0.9):
        assert refusal(content[: int(len(content) * share)]).status in (415, 422), share
    random = np.random.default_rng(1)
    for _ in range(10 if picture_format == "AVIF" else 40):
        damaged = bytearray(content)
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(0, 256)
        try:
            check(bytes(damaged))
        except Refused as error:
            assert error.status in (413, 415, 422)


def test_what_cameras_append_and_code_in_a_comment_are_dropped() -> None:
    preview, padding, film = picture(), bytes(5000), b"\0\0\0\x18ftypmp42" + bytes(1000)
    for trailer in (preview, padding, film, b"SEFH" + bytes(100) + b"SEFT"):
        assert check(picture(200, 100) + trailer).content == check(picture(200, 100)).content, trailer[:20]
    checked = check(picture(comment=b"*/=alert(1)//<?php system('id') ?>"))
    assert b"php" not in checked.content + checked.shown


def test_compressed_text_bomb_is_refused() -> None:
    content = picture(picture_format="PNG")
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    at = content.index(b"IDAT") - 4
    refused = refusal(content[:at] + bomb + content[at:])
    assert refused.status == 422


def test_picture_is_decoded_in_a_process_of_its_own(decodes: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    content = HEIC.read_bytes()
    assert decodes.picture(content) == check(content)
    with pytest.raises(Refused, match="no picture") as refused:
        decodes.picture(b"hello")
    assert refused.value.status == 415
    decodes.close()
    monkeypatch.setattr(decoder, "_WALL_S", 0.001)
    monkeypatch.setattr(decoder, "own_program", lambda _: (sys.executable, "-c", "import time; time.sleep(600)"))
    with pytest.raises(Refused, match="too long to decode"):
        decodes.picture(content)


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [("import av.nothing", 503, "receiver cannot decode"), ("import os; os.abort()", 422, "picture is damaged")],
)
def test_decoder_that_fails_blames_no_file(
    decodes: Decoder, monkeypatch: pytest.MonkeyPatch, program: str, status: int, words: str
) -> None:
    monkeypatch.setattr(decoder, "own_program", lambda _: (sys.executable, "-c", program))
    with pytest.raises(Refused, match=words) as refused:
        decodes.picture(b"hello")
    assert refused.value.status == status


def test_decoder_gets_no_more_memory_than_a_picture_needs(decodes: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = "import receiver.web.decoding as it; it._read = lambda *_: bytearray(4_000_000_000); it.main()"
    monkeypatch.setattr(decoder, "own_program", lambda _: (sys.executable, "-c", needs))
    with pytest.raises(Refused, match="takes too much memory"):
        decodes.picture(picture())


def test_frame_that_is_larger_than_its_picture_is_refused() -> None:
    content = picture(picture_format="GIF")
    at = content.index(b"\x2c\0\0\0\0")
    assert refusal(content[: at + 5] + struct.pack("<HH", 65_000, 65_000) + content[at + 9 :]).status == 413


def test_process_of_the_next_upload_waits_and_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started, real, decodes, content = list[subprocess.Popen[bytes]](), decoder._started, Decoder(), picture()

    def start() -> subprocess.Popen[bytes]:
        started.append(real())
        return started[-1]

    monkeypatch.setattr(decoder, "_started", start)
    decodes.prepare()
    decodes.prepare()
    assert len(started) == 1
    started[0].kill()
    started[0].wait()
    for count in (3, 4):
        assert decodes.picture(content).width == 64
        assert len(started) == count and [each.poll() is None for each in started[-2:]] == [False, True]
    decodes.close()
    decodes.prepare()
    assert len(started) == 4 and started[-1].returncode == -signal.SIGKILL
