"""Rivals' codes of pictures, as streams: one end encodes, the other decodes."""

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, cast

import av
import cv2
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.codeccontext import VideoCodecContext
from PIL import Image as Pictures

from common.arrays import Image
from tests.support.motion.rendered_clip import FPS


def resized(picture: Image, width: int, height: int) -> Image:
    """A smaller picture."""
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class Coder(ABC):
    """One stream: the sender's end encodes, the receiver's decodes."""

    @abstractmethod
    def encode(self, content: Any) -> bytes:
        """A picture (H, W, 3) RGB, or a mesh."""

    @abstractmethod
    def decode(self, data: bytes) -> Any: ...


class Still(Coder):
    """Single pictures in a file format of Pillow."""

    def __init__(self, form: str, side: int, quality: int) -> None:
        self._form, self._side, self._quality = form, side, quality

    def encode(self, content: Image) -> bytes:
        file = io.BytesIO()
        Pictures.fromarray(resized(content, self._side, self._side)).save(file, self._form, quality=self._quality)
        return file.getvalue()

    def decode(self, data: bytes) -> Image:
        return np.asarray(Pictures.open(io.BytesIO(data)).convert("RGB"), np.uint8)


@dataclass(frozen=True)
class VideoCodec:
    """An encoder, its live settings, and the decoder of its streams.

    Args:
        encoder, decoder: FFmpeg's names.
        options: of the encoder; the constant rate factor is added.
        factors: scale of the picture → rate factors, the best first.
        signature_filter: FFmpeg's filter that removes the encoder's signature, which no decoder needs, and the
            stream's format.
    """

    encoder: str
    decoder: str
    options: Mapping[str, str]
    factors: Mapping[int, Sequence[int]]
    signature_filter: tuple[str, str] | None = None


VIDEOS: Final = {
    "H.264 video": VideoCodec(
        "libx264",
        "h264",
        {"preset": "veryfast", "tune": "zerolatency"},
        {1: (18, 26, 34, 42), 2: (18, 26, 34, 42), 4: (18, 28, 40)},
        ("filter_units=remove_types=6", "h264"),
    ),
    "AV1 video": VideoCodec(
        "libsvtav1",
        "libdav1d",
        {"preset": "8", "svtav1-params": "pred-struct=1:lookahead=0:lp=1:keyint=-1"},
        {1: (22, 36, 50, 60), 2: (22, 36, 50, 60), 4: (22, 40, 60)},
    ),
}


class Video(Coder):
    """A live stream: no frame looks ahead, and the first alone is a key frame."""

    def __init__(self, codec: VideoCodec, scale: int, crf: int) -> None:
        # SVT-AV1 writes to stderr otherwise.
        os.environ.setdefault("SVT_LOG", "0")
        self._scale, self._count = scale, 0
        self._encoder = cast(VideoCodecContext, VideoCodecContext.create(codec.encoder, "w"))
        self._encoder.pix_fmt, self._encoder.time_base = "yuv420p", Fraction(1, FPS)
        self._encoder.framerate = Fraction(FPS)
        self._encoder.options = {**codec.options, "crf": str(crf)}
        self._unsigned = BitStreamFilterContext(*codec.signature_filter) if codec.signature_filter else None
        self._decoder = cast(VideoCodecContext, VideoCodecContext.create(codec.decoder, "r"))
        # Several threads would keep frames back.
        self._decoder.thread_count = 1

    def encode(self, content: Image) -> bytes:
        height, width = (side // self._scale for side in content.shape[:2])
        frame = av.VideoFrame.from_ndarray(resized(content, width, height), format="rgb24")
        if not self._count:
            self._encoder.width, self._encoder.height = width, height
        frame.pts = self._count
        self._count += 1
        (packet,) = self._encoder.encode(frame)
        return b"".join(bytes(part) for part in (self._unsigned.filter(packet) if self._unsigned else [packet]))

    def decode(self, data: bytes) -> Image:
        (frame,) = self._decoder.decode(av.Packet(data))
        return np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
