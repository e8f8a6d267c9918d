"""Frames from a video: a file from beginning to end, or the pictures of an open RTSP stream."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from common.arrays import Image
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import SourceError
from sender.capture.source import CapturedFrame, ClosingSource, camera_of


def open_video(location: str, name: str, options: dict[str, str] | None = None) -> InputContainer:
    """Opens a file or address with FFmpeg and checks that it has pictures; `name` is what messages call it.

    Raises:
        SourceError: missing, unreachable, or not a video.
    """
    try:
        # Titles in some other encoding are no reason not to play a film.
        container = av.open(location, mode="r", options=options or {}, metadata_errors="replace")
    except av.FFmpegError as error:
        raise SourceError(f"cannot open {name}: {_reason(error)}") from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{name} has no pictures; give a video file, an image, a folder of images or a camera")
    container.streams.video[0].thread_type = "AUTO"
    return container


def upright_rgb(frame: av.VideoFrame) -> Image:
    """A decoded picture as (H, W, 3) RGB, turned as its display matrix says (phones film lying down)."""
    image = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns), dtype=np.uint8)


def _reason(error: av.FFmpegError) -> str:
    return error.strerror or type(error).__name__


class VideoFileSource(ClosingSource):
    """Every frame of a video file with its presentation time, which never runs backwards.

    Raises:
        SourceError: the file is missing, is no video, or (while iterating) breaks off or holds no frame.
    """

    live = False

    def __init__(self, path: Path, focal_px: float | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._name = path.name
        self._path = path
        self._focal_px = focal_px
        self._clock = clock
        self._container = open_video(str(path), str(path))
        rate = self._container.streams.video[0].average_rate
        self.fps = float(rate) if rate else 25.0

    def __iter__(self) -> Iterator[CapturedFrame]:
        sequence, first_s, last_s = 0, None, 0.0
        # An AVI file says when to decode a picture, not when to show it: with B-frames, that is out of order.
        timed = self._container.format.name != "avi"
        try:
            for picture in self._container.decode(video=0):
                time_s = picture.time if timed and picture.time is not None else sequence / self.fps
                first_s = time_s if first_s is None else first_s
                last_s = max(last_s, time_s - first_s)
                image = upright_rgb(picture)
                camera = camera_of(image, self._focal_px)
                yield CapturedFrame(sequence, self._name, self._clock.wall(), last_s, image, camera)
                sequence += 1
        except av.FFmpegError as error:
            raise SourceError(f"{self._path} breaks off after {sequence} frames: {_reason(error)}") from error
        if sequence == 0:
            raise SourceError(f"{self._path} holds no frame that can be decoded")

    def close(self) -> None:
        self._container.close()
