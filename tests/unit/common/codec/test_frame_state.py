"""Snapshots of the codec's state: exact, and refused when they are damaged."""

import numpy as np
import pytest

from common.codec.frame_codec import FrameCodec
from common.errors import MalformedPacket, WireError
from tests.support.label_motion import FINE_RHO, MODEL_HASH, clip, transmit


def test_decoder_with_restored_state_decodes_what_the_first_one_does() -> None:
    first, late = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    packets = [encoded.payload for encoded, _ in transmit(clip(40, seed=1, people=2), FINE_RHO, lag=1)]
    for payload in packets[:20]:
        first.decode(payload)
    snapshot = first.snapshot(19)
    assert snapshot is not None
    late.restore(snapshot)
    for payload in packets[20:]:
        expected, found = first.decode(payload), late.decode(payload)
        assert found.reference == expected.reference and found.rho == expected.rho
        for one, other in zip(found.frame.people, expected.frame.people, strict=True):
            assert one.identity == other.identity and one.confidence == other.confidence
            assert all(np.array_equal(one.labels[name], values) for name, values in other.labels.items())


def test_snapshot_of_unknown_frame_is_none() -> None:
    assert FrameCodec(MODEL_HASH).snapshot(3) is None


def _snapshot() -> tuple[bytes, list[bytes]]:
    codec = FrameCodec(MODEL_HASH)
    packets = [encoded.payload for encoded, _ in transmit(clip(4, seed=2), FINE_RHO, lag=1)]
    codec.decode(packets[0])
    snapshot = codec.snapshot(0)
    assert snapshot is not None
    return snapshot, packets[1:]


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
            for payload in packets:
                codec.decode(payload)
        except WireError:
            pass
    assert restored > 50
