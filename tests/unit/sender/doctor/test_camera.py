import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.doctor.finding import Finding, Verdict, run_check
from common.errors import UsageError
from sender.capture.config import CaptureConfig
from sender.capture.source import CapturedFrame, FrameSource
from sender.doctor import camera
from sender.doctor.v4l2 import CameraDevice, CameraFormat

BUILT_WITH_WINDOWS = "General\n  GUI:                           QT5\n  GTK+: NO\n"
BUILT_WITHOUT = "General\n  GUI:                           NONE\n"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(folder / name)
    return folder


def source(value: str) -> Finding:
    (finding,) = run_check("source", lambda: camera.check_source(CaptureConfig(value), timeout_s=30.0))
    return finding


def test_devices() -> None:
    webcam = CameraDevice(Path("/dev/video0"), "HD Webcam", (CameraFormat("MJPG", 1920, 1080),))
    metadata = CameraDevice(Path("/dev/video1"), "HD Webcam")
    closed = CameraDevice(Path("/dev/video2"), fault="Permission denied", group="video")
    found = camera.check_devices([webcam, metadata, closed])
    assert [finding.verdict for finding in found] == [Verdict.OK, Verdict.WARNING]
    assert found[0].found == "/dev/video0 HD Webcam: MJPG up to 1920×1080"
    assert "usermod -aG video" in found[1].advice
    assert camera.check_devices([])[0].verdict is Verdict.OK


def test_source_that_gives_a_frame(photos: Path) -> None:
    assert source("demo").found == "demo.mp4, 640×480, 30 frames a second, 300 frames"
    assert source(str(photos)).found == "a.png, 32×24, 2 frames"


def test_missing_source() -> None:
    for value in ("/dev/video250", "250", "/nowhere/talk.mp4"):
        finding = source(value)
        assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 3)


def test_file_without_a_frame(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    finding = source(str(tmp_path / "a.png"))
    assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 3)


def test_source_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Silent(FrameSource):
        live, fps = True, None

        def __iter__(self) -> Iterator[CapturedFrame]:
            released.wait()
            return iter(())

    monkeypatch.setattr(camera, "open_source", lambda config: Silent())
    finding = camera.check_source(CaptureConfig("0"), timeout_s=0.01)
    released.set()
    assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 3)


def test_pipe_is_not_read(tmp_path: Path) -> None:
    pipe = tmp_path / "feed"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        os.write(writer, b"frames")
        assert source(str(pipe)).verdict is Verdict.WARNING
        assert os.read(reader, 100) == b"frames"
        os.close(writer)
    finally:
        os.close(reader)
    assert source(f"socket:{tmp_path}/frames").verdict is Verdict.WARNING


def preview(target: str | None, source: str = "demo") -> Finding | None:
    findings = list(run_check("preview", lambda: camera.check_preview(target, source)))
    return findings[0] if findings else None


def test_preview_is_not_made(tmp_path: Path) -> None:
    for target in ("seen.mp4", "folder", "deeper/seen.mkv"):
        finding = preview(str(tmp_path / target))
        assert finding is not None
        assert finding.verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []
    assert preview(None) is None


def test_preview_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "seen.mp4").mkdir()
    (tmp_path / "file").touch()
    for target in ("seen.mp4", "file", "file/seen.mp4"):
        finding = preview(str(tmp_path / target))
        assert finding is not None
        assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 5), target


def test_preview_of_the_source_itself(photos: Path) -> None:
    with pytest.raises(UsageError):
        camera.check_preview(str(photos), str(photos))


def test_window() -> None:
    assert camera.check_window({"DISPLAY": ":0"}, BUILT_WITH_WINDOWS).verdict is Verdict.OK
    assert "no display" in camera.check_window({"DISPLAY": ""}, BUILT_WITH_WINDOWS).found
    headless = camera.check_window({"WAYLAND_DISPLAY": "wayland-0"}, BUILT_WITHOUT)
    assert (headless.verdict, headless.exit_code) == (Verdict.PROBLEM, 5)
    assert "opencv-python" in headless.advice
