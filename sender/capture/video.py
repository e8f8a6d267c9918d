"""Frames of video files and animations, in the colours of SDR (ITU-R BT.2100, BT.2408, BT.2087).

White of SDR is what BT.2408 calls reference white, 203 cd/m² or 75 % of HLG's signal; what is brighter is cut.  HLG is
taken as light of the scene, as cameras take it: its system gamma would darken what is below white.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import SideData, Type
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from PIL import Image as PillowImage

from common.arrays import FloatArray, Image
from common.clock import LONGEST_PAUSE_S, STEADY_CLOCK, BridgedTimes, Clock
from common.errors import SourceError
from common.imaging.pictures import (
    CUT,
    animation,
    excess,
    focal_length_px,
    is_animation,
    orientation_of,
    orientation_of_matrix,
    picture_count,
    to_rgb,
    upright,
)
from common.text import counted
from sender.capture.images import guarded, opened, picture_of, reading
from sender.capture.source import MAX_PIXELS, CapturedFrame, FrameSource, camera_of, check_size, printable_name
from sender.metrics import DropReason, SenderMetrics

_Levels = npt.NDArray[np.float64]
# `color_trc` of FFmpeg, the transfer characteristics of ITU-T H.273.
_PQ, _HLG = 16, 18
_LEVELS = 4096
_PEAK_NITS, _WHITE_NITS, _WHITE_HLG = 10_000.0, 203.0, 0.75
# From the primaries of BT.2020 to those of BT.709, both linear.
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether a frame has to be mapped."""
    return frame.color_trc in (_PQ, _HLG)


def tone_mapped(frame: av.VideoFrame, width: int, height: int) -> Image:
    """An HDR frame as (height, width, 3) RGB of 8 bits."""
    signal = np.asarray(frame.to_ndarray(format="rgb48le", width=width, height=height), np.uint16) >> 4
    light = cv2.transform(_linear(frame.color_trc)[signal], _TO_709)
    levels = np.clip(light * (_LEVELS - 1), 0, _LEVELS - 1).astype(np.uint16)
    return _srgb()[levels]


@cache
def _linear(transfer: int) -> FloatArray:
    """Light of each level of the signal, where 1 is white."""
    signal = np.linspace(0.0, 1.0, _LEVELS)
    light = _pq(signal) * _PEAK_NITS / _WHITE_NITS if transfer == _PQ else _hlg(signal) / _hlg(np.array(_WHITE_HLG))
    return np.asarray(light, np.float32)


def _pq(signal: _Levels) -> _Levels:
    """The electro-optical transfer function of PQ (BT.2100, table 4), 0…1."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    return np.asarray((np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1))


def _hlg(signal: _Levels) -> _Levels:
    """The inverse opto-electronic transfer function of HLG (BT.2100, table 5), 0…1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.asarray(np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12))


@cache
def _srgb() -> Image:
    """Levels of 8 bits of light in `_LEVELS` steps (IEC 61966-2-1)."""
    light = np.linspace(0.0, 1.0, _LEVELS)
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * signal), np.uint8)


# Wider and narrower pixels are an error in the file.
_MAX_PIXEL_ASPECT = 4.0
_MATRIX_BYTES = 36
# Side data of FFmpeg that this version of PyAV may lack a name for.
_UNNAMED = range(len(Type), 64)
# Of frames without times.
_CLOCK = Fraction(1, 90_000)


def upright_rgb(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> Image:
    """A frame as of `square_rgb`, turned and mirrored as its display matrix says."""
    image, matrix = square_rgb(frame, pixel_aspect), _display_matrix(frame)
    if not isinstance(matrix, SideData) or matrix.buffer_size != _MATRIX_BYTES:
        return image
    return upright(image, orientation_of_matrix(np.frombuffer(bytes(matrix), np.int32).tolist()))


def square_rgb(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> Image:
    """A decoded frame as (H, W, 3) RGB with square pixels; transparent ones become white.

    Args:
        pixel_aspect: width of a pixel over its height; the narrower side is stretched.

    Raises:
        SourceError: the frame is too large.
    """
    stretch_x = pixel_aspect if 1.0 < pixel_aspect <= _MAX_PIXEL_ASPECT else 1.0
    stretch_y = 1.0 / pixel_aspect if 1.0 / _MAX_PIXEL_ASPECT <= pixel_aspect < 1.0 else 1.0
    width, height = round(frame.width * stretch_x), round(frame.height * stretch_y)
    check_size(width, height)
    if is_hdr(frame):
        image = tone_mapped(frame, width, height)
    elif any(component.is_alpha for component in frame.format.components):
        pixels = frame.to_ndarray(format="rgba", width=width, height=height)
        image = np.asarray(to_rgb(PillowImage.fromarray(pixels, "RGBA")))
    else:
        image = np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), np.uint8)
    return np.ascontiguousarray(image)


def _display_matrix(frame: av.VideoFrame) -> object:
    try:
        return frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV reads either all of them or none
        graph = _graph(frame, *(("sidedata", f"mode=delete:type={number}") for number in _UNNAMED))
        graph.push(frame)
        return graph.vpull().side_data.get("DISPLAYMATRIX")


class Deinterlacer:
    """Makes whole pictures of frames whose rows were taken at two times; whole ones are left as they are."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._form: object = None

    def pictures(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """What can be shown now that a frame has come: from its first one with two fields on, the frame before."""
        shown, form = list[av.VideoFrame](), (frame.width, frame.height, frame.format.name)
        if self._graph is not None and form != self._form:
            shown = self.rest()
        if self._graph is None and not frame.interlaced_frame:
            return [*shown, frame]
        if self._graph is None:
            self._graph, self._form = _graph(frame, ("bwdif", "mode=send_frame:deint=interlaced")), form
        self._graph.push(frame)
        return shown + self._pulled(self._graph)

    def rest(self) -> list[av.VideoFrame]:
        """What waits for a frame that does not come."""
        graph, self._graph = self._graph, None
        if graph is None:
            return []
        graph.push(None)
        return self._pulled(graph)

    @staticmethod
    def _pulled(graph: Graph) -> list[av.VideoFrame]:
        pulled = list[av.VideoFrame]()
        with suppress(av.BlockingIOError, av.EOFError):
            while True:
                pulled.append(graph.vpull())
        return pulled


def _graph(frame: av.VideoFrame, *filters: tuple[str, str]) -> Graph:
    """Filters, one behind the other, for frames like this one."""
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or _CLOCK
    )
    graph.link_nodes(source, *(graph.add(*each) for each in filters), graph.add("buffersink")).configure()
    return graph


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


# Pictures whose mean time tells the rate.
_TIMED = 8
_ANIMATION_DEFAULT_FPS = 10.0
# Several pictures are in memory at a time, and a small file may have many large ones.
_MAX_PIXELS = 50_000_000
# FFmpeg composes their pictures as browsers do, Pillow not always.
_COMPOSED = ("GIF", "PNG")


def is_animated(path: Path) -> bool:
    """Whether a file is an animation whose pictures can be decoded; one that cannot be read is none."""
    with suppress(SourceError), reading(str(path)), opened(path) as image:
        return is_animation(image) and image.width * image.height <= _MAX_PIXELS
    return False


class AnimationSource(FrameSource):
    """Every picture of an animation at its time; behind what is damaged or cut it ends, with a warning.

    Raises:
        SourceError: the file is missing, no animation, or too large, or (while iterating) its first picture is damaged.
    """

    def __init__(self, path: Path, focal_px: float | None = None) -> None:
        self._path, self._closed = path, False
        with reading(str(path)), opened(path) as image:
            if not is_animation(image):
                raise SourceError("it is no animation")
            check_size(*image.size)
            if image.width * image.height > _MAX_PIXELS:
                raise SourceError(f"its pictures have more than {_MAX_PIXELS // 10**6} million pixels")
            if (text := excess(image)) is not None:
                raise SourceError(f"it {text}")
            self._pictures, self._cut = picture_count(image), CUT in image.info
            self._composed, self._focal_px = image.format in _COMPOSED, focal_px or focal_length_px(image)
            durations_s = list[float]()
            with suppress(Exception):  # iterating tells
                durations_s.extend(islice(animation(image), _TIMED))
        self._fps = len(durations_s) / sum(durations_s) if durations_s else _ANIMATION_DEFAULT_FPS

    @property
    def fps(self) -> float:
        """The mean of its first pictures."""
        return self._fps

    @property
    def length(self) -> int:
        return self._pictures

    def __iter__(self) -> Iterator[CapturedFrame]:
        name, played, time_s = printable_name(self._path.name), 0, 0.0
        try:
            for shown_s, image in guarded(str(self._path), self._shown()):
                camera = camera_of(image, self._focal_px)
                yield CapturedFrame(played, name, STEADY_CLOCK.wall(), time_s, image, camera)
                played, time_s = played + 1, time_s + min(shown_s, LONGEST_PAUSE_S)
                if self._closed:
                    return
        except SourceError as error:
            if not played and not self._closed:
                raise
            logger.debug("an animation ends early: %s", error)
        if (self._cut or played < self._pictures) and not self._closed:
            text = "%s is damaged or cut: it is played as far as picture %d of %d"
            logger.warning(text, self._path, played, self._pictures)

    def _shown(self) -> Iterator[tuple[float, Image]]:
        """For how many seconds a picture is shown, and the picture."""
        with opened(self._path) as image:
            durations_s = animation(image)
            if not self._composed:
                for shown_s in durations_s:
                    yield shown_s, picture_of(image).image
                return
            # Their metadata come with the first picture.
            orientation = orientation_of(image)
            with open_file(self._path) as container:
                for shown_s, frame in zip(durations_s, container.decode(video_stream(container)), strict=False):
                    yield shown_s, upright(square_rgb(frame), orientation)

    def close(self) -> None:
        self._closed = True
