"""Frames from video files."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from common.clock import STEADY_CLOCK, BridgedTimes, Clock
from common.errors import SourceError
from common.text import counted
from sender.capture.source import MAX_PIXELS, CapturedFrame, FrameSource, camera_of, printable_name
from sender.capture.video_picture import Deinterlacer, upright_rgb
from sender.metrics import DropReason, SenderMetrics

logger = logging.getLogger(__name__)

_DEFAULT_FPS = 25.0  # of a file without a frame rate
# A file may name others, as a playlist does: none of another machine is opened.
_FILE_OPTIONS = {"protocol_whitelist": "file,crypto,data"}
# FFmpeg's name of what has an image's name, whatever its content.
_BY_NAME = "image2"
# A file is cut if so many of its longest steps are missing at its end.
_MISSING_STEPS = 1.5
# Formats whose duration includes what is before the first frame.
_DURATIONS_FROM_ZERO = ("matroska,webm", "flv")
# Sizes of a transport stream's packets, with and without a time stamp before each.
_TRANSPORT_PACKET_BYTES = (188, 192)


def open_file(path: Path) -> InputContainer:
    """Opens a file with FFmpeg and checks that it has a video stream.

    Raises:
        SourceError: it is not a video.
        av.FFmpegError: FFmpeg cannot open it.
    """
    # With a protocol, because FFmpeg would take the start of `a:b` for one.
    # `replace`: metadata that is not UTF-8 must not prevent playing.
    container = av.open(f"file:{path}", mode="r", options=_FILE_OPTIONS, metadata_errors="replace")
    try:
        if container.format.name == _BY_NAME:
            raise SourceError(f"{path} is no video, and no image that can be read")
        if not container.streams.video:
            what = "give a video file, an image, a folder of images or a camera"
            raise SourceError(f"{path} has no video stream; {what}")
        decoder = video_stream(container).codec_context
        if decoder is None:
            raise SourceError(f"{path} is coded in a format that cannot be decoded; convert it, for example to H.264")
    except SourceError:
        container.close()
        raise
    limit(decoder)
    return container


def limit(decoder: VideoCodecContext) -> None:
    """Sets how a decoder that is not open yet works."""
    # Threads for frames lose those behind a damaged one at the end, and report it late.
    decoder.thread_type = "SLICE"
    # Before memory for a larger one is taken.
    decoder.options = {"max_pixels": str(MAX_PIXELS)}


def video_stream(container: InputContainer) -> VideoStream:
    """The stream to play of an open file that has one: not a cover, nor the picture beside a sequence."""
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) else container.streams.video[0]


def reason(error: av.FFmpegError) -> str:
    """What FFmpeg reports, in words."""
    return error.strerror or type(error).__name__


class VideoFileSource(FrameSource):
    """Every frame of a video file with its presentation time, which never decreases.

    What is damaged is skipped: the first time is logged at once, and how much it was at the end, as is a file that ends
    before the end that it announces. `close`, from any thread, ends an iteration behind the frame in hand.

    Raises:
        SourceError: the file is missing, is no video, or (while iterating) has no frame, or one that is too large.
    """

    def __init__(
        self,
        path: Path,
        focal_px: float | None = None,
        metrics: SenderMetrics | None = None,
        clock: Clock = STEADY_CLOCK,
    ) -> None:
        self._name = printable_name(path.name)
        self._path = path
        self._focal_px = focal_px
        self._metrics = SenderMetrics() if metrics is None else metrics
        self._clock = clock
        self._decoding = threading.Lock()
        self._closed = False
        try:
            self._container = open_file(path)
        except av.FFmpegError as error:
            cut = "; it is no video, or cut" if isinstance(error, av.InvalidDataError) else ""
            raise SourceError(f"cannot open {path}: {reason(error)}{cut}") from error
        self._stream = video_stream(self._container)
        # Frames whose reference is damaged show something, too; a live camera sends whole ones soon.
        self._stream.codec_context.flags |= Flags.output_corrupt
        self._fps = float(self._stream.average_rate) if self._stream.average_rate else _DEFAULT_FPS
        self._pixel_aspect = float(self._stream.sample_aspect_ratio or 1)
        self._frames = self._damaged = self._smeared = 0
        self._warned = False
        self._times = BridgedTimes(1 / self._fps)
        self._read_s = 0.0

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def length(self) -> int | None:
        if self._stream.frames > 0:
            return self._stream.frames
        seconds = self._announced_s
        return None if seconds is None else max(round(seconds * self._fps), 1)

    def __iter__(self) -> Iterator[CapturedFrame]:
        # AVI has decoding times instead of presentation times: with B-frames, they are out of order.
        timed = self._container.format.name != "avi"
        began_s: float | None = None
        try:
            for frame in self._decoded():
                time_s = self._times.following(frame.time if timed else (self._frames + self._damaged) / self._fps)
                began_s = time_s if began_s is None else began_s
                image = upright_rgb(frame, self._pixel_aspect)
                camera = camera_of(image, self._focal_px)
                sequence, self._frames = self._frames, self._frames + 1
                yield CapturedFrame(sequence, self._name, self._clock.wall(), time_s - began_s, image, camera)
        except SourceError as error:
            raise SourceError(f"{self._path}: frame {self._frames}: {error}") from error
        # FFmpeg's binding raises the first two for frames that cannot be converted.
        except (ValueError, OverflowError, MemoryError) as error:
            what = str(error) or "too little memory"
            raise SourceError(f"{self._path} cannot be decoded after frame {self._frames}: {what}") from error
        if self._frames == 0 and not self._closed:
            raise SourceError(f"{self._path} contains no frame that can be decoded")
        if not self._closed:
            self._report()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets, deinterlacer = self._container.demux(self._stream, *self._container.streams.audio), Deinterlacer()
        while True:
            with self._decoding:
                frames = None if self._closed else self._next(packets)
            if frames is None:
                yield from deinterlacer.rest()
                return
            for frame in frames:
                if frame.is_corrupt and not self._frames:
                    continue  # it shows nothing before the first whole one
                self._smeared += frame.is_corrupt
                yield from deinterlacer.pictures(frame)

    def _next(self, packets: Iterator["av.Packet[Any]"]) -> list[av.VideoFrame] | None:
        """The frames of the next packet, of which there may be none; None at the end."""
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            logger.debug("%s ends with an error: %s", self._path, error)
            return None
        if packet is None:
            return None
        if packet.pts is not None:
            self._read_s = max(self._read_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is not self._stream:
            return []
        try:
            frames: list[av.VideoFrame] = self._stream.codec_context.decode(packet)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            # So FFmpeg refuses a size; what is damaged is invalid data.
            if isinstance(error, av.ArgumentError) and self._stream.codec_context.width == 0:
                raise SourceError(f"it is larger than {MAX_PIXELS // 10**6} million pixels") from error
            self._metrics.frame_dropped(DropReason.UNREADABLE)
            self._damaged += 1
            self._warn(packet, reason(error) if isinstance(error, av.FFmpegError) else str(error))
            return []
        if packet.is_corrupt:
            self._warn(packet, "a packet is incomplete")
        return frames

    def _warn(self, packet: "av.Packet[Any]", cause: str) -> None:
        if not self._warned:
            self._warned = True
            at_s = float(packet.pts * packet.time_base) if packet.pts is not None else self._times.last_s or 0.0
            logger.warning("%s is damaged at %.2f s and goes on behind it (%s)", self._path, at_s, cause)

    @property
    def _announced_s(self) -> float | None:
        """When the last frame ends, as the file says."""
        container = self._container
        if container.format.name == "avi" and self._stream.frames:
            return self._stream.frames / self._fps  # FFmpeg shortens the duration by what is missing
        if container.duration is None:
            return None
        began = 0 if container.format.name in _DURATIONS_FROM_ZERO else container.start_time or 0
        return (began + container.duration) / av.time_base

    def _report(self) -> None:
        """Says how much was damaged, and whether the end is missing."""
        if self._damaged or self._smeared:
            frames = counted(self._frames + self._damaged, "frame")
            damaged, smeared = counted(self._damaged, "is", "are"), counted(self._smeared, "shows", "show")
            text = "%s: of %s %s damaged and left out, and %s damage of others"
            logger.warning(text, self._path, frames, damaged, smeared)
        announced_s, longest_s = self._announced_s, self._times.longest_step_s
        short = announced_s is not None and self._read_s < announced_s - _MISSING_STEPS * longest_s
        size = self._container.size
        odd = self._container.format.name == "mpegts" and all(size % each for each in _TRANSPORT_PACKET_BYTES)
        if short or odd:
            until = f" of {announced_s:.2f} s" if short else ""
            logger.warning("%s is cut: it ends after %.2f s%s", self._path, self._read_s, until)

    def close(self) -> None:
        with self._decoding:
            self._closed = True
            self._container.close()
