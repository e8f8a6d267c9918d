import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from common.arrays import ByteArray
from common.errors import OutputError, UsageError
from common.frames import Camera
from sender.capture.source import CapturedFrame, FrameSource
from sender.perception.inference.crop import CropBox
from sender.preview.open import Preview, PreviewConfig, frame_rate, open_preview
from tests.support.preview_samples import block, observed

FRAME = CapturedFrame(0, "clip.mp4", 1000.0, 0.4, np.full((48, 64, 3), 90, np.uint8), Camera(64, 48, 70.0))


class FakeSink:
    """Keeps what it is shown; fails if told."""

    def __init__(self, failure: OutputError | None = None) -> None:
        self.failure, self.closed = failure, 0
        self.shown: list[tuple[ByteArray, float]] = []

    def show(self, picture: ByteArray, time_s: float) -> None:
        if self.failure:
            raise self.failure
        self.shown.append((picture, time_s))

    def close(self) -> None:
        self.closed += 1


def source(live: bool = False, **more: Any) -> FrameSource:
    return cast(FrameSource, SimpleNamespace(live=live, **more))


def test_preview_draws_what_was_seen_at_the_frames_time() -> None:
    sink = FakeSink()
    preview = Preview(sink)
    preview.show(FRAME, (observed(CropBox(8, 4, 40), block(0.2, 0.2, 0.8, 0.8)),))
    preview.close()
    ((picture, time_s),) = sink.shown
    assert time_s == 0.4
    assert picture.shape == FRAME.image.shape
    assert (picture[24, 20] != 90).any()
    assert sink.closed == 1


def test_sink_that_fails_is_reported_once_and_the_stream_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    sink = FakeSink(OutputError("cannot write the preview to /full: No space left on device"))
    preview = Preview(sink)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            preview.show(FRAME, ())
    preview.close()
    assert [record.message for record in caplog.records] == [f"the preview ends: {sink.failure}"]
    assert sink.closed == 1


@pytest.mark.parametrize("name", ["preview.mp4", "preview.avi", "Preview.MKV"])
def test_video_is_told_by_its_ending(tmp_path: Path, name: str) -> None:
    preview = open_preview(str(tmp_path / name), "demo", source(fps=30.0))
    preview.show(FRAME, ())
    preview.close()
    assert (tmp_path / name).stat().st_size > 0


def test_any_other_path_is_a_folder(tmp_path: Path) -> None:
    preview = open_preview(str(tmp_path / "preview.d"), "0", source(live=True))
    preview.show(FRAME, ())
    preview.close()
    assert [each.name for each in (tmp_path / "preview.d").iterdir()] == ["preview-000000.jpg"]


def test_preview_over_its_own_source_is_refused(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"film")
    for target in (clip, tmp_path):
        with pytest.raises(UsageError, match="is what --camera reads"):
            open_preview(str(target), str(target), source(fps=30.0))
    assert clip.read_bytes() == b"film"


def test_window_on_a_machine_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(OutputError, match="cannot open a preview window"):
        open_preview("window", "demo", source(fps=30.0))


def test_frame_rate_is_the_sources_within_reason() -> None:
    assert frame_rate(source(fps=24.0)) == 24.0
    assert frame_rate(source(live=True)) == 30.0
    assert frame_rate(source()) == 2.0, "photographs"
    assert frame_rate(source(fps=90000.0)) == 240.0
    assert frame_rate(source(fps=1e-6)) == 1.0


def test_empty_target_is_refused() -> None:
    with pytest.raises(ValueError, match="--preview is empty"):
        PreviewConfig("")
