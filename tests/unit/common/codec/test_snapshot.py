"""Snapshots of a decoder's state: exact, and refused when they are damaged."""

import numpy as np
import pytest

from common.codec.frame_codec import FrameCodec
from common.errors import MalformedPacket, WireError
from tests.support.label_motion import FINE_RHO, MODEL_HASH, clip, transmit


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_decoder_with_restored_state_decodes_what_the_first_one_does(lag: int) -> None:
    first, late = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    packets = [encoded.payload for encoded, _ in transmit(clip(40, seed=1, people=2), FINE_RHO, lag=lag)]
    for sequence in range(20):
        first.decode(packets[sequence], sequence)
    late.restore(first.snapshot())
    for sequence in range(20, 40):
        expected, found = (codec.decode(packets[sequence], sequence) for codec in (first, late))
        assert found.reference == expected.reference and found.rho == expected.rho
        for one, other in zip(found.frame.people, expected.frame.people, strict=True):
            assert one.identity == other.identity and one.confidence == other.confidence
            assert all(np.array_equal(one.labels[name], values) for name, values in other.labels.items())


def test_snapshot_has_only_the_states_that_later_packets_may_name() -> None:
    codec = FrameCodec(MODEL_HASH)
    sizes = []
    for sequence, (encoded, _) in enumerate(transmit(clip(30, seed=1), FINE_RHO, lag=2)):
        codec.decode(encoded.payload, sequence)
        sizes.append(len(codec.snapshot()))
    assert max(sizes) < 6.5 * sizes[0] / 2


def test_state_of_a_decoder_that_has_seen_nothing_is_restored() -> None:
    codec = FrameCodec(MODEL_HASH)
    codec.restore(FrameCodec(MODEL_HASH).snapshot())
    (encoded, _), *_ = transmit(clip(2, seed=1), FINE_RHO, lag=1)
    assert codec.decode(encoded.payload, 0).frame.people


def _snapshot() -> tuple[bytes, list[bytes]]:
    codec = FrameCodec(MODEL_HASH)
    packets = [encoded.payload for encoded, _ in transmit(clip(4, seed=2), FINE_RHO, lag=1)]
    codec.decode(packets[0], 0)
    return codec.snapshot(), packets[1:]


def test_cut_snapshot_is_refused() -> None:
    snapshot, _ = _snapshot()
    for length in (0, 1, 30, len(snapshot) // 2, len(snapshot) - 1):
        with pytest.raises(MalformedPacket):
            FrameCodec(MODEL_HASH).restore(snapshot[:length])
    with pytest.raises(MalformedPacket):
        FrameCodec(MODEL_HASH).restore(snapshot + b"\0")


def test_decoding_from_mutated_snapshot_raises_nothing_but_wire_errors() -> None:
    snapshot, packets = _snapshot()
    rng = np.random.default_rng(0)
    restored = 0
    for _ in range(400):
        mutated = bytearray(snapshot)
        for place in rng.integers(0, len(mutated), rng.integers(1, 4)):
            mutated[place] ^= 1 << int(rng.integers(0, 8))
        codec = FrameCodec(MODEL_HASH)
        try:
            codec.restore(bytes(mutated))
            restored += 1
            for sequence, payload in enumerate(packets, 1):
                codec.decode(payload, sequence)
        except WireError:
            pass
    assert restored > 50
