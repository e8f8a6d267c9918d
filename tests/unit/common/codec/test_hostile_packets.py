"""Packets with right checksums and absurd content: one verdict, and the decoder's state stays as it was."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec.frame_codec import FrameCodec
from common.codec.packet import MAX_PACKET_BYTES, Header
from common.errors import MalformedPacket, WireError
from common.frames import Camera, LabelFrame, PersonLabels, check_frame
from common.labels import GROUP_NAMES, LABEL_SIZE, split
from tests.netlab.hostile_packets import (
    hostile_frames,
    longest_to_decode,
    mutations,
    sealed_packet,
    sequence_of,
)
from tests.support.label_motion import CAMERA, FINE_RHO, MODEL_HASH, clip

NOW_MS = 1_800_000_000_000


@contextmanager
def unchanged_when_refused(decoder: FrameCodec) -> Iterator[None]:
    """Accepts refusals (`WireError`) that leave every state of the decoder as it was."""
    before = list(decoder._received.items())
    try:
        yield
    except WireError:
        after = list(decoder._received.items())
        assert [(sequence, id(state)) for sequence, state in after] == [(s, id(state)) for s, state in before]


def decode_all(decoder: FrameCodec, packets: Iterator[bytes], count: int) -> int:
    """Decodes packets; the number of frames that were accepted, each of which is valid."""
    accepted = 0
    for packet in itertools.islice(packets, count):
        with unchanged_when_refused(decoder):
            decoded = decoder.decode(packet)
            accepted += 1
            check_frame(decoded.frame)
            assert all(share >= 0 for share in decoded.bytes_by_group.values())
            assert sum(decoded.bytes_by_group.values()) == pytest.approx(len(packet), abs=0.1)
            assert all(0 <= rho <= 1 for rho in decoded.rho.values())
    return accepted


@pytest.mark.parametrize("seed", range(3))
def test_hostile_frames_are_refused_or_valid(seed: int) -> None:
    packets = hostile_frames(np.random.default_rng(seed), FrameCodec(MODEL_HASH))
    assert 50 < decode_all(FrameCodec(MODEL_HASH), packets, 300) < 200


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_mutations_of_a_packet_are_refused_or_valid(seed: int) -> None:
    decoder, encoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    packets = [encoder.encode(frame, FINE_RHO).payload for frame in clip(2, seed=50, people=2)]
    decoder.decode(packets[0])
    decode_all(decoder, mutations(np.random.default_rng(seed), packets[1]), 100)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    decoder = FrameCodec(MODEL_HASH)
    decode_all(decoder, iter((data, bytes([1]) + decoder._hash + data)), 2)


def packet_of(parts: list[bytes] | None = None, **fields: object) -> bytes:
    """A key packet without people, with some fields of its header replaced."""
    values = {"sequence": 4, "lag": 0, "time_ms": NOW_MS, "camera": CAMERA, "source": "x", "identities": (), **fields}
    return sealed_packet(FrameCodec(MODEL_HASH)._hash, Header(**values), parts or [b""] * 3, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"sequence": 2**53 - 1}, "sequence"),
        ({"sequence": 2**63 - 1}, "sequence"),
        ({"time_ms": -1}, "capture"),
        ({"time_ms": 2**61}, "capture"),
        ({"camera": Camera(0, 480, 600.0)}, "image of 0 x 480"),
        ({"camera": Camera(640, 2**31, 600.0)}, "image of 640"),
        ({"camera": Camera(640, 480, 1e-45)}, "focal length"),
        ({"camera": Camera(640, 480, float("nan"))}, "focal length"),
        ({"parts": [b"", b"x" * 9, b""]}, "72 bits for 0"),
    ],
)
def test_absurd_packet_is_malformed(fields: dict[str, object], match: str) -> None:
    decoder = FrameCodec(MODEL_HASH)
    with pytest.raises(MalformedPacket, match=match):
        decoder.decode(packet_of(**fields))  # type: ignore[arg-type]
    assert not decoder._received


def test_plausible_packet_without_people_decodes() -> None:
    assert FrameCodec(MODEL_HASH).decode(packet_of()).frame.sequence == 4


def test_packet_with_fewer_bits_than_symbols_is_malformed() -> None:
    # The range coder reads zeros behind the end: the header's share of the bytes would be negative.
    codec = FrameCodec(MODEL_HASH)
    for people in (1, 32):
        with pytest.raises(MalformedPacket, match="a part of the packet has 0 bits for"):
            codec.decode(packet_of(identities=tuple(range(people))))


def test_time_that_drifts_away_over_many_packets_is_malformed() -> None:
    decoder, packets = FrameCodec(MODEL_HASH), [packet_of()]
    decoder.decode(packets[0])
    seal = int.from_bytes(packets[0][-4:], "little")
    header = Header(5, 1, -NOW_MS - 1, None, None, ())
    with pytest.raises(MalformedPacket, match="capture"):
        decoder.decode(sealed_packet(decoder._hash, header, [b""] * 3, seal))


def test_payload_of_another_frame_leaves_no_state() -> None:
    decoder = FrameCodec(MODEL_HASH)
    with pytest.raises(MalformedPacket, match="frame 5 has the payload of frame 4"):
        decoder.decode(packet_of(), 5)
    assert not decoder._received
    assert decoder.decode(packet_of(), 4).complete


def test_longest_code_for_every_entry_is_short_and_refused() -> None:
    packet = longest_to_decode(FrameCodec(MODEL_HASH))
    assert len(packet) < MAX_PACKET_BYTES / 2
    with pytest.raises(MalformedPacket, match="64 standard deviations"):
        FrameCodec(MODEL_HASH).decode(packet)


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_extreme_labels_of_an_honest_sender_are_decoded(rho: float) -> None:
    # Largest residuals: every entry of 32 people jumps from one end of its range to the other.
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    rng = np.random.default_rng(52)
    for sequence in range(12):
        vectors = rng.choice(np.array([-1e3, -32.0, 0.0, 32.0, 1e3], np.float32), (32, LABEL_SIZE))
        people = tuple(PersonLabels(identity, 1.0, split(vector)) for identity, vector in enumerate(vectors))
        frame = LabelFrame(sequence, "x" * 300, 1_800_000_000.0 + sequence, CAMERA, people)
        encoded = encoder.encode(frame, dict.fromkeys(GROUP_NAMES, rho))
        assert len(encoded.payload) < MAX_PACKET_BYTES
        assert decoder.decode(encoded.payload).complete
        encoder.acknowledge(sequence)


def test_sequence_of_reads_what_the_generator_wrote() -> None:
    decoder = FrameCodec(MODEL_HASH)
    for packet in itertools.islice(hostile_frames(np.random.default_rng(5), decoder), 50):
        with suppress(WireError):
            assert decoder.decode(packet).frame.sequence == sequence_of(packet)


def test_generator_is_a_pure_function_of_its_rng() -> None:
    first, second = (
        list(itertools.islice(hostile_frames(np.random.default_rng(6), FrameCodec(MODEL_HASH)), 20)) for _ in range(2)
    )
    assert first == second
