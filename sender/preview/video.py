"""A preview as a video file."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from common.arrays import Image
from common.errors import OutputError
from sender.preview.config import VIDEO_FORMATS

# AVI has decoding times instead of presentation times; without B-frames, both are the same.
_H264 = {"preset": "veryfast", "crf": "20", "bf": "0"}
_MIN_FPS, _MAX_FPS = 1.0, 240.0


class VideoSink:
    """H.264 in the container of the file's suffix, written under a temporary name until it is complete.

    All frames have the size of the first one; images of another aspect ratio get black borders.

    Args:
        path: with a suffix from `VIDEO_FORMATS`; its folder is created if missing.
        fps: presentation times are multiples of 1 / fps.

    Raises:
        OutputError: here and in every method: the file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._rate = Fraction(min(max(fps, _MIN_FPS), _MAX_FPS)).limit_denominator(1001)
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
            raise self._failure(error) from error

    def show(self, image: Image, time_s: float) -> None:
        """Writes one image (H, W, 3) RGB; `time_s` is 0 for all images of a source without times."""
        if self._size is None:
            # yuv420p needs an even width and height.
            self._size = max(2, image.shape[1] // 2 * 2), max(2, image.shape[0] // 2 * 2)
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
        fitted = ImageOps.pad(PillowImage.fromarray(image), self._size, PillowImage.Resampling.BOX)
        frame = av.VideoFrame.from_ndarray(np.asarray(fitted), format="rgb24")
        self._last_pts = max(self._last_pts + 1, round(time_s * self._rate))
        frame.pts, frame.time_base = self._last_pts, 1 / self._rate
        try:
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.FFmpegError) as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Completes the file, if there was an image."""
        try:
            if self._size is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if self._size is not None:
                os.replace(self._partial, self._path)
        except (OSError, av.FFmpegError) as error:
            raise self._failure(error) from error
        finally:
            self._partial.unlink(missing_ok=True)

    def _failure(self, error: Exception) -> OutputError:
        reason = getattr(error, "strerror", None) or error
        return OutputError(f"cannot write the preview to {self._path}: {reason}; choose another --preview")
