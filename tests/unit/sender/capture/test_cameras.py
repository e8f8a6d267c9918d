import contextlib
import socket
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from common.errors import SourceError
from sender.capture.cameras import DeviceReader, RtspReader, listed_cameras
from sender.capture.source import without_credentials
from sender.config import CaptureConfig
from tests.support.pictures.clips import write_clip
from tests.support.pictures.network_camera import Frame, NetworkCamera, frames_of


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of devices and of what the kernel says: a camera with two devices, and one that has no name."""
    devices, kernel = tmp_path / "dev", tmp_path / "sys"
    devices.mkdir()
    for name in ("video10", "video2", "video1", "video-x", "videodev"):
        (devices / name).touch()
    for name, index in (("video1", 0), ("video2", 1)):
        (kernel / name).mkdir(parents=True)
        (kernel / name / "name").write_text("HD Webcam: HD Webcam\n")
        (kernel / name / "index").write_text(f"{index}\n")
    return devices, kernel


def test_cameras_in_the_order_of_their_numbers(machine: tuple[Path, Path]) -> None:
    devices, _ = machine
    assert listed_cameras(*machine) == [
        f"1  HD Webcam: HD Webcam ({devices}/video1)",
        f"10  camera ({devices}/video10)",
    ]


def test_machine_without_cameras(tmp_path: Path) -> None:
    assert listed_cameras(tmp_path, tmp_path) == [f"no camera at this machine ({tmp_path}/video*)"]


def test_device_that_may_not_be_opened(machine: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    devices, _ = machine
    monkeypatch.setattr("sender.capture.cameras.os.access", lambda path, mode: False)
    monkeypatch.setattr(Path, "group", lambda _: "video")
    assert listed_cameras(*machine)[0] == (
        f"1  HD Webcam: HD Webcam ({devices}/video1): you may not open it: "
        "sudo usermod -aG video $USER, and log in again"
    )


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


@pytest.fixture
def frames(tmp_path: Path) -> Callable[..., list[Frame]]:
    def encoded(width: int, height: int, fields: str = "", aspect: int = 1) -> list[Frame]:
        def prepare(stream: Any) -> None:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)

        options = {"x264-params": f"keyint=5:repeat-headers=1{fields}", "tune": "zerolatency"}
        images = [np.full((height, width, 3), (200, 20, 20), np.uint8)] * 30
        return frames_of(write_clip(tmp_path / f"{width}.h264", images, options=options, prepare=prepare))

    return encoded


@pytest.mark.parametrize("fields", ["", ":tff=1"])
def test_network_camera_has_square_pixels_and_times_until_it_ends(frames: Any, fields: str) -> None:
    with NetworkCamera(frames(64, 96, fields, aspect=2), times_s=(np.arange(120) / 10 + 5.0).tolist()) as camera:
        reader, shown = RtspReader(camera.url), list[float | None]()
        with pytest.raises(SourceError, match=r"^rtsp://127\.0\.0\.1:\d+/live: .*end") as ended:
            while True:
                image = reader.read()
                shown.append(reader.time_s)
                assert image.shape == (96, 128, 3) and np.abs(image[40, 60] - (200.0, 20.0, 20.0)).max() < 12
    reader.close()
    assert "secret" not in str(ended.value)
    steps = np.diff([time_s for time_s in shown if time_s is not None])
    assert len(steps) == len(shown) - 1 > 10 and steps == pytest.approx(0.1, abs=1e-3)


def test_network_camera_changes_its_size(frames: Any) -> None:
    with NetworkCamera([*frames(64, 96), *frames(160, 48)]) as camera:
        reader = RtspReader(camera.url)
        shapes = {reader.read().shape for _ in range(90)}
        reader.close()
    assert shapes == {(96, 64, 3), (48, 160, 3)}


def test_network_camera_that_redirects_for_ever_is_refused() -> None:
    def answer(method: str, number: int) -> bytes:
        return f"RTSP/1.0 302 Found\r\nCSeq: {number}\r\nLocation: {camera.url}\r\n\r\n".encode()

    with NetworkCamera(answer=answer) as camera, pytest.raises(SourceError, match="redirects more than 5 times"):
        RtspReader(camera.url)
    assert camera.requests <= 8


def test_network_camera_with_an_endless_description_is_refused() -> None:
    def answer(method: str, number: int) -> bytes | None:
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nContent-Type: application/sdp\r\nContent-Length: {2 * 10**9}"
        return f"{head}\r\n\r\n".encode() + b"a=x\r\n" * 100_000 if method == "DESCRIBE" else None

    with NetworkCamera(answer=answer) as camera, pytest.raises(SourceError, match=r"cannot open rtsp://127\.0\.0\.1"):
        RtspReader(camera.url)


@pytest.mark.parametrize("begun", [b"RTSP/1.0 200 OK\r\nX: ", b"HTTP/1.0 200 OK\r\n\r\n"], ids=["header", "body"])
def test_network_camera_that_answers_without_an_end_is_given_up(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.capture.cameras._OPEN_S", 1.0)
    with (
        NetworkCamera(answer=lambda method, number: begun + 10**8 * b"x") as camera,
        pytest.raises(SourceError, match="no picture came in time: check that the camera"),
    ):
        RtspReader(camera.url)


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
