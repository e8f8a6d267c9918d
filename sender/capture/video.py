"""Frames from video files; opening and decoding, which RTSP streams share."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from common.arrays import Image
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import SourceError
from sender.capture.source import CapturedFrame, ClosingSource, camera_of

_DEFAULT_FPS = 25.0  # of a file without a frame rate


def open_video(location: str, name: str, options: dict[str, str] | None = None) -> InputContainer:
    """Opens a file or address with FFmpeg and checks that it has a video stream; messages call it `name`.

    Raises:
        SourceError: missing, unreachable, or not a video.
    """
    try:
        # `replace`: metadata that is not UTF-8 must not prevent playing.
        container = av.open(location, mode="r", options=options or {}, metadata_errors="replace")
    except av.FFmpegError as error:
        raise SourceError(f"cannot open {name}: {_reason(error)}") from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{name} has no video stream; give a video file, an image, a folder of images or a camera")
    container.streams.video[0].thread_type = "AUTO"
    return container


def upright_rgb(frame: av.VideoFrame) -> Image:
    """A decoded frame as (H, W, 3) RGB, rotated by its display matrix, as videos from phones need."""
    image = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns), dtype=np.uint8)


def _reason(error: av.FFmpegError) -> str:
    return error.strerror or type(error).__name__


class VideoFileSource(ClosingSource):
    """Every frame of a video file with its presentation time, which never decreases.

    Raises:
        SourceError: the file is missing, is no video, or (while iterating) is damaged or has no frame.
    """

    live = False

    def __init__(self, path: Path, focal_px: float | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._name = path.name
        self._path = path
        self._focal_px = focal_px
        self._clock = clock
        self._container = open_video(str(path), str(path))
        rate = self._container.streams.video[0].average_rate
        self.fps = float(rate) if rate else _DEFAULT_FPS

    def __iter__(self) -> Iterator[CapturedFrame]:
        sequence, first_s, last_s = 0, None, 0.0
        # AVI has decoding times instead of presentation times: with B-frames, they are out of order.
        timed = self._container.format.name != "avi"
        try:
            for frame in self._container.decode(video=0):
                time_s = frame.time if timed and frame.time is not None else sequence / self.fps
                first_s = time_s if first_s is None else first_s
                last_s = max(last_s, time_s - first_s)
                image = upright_rgb(frame)
                camera = camera_of(image, self._focal_px)
                yield CapturedFrame(sequence, self._name, self._clock.wall(), last_s, image, camera)
                sequence += 1
        except av.FFmpegError as error:
            raise SourceError(f"{self._path} cannot be decoded after frame {sequence}: {_reason(error)}") from error
        if sequence == 0:
            raise SourceError(f"{self._path} contains no frame that can be decoded")

    def close(self) -> None:
        self._container.close()
