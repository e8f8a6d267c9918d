from pathlib import Path

import av
import pytest
from PIL import Image as PillowImage

from common.errors import SourceError
from receiver.web.places import Refused
from receiver.web.uploads.decoder import CheckedClip, check_clip
from receiver.web.uploads.decoding import read_clip
from sender.capture.open import open_source
from tests.support.receiver.published_session import FRAMES, write_clip
from tests.unit.sender.capture.test_animation import cut, moving
from tests.unit.sender.capture.test_images import claim


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


def test_clip_is_measured_in_a_process_of_its_own(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    Path("json.py").write_text("raise SystemExit('a module of the folder where the receiver was started')")
    clip = Path(clip.name)
    assert check_clip(clip) == CheckedClip(".mp4", FRAMES)
    clip.write_bytes(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    with pytest.raises(Refused, match="MP4") as refused:
        check_clip(clip)
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
        ("decoding.MAX_CLIP_S", 0.1, "cut it"),
        ("limits.MAX_PIXELS", 1000, "pixels"),
        ("decoding.MAX_FPS", 1, "frames a second"),
    ],
)
def test_limits_are_said(clip: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, words: str) -> None:
    monkeypatch.setattr(f"receiver.web.uploads.{limit}", value)
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
    monkeypatch.setattr("receiver.web.uploads.decoding.animation", None)
    with pytest.raises(Refused, match=f"has 4 frames of {width} × {height} pixels; at most") as refused:
        read_clip(str(path))
    assert refused.value.status == 413
    with pytest.raises(SourceError, match=f"it has 4 frames of {width} × {height} pixels; at most"):
        open_source(str(path))


def test_frames_of_a_few_bytes_add_up(tmp_path: Path) -> None:
    path = moving(tmp_path / "a.gif", 40 * (100,), pictures=40)
    content = bytearray(path.read_bytes())
    content[6:10] = 2 * (7000).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(Refused, match="the clip has 40 frames of 7000 × 7000 pixels"):
        check_clip(path)
