"""Packet format: header, lengths, and range-coded parts with checksums.

    version 1 B · model hash 4 B · flags 1 B · sequence · lag · capture time · [camera] · [source] · people · identities
    · length of each part │ part 0 · CRC-32 │ part 1 · CRC-32 │ part 2 · CRC-32

Numbers without a size are LEB128 varints.  Part 0 has every person's plan and the most important groups, part 2 the
least important ones.  Each CRC-32 covers the header and every part up to it (but no other checksum: a CRC over data and
its own CRC is a constant).  It is seeded with the last checksum of the reference packet, so a packet fails when the
receiver's reference differs from the sender's.

Accepted are complete packets with correct checksums, and truncated packets, shorter than the header announces, up to
the last complete part.  A packet with a wrong checksum or with extra bytes is refused as a whole.  A wrong decode
therefore needs a mutation that a CRC-32 misses: impossible for one burst of up to 32 bits, one in 2³² otherwise.  There
are three parts instead of one per group because a part costs 5 bytes and half a byte of range coder: ten would cost as
much as the labels.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.codec.tables import TIERS
from common.errors import ChecksumMismatch, MalformedPacket, ModelMismatch, VersionMismatch
from common.frames import MAX_PEOPLE, Camera

CODEC_VERSION: Final = 1
HASH_SIZE: Final = 4
MAX_PACKET_BYTES: Final = 1 << 16
"""Upper limit of a packet: 32 people whose every entry is the longest code take 34 KB."""
_CRC_SIZE: Final = 4
_HAS_CAMERA: Final = 1
_HAS_SOURCE: Final = 2


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a packet.

    Args:
        sequence: sequence number of the frame.
        lag: `sequence` − that of the reference; 0 in a key frame, which has no reference.
        time_ms: capture time in milliseconds, since the epoch in a key frame, else since that of the reference.
        camera: None if it equals the reference's.
        source: None if it equals the reference's.
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
    """A parsed packet; it has fewer than TIERS `parts` if it was truncated."""

    header: Header
    parts: tuple[bytes, ...]


def pack(header: Header, parts: list[bytes], model_hash: bytes, seed: int) -> bytes:
    """Joins header and TIERS parts; `seed` is the `seal` of the reference, 0 in a key frame."""
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
    """The last checksum of a complete packet, which seeds the checksums of packets predicted from it."""
    return int.from_bytes(payload[-_CRC_SIZE:], "little")


class _Cursor:
    """Reads a packet from its start."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._data):
            raise MalformedPacket("the packet is cut inside its header")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def varint(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise MalformedPacket("the packet has a varint that is too long")


def parse(data: bytes, model_hash: bytes, seed: Callable[[Header], int]) -> Packet:
    """The inverse of `pack`, for untrusted bytes; checks the form and not the ranges of the content (`check_frame`).

    Args:
        data: the packet.
        model_hash: at least 4 bytes.
        seed: returns the `seal` of the reference that a header, not yet checked, names.

    Raises:
        VersionMismatch, ModelMismatch: the packet is from another codec version or from other networks.
        ChecksumMismatch: its content was damaged.
        MalformedPacket: it is cut before its first part ends, too long, or inconsistent.
    """
    if len(data) > MAX_PACKET_BYTES:
        raise MalformedPacket(f"a packet of {len(data)} bytes; packets have up to {MAX_PACKET_BYTES}")
    cursor = _Cursor(data)
    version = cursor.take(1)[0]
    if version != CODEC_VERSION:
        raise VersionMismatch(f"the packet has codec version {version}, not {CODEC_VERSION}; update the older end")
    if cursor.take(HASH_SIZE) != model_hash[:HASH_SIZE]:
        raise ModelMismatch("the packet was coded with other networks or tables; install the same version on both ends")
    header = _parse_header(cursor)
    lengths = [cursor.varint() for _ in range(TIERS)]
    return Packet(header, _parse_parts(data, cursor.position, lengths, seed(header)))


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
            raise ChecksumMismatch("the packet was damaged in transit")
        parts.append(data[start:end])
        start = end + _CRC_SIZE
    if not parts:
        raise MalformedPacket("the packet is cut before its first part ends")
    return tuple(parts)


def _parse_header(cursor: _Cursor) -> Header:
    flags = cursor.take(1)[0]
    if flags & ~(_HAS_CAMERA | _HAS_SOURCE):
        raise MalformedPacket("the packet sets unknown flags")
    sequence, lag, time_ms = cursor.varint(), cursor.varint(), cursor.varint()
    time_ms = ~(time_ms >> 1) if time_ms & 1 else time_ms >> 1
    if lag > sequence:
        raise MalformedPacket("the packet refers to a frame before the first one")
    camera = _parse_camera(cursor) if flags & _HAS_CAMERA else None
    source = _parse_source(cursor) if flags & _HAS_SOURCE else None
    if not lag and (camera is None or source is None):
        raise MalformedPacket("a key frame has no camera or no source")
    people = cursor.varint()
    if people > MAX_PEOPLE:
        raise MalformedPacket(f"the packet announces {people} people, more than {MAX_PEOPLE}")
    identities = tuple(cursor.take(people))
    if len(set(identities)) != people:
        raise MalformedPacket("the packet has an identity twice")
    return Header(sequence, lag, time_ms, camera, source, identities)


def _parse_camera(cursor: _Cursor) -> Camera:
    width, height = cursor.varint(), cursor.varint()
    (focal_px,) = struct.unpack("<f", cursor.take(4))
    return Camera(width, height, focal_px)


def _parse_source(cursor: _Cursor) -> str:
    try:
        return cursor.take(cursor.take(1)[0]).decode()
    except UnicodeDecodeError as error:
        raise MalformedPacket("the packet's source name is not UTF-8") from error


def rounded_camera(camera: Camera) -> Camera:
    """The camera with the precision of the packet format: its focal length in float32."""
    (focal_px,) = struct.unpack("<f", struct.pack("<f", camera.focal_px))
    return Camera(camera.width, camera.height, focal_px)


def shorten_source(source: str) -> str:
    """The last 255 bytes of the name in UTF-8; a character that has no UTF-8 encoding becomes a question mark."""
    return source.encode(errors="replace")[-255:].decode(errors="ignore")


def _varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
