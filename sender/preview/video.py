"""What perception sees, drawn into the video of `--preview`, and pictures for the receiver: `--share-preview`."""

import contextlib
import logging
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from common.arrays import Image
from common.blobs import MAX_PREVIEW_PX, PREVIEW, Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError, UsageError
from common.frames import PersonLabels
from sender.capture.source import FrameSource
from sender.config import VIDEO_FORMATS

if TYPE_CHECKING:
    from sender.lookahead import Perceived

logger = logging.getLogger(__name__)

# AVI has decoding times instead of presentation times; without B-frames, both are the same.
_H264 = {"preset": "veryfast", "crf": "20", "bf": "0"}
_MIN_FPS, _MAX_FPS = 1.0, 240.0
_LIVE_FPS = 30.0
# Images have no times; in a video of them, each is shown for half a second.
_IMAGES_FPS = 2.0


class Preview:
    """Draws perception's output over frames, as H.264 in the container of the file's suffix.

    It is written under a temporary name until it is complete. All frames have the size of the first one; images of
    another aspect ratio get black borders. If it cannot be written, the sender continues without it.

    Args:
        path: with a suffix from `VIDEO_FORMATS`; its folder is created if missing.
        fps: presentation times are multiples of 1 / fps.

    Raises:
        OutputError: here, in `show` and in `close`: the file cannot be written.
    """

    timed_as = "preview"

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._rate = Fraction(min(max(fps, _MIN_FPS), _MAX_FPS)).limit_denominator(1001)
        self._size: tuple[int, int] | None = None
        self._last_pts = -1
        self._failed = False
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

    def update(self, perceived: "Perceived", people: Sequence[PersonLabels]) -> list[Blob]:
        """Draws one frame, and sends nothing; that the file cannot be written is logged once."""
        # Imports the networks' library, for which a file that cannot be opened need not wait.
        from sender.preview.draw import draw_preview

        frame = perceived.frame
        if not self._failed:
            try:
                self.show(draw_preview(frame.image, perceived.observed), frame.media_time_s)
            except OutputError as error:
                logger.warning("preview stopped: %s", error)
                with contextlib.suppress(OutputError):
                    self.close()
                self._failed = True
        return []

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
        """Completes the file, if there was an image and it could be written."""
        if self._failed:
            return
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


def open_preview(path: Path, camera: str, source: FrameSource) -> Preview:
    """Opens the preview that `--preview` names.

    Args:
        camera: the value of `--camera`, which must not be overwritten.

    Raises:
        UsageError: the preview would overwrite the source.
        OutputError: the path cannot be written.
    """
    if os.path.exists(camera) and path.exists() and path.samefile(camera):
        raise UsageError(f"--preview {path} is what --camera reads: give another file")
    return Preview(path, source.fps or (_LIVE_FPS if source.live else _IMAGES_FPS))


MAX_JPEG_BYTES = 3000
BYTES_PER_S = 4000.0
_PREVIEW_INTERVAL_S = 0.5
# Tried in this order until the picture is small enough; noise may be too large at all of them.
_QUALITIES = (55, 40, 25, 10)


class SharedPreview:
    """Makes a picture as often as a budget of bytes a second permits."""

    timed_as = "preview"

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._due_s = -float("inf")

    def update(self, perceived: "Perceived", people: Sequence[PersonLabels]) -> list[Blob]:
        """The frame as a JPEG of at most `MAX_JPEG_BYTES`; none while none is due."""
        now_s = self._clock.monotonic()
        if now_s < self._due_s:
            return []
        jpeg = small_jpeg(perceived.frame.image)
        self._due_s = now_s + max(_PREVIEW_INTERVAL_S, (len(jpeg) if jpeg else 0) / BYTES_PER_S)
        return [Blob(PREVIEW, 0, jpeg)] if jpeg else []


def small_jpeg(image: Image) -> bytes | None:
    """A frame (H, W, 3) uint8 RGB scaled down to `MAX_PREVIEW_PX`; None if no quality makes it small enough."""
    height, width = image.shape[:2]
    scale = min(MAX_PREVIEW_PX / max(height, width), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    for quality in _QUALITIES:
        encoded, jpeg = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, quality))
        if encoded and len(jpeg) <= MAX_JPEG_BYTES:
            return np.asarray(jpeg, np.uint8).tobytes()
    return None
