from dataclasses import replace

import numpy as np
import pytest

from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import REMEMBERED_FRAMES, SLOW_GROUPS, with_newer
from common.codec.person import CONFIDENCES, SCORES, PersonState, unknown_person
from common.codec.tables import load
from common.errors import MalformedPacket
from common.labels import GROUP_NAMES, GROUPS, LABEL_SIZE, group_slices
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH, clip, transmit

SHAPE, TORSO = GROUP_NAMES.index("shape"), GROUP_NAMES.index("torso")


def state_of(value: int, velocity: int = 0, **updated: int) -> PersonState:
    """A state with all groups of frame 0, or as `updated`."""
    sent = np.array([updated.get(name, 0) for name in GROUP_NAMES])
    return replace(
        unknown_person(load()),
        values=np.full(LABEL_SIZE, value),
        velocity=np.full(LABEL_SIZE, velocity),
        age=np.ones(LABEL_SIZE, dtype=np.int64),
        level=np.zeros(len(GROUP_NAMES), dtype=np.int64),
        updated=sent,
    )


def test_only_groups_that_were_sent_later_are_taken() -> None:
    merged = with_newer(state_of(1, shape=3, torso=5), state_of(2, shape=4, torso=4), 0)
    assert set(merged.values[group_slices()["shape"]]) == {2}
    assert set(np.delete(merged.values, np.arange(9, 19))) == {1}
    assert (merged.updated[SHAPE], merged.updated[TORSO]) == (4, 5)


def test_groups_can_be_limited_by_kind_and_age() -> None:
    before, other = state_of(1), state_of(2, shape=4, torso=4)
    assert with_newer(before, other, 0, SLOW_GROUPS).updated[TORSO] == 0
    assert with_newer(before, other, 0, SLOW_GROUPS).updated[SHAPE] == 4
    assert with_newer(before, other, 0, oldest=5) is before
    assert with_newer(before, None, 0) is before


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


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(0, REMEMBERED_FRAMES + 1, id="more frames than a decoder keeps"),
        # The newest groups are at the end: of their person, score and numbers of frames.
        pytest.param(-1, 127, id="frame that no session reaches"),
        pytest.param(-1 - 8 * len(GROUPS), SCORES, id="score above the highest"),
        pytest.param(-1 - 8 * len(GROUPS) - len(GROUPS), CONFIDENCES, id="confidence above the highest"),
    ],
)
def test_forged_snapshot_is_refused(place: int, value: int) -> None:
    snapshot = bytearray(_snapshot()[0])
    FrameCodec(MODEL_HASH).restore(bytes(snapshot))
    snapshot[place] = value
    with pytest.raises(MalformedPacket):
        FrameCodec(MODEL_HASH).restore(bytes(snapshot))
