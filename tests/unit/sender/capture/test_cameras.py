import socket

import av
import cv2
import numpy as np
import pytest

from common.errors import SourceError
from sender.capture.cameras import DeviceReader, RtspReader, without_credentials


class FakeCapture:
    """Replaces OpenCV's camera: two blue frames in BGR, then none."""

    def __init__(self, device: int | str) -> None:
        self.left = 2
        self.released = False

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, np.ndarray[tuple[int, int, int], np.dtype[np.uint8]] | None]:
        if not self.left:
            return False, None
        self.left -= 1
        return True, np.full((4, 6, 3), (255, 0, 0), np.uint8)

    def release(self) -> None:
        self.released = True


def test_device_delivers_rgb_until_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    reader = DeviceReader(0)
    for _ in range(2):
        assert (reader.read() == (0, 0, 255)).all()
    with pytest.raises(SourceError, match="camera 0 delivers no more frames"):
        reader.read()


@pytest.mark.parametrize("device", [97, "/dev/null"])
def test_missing_device_is_one_line_and_opencv_logs_nothing(
    device: int | str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SourceError, match=f"cannot open camera {device}: check"):
        DeviceReader(device)
    assert capfd.readouterr() == ("", "")


def test_refused_rtsp_does_not_show_password(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceError, match=f"cannot open rtsp://127.0.0.1:{port}/live") as caught:
        RtspReader(f"rtsp://user:secret@127.0.0.1:{port}/live")
    assert "secret" not in str(caught.value)
    assert "secret" not in "".join(capfd.readouterr())


def test_rtsp_that_breaks_or_ends_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Container:
        def decode(self, video: int) -> object:
            yield av.VideoFrame.from_ndarray(np.full((48, 64, 3), 200, np.uint8), format="rgb24")
            raise av.error.ConnectionResetError(104, "Connection reset by peer")

        def close(self) -> None: ...

    monkeypatch.setattr("sender.capture.cameras.open_video", lambda *arguments: Container())
    reader = RtspReader("rtsp://host/live")
    assert reader.read().shape == (48, 64, 3)
    with pytest.raises(SourceError, match="rtsp://host/live: Connection reset by peer"):
        reader.read()
    with pytest.raises(SourceError, match="rtsp://host/live ended"):
        reader.read()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:p@ss@cam.example:554/a?b=c", "rtsp://cam.example:554/a?b=c"),
        ("rtsp://cam.example/a", "rtsp://cam.example/a"),
    ],
)
def test_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
