"""Packet format: one range-coded stream, and a checksum of 16 bits.

    key · [lag · gap · time · ahead] · [camera · source · identities] · people … │ check 2 B
    behind the people, of each further frame of a bundle: time · ahead · [camera · source · identities] · people …

Everything before the check is one stream of the range coder, so that no field takes whole bytes.  In steady state the
header is about four bits: the flag of a key frame, the lags to its references, the capture time as its difference from
prediction, and one flag for camera, source and identities that equal the reference's.  The version of the codec and
the hash of networks and tables are in the link's handshake and in a recording's header, and the sequence number is in
the message around the packet; the check is seeded with all three, so that a packet of another version, of other
networks or of another frame fails it.

Why 16 bits are enough.  TCP and TLS, or the blocks of a recording, already guard the bytes; what the check has to find
are faults of the ends themselves.  It is a CRC, which finds each burst of up to 16 bits, and one in 2¹⁶ of other
changes passes.  The range coder's length and the ranges of the content are checked as well.  The check is also seeded
with 32 bits over the whole state of the reference: a decoder whose state differs from the encoder's refuses every
packet with that reference, and a frame that was decoded wrongly is therefore seen wrongly until the next packet at the
latest, which is refused and followed by a key frame.  A key frame has 16 more bits, over the state that it leads to.
"""

import struct
from binascii import crc_hqx
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import lt
from typing import Final, Self, TypeVar

import numpy as np

from common.codec.range_coder import SymbolCoder
from common.codec.tables import CodecTables
from common.errors import ChecksumMismatch, MalformedPacket
from common.frames import IDENTITIES, MAX_AHEAD_STEPS, MAX_PEOPLE, Camera, LabelFrame

_T = TypeVar("_T")

CODEC_VERSION: Final = 7
MAX_PACKET_BYTES: Final = 1 << 16
"""Upper limit of a packet: 32 people whose every entry is the longest code take 34 KB."""
MAX_BUNDLE: Final = 8
"""Most frames of a packet."""
MAX_BUNDLE_SPAN: Final = 64
"""Most frames from the first to the last one of a packet, with those that it leaves out."""
MAX_BUNDLE_S: Final = 60.0
"""Most seconds between the captures of the first and the last frame of a packet."""
MAX_TIME_RESIDUAL_MS: Final = 1 << 24
"""Larger differences between a capture time and its prediction need a key frame."""
CHECK_SIZE: Final = 2

_MILLISECOND: Final = 256  # of intervals and spreads
# Frame intervals: before two frames are known, and the limits of the mean.
_FIRST_INTERVAL: Final = _MILLISECOND * 100 // 3
_FIRST_TIME_SPREAD: Final = _MILLISECOND * 16
_MAX_INTERVAL: Final = _MILLISECOND * 60_000

# Probabilities of a lag of 1, 2, 3, 4 and of more, in sixteenths.
_LAG_WEIGHTS: Final = (3, 6, 3, 2, 2)
_FAR_LAG: Final = len(_LAG_WEIGHTS) - 1


@dataclass(frozen=True, slots=True)
class References:
    """What a packet is predicted from.

    Args:
        lag: frames since the reference; 0 in a key frame, which has none.
        gap: frames from the second reference to the first; 0 without a second one.
    """

    lag: int
    gap: int


KEY: Final = References(0, 0)


@dataclass(frozen=True, slots=True)
class FrameClock:
    """The capture time of a frame and what is known about the next ones.

    Args:
        time_ms: milliseconds since the epoch.
        interval: mean time from frame to frame, 1/256 ms; 0 before two frames are known.
        spread: mean magnitude of the prediction's error, 1/256 ms.
        ahead: steps that the labels are ahead of the capture (`LabelFrame.ahead_steps`).
    """

    time_ms: int
    interval: int = 0
    spread: int = _FIRST_TIME_SPREAD
    ahead: int = 0

    def predicted_ms(self, lag: int) -> int:
        """The expected capture time of the frame `lag` frames later."""
        return self.time_ms + (lag * (self.interval or _FIRST_INTERVAL) + 128 >> 8)

    def advance(self, lag: int, residual_ms: int, ahead: int) -> Self:
        """The state after the frame `lag` frames later, which is `residual_ms` later than predicted."""
        time_ms = self.predicted_ms(lag) + residual_ms
        measured = min(max((time_ms - self.time_ms << 8) // lag, 1), _MAX_INTERVAL)
        interval = self.interval + (measured - self.interval >> 2) if self.interval else measured
        error = min(abs(residual_ms) << 8, _MAX_INTERVAL)
        return type(self)(time_ms, max(interval, 1), self.spread + (error - self.spread >> 3), ahead)


@dataclass(frozen=True, slots=True)
class Scene:
    """What seldom changes from frame to frame.

    Args:
        source: file name or device, up to 255 bytes in UTF-8.
        identities: of the people, most prominent first.
    """

    camera: Camera
    source: str
    identities: tuple[int, ...]


def code_references(coder: SymbolCoder, lags: References | None) -> References:
    """Writes the distances to both references, or reads them when `lags` is None.

    A frame has most often two frames in flight before it, and the references most often follow each other.
    """
    if coder.rare_flag(None if lags is None else lags.lag == 0):
        return KEY
    near = coder.choice(None if lags is None else min(lags.lag - 1, _FAR_LAG), _LAG_WEIGHTS)
    lag = near + 1
    if near == _FAR_LAG:
        lag += coder.number(None if lags is None else lags.lag - 1 - _FAR_LAG)
    if not coder.rare_flag(None if lags is None else lags.gap != 1):
        return References(lag, 1)
    gap = coder.number(None if lags is None else max(lags.gap - 1, 0))
    return References(lag, gap + 1 if gap else 0)


def code_clock(
    coder: SymbolCoder,
    tables: CodecTables,
    reference: FrameClock | None,
    lag: int,
    time_ms: int | None,
    ahead: int | None,
) -> FrameClock:
    """Writes the capture time `time_ms` and how far `ahead` of it the labels are, or reads both when they are None."""
    if reference is None:
        parts = [
            coder.uniform(None if time_ms is None else time_ms >> shift & 0xFFFF, 1 << 16) for shift in (32, 16, 0)
        ]
        return FrameClock(parts[0] << 32 | parts[1] << 16 | parts[2], ahead=_code_ahead(coder, ahead))
    scale, shift = tables.scale_of_one(reference.spread, _MILLISECOND)
    residual = None if time_ms is None else np.array([time_ms - reference.predicted_ms(lag)], dtype=np.int64)
    (late_ms,) = coder.residuals(np.array([scale]), np.array([shift]), residual)
    changed = coder.rare_flag(None if ahead is None else ahead != reference.ahead)
    return reference.advance(lag, int(late_ms), _code_ahead(coder, ahead) if changed else reference.ahead)


def _code_ahead(coder: SymbolCoder, ahead: int | None) -> int:
    return coder.uniform(ahead, MAX_AHEAD_STEPS + 1)


def code_scene(coder: SymbolCoder, reference: Scene | None, scene: Scene | None) -> Scene:
    """Writes camera, source and identities, or reads them when `scene` is None; steady state takes a tenth of a bit.

    Raises:
        MalformedPacket: what was read is inconsistent.
    """
    changed = None if scene is None else scene != reference
    if reference is not None and not coder.rare_flag(changed):
        return reference
    known = (None, None, None) if reference is None else (reference.camera, reference.source, reference.identities)
    new = (None, None, None) if scene is None else (scene.camera, scene.source, scene.identities)
    camera = _code_unless_equal(coder, known[0], new[0], _code_camera)
    source = _code_unless_equal(coder, known[1], new[1], _code_source)
    return Scene(camera, source, _code_unless_equal(coder, known[2], new[2], _code_identities))


def _code_unless_equal(
    coder: SymbolCoder, known: _T | None, value: _T | None, code: Callable[[SymbolCoder, _T | None], _T]
) -> _T:
    if known is not None and not coder.uniform(None if value is None else int(value != known), 2):
        return known
    return code(coder, value)


def _code_camera(coder: SymbolCoder, camera: Camera | None) -> Camera:
    values: tuple[int | None, ...] = (None,) * 4
    if camera is not None:
        (focal_bits,) = struct.unpack("<I", struct.pack("<f", camera.focal_px))
        values = (camera.width - 1, camera.height - 1, focal_bits >> 16, focal_bits & 0xFFFF)
    width, height, high, low = (coder.uniform(value, 1 << 16) for value in values)
    (focal_px,) = struct.unpack("<f", struct.pack("<I", high << 16 | low))
    return Camera(width + 1, height + 1, focal_px)


def _code_source(coder: SymbolCoder, source: str | None) -> str:
    name = None if source is None else source.encode()
    length = coder.uniform(None if name is None else len(name), 256)
    read = bytes(coder.uniform(None if name is None else name[index], 256) for index in range(length))
    try:
        return read.decode()
    except UnicodeDecodeError as error:
        raise MalformedPacket("the packet's source name is not UTF-8") from error


def _code_identities(coder: SymbolCoder, identities: tuple[int, ...] | None) -> tuple[int, ...]:
    people = coder.uniform(None if identities is None else len(identities), 2 * MAX_PEOPLE)
    if people > MAX_PEOPLE:
        raise MalformedPacket(f"the packet announces {people} people, more than {MAX_PEOPLE}")
    read = tuple(
        coder.uniform(None if identities is None else identities[index], IDENTITIES) for index in range(people)
    )
    if len(set(read)) != people:
        raise MalformedPacket("the packet has an identity twice")
    return read


def seal(body: bytes, seed: bytes) -> bytes:
    """The packet of a range-coded stream: the stream and its check.

    Args:
        body: of the range coder.
        seed: what else both ends must agree on (`check_seed`).
    """
    return body + struct.pack("<H", _check(body, seed))


def body_of(payload: bytes) -> bytes:
    """The range-coded stream of a packet, before its check can be verified.

    Raises:
        MalformedPacket: the packet is too long, or too short for a check.
    """
    if len(payload) > MAX_PACKET_BYTES:
        raise MalformedPacket(f"a packet of {len(payload)} bytes; packets have up to {MAX_PACKET_BYTES}")
    if len(payload) < CHECK_SIZE:
        raise MalformedPacket(f"a packet of {len(payload)} bytes has no check")
    return payload[:-CHECK_SIZE]


def verify(payload: bytes, seed: bytes) -> None:
    """Verifies the check of a packet.

    Raises:
        ChecksumMismatch: the packet was damaged, or one of its seeds differs.
    """
    if _check(payload[:-CHECK_SIZE], seed) != int.from_bytes(payload[-CHECK_SIZE:], "little"):
        raise ChecksumMismatch("the packet was damaged, or is from other networks, another frame or another reference")


def check_seed(codec_hash: bytes, sequences: Sequence[int], seals: tuple[int, int]) -> bytes:
    """Seed of a packet's check: version and networks, sequence numbers, and the states of the references (32 bits)."""
    return codec_hash + struct.pack(f"<{len(sequences)}QII", *sequences, *seals)


def _check(body: bytes, seed: bytes) -> int:
    return crc_hqx(body, crc_hqx(seed, 0))


def rounded_camera(camera: Camera) -> Camera:
    """The camera with the precision of the packet format: its focal length in float32."""
    (focal_px,) = struct.unpack("<f", struct.pack("<f", camera.focal_px))
    return Camera(camera.width, camera.height, focal_px)


def shorten_source(source: str) -> str:
    """The last 255 bytes of the name in UTF-8; a character that has no UTF-8 encoding becomes a question mark."""
    return source.encode(errors="replace")[-255:].decode(errors="ignore")


def follow(sequences: Sequence[int]) -> bool:
    """Whether frames of these numbers may be in one packet."""
    in_order = all(map(lt, sequences, sequences[1:]))
    return 1 <= len(sequences) <= MAX_BUNDLE and in_order and sequences[-1] - sequences[0] <= MAX_BUNDLE_SPAN


def can_share_packet(frames: Sequence[LabelFrame]) -> bool:
    """Whether frames may be encoded into one packet: up to eight, in order, near each other, with up to 32 people."""
    if len(frames) == 1:
        return True
    times_s, people = [frame.captured_at for frame in frames], sum(len(frame.people) for frame in frames)
    near = max(times_s) - min(times_s) <= MAX_BUNDLE_S
    return follow([frame.sequence for frame in frames]) and near and people <= MAX_PEOPLE
