"""The two kinds of live camera: a local device through OpenCV, and an RTSP address through FFmpeg."""

from urllib.parse import urlsplit, urlunsplit

import av
import cv2
import numpy as np

from common.arrays import Image
from common.errors import SourceError
from sender.capture.video import open_video, upright_rgb

# Microseconds FFmpeg waits for a silent address, as it wants them.
RTSP_OPTIONS = {"rtsp_transport": "tcp", "timeout": "5000000", "fflags": "nobuffer", "flags": "low_delay"}


class DeviceReader:
    """A camera of this machine, by index or path.

    Raises:
        SourceError: there is none, or it is in use.
    """

    def __init__(self, device: int | str) -> None:
        # OpenCV otherwise tells stderr in its own words what we say in one line.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._device = device
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"cannot open camera {device}: check that it is plugged in and not in use, or give --camera FILE"
            )

    def read(self) -> Image:
        arrived, picture = self._capture.read()
        if not arrived:
            raise SourceError(f"camera {self._device} gives no more pictures")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def close(self) -> None:
        self._capture.release()


class RtspReader:
    """A network camera.

    Raises:
        SourceError: nobody answers at the address, or it is no video.
    """

    def __init__(self, url: str) -> None:
        self._name = without_credentials(url)
        self._container = open_video(url, self._name, RTSP_OPTIONS)
        self._pictures = self._container.decode(video=0)

    def read(self) -> Image:
        try:
            picture = next(self._pictures, None)
        except av.FFmpegError as error:
            raise SourceError(f"{self._name}: {error.strerror or type(error).__name__}") from error
        if picture is None:
            raise SourceError(f"{self._name} ended")
        return upright_rgb(picture)

    def close(self) -> None:
        self._container.close()


def without_credentials(url: str) -> str:
    """An address as it may stand in logs and files: without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
