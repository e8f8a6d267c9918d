"""Live cameras: a local device, read with OpenCV, and an RTSP address, read with FFmpeg."""

import logging

import av
import cv2
import numpy as np

from common.arrays import Image
from common.errors import SourceError
from sender.capture.source import without_credentials
from sender.capture.video import open_video, reason, video_stream
from sender.capture.video_picture import upright_rgb

logger = logging.getLogger(__name__)

_FPS_TOLERANCE = 0.05
# FFmpeg's `timeout`, in microseconds, covers connecting and reading.
RTSP_OPTIONS = {"rtsp_transport": "tcp", "timeout": "5000000", "fflags": "nobuffer", "flags": "low_delay"}


class DeviceReader:
    """A camera of this machine, by index or path.

    Args:
        size: width and height of its frames, pixels; None leaves it to the driver, as does a rate of None.

    Raises:
        SourceError: there is no such camera, it is in use, it has no frames of this size, or (reading) it is lost.
    """

    def __init__(self, device: int | str, size: tuple[int, int] | None = None, fps: float | None = None) -> None:
        # OpenCV would log to stderr what the SourceError reports in one line.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._device = device
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"cannot open camera {device}: check that it is plugged in, not in use, and allowed for this user "
                "(group video), or give --camera FILE"
            )
        self._choose(size, fps)

    def _choose(self, size: tuple[int, int] | None, fps: float | None) -> None:
        """A driver takes what is nearest to what it has."""
        capture = self._capture
        if size is not None:
            # Uncompressed, USB carries large frames a few times a second.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
            given = tuple(int(capture.get(each)) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            if given != size:
                capture.release()
                raise SourceError(
                    f"camera {self._device} gives {given[0]}x{given[1]} instead of --camera-size "
                    f"{size[0]}x{size[1]}: give that, or another"
                )
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
            given_fps = capture.get(cv2.CAP_PROP_FPS)
            if abs(given_fps - fps) > _FPS_TOLERANCE * fps:
                logger.warning("camera %s gives %.4g frames a second, not %.4g", self._device, given_fps, fps)

    def read(self) -> Image:
        succeeded, image_bgr = self._capture.read()
        if not succeeded:
            raise SourceError(f"camera {self._device} delivers no more frames")
        return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def close(self) -> None:
        self._capture.release()


class RtspReader:
    """A network camera. Raises SourceError if the address does not answer, is no video, or (while reading) is lost."""

    def __init__(self, url: str) -> None:
        self._name = without_credentials(url)
        try:
            self._container = open_video(url, self._name, RTSP_OPTIONS)
        except av.FFmpegError as error:
            raise SourceError(
                f"cannot open {self._name}: {reason(error)}: check that the camera can be reached, and "
                "rtsp://user:password@host/path; 554 is the usual port"
            ) from error
        self._frames = self._container.decode(video_stream(self._container))

    def read(self) -> Image:
        try:
            frame = next(self._frames, None)
        except av.FFmpegError as error:
            raise SourceError(f"{self._name}: {reason(error)}") from error
        except (ValueError, OverflowError, MemoryError) as error:
            raise SourceError(f"{self._name} cannot be decoded: {error}") from error
        if frame is None:
            raise SourceError(f"{self._name} ended")
        return upright_rgb(frame)

    def close(self) -> None:
        self._container.close()
