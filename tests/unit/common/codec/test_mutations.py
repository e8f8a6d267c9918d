"""Fuzzing: 100,000 mutated packets are refused, but for one in 2¹⁶, and none causes another exception."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.codec.frame_state import FrameReferences
from common.codec.packet import References, code_references, seal
from common.codec.range_coder import SymbolWriter
from common.errors import MissingReference, WireError
from common.frames import check_frame
from tests.support.label_motion import MODEL_HASH
from tests.support.packet_mutations import mutated, same, stream

MUTATIONS = 100_000


def test_mutated_packets_are_refused() -> None:
    """One in 65,536 would pass the check; what it then holds is within the ranges of labels."""
    decoder, packets, right = stream()
    rng = Random(41)
    accepted = wrong = 0
    for n in range(MUTATIONS):
        sequence, data = mutated(n, rng, packets)
        try:
            decoded = decoder.decode(data, sequence)
        except WireError:
            continue
        accepted += 1
        if data != packets[sequence]:
            wrong += 1
            check_frame(decoded.frame)
            decoder, *_ = stream()
        else:
            assert same(decoded, right[sequence])
    assert 0 < accepted < 0.05 * MUTATIONS
    assert wrong <= 2 + 4 * MUTATIONS / 65_536


@pytest.fixture(scope="module")
def seen() -> tuple[FrameCodec, list[bytes], dict[int, DecodedFrame]]:
    return stream()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lag=st.integers(1, 3), gap=st.integers(0, 2), data=st.binary(max_size=100))
def test_hostile_content_with_a_valid_check_is_refused_or_bounded(
    seen: tuple[FrameCodec, list[bytes], dict[int, DecodedFrame]], lag: int, gap: int, data: bytes
) -> None:
    _, packets, _ = seen
    decoder = FrameCodec(MODEL_HASH)
    for sequence in range(3):
        decoder.decode(packets[sequence], sequence)
    writer = SymbolWriter(decoder._tables)
    code_references(writer, References(lag, gap))
    for byte in data:
        writer.uniform(byte, 256)
    states = [decoder._received.get(number) for number in (3 - lag, 3 - lag - gap)]
    seed = decoder._seed(3, FrameReferences(states[0], states[1] if gap else None))
    try:
        decoded = decoder.decode(seal(writer.finish(), seed), 3)
    except WireError:
        return
    check_frame(decoded.frame)


def test_packet_replayed_in_another_session_lacks_its_reference() -> None:
    _, packets, _ = stream()
    with pytest.raises(MissingReference):
        FrameCodec(MODEL_HASH).decode(packets[10], 10)
