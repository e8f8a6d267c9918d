"""Where the preview's pictures go: a video file or a folder of images, or what else takes them."""

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

VIDEO_FORMATS = {".mp4": "mp4", ".avi": "avi", ".mkv": "matroska"}
"""FFmpeg's name of the container for each ending that means a video."""

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
# AVI tells when a picture is decoded, not when it is shown; without B-frames that is the same.
_H264 = {"preset": "veryfast", "crf": "20", "bf": "0"}


class PreviewSink(Protocol):
    """Takes pictures one after the other; whether it can is known once it is made."""

    def show(self, picture: Image, time_s: float) -> None:
        """Takes one picture (H, W, 3) RGB.

        Args:
            time_s: since the source's first frame; 0 for all pictures of a source that has no times.

        Raises:
            OutputError: it cannot be written.
        """

    def close(self) -> None:
        """Completes what was written and frees what is held.

        Raises:
            OutputError: it cannot be completed.
        """


class VideoSink:
    """H.264 in the container that the file's ending names; it takes its name when it is complete.

    All pictures get the size of the first one, with black bars where their shape is another.

    Args:
        path: ends in one of `VIDEO_FORMATS`; its folder is made if missing.
        fps: pictures stand at multiples of 1 / fps.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._rate = Fraction(fps).limit_denominator(1001)
        self._size: tuple[int, int] | None = None
        self._last = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(f"{path} is a folder")
            # FFmpeg itself opens the file no sooner than at the first picture.
            self._partial.touch()
            self._container = av.open(str(self._partial), "w", format=VIDEO_FORMATS[path.suffix.lower()])
            self._stream = self._container.add_stream("libx264", rate=self._rate, options=_H264)
        # PyAV raises a ValueError for a codec that FFmpeg was built without.
        except (OSError, av.FFmpegError, ValueError) as error:
            raise _cannot_write(path, error) from error

    def show(self, picture: Image, time_s: float) -> None:
        height, width = picture.shape[:2]
        if self._size is None:
            # Colour is stored for two pixels by two.
            self._size = max(2, width // 2 * 2), max(2, height // 2 * 2)
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(letterboxed(picture, *self._size), format="rgb24")
        self._last = max(self._last + 1, round(time_s * self._rate))
        frame.pts, frame.time_base = self._last, 1 / self._rate
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
    """An image a frame, `preview-000000.jpg` and on, each written whole or not at all.

    Args:
        folder: made if missing.

    Raises:
        OutputError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Permissions alone do not tell: root may everything, but not on a disk mounted read-only.
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise _cannot_write(folder, error) from error

    def show(self, picture: Image, time_s: float) -> None:
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _JPEG)
        path = self._folder / f"preview-{self._count:06d}.jpg"
        try:
            atomic_write(path, encoded.tobytes(), synced=False)
        except OSError as error:
            raise _cannot_write(path, error) from error
        self._count += 1

    def close(self) -> None:
        """Nothing is held."""


def letterboxed(picture: Image, width: int, height: int) -> Image:
    """(height, width, 3): a picture as large as it fits, black around it; one pixel too many is cut off instead."""
    cut = picture[:height, :width]
    if cut.shape[:2] == (height, width) and max(picture.shape[0] - height, picture.shape[1] - width) <= 1:
        return np.ascontiguousarray(cut)
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=method)
    return canvas


def _cannot_write(path: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or error
    if isinstance(error, FileExistsError):
        reason = "there is a file where the folder should be"
    return OutputError(f"cannot write the preview to {path}: {reason}; choose another --preview")
