"""Pictures through H.264 as a live sender encodes them: x264 without B-frames and look-ahead, one key frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from common.arrays import Image

PRESET, TUNE = "veryfast", "zerolatency"
# x264 signs its streams with 0.7 kB of supplemental information, which no decoder needs.
_WITHOUT_SIGNATURE = "filter_units=remove_types=6"


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """A clip as H.264.

    Args:
        sizes: bytes of each frame in the elementary stream, parameter sets counted, without any container.
        pictures: T decoded pictures (H, W, 3) RGB.
    """

    sizes: tuple[int, ...]
    pictures: tuple[Image, ...]


def through_h264(pictures: Sequence[Image], fps: int, crf: int) -> EncodedVideo:
    """Encodes and decodes pictures (H, W, 3) RGB of one even size, at a constant rate factor of 0…51."""
    decoder = VideoCodecContext.create("h264", "r")
    sizes: list[int] = []
    decoded: list[Image] = []
    for packet in _encode(pictures, fps, crf):
        sizes.append(packet.size)
        decoded += _rgb(decoder.decode(packet))
    decoded += _rgb(decoder.decode(None))
    if len(decoded) != len(pictures):
        raise ValueError(f"H.264 returned {len(decoded)} of {len(pictures)} pictures")
    return EncodedVideo(tuple(sizes), tuple(decoded))


def _encode(pictures: Sequence[Image], fps: int, crf: int) -> "Iterator[av.Packet[VideoStream]]":
    """One packet a frame: with zero latency, x264 keeps none back."""
    encoder = VideoCodecContext.create("libx264", "w")
    encoder.height, encoder.width = pictures[0].shape[:2]
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", Fraction(fps), Fraction(1, fps)
    encoder.options = {"preset": PRESET, "tune": TUNE, "crf": str(crf)}
    unsigned = BitStreamFilterContext(_WITHOUT_SIGNATURE, "h264")
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = number
        for packet in encoder.encode(frame):
            yield from unsigned.filter(packet)
    for packet in encoder.encode(None):
        yield from unsigned.filter(packet)


def _rgb(frames: Sequence[av.VideoFrame]) -> list[Image]:
    return [np.ascontiguousarray(frame.to_ndarray(format="rgb24")) for frame in frames]
