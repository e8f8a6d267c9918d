"""Previews are small, and keep to their budget of bytes."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import av
import cv2
import numpy as np
import pytest

from common.arrays import BoolArray, Image
from common.blobs import MAX_PREVIEW_BYTES, MAX_PREVIEW_PX, PREVIEW
from common.clock import Clock
from common.errors import OutputError, UsageError
from common.frames import Camera
from sender.capture.source import CapturedFrame, FrameSource
from sender.config import PreviewConfig
from sender.lookahead import Perceived
from sender.perception.crop import CropBox
from sender.preview.draw import (
    LEFT,
    RIGHT,
    TINT_OPACITY,
    draw_preview,
    draw_skeleton,
    identity_colour,
    tint_mask,
)
from sender.preview.video import (
    BYTES_PER_S,
    MAX_JPEG_BYTES,
    Preview,
    SharedPreview,
    open_preview,
    small_jpeg,
)
from tests.support.pictures.preview_samples import MASK, block, observed

COLOUR = (200, 40, 90)


def grey() -> Image:
    return np.full((240, 320, 3), 120, np.uint8)


def changed(before: Image, after: Image) -> BoolArray:
    return np.asarray((before != after).any(axis=2))


def test_mask_tints_only_the_persons_pixels() -> None:
    canvas = grey()
    logits = np.where(block(0.25, 0.5, 0.75, 1.0), 8.0, -8.0).astype(np.float32)
    corners = np.array([[100, 60], [100 + 2 * MASK, 60], [100, 60 + 2 * MASK]], np.float32)
    tint_mask(canvas, logits, corners, COLOUR)
    touched = changed(grey(), canvas)
    inside = np.zeros_like(touched)
    inside[93:123, 117:147] = True
    assert touched[inside].all()
    # The soft outline is as wide as the distance between the centres of two cells; a cell is two pixels wide.
    inside[91:126, 115:149] = True
    assert not touched[~inside].any()
    assert canvas[108, 132] == pytest.approx(120 + TINT_OPACITY * (np.array(COLOUR) - 120), abs=1)


def test_keypoints_are_at_their_positions_and_sides_differ_in_colour() -> None:
    canvas = grey()
    points = np.full((17, 2), 200.0, np.float32)
    points[9], points[10], points[7], points[8] = (50.5, 60.5), (250.5, 60.5), (50.5, 120.5), (250.5, 120.5)
    draw_skeleton(canvas, points, np.ones(17, np.bool_))
    for column, colour in ((50, LEFT), (250, RIGHT)):
        assert tuple(canvas[60, column]) == colour
        assert tuple(canvas[90, column]) == colour, "the bone from elbow to wrist"
        _, x = np.nonzero(changed(grey(), canvas)[50:65, column - 10 : column + 11])
        assert x.mean() == pytest.approx(10, abs=0.1)
    assert not changed(grey(), canvas)[:50].any()


def test_invisible_keypoints_are_dark() -> None:
    points = np.full((17, 2), 200.0, np.float32)
    points[9], points[7] = (50.5, 60.5), (50.5, 120.5)
    hidden, seen = grey(), np.ones(17, np.bool_)
    seen[9] = False
    draw_skeleton(hidden, points, seen)
    assert (hidden[[60, 90], 50] < 80).all() and (hidden[[60, 90], 53] == 120).all(), "and thin"
    assert tuple(hidden[120, 50]) == LEFT, "the elbow itself is visible"


def test_person_gets_mask_box_and_label() -> None:
    person = observed(CropBox(20, 60, 128), block(0.25, 0.25, 0.75, 0.75))
    canvas = draw_preview(grey(), (person,))
    colour = identity_colour(0)
    assert canvas[110, 60] == pytest.approx(120 + TINT_OPACITY * (np.array(colour) - 120), abs=1)
    assert canvas[96:155, 52] == pytest.approx(np.tile(colour, (59, 1)), abs=90), "left side of the box"
    assert changed(grey(), canvas)[75:88, 52:110].any(), "the label above the box"
    assert not changed(grey(), canvas)[:60].any()


BLUE = (20, 60, 220)


def plain(height: int = 48, width: int = 64, colour: tuple[int, int, int] = BLUE) -> Image:
    return np.full((height, width, 3), colour, np.uint8)


def frames_of(path: Path) -> list[tuple[float, Image]]:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [(frame.time, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)) for frame in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".MP4"])
def test_video_can_be_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"preview{suffix}"
    sink = Preview(path, 30000 / 1001)
    for index in range(12):
        sink.show(plain(colour=(20 * index, 60, 220)), index * 1001 / 30000)
    assert not path.exists(), "it gets its name when it is complete"
    sink.close()
    frames = frames_of(path)
    times = [time for time, _ in frames]
    assert np.diff(times) == pytest.approx(1001 / 30000, abs=2e-3)
    assert len(frames) == 12
    for index, (_, image) in enumerate(frames):
        assert image.shape == (48, 64, 3)
        assert image.mean(axis=(0, 1)) == pytest.approx([20 * index, 60, 220], abs=8)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_video_keeps_pauses_and_gives_images_without_times_a_frame_each(tmp_path: Path) -> None:
    sink = Preview(tmp_path / "preview.mp4", 10.0)
    for time_s in (0.0, 0.1, 0.5, 0.5, 0.5, 1.0):
        sink.show(plain(), time_s)
    sink.close()
    assert [time for time, _ in frames_of(tmp_path / "preview.mp4")] == pytest.approx([0.0, 0.1, 0.5, 0.6, 0.7, 1.0])


def test_video_without_frames_leaves_no_file_and_keeps_an_old_one(tmp_path: Path) -> None:
    old = tmp_path / "old.mp4"
    old.write_bytes(b"precious")
    for path in (old, tmp_path / "new.mp4"):
        Preview(path, 30.0).close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.mp4"]
    assert old.read_bytes() == b"precious"


def test_unwritable_target_is_reported_on_construction(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    for path in (Path("/proc/bodywire.mp4"), file / "preview.mp4", tmp_path / "folder.mp4"):
        with pytest.raises(OutputError, match=r"cannot write the preview to .*; choose another --preview"):
            Preview(path, 30.0)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.mp4"]


FRAME = CapturedFrame(0, "clip.mp4", 1000.0, 0.4, plain(colour=(90, 90, 90)), Camera(64, 48, 70.0))


def test_preview_draws_people(tmp_path: Path) -> None:
    preview = open_preview(tmp_path / "seen.mkv", "0", cast(FrameSource, SimpleNamespace(live=True, fps=None)))
    person = observed(CropBox(8, 4, 40), block(0.2, 0.2, 0.8, 0.8))
    assert preview.update(Perceived(FRAME, (person,), begins=False), ()) == []
    preview.close()
    ((_, image),) = frames_of(tmp_path / "seen.mkv")
    assert np.abs(image[24, 20].astype(int) - 90).max() > 10


def test_video_that_fails_is_logged_once_and_the_sender_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OutputError("cannot write the preview to /full: No space left on device")

    monkeypatch.setattr(Preview, "show", fail)
    preview = Preview(tmp_path / "seen.mp4", 30.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            preview.update(Perceived(FRAME, (), begins=False), ())
    preview.close()
    assert [record.message for record in caplog.records] == [
        "preview stopped: cannot write the preview to /full: No space left on device"
    ]
    assert list(tmp_path.iterdir()) == []


def test_preview_over_its_own_source_is_rejected(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"film")
    with pytest.raises(UsageError, match="is what --camera reads"):
        open_preview(clip, str(clip), cast(FrameSource, SimpleNamespace(live=False, fps=30.0)))
    assert clip.read_bytes() == b"film"


@pytest.mark.parametrize("name", ["", "seen", "window", "seen.mov", "a/seen.gif"])
def test_ending_that_no_video_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"give a video that ends in \.mp4, \.avi, \.mkv"):
        PreviewConfig(Path(name))


def gradient(height: int, width: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 2] = 40
    return image


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1280, 720), (10, 6000), (7, 5)])
def test_preview_is_a_small_picture_of_the_frame(height: int, width: int) -> None:
    jpeg = small_jpeg(gradient(height, width))
    assert jpeg is not None and jpeg.startswith(b"\xff\xd8\xff") and jpeg.endswith(b"\xff\xd9")
    assert len(jpeg) <= MAX_JPEG_BYTES <= MAX_PREVIEW_BYTES
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    small = decoded[..., ::-1]
    assert max(small.shape[:2]) == min(MAX_PREVIEW_PX, max(height, width))
    # Red rises from left to right; blue is the same everywhere.
    assert small[:, -1, 0].mean() > small[:, 0, 0].mean() + 150
    assert abs(small[..., 2].mean() - 40) < 12


def test_budget_of_bytes_a_second() -> None:
    now_s = 0.0
    preview = SharedPreview(Clock(monotonic=lambda: now_s, wall=lambda: 0.0))
    image = np.random.default_rng(1).integers(90, 160, (480, 640, 3), np.uint8)
    frame = CapturedFrame(0, "camera", 1000.0, 0.0, image, Camera(640, 480, 700.0))
    sent: list[int] = []
    for tick in range(300):
        now_s = tick / 30
        blobs = preview.update(Perceived(frame, (), begins=False), ())
        sent += [len(blob.data) for blob in blobs if (blob.kind, blob.key) == (PREVIEW, 0)]
    assert 8 <= len(sent) <= 20
    assert sum(sent) <= 10 * BYTES_PER_S + MAX_JPEG_BYTES
