"""Frames from video files; opening and decoding, which RTSP streams share."""

import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from common.arrays import Image
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import SourceError
from sender.capture.source import CapturedFrame, FrameSource, camera_of, check_size, printable_name

_DEFAULT_FPS = 25.0  # of a file without a frame rate
# A file may name others, as a playlist does: none of another machine is opened.
_FILE_OPTIONS = {"protocol_whitelist": "file,crypto,data"}
# Wider and narrower pixels are an error in the file.
_MAX_PIXEL_ASPECT = 4.0


def open_video(location: str, name: str, options: dict[str, str] | None = None) -> InputContainer:
    """Opens a file or address with FFmpeg and checks that it has a video stream; messages call it `name`.

    Raises:
        SourceError: missing, unreachable, or not a video.
        av.FFmpegError: FFmpeg cannot open it.
    """
    # `replace`: metadata that is not UTF-8 must not prevent playing.
    container = av.open(location, mode="r", options=options or {}, metadata_errors="replace")
    if not container.streams.video:
        container.close()
        raise SourceError(f"{name} has no video stream; give a video file, an image, a folder of images or a camera")
    if container.streams.video[0].codec_context is None:
        container.close()
        raise SourceError(f"{name} is coded in a format that cannot be decoded; convert it, for example to H.264")
    container.streams.video[0].thread_type = "AUTO"
    return container


def upright_rgb(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> Image:
    """A decoded frame as (H, W, 3) RGB with square pixels, rotated by its display matrix, as videos from phones need.

    Args:
        pixel_aspect: width of a pixel over its height; the narrower side is stretched.

    Raises:
        SourceError: the frame is too large.
    """
    stretch_x = pixel_aspect if 1.0 < pixel_aspect <= _MAX_PIXEL_ASPECT else 1.0
    stretch_y = 1.0 / pixel_aspect if 1.0 / _MAX_PIXEL_ASPECT <= pixel_aspect < 1.0 else 1.0
    width, height = round(frame.width * stretch_x), round(frame.height * stretch_y)
    check_size(width, height)
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    # A matrix that is no rotation gives any number.
    quarter_turns = round(frame.rotation / 90) % 4 if -360 <= frame.rotation <= 360 else 0
    return np.ascontiguousarray(np.rot90(image, quarter_turns), dtype=np.uint8)


def reason(error: av.FFmpegError) -> str:
    """What FFmpeg reports, in words."""
    return error.strerror or type(error).__name__


class VideoFileSource(FrameSource):
    """Every frame of a video file with its presentation time, which never decreases.

    `close`, from any thread, ends an iteration behind the frame in hand.

    Raises:
        SourceError: the file is missing, is no video, or (while iterating) is damaged or has no frame.
    """

    def __init__(self, path: Path, focal_px: float | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._name = printable_name(path.name)
        self._path = path
        self._focal_px = focal_px
        self._clock = clock
        self._decoding = threading.Lock()
        self._closed = False
        try:
            # With a protocol, because FFmpeg would take the start of `a:b` for one.
            self._container = open_video(f"file:{path}", str(path), _FILE_OPTIONS)
        except av.FFmpegError as error:
            raise SourceError(f"cannot open {path}: {reason(error)}") from error
        stream = self._container.streams.video[0]
        self._fps = float(stream.average_rate) if stream.average_rate else _DEFAULT_FPS
        self._length = _length(stream, self._fps)
        self._pixel_aspect = float(stream.sample_aspect_ratio or 1)

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def length(self) -> int | None:
        return self._length

    def __iter__(self) -> Iterator[CapturedFrame]:
        sequence, first_s, last_s = 0, None, 0.0
        # AVI has decoding times instead of presentation times: with B-frames, they are out of order.
        timed = self._container.format.name != "avi"
        try:
            for frame in self._decoded():
                time_s = frame.time if timed and frame.time is not None else sequence / self._fps
                first_s = time_s if first_s is None else first_s
                last_s = max(last_s, time_s - first_s)
                image = upright_rgb(frame, self._pixel_aspect)
                camera = camera_of(image, self._focal_px)
                yield CapturedFrame(sequence, self._name, self._clock.wall(), last_s, image, camera)
                sequence += 1
        except SourceError as error:
            raise SourceError(f"{self._path}: frame {sequence}: {error}") from error
        except av.FFmpegError as error:
            raise SourceError(f"{self._path} cannot be decoded after frame {sequence}: {reason(error)}") from error
        # FFmpeg's binding raises these for frames that cannot be converted.
        except (ValueError, OverflowError, MemoryError) as error:
            raise SourceError(f"{self._path} cannot be decoded after frame {sequence}: {error}") from error
        if sequence == 0 and not self._closed:
            raise SourceError(f"{self._path} contains no frame that can be decoded")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        frames = self._container.decode(video=0)
        while True:
            with self._decoding:
                frame = None if self._closed else next(frames, None)
            if frame is None:
                return
            yield frame

    def close(self) -> None:
        with self._decoding:
            self._closed = True
            self._container.close()


def _length(stream: VideoStream, fps: float) -> int | None:
    """The number of frames that a file gives, or else that its duration allows; None if it gives neither."""
    if stream.frames > 0:
        return stream.frames
    if stream.duration is None or stream.time_base is None:
        return None
    return max(round(float(stream.duration * stream.time_base) * fps), 1)
