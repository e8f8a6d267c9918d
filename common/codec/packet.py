"""The packet around the range-coded parts: header, lengths, checksums.

    version 1 B · model hash 4 B · flags 1 B · sequence · lag · capture time · [camera] · [source] · people · identities
    · length of each part │ part 0 · CRC-32 │ part 1 · CRC-32 │ part 2 · CRC-32

Numbers without a size are LEB128 varints.  Part 0 holds every person's plan and the groups that matter most, part 2
those that matter least.  Each CRC-32 covers the header and every part up to it (not the other checksums: a CRC over
data and its own CRC is a constant), and starts from the last checksum of the packet that this one is predicted from: a
packet that meets another reference than its sender's does not pass.

What is accepted: all bytes of the packet with every checksum right, or a packet that was *cut*: shorter than its header
announces, up to and including the last part that is whole and whose checksum is right.  A packet of full length with
one wrong checksum is refused as a whole, and so is one that is longer.  So a wrong decode needs a mutation that a
CRC-32 misses: never for one burst of up to 32 bits, one in 2³² otherwise.  Three parts rather than one per group: a
part costs 5 bytes and half a byte of range coder, ten would cost as much as the labels.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.codec.tables import TIERS
from common.errors import ChecksumMismatch, MalformedPacket, ModelMismatch, VersionMismatch
from common.frames import Camera

CODEC_VERSION: Final = 1
HASH_SIZE: Final = 4
MAX_PEOPLE: Final = 32
_CRC_SIZE: Final = 4
_HAS_CAMERA: Final = 1
_HAS_SOURCE: Final = 2
_MAX_SIDE_PX: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Header:
    """What a packet says before its parts.

    Args:
        sequence: of this frame.
        lag: `sequence` − the reference's; 0 in a key frame, which needs no reference.
        time_ms: capture time in milliseconds since the epoch in a key frame, since the reference's otherwise.
        camera: None if it is the reference's.
        source: None if it is the reference's.
        identities: of the people, most prominent first.
    """

    sequence: int
    lag: int
    time_ms: int
    camera: Camera | None
    source: str | None
    identities: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Packet:
    """A parsed packet; `parts` are fewer than TIERS if it was cut."""

    header: Header
    parts: tuple[bytes, ...]


def pack(header: Header, parts: list[bytes], model_hash: bytes, seed: int) -> bytes:
    """Header and TIERS parts as one packet; `seed` is the reference's `seal`, 0 in a key frame."""
    data = bytearray([CODEC_VERSION]) + model_hash[:HASH_SIZE]
    data.append((header.camera is not None) * _HAS_CAMERA | (header.source is not None) * _HAS_SOURCE)
    data += _varint(header.sequence) + _varint(header.lag)
    data += _varint(header.time_ms << 1 if header.time_ms >= 0 else ~(header.time_ms << 1))
    if header.camera is not None:
        data += _varint(header.camera.width) + _varint(header.camera.height)
        data += struct.pack("<f", header.camera.focal_px)
    if header.source is not None:
        name = header.source.encode()
        data += bytes([len(name)]) + name
    data += _varint(len(header.identities)) + bytes(header.identities)
    for part in parts:
        data += _varint(len(part))
    checksum = zlib.crc32(data, seed)
    for part in parts:
        checksum = zlib.crc32(part, checksum)
        data += part + struct.pack("<I", checksum)
    return bytes(data)


def seal(payload: bytes) -> int:
    """A whole packet's last checksum: what the packets predicted from it start theirs with."""
    return int.from_bytes(payload[-_CRC_SIZE:], "little")


def parse(data: bytes, model_hash: bytes, seed: Callable[[Header], int]) -> Packet:
    """The inverse of `pack`, for bytes from outside.

    Args:
        seed: gives the `seal` of the reference that a header, not yet checked, names.

    Raises:
        VersionMismatch, ModelMismatch: the packet is another codec's or other networks'.
        ChecksumMismatch: its content is not what was packed.
        MalformedPacket: it is cut before its first part ends, too long, or contradicts itself.
    """
    cursor = _Cursor(data)
    version = cursor.take(1)[0]
    if version != CODEC_VERSION:
        raise VersionMismatch(f"the packet has codec version {version}, not {CODEC_VERSION}; update the older end")
    if cursor.take(HASH_SIZE) != model_hash[:HASH_SIZE]:
        raise ModelMismatch("the packet was coded with other networks or tables; install the same version on both ends")
    header = _parse_header(cursor)
    lengths = [cursor.varint() for _ in range(TIERS)]
    return Packet(header, _parse_parts(data, cursor.place, lengths, seed(header)))


def _parse_parts(data: bytes, start: int, lengths: list[int], seed: int) -> tuple[bytes, ...]:
    announced = start + sum(lengths) + TIERS * _CRC_SIZE
    if len(data) > announced:
        raise MalformedPacket(f"the packet has {len(data)} bytes and announces {announced}")
    parts: list[bytes] = []
    checksum = zlib.crc32(data[:start], seed)
    for length in lengths:
        end = start + length
        if end + _CRC_SIZE > len(data):
            break
        checksum = zlib.crc32(data[start:end], checksum)
        if data[end : end + _CRC_SIZE] != struct.pack("<I", checksum):
            raise ChecksumMismatch("the packet was damaged on its way")
        parts.append(data[start:end])
        start = end + _CRC_SIZE
    if not parts:
        raise MalformedPacket("the packet is cut before its first part ends")
    return tuple(parts)


def _parse_header(cursor: "_Cursor") -> Header:
    flags = cursor.take(1)[0]
    if flags & ~(_HAS_CAMERA | _HAS_SOURCE):
        raise MalformedPacket("the packet sets flags that do not exist")
    sequence, lag, time_ms = cursor.varint(), cursor.varint(), cursor.varint()
    time_ms = ~(time_ms >> 1) if time_ms & 1 else time_ms >> 1
    if lag > sequence:
        raise MalformedPacket("the packet refers to a frame before the first")
    camera = _parse_camera(cursor) if flags & _HAS_CAMERA else None
    source = _parse_source(cursor) if flags & _HAS_SOURCE else None
    if not lag and (camera is None or source is None):
        raise MalformedPacket("a key frame comes without camera or source")
    people = cursor.varint()
    if people > MAX_PEOPLE:
        raise MalformedPacket(f"the packet announces {people} people, more than {MAX_PEOPLE}")
    identities = tuple(cursor.take(people))
    if len(set(identities)) != people:
        raise MalformedPacket("the packet names a person twice")
    return Header(sequence, lag, time_ms, camera, source, identities)


def _parse_camera(cursor: "_Cursor") -> Camera:
    width, height = cursor.varint(), cursor.varint()
    (focal_px,) = struct.unpack("<f", cursor.take(4))
    if not (0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX and 0.0 < focal_px < 1e9):
        raise MalformedPacket("the packet describes a camera that cannot be")
    return Camera(width, height, focal_px)


def _parse_source(cursor: "_Cursor") -> str:
    try:
        return cursor.take(cursor.take(1)[0]).decode()
    except UnicodeDecodeError as error:
        raise MalformedPacket("the packet's source name is not UTF-8") from error


def check_camera(camera: Camera) -> Camera:
    """The camera as it will arrive (focal length in float32).

    Raises:
        ValueError: it does not fit the wire.
    """
    (focal_px,) = struct.unpack("<f", struct.pack("<f", camera.focal_px))
    if not (0 < camera.width <= _MAX_SIDE_PX and 0 < camera.height <= _MAX_SIDE_PX and 0.0 < focal_px < 1e9):
        raise ValueError(f"{camera} does not fit the wire")
    return Camera(camera.width, camera.height, focal_px)


def shorten_source(source: str) -> str:
    """At most 255 bytes of UTF-8, the end of the name kept; what has no UTF-8 becomes a question mark."""
    return source.encode(errors="replace")[-255:].decode(errors="ignore")


def _varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


class _Cursor:
    """Reads a packet from its start."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        end = self.place + count
        if end > len(self._data):
            raise MalformedPacket("the packet is cut inside its header")
        taken = self._data[self.place : end]
        self.place = end
        return taken

    def varint(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise MalformedPacket("the packet holds a number that is too long")
