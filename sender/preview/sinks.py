"""Sinks of the preview's images: a video file or a folder."""

import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np

from common.arrays import Image
from common.errors import OutputError
from common.io.atomic_write import atomic_write
from sender.preview.config import VIDEO_FORMATS

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
# AVI has decoding times instead of presentation times; without B-frames, both are the same.
_H264 = {"preset": "veryfast", "crf": "20", "bf": "0"}


class PreviewSink(Protocol):
    """Receives images in order; a target that cannot be written raises OutputError on construction."""

    def show(self, image: Image, time_s: float) -> None:
        """Writes or shows one image (H, W, 3) RGB.

        Args:
            time_s: since the source's first frame; 0 for all images of a source without times.

        Raises:
            OutputError: it cannot be written.
        """

    def close(self) -> None:
        """Completes the output and releases resources. Raises OutputError if the output cannot be completed."""


class VideoSink:
    """H.264 in the container of the file's suffix, written under a temporary name until it is complete.

    All frames have the size of the first one; images of another aspect ratio are letterboxed.

    Args:
        path: with a suffix from `VIDEO_FORMATS`; its folder is created if missing.
        fps: presentation times are multiples of 1 / fps.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._rate = Fraction(fps).limit_denominator(1001)
        self._size: tuple[int, int] | None = None
        self._last_pts = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(f"{path} is a folder")
            # FFmpeg opens the file only when the first frame is written.
            self._partial.touch()
            self._container = av.open(str(self._partial), "w", format=VIDEO_FORMATS[path.suffix.lower()])
            self._stream = self._container.add_stream("libx264", rate=self._rate, options=_H264)
        # PyAV raises a ValueError for a codec that FFmpeg was built without.
        except (OSError, av.FFmpegError, ValueError) as error:
            raise _cannot_write(path, error) from error

    def show(self, image: Image, time_s: float) -> None:
        height, width = image.shape[:2]
        if self._size is None:
            # yuv420p needs an even width and height.
            self._size = max(2, width // 2 * 2), max(2, height // 2 * 2)
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(letterboxed(image, *self._size), format="rgb24")
        self._last_pts = max(self._last_pts + 1, round(time_s * self._rate))
        frame.pts, frame.time_base = self._last_pts, 1 / self._rate
        try:
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.FFmpegError) as error:
            raise _cannot_write(self._path, error) from error

    def close(self) -> None:
        try:
            if self._size is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if self._size is not None:
                os.replace(self._partial, self._path)
        except (OSError, av.FFmpegError) as error:
            raise _cannot_write(self._path, error) from error
        finally:
            self._partial.unlink(missing_ok=True)


class FolderSink:
    """An image for each frame, `preview-000000.jpg` and so on, written atomically.

    Args:
        folder: created if missing.

    Raises:
        OutputError: the folder cannot be created or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Checking permissions is not enough: root passes every check, but cannot write to a read-only file system.
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise _cannot_write(folder, error) from error

    def show(self, image: Image, time_s: float) -> None:
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _JPEG)
        path = self._folder / f"preview-{self._count:06d}.jpg"
        try:
            atomic_write(path, encoded.tobytes(), synced=False)
        except OSError as error:
            raise _cannot_write(path, error) from error
        self._count += 1

    def close(self) -> None:
        """There is nothing to complete."""


def letterboxed(image: Image, width: int, height: int) -> Image:
    """(height, width, 3): an image scaled to fit, with black bars; a surplus of one pixel is cropped instead."""
    cropped = image[:height, :width]
    if cropped.shape[:2] == (height, width) and max(image.shape[0] - height, image.shape[1] - width) <= 1:
        return np.ascontiguousarray(cropped)
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=method)
    return canvas


def _cannot_write(path: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or error
    if isinstance(error, FileExistsError):
        reason = "a file with the folder's name exists"
    return OutputError(f"cannot write the preview to {path}: {reason}; choose another --preview")
