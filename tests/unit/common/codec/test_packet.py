import pytest

from common.codec.packet import MAX_PACKET_BYTES, Header, pack, parse, rounded_camera, seal, shorten_source
from common.errors import ChecksumMismatch, MalformedPacket, ModelMismatch, VersionMismatch
from common.frames import Camera

HASH = b"hash"
KEY = Header(7, 0, 1_800_000_000_123, Camera(640, 480, 600.5), "clip é.mp4", (3, 0, 255))
DELTA = Header(300, 2, -5, None, None, ())
SEED = 0x1234
PARTS = [b"first part", b"", b"third"]


def seed(_: Header) -> int:
    return SEED


@pytest.mark.parametrize("header", [KEY, DELTA])
def test_round_trip(header: Header) -> None:
    packet = parse(pack(header, PARTS, HASH, SEED), HASH, seed)
    assert packet.header == header
    assert list(packet.parts) == PARTS


def test_truncated_packet_gives_its_complete_parts() -> None:
    data = pack(KEY, PARTS, HASH, SEED)
    counts = {}
    for end in range(len(data)):
        try:
            counts[end] = len(parse(data[:end], HASH, seed).parts)
        except MalformedPacket:
            counts[end] = 0
    first, second = len(data) - 5 - 4 - 4, len(data) - 5 - 4
    assert all(counts[end] == (end >= first) + (end >= second) for end in counts)


def test_each_single_bit_error_is_refused() -> None:
    data = pack(KEY, PARTS, HASH, SEED)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((ChecksumMismatch, MalformedPacket, ModelMismatch, VersionMismatch)):
            parse(bytes(damaged), HASH, seed)


def test_packet_with_extra_bytes_is_refused() -> None:
    with pytest.raises(MalformedPacket, match="announces"):
        parse(pack(KEY, PARTS, HASH, SEED) + b"\0", HASH, seed)


def test_other_version_and_other_model_are_refused() -> None:
    data = pack(KEY, PARTS, HASH, SEED)
    with pytest.raises(VersionMismatch, match="version 2"):
        parse(b"\2" + data[1:], HASH, seed)
    with pytest.raises(ModelMismatch):
        parse(data, b"hush", seed)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (Header(1, 2, 0, None, None, ()), "before the first one"),
        (Header(1, 0, 0, None, "x", ()), "no camera or no source"),
        (Header(1, 1, 0, None, None, (4, 4)), "an identity twice"),
        (Header(1, 1, 0, None, None, tuple(range(33))), "more than 32"),
    ],
)
def test_inconsistent_header_with_valid_checksum_is_refused(header: Header, match: str) -> None:
    with pytest.raises(MalformedPacket, match=match):
        parse(pack(header, PARTS, HASH, SEED), HASH, seed)


def test_rounded_camera_has_the_precision_of_float32() -> None:
    assert rounded_camera(Camera(4, 4, 0.1)).focal_px == pytest.approx(0.1, rel=1e-7)
    assert rounded_camera(Camera(4, 4, 0.1)).focal_px != 0.1


def test_oversized_packet_is_refused() -> None:
    with pytest.raises(MalformedPacket, match="65537 bytes"):
        parse(pack(KEY, PARTS, HASH, SEED).ljust(MAX_PACKET_BYTES + 1, b"x"), HASH, seed)


def test_shorten_source_keeps_the_end_and_valid_utf8() -> None:
    short = shorten_source("é" * 200 + "end")
    assert short.endswith("end") and len(short.encode()) <= 255
    assert shorten_source("\udc80x") == "?x"


def test_packet_with_another_reference_is_refused() -> None:
    with pytest.raises(ChecksumMismatch):
        parse(pack(DELTA, PARTS, HASH, SEED + 1), HASH, seed)


def test_mixed_parts_of_two_packets_are_refused() -> None:
    first, second = pack(KEY, PARTS, HASH, SEED), pack(KEY, [b"1st", b"", b"third"], HASH, SEED)
    with pytest.raises(ChecksumMismatch):
        parse(first[:-9] + second[-9:], HASH, seed)
    assert seal(first) != seal(second)
