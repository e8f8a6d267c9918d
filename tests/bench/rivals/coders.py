"""Rivals' codes of pictures and meshes, as streams: one end encodes, the other decodes."""

import importlib
import io
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Final, cast

import av
import cv2
import numpy as np
import torch
from av.bitstream import BitStreamFilterContext
from av.video.codeccontext import VideoCodecContext
from PIL import Image as Pictures

from common.arrays import Image
from common.channel import transmission
from common.channel.physical import carry
from common.channel.signal import SignalBlob
from common.channel.state import ChannelState
from common.errors import UsageError
from receiver.mesh.triangle_mesh import SurfaceMesh
from tests.support.motion.rendered_clip import FPS

AIR: Final = ChannelState(10)
SYMBOL_BYTES: Final = 4
"""A symbol is sent as two numbers of 16 bits."""
_DRACO_LEVEL = 7


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


class Symbols(Coder):
    """Pictures as symbols of the image channel, whose noise the receiver's end adds.

    A message has as many bytes as the symbols and, at capacity, the side information take.
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate, self._network = rate, _image_channel()
        self._noise = torch.Generator().manual_seed(0)

    def encode(self, content: Image) -> bytes:
        signal = transmission.encode(self._network, content, AIR, self._rate)
        data = zlib.compress(SignalBlob(0, 0.0, (0, 0, 0), AIR, signal).encode())
        return data.ljust(SYMBOL_BYTES * signal.uses, b"\0")

    def decode(self, data: bytes) -> Image:
        # What follows the compressed stream is padding.
        signal = SignalBlob.decode(zlib.decompressobj().decompress(data)).signal
        return transmission.decode(self._network, signal, carry(AIR, signal.symbols, self._noise))


_image_channel = cache(transmission.load_network)


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


class Draco(Coder):
    """Meshes, each with its triangles, as Draco's edgebreaker codes them."""

    def __init__(self, bits: int) -> None:
        try:
            self._bits, self._draco = bits, importlib.import_module("DracoPy")
        except ImportError as error:
            raise UsageError("meshes of rivals need Draco: pip install 'bodywire[bench]'") from error

    def encode(self, content: SurfaceMesh) -> bytes:
        options = {"quantization_bits": self._bits, "compression_level": _DRACO_LEVEL}
        data: bytes = self._draco.encode(content.vertices, content.faces, **options)
        return data

    def decode(self, data: bytes) -> SurfaceMesh:
        mesh = self._draco.decode(data)
        return SurfaceMesh(np.asarray(mesh.points, np.float32), np.asarray(mesh.faces, np.int32))
