"""Rivals' codes of pictures and meshes: what is decoded, its bytes and its times.

Crops are JPEG or WebP pictures.  Video is encoded as by a live sender: no B-frames, no look-ahead, one key frame.
Draco carries the connectivity of a mesh in every frame, and knows no other frame.
"""

import importlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.util import find_spec
from typing import Any, Generic, TypeVar, cast

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from PIL import Image as PillowImage
from scipy.spatial import cKDTree

from common.arrays import FloatArray, Image, Int32Array

Value = TypeVar("Value")
_DRACO_LEVEL = 7


@dataclass(frozen=True, eq=False)
class Coded(Generic[Value]):
    """What a receiver has.

    Args:
        sizes: bytes of each.
        encode_ms, decode_ms: mean times of one.
    """

    sizes: tuple[int, ...]
    decoded: Sequence[Value]
    encode_ms: float
    decode_ms: float

    @property
    def times(self) -> dict[str, float]:
        return {"encode_ms": self.encode_ms, "decode_ms": self.decode_ms}


def coded(
    encode: Callable[[], Sequence[Any]], decode: Callable[[Sequence[Any]], Sequence[Value]], size: Callable[[Any], int]
) -> Coded[Value]:
    """Encodes and decodes all, and takes the times."""
    began_s = time.perf_counter()
    packed = encode()
    encoded_s = time.perf_counter()
    found = decode(packed)
    to_ms = 1e3 / len(packed)
    times = (encoded_s - began_s) * to_ms, (time.perf_counter() - encoded_s) * to_ms
    return Coded(tuple(map(size, packed)), found, *times)


def through_stills(name: str, quality: int, crops: Sequence[Image]) -> Coded[Image]:
    """Pictures (S, S, 3) RGB as JPEG or WEBP."""

    def encode(picture: Image) -> bytes:
        file = io.BytesIO()
        PillowImage.fromarray(picture).save(file, name, quality=quality, optimize=True)
        return file.getvalue()

    def decode(data: bytes) -> Image:
        return np.asarray(PillowImage.open(io.BytesIO(data)).convert("RGB"), np.uint8)

    return coded(lambda: [encode(crop) for crop in crops], lambda files: [decode(data) for data in files], len)


def missing_draco() -> str | None:
    """What to install for Draco; None if it is there."""
    return None if find_spec("DracoPy") else "dracopy is not installed: pip install -e '.[bench]'"


def through_draco(skins: FloatArray, faces: Int32Array, bits: int) -> Coded[FloatArray]:
    """Meshes (n, V, 3) in Draco's edgebreaker code, positions of so many bits; in the order of the true vertices."""
    draco = importlib.import_module("DracoPy")

    def encode(skin: FloatArray) -> bytes:
        data: bytes = draco.encode(skin, faces, quantization_bits=bits, compression_level=_DRACO_LEVEL)
        return data

    def decode(files: Sequence[bytes]) -> list[FloatArray]:
        return [np.asarray(draco.decode(data).points, np.float32) for data in files]

    sent = coded(lambda: [encode(skin) for skin in skins], decode, len)
    # The code orders vertices as it likes, and does not tell how: to each true one the nearest.
    ordered = [found[cKDTree(found).query(skin)[1]] for skin, found in zip(skins, sent.decoded, strict=True)]
    return Coded(sent.sizes, ordered, sent.encode_ms, sent.decode_ms)


@dataclass(frozen=True)
class VideoCodec:
    """An encoder, its live settings, and the decoder of its streams.

    Args:
        encoder, decoder: FFmpeg's names.
        options: of the encoder; the constant rate factor is added.
        signature_filter: FFmpeg's filter that removes the encoder's signature, which no decoder needs, and the
            stream's format.
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
AV1 = VideoCodec(
    "AV1", "libsvtav1", "libdav1d", {"preset": "8", "svtav1-params": "pred-struct=1:lookahead=0:lp=1:keyint=-1"}
)
CODECS = (H264, AV1)


def through_video(codec: VideoCodec, pictures: Sequence[Image], fps: int, crf: int) -> Coded[Image]:
    """Pictures (H, W, 3) RGB of one even size, at a constant rate factor.

    Raises:
        ValueError: the codec does not return as many pictures.
    """

    def decode(packets: Sequence[Any]) -> list[Image]:
        decoder = cast(VideoCodecContext, VideoCodecContext.create(codec.decoder, "r"))
        return [picture for packet in [*packets, None] for picture in _rgb(decoder.decode(packet))]

    sent = coded(lambda: list(_encode(codec, pictures, fps, crf)), decode, lambda packet: int(packet.size))
    if len(sent.decoded) != len(pictures) or len(sent.sizes) != len(pictures):
        raise ValueError(f"{codec.name} returned {len(sent.decoded)} of {len(pictures)} pictures")
    return sent


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
