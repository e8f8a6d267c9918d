"""Fuzzing: 100,000 mutated packets are refused or decoded correctly, and none causes another exception."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.codec.packet import seal
from common.errors import MissingReference, WireError
from common.labels import FAST_GROUPS
from tests.support.label_motion import FINE_RHO, MODEL_HASH, clip

MUTATIONS = 100_000


def stream() -> tuple[FrameCodec, list[bytes], dict[int, DecodedFrame]]:
    """A decoder that has decoded a clip, the clip's packets, and the correct results by sequence number."""
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    packets, right = [], {}
    for frame in clip(24, seed=40, people=2):
        encoder.acknowledge(frame.sequence - 2)
        packets.append(encoder.encode(frame, FINE_RHO).payload)
        right[frame.sequence] = decoder.decode(packets[-1])
    return decoder, packets, right


def flip(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    for _bit in range(int(rng.integers(1, 5))):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def overwrite(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    start = int(rng.integers(len(data)))
    data[start : start + 4] = rng.bytes(int(rng.integers(1, 12)))


def cut(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    del data[int(rng.integers(len(data))) :]


def cut_and_flip(data: bytearray, rng: np.random.Generator, packets: list[bytes]) -> None:
    cut(data, rng, packets)
    if data:
        flip(data, rng, packets)


def insert(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    start = int(rng.integers(len(data) + 1))
    data[start:start] = rng.bytes(int(rng.integers(1, 6)))


def delete(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 6))]


def swap(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    i, j = (int(index) for index in rng.integers(len(data), size=2))
    data[i], data[j] = data[j], data[i]


def splice(data: bytearray, rng: np.random.Generator, packets: list[bytes]) -> None:
    donor = packets[int(rng.integers(len(packets)))]
    start = int(rng.integers(len(data)))
    data[start:] = donor[start:]


def version(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    data[0] = int(rng.integers(256))


def model(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    data[1:5] = rng.bytes(4)


def noise(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    data[5:] = rng.bytes(int(rng.integers(0, 120)))


KINDS: list[Callable[[bytearray, np.random.Generator, list[bytes]], None]] = [
    flip, overwrite, cut, cut_and_flip, insert, delete, swap, splice, version, model, noise,
]  # fmt: skip


def test_mutated_packets_are_refused_or_decoded_correctly() -> None:
    decoder, packets, right = stream()
    rng = np.random.default_rng(41)
    refused = accepted = 0
    for n in range(MUTATIONS):
        data = bytearray(packets[int(rng.integers(len(packets)))])
        KINDS[n % len(KINDS)](data, rng, packets)
        try:
            decoded = decoder.decode(bytes(data))
        except WireError:
            refused += 1
            continue
        accepted += 1
        assert_correct(bytes(data), decoded, packets, right)
    assert refused + accepted == MUTATIONS
    assert refused > 0.7 * MUTATIONS and accepted > 0


def assert_correct(data: bytes, decoded: DecodedFrame, packets: list[bytes], right: dict[int, DecodedFrame]) -> None:
    """An accepted packet is one of the stream, or a correct prefix of one."""
    truth = right[decoded.frame.sequence]
    if decoded.complete:
        assert data == packets[decoded.frame.sequence]
    for got, wanted in zip(decoded.frame.people, truth.frame.people, strict=True):
        assert got.identity == wanted.identity
        for name in decoded.bytes_by_group.keys() & set(FAST_GROUPS):
            np.testing.assert_array_equal(got.labels[name], wanted.labels[name])


def reseal(header: bytes, parts: list[bytes], seed: int) -> bytes:
    """A packet with arbitrary content and valid checksums, as a hostile peer can send it."""
    data = bytearray(header) + bytes(len(part) for part in parts)
    checksum = zlib.crc32(data, seed)
    for part in parts:
        checksum = zlib.crc32(part, checksum)
        data += part + struct.pack("<I", checksum)
    return bytes(data)


@pytest.fixture(scope="module")
def seen() -> tuple[FrameCodec, list[bytes], dict[int, DecodedFrame]]:
    return stream()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lag=st.integers(0, 3),
    people=st.lists(st.integers(0, 255), max_size=3, unique=True),
    parts=st.lists(st.binary(max_size=100), min_size=3, max_size=3),
    camera=st.booleans(),
)
def test_hostile_content_with_valid_checksums_is_refused_or_bounded(
    seen: tuple[FrameCodec, list[bytes], dict[int, DecodedFrame]],
    lag: int,
    people: list[int],
    parts: list[bytes],
    camera: bool,
) -> None:
    _, packets, _ = seen
    decoder = FrameCodec(MODEL_HASH)
    decoder.decode(packets[0])
    decoder.decode(packets[1])
    decoder.decode(packets[2])
    header = packets[0][:5] + bytes([3 if camera else 0, 3, lag, 0])
    if camera:
        header += b"\x40\x40" + struct.pack("<f", 500.0) + b"\x01x"
    header += bytes([len(people), *people])
    try:
        decoded = decoder.decode(reseal(header, parts, seal(packets[3 - lag]) if lag else 0))
    except WireError:
        return
    for person in decoded.frame.people:
        for values in person.labels.values():
            assert np.isfinite(values).all() and np.abs(values).max() <= 64


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_after_a_valid_header_are_refused(data: bytes) -> None:
    payload = FrameCodec(MODEL_HASH).encode(clip(1, seed=42)[0], FINE_RHO).payload
    with pytest.raises(WireError):
        FrameCodec(MODEL_HASH).decode(payload[:5] + data)


def test_packet_replayed_in_another_session_lacks_its_reference() -> None:
    _, packets, _ = stream()
    with pytest.raises(MissingReference):
        FrameCodec(MODEL_HASH).decode(packets[10])
