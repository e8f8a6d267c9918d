import contextlib
import socket
import threading

import av
import cv2
import numpy as np
import pytest

from common.errors import SourceError
from sender.capture.cameras import DeviceReader, RtspReader
from sender.capture.config import CaptureConfig
from sender.capture.source import without_credentials


class FakeCapture:
    """Replaces OpenCV's camera: two blue frames in BGR, then none."""

    def __init__(self, device: int | str) -> None:
        self.left = 2
        self.released = False
        self.settings: dict[int, float] = {}

    def set(self, setting: int, value: float) -> bool:
        """Takes sizes up to 1280 × 720, and 30 frames a second at most."""
        most = {cv2.CAP_PROP_FRAME_WIDTH: 1280, cv2.CAP_PROP_FRAME_HEIGHT: 720, cv2.CAP_PROP_FPS: 30}
        self.settings[setting] = min(value, most.get(setting, value))
        return True

    def get(self, setting: int) -> float:
        return self.settings[setting]

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


def test_device_is_asked_for_a_mode(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    reader = DeviceReader(0, (1280, 720), 30)
    assert isinstance(reader._capture, FakeCapture)
    assert reader._capture.settings == {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_WIDTH: 1280,
        cv2.CAP_PROP_FRAME_HEIGHT: 720,
        cv2.CAP_PROP_FPS: 30,
    }
    assert not caplog.records
    DeviceReader(0, fps=60)
    assert [record.getMessage() for record in caplog.records] == ["camera 0 gives 30 frames a second, not 60"]
    with pytest.raises(SourceError, match="camera 0 gives 1280x720 instead of --camera-size 1920x1080: give that"):
        DeviceReader(0, CaptureConfig(camera_size="1920x1080").size)


@pytest.mark.parametrize("device", [97, "/dev/null"])
def test_missing_device_is_one_line_and_opencv_logs_nothing(
    device: int | str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SourceError, match=f"cannot open camera {device}: check"):
        DeviceReader(device)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("status", "shown"), [("401 Unauthorized", "401 Unauthorized"), ("404 Not Found", "404 Not Found"), ("", "")]
)
def test_rtsp_error_says_what_to_do(status: str, shown: str, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=answer, args=(server, status), daemon=True)
        answering.start()
        url = f"rtsp://user:secret@127.0.0.1:{server.getsockname()[1]}/live"
        with pytest.raises(SourceError, match=f"{shown}.*: check that the camera") as caught:
            RtspReader(url)
    assert str(caught.value).startswith(f"cannot open {without_credentials(url)}: ")
    assert "secret" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def answer(server: socket.socket, status: str) -> None:
    """Answers each request of each client with a status, or closes the connection."""
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            with client, client.makefile("rb") as requests:
                for line in requests:
                    if line.lower().startswith(b"cseq:") and status:
                        client.sendall(f"RTSP/1.0 {status}\r\nCSeq: {line[5:].decode().strip()}\r\n\r\n".encode())
                    elif not status:
                        break


def test_rtsp_that_breaks_or_ends_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Container:
        def decode(self, video: int) -> object:
            yield av.VideoFrame.from_ndarray(np.full((48, 64, 3), 200, np.uint8), format="rgb24")
            raise av.error.ConnectionResetError(104, "Connection reset by peer")

        def close(self) -> None: ...

    monkeypatch.setattr("sender.capture.cameras.open_video", lambda *arguments: Container())
    monkeypatch.setattr("sender.capture.cameras.video_stream", lambda container: 0)
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
        ("rtsp://user:secret@[::1/a@b", "rtsp://[::1/a@b"),
        ("rtsp://user:secret@cam", "rtsp://cam"),
        ("rtsp://u:s@cam/\x1b[31m", "rtsp://cam/?[31m"),
    ],
)
def test_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
