"""A live picture of a face: a chart in which nothing moves but skin, lips and lids, as video of a few bytes a picture.

The chart is the face seen from the front, its mouth half open, so that what is between the lips has a place.  Landmarks
lay every picture of a camera into it, and its places on the body's mesh lay it over the head (`face_chart.npz`, made by
`sender.train.face_chart`).  The video is VP9 (RFC 9628's `VP9 Bitstream & Decoding Process Specification`), predicted
from the picture before.

Frames carry it in parts, each with at most as many bytes as the link has left behind the labels:

    identity · number of the part · begins b, ends e, is key k, side s: [b e k 000 ss] · data

Parts are numbered from frame to frame.  Where one is missing, pictures are left out until the next key picture.
Before its video a picture has K bytes that say where the landmarks were in the camera's picture (`LandmarkShapes`): the
receiver moves the head's vertices there.

Shapes: L = 468 landmarks, N vertices of the template with a place, S texels along a side of the chart, K = 12
components of the landmarks' shapes.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

import av
import av.error
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from common.arrays import FloatArray, Image, IntArray
from common.errors import MalformedPacket

SIDES: Final = (64, 128, 256)
"""Texels along a side that a chart may have."""
MAX_BYTES: Final = 16_384
"""Of a picture, coded."""
HEAD_BYTES: Final = 3
SHAPE_BYTES: Final = 12
_BEGINS, _ENDS, _KEY, _SIDE = 0x80, 0x40, 0x20, 0x03
_NUMBERS = 256
_CHART = "landmarks", "vertices", "places", "opacity", "followed", "follows"
_FILE = Path(__file__).with_name("face_chart.npz")
# The coder's own rate; what a picture may take is told by the time that passes for it.
_NOMINAL_BPS, _MS = 16_000, 1000
_MOST_MS = 4000
_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "5",
    "lag-in-frames": "0",
    "g": "100000",
    "maxrate": str(_NOMINAL_BPS),
    "minrate": str(_NOMINAL_BPS),
    "bufsize": str(_NOMINAL_BPS // 2),
}


@dataclass(frozen=True, slots=True, eq=False)
class FaceChart:
    """Where a face is in the chart; places are 0…1 from its upper left corner.

    Args:
        landmarks: (L, 2) places of MediaPipe's landmarks.
        vertices: (N,) those of the body's template that have a place.
        places: (N, 2) of these.
        opacity: (N,) 0…1, less towards the edge of the face, and where it is seen edge-on.
        followed: (N, 2) places whose landmarks they follow: of the mouth's lining those of the skin before it.
        follows: (N,) 0…1 how far each follows these, less towards the edge of the face.
    """

    landmarks: FloatArray
    vertices: IntArray
    places: FloatArray
    opacity: FloatArray
    followed: FloatArray
    follows: FloatArray

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls) -> Self:
        """The one that ships with the package."""
        with np.load(_FILE) as arrays:
            return cls(**{name: arrays[name] for name in _CHART})


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkShapes:
    """Landmarks of faces in pictures, laid over their mean by a similarity, by principal components.

    Args:
        mean: (L, 2) metres.
        basis: (K, L, 2) metres of a step of each component.
    """

    mean: FloatArray
    basis: FloatArray

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls) -> Self:
        """Those that ship with the package."""
        with np.load(_FILE) as arrays:
            return cls(arrays["shape_mean"].astype(np.float32), arrays["shape_basis"].astype(np.float32))

    def encode(self, points: FloatArray) -> bytes:
        """K bytes of landmarks (L, ≥ 2) in pixels."""
        moved = (laid_over(points[: len(self.mean), :2], self.mean) - self.mean).ravel()
        flat = self.basis.reshape(len(self.basis), -1)
        steps = flat @ moved / np.einsum("kn,kn->k", flat, flat)
        return bytes(np.clip(np.rint(steps), -127, 127).astype(np.int8).tobytes())

    def decode(self, data: bytes) -> FloatArray:
        """(L, 2) metres."""
        return np.asarray(self.mean + np.einsum("k,kld->ld", np.frombuffer(data, np.int8), self.basis), np.float32)


def laid_over(points: FloatArray, others: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Points (N, 2), moved, turned and scaled to where they are nearest to others (N, 2), which may weigh (N,)."""
    share = np.full(len(points), 1 / len(points)) if weights is None else weights / weights.sum()
    middle, wanted = share @ points, share @ others
    own, their = points - middle, others - wanted
    along = float(share @ (own * their).sum(axis=1))
    across = float(share @ (own[:, 0] * their[:, 1] - own[:, 1] * their[:, 0]))
    size = max(float(share @ np.square(own).sum(axis=1)), 1e-12)
    turn = np.array([[along, -across], [across, along]]) / size
    return np.asarray(own @ turn.T + wanted, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class LiveFace:
    """A picture of a face as it arrives.

    Args:
        picture: (S, S, 3) RGB, in the chart.
        landmarks: (L, 2) metres, as of `LandmarkShapes`.
    """

    picture: Image
    landmarks: FloatArray


class FaceVideoEncoder:
    """The coder of one face, whose pictures have `side` texels along a side."""

    def __init__(self, side: int) -> None:
        self.side = side
        self._coder = coder = VideoCodecContext.create("libvpx-vp9", "w")
        coder.width = coder.height = side
        coder.pix_fmt, coder.time_base, coder.framerate = "yuv420p", Fraction(1, _MS), Fraction(10)
        coder.bit_rate, coder.options, coder.thread_count = _NOMINAL_BPS, _OPTIONS, 1
        self._ms = 0

    def encode(self, chart: Image, bits: float, *, key: bool) -> bytes:
        """Codes the next picture, a chart of any size, with about so many bits."""
        if chart.shape[0] != self.side:
            chart = np.asarray(cv2.resize(chart, (self.side, self.side), interpolation=cv2.INTER_AREA), np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(chart), format="rgb24")
        # Its rate control gives each picture what has gathered since the one before: time is bits.
        self._ms += min(max(round(bits / _NOMINAL_BPS * _MS), 1), _MOST_MS)
        frame.pts, frame.time_base = self._ms, Fraction(1, _MS)
        frame.pict_type = PictureType.I if key else PictureType.NONE
        return b"".join(bytes(packet) for packet in self._coder.encode(frame))


class FaceVideoDecoder:
    """The decoder of one face."""

    def __init__(self) -> None:
        self._decoder: VideoCodecContext | None = None

    def decode(self, data: bytes, side: int, *, key: bool) -> Image | None:
        """The next picture (side, side, 3) RGB; None before the first key picture.

        Raises:
            MalformedPacket: it is no picture of this size.
        """
        if key:
            self._decoder = VideoCodecContext.create("vp9", "r")
            self._decoder.thread_count = 1
            # Nothing larger is ever allocated, whatever a picture says.
            self._decoder.options = {"max_pixels": str(side * side)}
        if self._decoder is None:
            return None
        try:
            frames = self._decoder.decode(av.Packet(data))
        except (av.error.FFmpegError, ValueError) as error:
            self._decoder = None
            raise MalformedPacket(f"a picture of a face cannot be decoded: {error}") from error
        if len(frames) != 1 or (frames[0].width, frames[0].height) != (side, side):
            self._decoder = None
            raise MalformedPacket(f"a picture of a face that has not {side} texels along a side")
        return np.asarray(frames[0].to_ndarray(format="rgb24"), np.uint8)


@dataclass(frozen=True, slots=True)
class FacePacket:
    """A coded picture of somebody's face, as recordings keep it.

    Args:
        identity: whose.
        key: whether it needs none of those before.
        side: texels along a side.
        shape: of the landmarks.
    """

    identity: int
    key: bool
    side: int
    shape: bytes
    data: bytes

    @property
    def body(self) -> bytes:
        """What parts carry."""
        return self.shape + self.data

    @property
    def content(self) -> bytes:
        """The packet without the identity."""
        return bytes([_KEY * self.key | SIDES.index(self.side)]) + self.body

    @classmethod
    def of_content(cls, identity: int, content: bytes) -> Self:
        """The inverse of `content`. Raises MalformedPacket."""
        least = 1 + SHAPE_BYTES + 1
        if not least <= len(content) <= MAX_BYTES:
            raise MalformedPacket(f"a picture of a face of {len(content)} bytes; they have {least} to {MAX_BYTES}")
        end = 1 + SHAPE_BYTES
        return cls(identity, bool(content[0] & _KEY), _side(content[0]), content[1:end], content[end:])


class FaceParts:
    """Cuts pictures into parts, one picture after the other."""

    def __init__(self) -> None:
        self._number = self._sent = 0
        self._packet: FacePacket | None = None

    @property
    def left(self) -> int:
        """Bytes of the present picture that have not left."""
        return 0 if self._packet is None else len(self._packet.body) - self._sent

    def put(self, packet: FacePacket | None) -> None:
        """Begins with another picture; None with nothing."""
        self._packet, self._sent = packet, 0

    def take(self, most_bytes: int) -> bytes:
        """The next part, with its head; empty if nothing is left or there is no room."""
        packet, room = self._packet, most_bytes - HEAD_BYTES
        if packet is None or room <= 0:
            return b""
        body = packet.body
        begin, end = self._sent, min(self._sent + room, len(body))
        flags = _BEGINS * (begin == 0) | _ENDS * (end == len(body)) | _KEY * packet.key
        part = bytes([packet.identity, self._number, flags | SIDES.index(packet.side)]) + body[begin:end]
        self._number, self._sent = (self._number + 1) % _NUMBERS, end
        if end == len(body):
            self._packet = None
        return part


@dataclass(slots=True)
class FaceAssembly:
    """Puts parts together."""

    _expected: int | None = None
    _data: bytearray = field(default_factory=bytearray)
    _whole: bool = False
    # Whose pictures lack one that later ones are predicted from.
    _broken: set[int] = field(default_factory=set)
    _last: int | None = None

    def take(self, part: bytes) -> FacePacket | None:
        """The picture that a part completes, if it can be decoded. Raises MalformedPacket for what is no part."""
        if len(part) <= HEAD_BYTES:
            raise MalformedPacket("a part of a face's picture that has no data")
        identity, number, flags = part[:HEAD_BYTES]
        begins, ends, key = flags & _BEGINS, flags & _ENDS, bool(flags & _KEY)
        if number != self._expected and self._expected is not None:
            # Nobody knows whose part is missing.
            self._broken, self._whole = set(range(_NUMBERS)), False
        self._expected = (number + 1) % _NUMBERS
        if begins:
            self._data, self._whole = bytearray(), True
        self._data += part[HEAD_BYTES:]
        if len(self._data) > MAX_BYTES:
            self._data, self._whole = bytearray(), False
            raise MalformedPacket(f"a picture of a face of more than {MAX_BYTES} bytes")
        if not ends or not self._whole:
            return None
        if key:
            self._broken.discard(identity)
        if identity in self._broken:
            return None
        return FacePacket.of_content(identity, bytes([flags & (_KEY | _SIDE)]) + self._data)


def _side(flags: int) -> int:
    number = flags & _SIDE
    if number >= len(SIDES):
        raise MalformedPacket("a picture of a face of an unknown size")
    return SIDES[number]
