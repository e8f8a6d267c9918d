"""Live cameras: a local device, read with OpenCV, and an RTSP address, read with FFmpeg."""

from urllib.parse import urlsplit, urlunsplit

import av
import cv2
import numpy as np

from common.arrays import Image
from common.errors import SourceError
from sender.capture.video import open_video, upright_rgb

# FFmpeg's `timeout`, in microseconds, covers connecting and reading.
RTSP_OPTIONS = {"rtsp_transport": "tcp", "timeout": "5000000", "fflags": "nobuffer", "flags": "low_delay"}


class DeviceReader:
    """A camera of this machine, by index or path.

    Raises:
        SourceError: there is no such camera, it is in use, or (while reading) it is lost.
    """

    def __init__(self, device: int | str) -> None:
        # OpenCV would log to stderr what the SourceError reports in one line.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._device = device
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"cannot open camera {device}: check that it is plugged in and not in use, or give --camera FILE"
            )

    def read(self) -> Image:
        succeeded, image_bgr = self._capture.read()
        if not succeeded:
            raise SourceError(f"camera {self._device} delivers no more frames")
        return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def close(self) -> None:
        self._capture.release()


class RtspReader:
    """A network camera.

    Raises:
        SourceError: the address does not answer, is no video, or (while reading) is lost.
    """

    def __init__(self, url: str) -> None:
        self._name = without_credentials(url)
        self._container = open_video(url, self._name, RTSP_OPTIONS)
        self._frames = self._container.decode(video=0)

    def read(self) -> Image:
        try:
            frame = next(self._frames, None)
        except av.FFmpegError as error:
            raise SourceError(f"{self._name}: {error.strerror or type(error).__name__}") from error
        if frame is None:
            raise SourceError(f"{self._name} ended")
        return upright_rgb(frame)

    def close(self) -> None:
        self._container.close()


def without_credentials(url: str) -> str:
    """An address without user and password, for logs and files."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
