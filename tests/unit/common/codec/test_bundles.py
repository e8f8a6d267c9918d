"""Several frames in one packet: what they cost, and what the receiver makes of them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec.frame_codec import FrameCodec
from common.codec.packet import MAX_BUNDLE, can_share_packet
from common.errors import MalformedPacket, WireError
from common.frames import MAX_FRAME_SEQUENCE, MAX_PEOPLE, LabelFrame
from common.labels import concatenate
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH, clip, frame_of, moving_labels, person
from tests.unit.common.codec.test_golden import frames as golden_frames


def numbers(bundle: Sequence[LabelFrame]) -> list[int]:
    return [frame.sequence for frame in bundle]


def bundles(frames: Sequence[LabelFrame], sizes: Sequence[int]) -> Iterator[list[LabelFrame]]:
    """Frames in bundles of these sizes, again and again."""
    start = number = 0
    while start < len(frames):
        size = sizes[number % len(sizes)]
        yield list(frames[start : start + size])
        start, number = start + size, number + 1


def largest_error(frame: LabelFrame, shown: LabelFrame) -> float:
    pairs = zip(frame.people, shown.people, strict=True)
    return max(float(np.abs(concatenate(a.labels) - concatenate(b.labels)).max()) for a, b in pairs)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_bundles_have_the_frames_as_precisely_as_single_packets(size: int) -> None:
    encoder, decoder, frames = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH), clip(48, seed=7, people=2)
    for bundle in bundles(frames, [size]):
        encoded = encoder.encode_bundle(bundle, FINE_RHO)
        decoded = decoder.decode_bundle(encoded.payload, numbers(bundle))
        encoder.acknowledge(encoded.sequence)
        assert [each.frame.sequence for each in decoded] == numbers(bundle)
        assert [each.reference for each in decoded[1:]] == numbers(bundle)[:-1]
        assert sum(sum(each.bytes_by_group.values()) for each in decoded) == pytest.approx(
            len(encoded.payload), abs=0.1
        )
        for frame, each in zip(bundle, decoded, strict=True):
            assert abs(each.frame.captured_at - frame.captured_at) <= 0.0006
            # The slow groups are refined over the first frames.
            assert largest_error(frame, each.frame) < (0.2 if frame.sequence > 24 else 2.0)


@settings(max_examples=8, deadline=None)
@given(
    sizes=st.lists(st.integers(1, MAX_BUNDLE), min_size=1, max_size=6),
    lost=st.sets(st.integers(0, 30), max_size=10),
    late=st.integers(0, 3),
)
def test_lost_packets_and_late_acknowledgements_leave_both_ends_equal(
    sizes: list[int], lost: set[int], late: int
) -> None:
    encoder, decoder, arrived = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH), list[int]()
    for number, bundle in enumerate(bundles(clip(40, seed=11), sizes)):
        encoded = encoder.encode_bundle(bundle, FINE_RHO)
        if number not in lost:
            decoder.decode_bundle(encoded.payload, numbers(bundle))
            arrived.append(encoded.sequence)
            assert decoder._received[encoded.sequence].seal == encoder._sent[encoded.sequence].seal
        if len(arrived) > late:
            encoder.acknowledge(arrived[-1 - late])


def test_a_cut_packet_and_other_numbers_are_refused_and_change_nothing() -> None:
    decoder, frames = FrameCodec(MODEL_HASH), clip(4, seed=9)
    payload = FrameCodec(MODEL_HASH).encode_bundle(frames, FINE_RHO).payload
    for cut in range(len(payload)):
        with pytest.raises(WireError):
            decoder.decode_bundle(payload[:cut], range(4))
    for other in ((0, 1, 2, 4), (1, 2, 3, 4), (0, 1, 3), (3,), range(5)):
        with pytest.raises(WireError):
            decoder.decode_bundle(payload, other)
    assert not decoder._received
    assert len(decoder.decode_bundle(payload, range(4))) == 4


@pytest.mark.parametrize(
    "sequences",
    [(), (0, 0), (2, 1), (0, 65), tuple(range(9)), (-1, 0), (MAX_FRAME_SEQUENCE, MAX_FRAME_SEQUENCE + 1)],
)
def test_frames_that_no_packet_has_are_malformed(sequences: tuple[int, ...]) -> None:
    payload = FrameCodec(MODEL_HASH).encode_bundle(clip(2, seed=9), FINE_RHO).payload
    with pytest.raises(MalformedPacket, match="no packet has"):
        FrameCodec(MODEL_HASH).decode_bundle(payload, sequences)


def test_more_people_than_a_packet_has_do_not_share_one() -> None:
    labels = moving_labels(1, seed=1)[0]
    crowd = [person(labels, identity) for identity in range(MAX_PEOPLE // 2 + 1)]
    frames = [frame_of(0, *crowd), frame_of(1, *crowd)]
    assert not can_share_packet(frames) and can_share_packet([frame_of(0, *crowd[1:]), frame_of(1, *crowd[1:])])
    with pytest.raises(ValueError, match="fit one packet"):
        FrameCodec(MODEL_HASH).encode_bundle(frames, FINE_RHO)


def test_frames_of_other_times_do_not_share_a_packet() -> None:
    frame = frame_of(0)
    assert not can_share_packet([frame, replace(frame, sequence=1, captured_at=frame.captured_at + 61)])
    assert not can_share_packet([frame, replace(frame, sequence=1, captured_at=frame.captured_at - 61)])
    assert not can_share_packet([frame, replace(frame, sequence=65)])


def test_a_frame_that_cannot_be_encoded_leaves_the_encoder_as_it_was() -> None:
    frames = clip(8, seed=13)
    broken = replace(frames[3], people=(person(np.full_like(concatenate(frames[3].people[0].labels), np.nan)),))
    tried, other = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    for codec in (tried, other):
        codec.encode_bundle(frames[:2], FINE_RHO)
        codec.acknowledge(1)
    with pytest.raises(ValueError, match="finite"):
        tried.encode_bundle([frames[2], broken], FINE_RHO)
    expected = other.encode_bundle(frames[4:], FINE_RHO).payload
    assert tried.encode_bundle(frames[4:], FINE_RHO).payload == expected


def test_the_stream_of_bundles_is_the_released_one() -> None:
    """Change the digest only for a new codec version or new tables."""
    encoder, digest = FrameCodec(MODEL_HASH), sha256()
    for bundle in bundles(golden_frames(), [1, 2, 4, 8]):
        digest.update(encoder.encode_bundle(bundle, FINE_RHO).payload)
        encoder.acknowledge(bundle[0].sequence - 1)
    assert digest.hexdigest()[:16] == "89438315ce2c513c"
