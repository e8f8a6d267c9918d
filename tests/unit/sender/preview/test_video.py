import logging
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import av
import numpy as np
import pytest

from common.arrays import Image
from common.errors import OutputError, UsageError
from common.frames import Camera
from sender.capture.source import CapturedFrame, FrameSource
from sender.config import PreviewConfig
from sender.lookahead import Perceived
from sender.perception.crop import CropBox
from sender.preview.video import Preview, open_preview
from tests.support.pictures.preview_samples import block, observed

BLUE = (20, 60, 220)


def plain(height: int = 48, width: int = 64, colour: tuple[int, int, int] = BLUE) -> Image:
    return np.full((height, width, 3), colour, np.uint8)


def frames_of(path: Path) -> list[tuple[float, Image]]:
    with av.open(str(path)) as container:
        return [
            (frame.time, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)) for frame in container.decode(video=0)
        ]


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
    assert (
        preview.update(Perceived(FRAME, (observed(CropBox(8, 4, 40), block(0.2, 0.2, 0.8, 0.8)),), begins=False), ())
        == []
    )
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
