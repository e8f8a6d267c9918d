import logging
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from common.arrays import ByteArray
from common.errors import OutputError, UsageError
from common.frames import Camera
from sender.capture.source import CapturedFrame, FrameSource
from sender.perception.inference.crop import CropBox
from sender.preview.config import PreviewConfig
from sender.preview.stage import Preview, open_preview
from tests.support.preview_samples import block, observed

FRAME = CapturedFrame(0, "clip.mp4", 1000.0, 0.4, np.full((48, 64, 3), 90, np.uint8), Camera(64, 48, 70.0))


class FakeSink:
    """Keeps the images it is shown, or raises `failure`."""

    def __init__(self, failure: OutputError | None = None) -> None:
        self.failure, self.closed = failure, 0
        self.shown: list[tuple[ByteArray, float]] = []

    def show(self, image: ByteArray, time_s: float) -> None:
        if self.failure:
            raise self.failure
        self.shown.append((image, time_s))

    def close(self) -> None:
        self.closed += 1


def source(live: bool = False, fps: float | None = None) -> FrameSource:
    return cast(FrameSource, SimpleNamespace(live=live, fps=fps))


def test_preview_draws_people_at_the_frames_time() -> None:
    sink = FakeSink()
    preview = Preview(sink)
    assert preview.update(FRAME, (observed(CropBox(8, 4, 40), block(0.2, 0.2, 0.8, 0.8)),), ()) == []
    preview.close()
    ((image, time_s),) = sink.shown
    assert time_s == 0.4
    assert image.shape == FRAME.image.shape
    assert (image[24, 20] != 90).any()
    assert sink.closed == 1


def test_failing_sink_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    sink = FakeSink(OutputError("cannot write the preview to /full: No space left on device"))
    preview = Preview(sink)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            preview.update(FRAME, (), ())
    preview.close()
    assert [record.message for record in caplog.records] == [f"preview stopped: {sink.failure}"]
    assert sink.closed == 1


def test_preview_over_its_own_source_is_rejected(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"film")
    with pytest.raises(UsageError, match="is what --camera reads"):
        open_preview(str(clip), str(clip), source(fps=30.0))
    assert clip.read_bytes() == b"film"


@pytest.mark.parametrize("name", ["", "seen", "seen.mov", "a/seen.gif"])
def test_ending_that_no_video_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"give window, or a video that ends in \.mp4, \.avi, \.mkv"):
        PreviewConfig(name)
