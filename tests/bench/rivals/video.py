"""Pictures through H.264, HEVC or AV1 as a live sender encodes them: no B-frames, no look-ahead, one key frame."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from common.arrays import Image


@dataclass(frozen=True)
class VideoCodec:
    """An encoder, its live settings, and the decoder of its streams.

    Args:
        encoder, decoder: FFmpeg's names.
        options: of the encoder; the constant rate factor is added.
        signature_filter: FFmpeg's filter that removes the encoder's signature (up to 2 kB of supplemental
            information, which no decoder needs), and the stream's format.
    """

    name: str
    encoder: str
    decoder: str
    options: Mapping[str, str] = field(default_factory=dict)
    signature_filter: tuple[str, str] | None = None

    @property
    def missing(self) -> str | None:
        """What PyAV lacks to run this codec; None if it lacks nothing."""
        lacking = [name for name in (self.encoder, self.decoder) if name not in av.codecs_available]
        return f"PyAV has no {' and no '.join(lacking)}: pip install av (its wheels have both)" if lacking else None


PRESET, TUNE = "veryfast", "zerolatency"
H264 = VideoCodec("H.264", "libx264", "h264", {"preset": PRESET, "tune": TUNE}, ("filter_units=remove_types=6", "h264"))
HEVC = VideoCodec(
    "HEVC",
    "libx265",
    "hevc",
    {"preset": PRESET, "tune": TUNE, "x265-params": "log-level=none:info=0:pools=1:frame-threads=1:keyint=-1"},
)
AV1 = VideoCodec(
    "AV1", "libsvtav1", "libdav1d", {"preset": "8", "svtav1-params": "pred-struct=1:lookahead=0:lp=1:keyint=-1"}
)
CODECS = (H264, HEVC, AV1)


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """A clip as video.

    Args:
        sizes: bytes of each frame in the elementary stream, parameter sets counted, without any container.
        pictures: T decoded pictures (H, W, 3) RGB.
        encode_ms, decode_ms: mean time of a frame.
    """

    sizes: tuple[int, ...]
    pictures: tuple[Image, ...]
    encode_ms: float
    decode_ms: float


def through_video(codec: VideoCodec, pictures: Sequence[Image], fps: int, crf: int) -> EncodedVideo:
    """Encodes and decodes pictures (H, W, 3) RGB of one even size, at a constant rate factor.

    Raises:
        ValueError: the codec does not return as many pictures.
    """
    began_s = time.perf_counter()
    packets = list(_encode(codec, pictures, fps, crf))
    encoded_s = time.perf_counter()
    decoder = cast(VideoCodecContext, VideoCodecContext.create(codec.decoder, "r"))
    decoded = [picture for packet in [*packets, None] for picture in _rgb(decoder.decode(packet))]
    decoded_s = time.perf_counter()
    if len(decoded) != len(pictures) or len(packets) != len(pictures):
        raise ValueError(f"{codec.name} returned {len(packets)} packets and {len(decoded)} of {len(pictures)} pictures")
    to_ms = 1e3 / len(pictures)
    return EncodedVideo(
        tuple(packet.size for packet in packets),
        tuple(decoded),
        (encoded_s - began_s) * to_ms,
        (decoded_s - encoded_s) * to_ms,
    )


def _encode(codec: VideoCodec, pictures: Sequence[Image], fps: int, crf: int) -> "Iterator[av.Packet[VideoStream]]":
    """One packet a frame: without look-ahead, the encoders keep none back."""
    # SVT-AV1 writes its settings to stderr otherwise.
    os.environ.setdefault("SVT_LOG", "1")
    encoder = cast(VideoCodecContext, VideoCodecContext.create(codec.encoder, "w"))
    encoder.height, encoder.width = pictures[0].shape[:2]
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", Fraction(fps), Fraction(1, fps)
    encoder.options = {**codec.options, "crf": str(crf)}
    unsigned = BitStreamFilterContext(*codec.signature_filter) if codec.signature_filter else None
    for number, picture in enumerate([*pictures, None]):
        frame = None
        if picture is not None:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
        for packet in encoder.encode(frame):
            yield from unsigned.filter(packet) if unsigned else [packet]


def _rgb(frames: Sequence[av.VideoFrame]) -> list[Image]:
    return [np.ascontiguousarray(frame.to_ndarray(format="rgb24")) for frame in frames]
