import pytest

from common.codec.packet import Header, check_camera, pack, parse, seal, shorten_source
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


def test_cut_packet_gives_the_whole_parts() -> None:
    data = pack(KEY, PARTS, HASH, SEED)
    counts = {}
    for end in range(len(data)):
        try:
            counts[end] = len(parse(data[:end], HASH, seed).parts)
        except MalformedPacket:
            counts[end] = 0
    first, second = len(data) - 5 - 4 - 4, len(data) - 5 - 4
    assert all(counts[end] == (end >= first) + (end >= second) for end in counts)


def test_every_flipped_bit_is_refused() -> None:
    data = pack(KEY, PARTS, HASH, SEED)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((ChecksumMismatch, MalformedPacket, ModelMismatch, VersionMismatch)):
            parse(bytes(damaged), HASH, seed)


def test_longer_packet_is_refused() -> None:
    with pytest.raises(MalformedPacket, match="announces"):
        parse(pack(KEY, PARTS, HASH, SEED) + b"\0", HASH, seed)


def test_other_version_and_other_model() -> None:
    data = pack(KEY, PARTS, HASH, SEED)
    with pytest.raises(VersionMismatch, match="version 2"):
        parse(b"\2" + data[1:], HASH, seed)
    with pytest.raises(ModelMismatch):
        parse(data, b"hush", seed)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (Header(1, 2, 0, None, None, ()), "before the first"),
        (Header(1, 0, 0, None, "x", ()), "without camera"),
        (Header(1, 1, 0, None, None, (4, 4)), "twice"),
        (Header(1, 1, 0, None, None, tuple(range(33))), "more than 32"),
        (Header(1, 1, 0, Camera(0, 4, 1.0), None, ()), "cannot be"),
        (Header(1, 1, 0, Camera(4, 4, float("nan")), None, ()), "cannot be"),
    ],
)
def test_contradictions_are_refused_though_the_checksum_is_right(header: Header, match: str) -> None:
    with pytest.raises(MalformedPacket, match=match):
        parse(pack(header, PARTS, HASH, SEED), HASH, seed)


def test_check_camera_rounds_as_the_wire_does() -> None:
    assert check_camera(Camera(4, 4, 0.1)).focal_px == pytest.approx(0.1, rel=1e-7)
    with pytest.raises(ValueError, match="fit the wire"):
        check_camera(Camera(4, 4, -1.0))


def test_shorten_source_keeps_the_end_and_valid_utf8() -> None:
    short = shorten_source("é" * 200 + "end")
    assert short.endswith("end") and len(short.encode()) <= 255
    assert shorten_source("\udc80x") == "?x"


def test_packet_predicted_from_another_reference_is_refused() -> None:
    with pytest.raises(ChecksumMismatch):
        parse(pack(DELTA, PARTS, HASH, SEED + 1), HASH, seed)


def test_parts_of_two_packets_do_not_mix() -> None:
    one, other = pack(KEY, PARTS, HASH, SEED), pack(KEY, [b"1st", b"", b"third"], HASH, SEED)
    with pytest.raises(ChecksumMismatch):
        parse(one[:-9] + other[-9:], HASH, seed)
    assert seal(one) != seal(other)
