from dataclasses import replace

import numpy as np
import pytest

from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import REMEMBERED_FRAMES, DecodedFrame
from common.codec.tables import UNIT, load
from common.errors import ChecksumMismatch, MalformedPacket, MissingReference
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import FAST_GROUPS, GROUP_NAMES, LABEL_SIZE, concatenate, group_slices, split
from common.training.fit_codec import default_tables
from tests.support.motion.label_motion import (
    FINE_RHO,
    MODEL_HASH,
    clip,
    frame_of,
    moving_labels,
    person,
    transmit,
)


def fast_error(frame: LabelFrame, decoded: DecodedFrame) -> np.ndarray:
    """(fast entries,) absolute error of the first person."""
    sent, got = concatenate(frame.people[0].labels), concatenate(decoded.frame.people[0].labels)
    return np.concatenate([np.abs(sent - got)[group_slices()[name]] for name in FAST_GROUPS])


def test_labels_whose_code_ends_in_zeros_are_decoded_and_share_the_packet() -> None:
    """Equal labels far from their prediction took 162 bits less than their information: the packet was refused."""
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    rest = ("left_leg", "right_leg", "appearance")
    for sequence, value, absent in ((0, -32.0, ("shape", "torso", "surface")), (2000, 32.0, rest)):
        labels = split(np.full(LABEL_SIZE, value, np.float32))
        present = {name: entries for name, entries in labels.items() if name not in absent}
        frame = frame_of(sequence, PersonLabels(0, 0.9, present))
        encoded = encoder.encode(frame, dict.fromkeys(GROUP_NAMES, 0.2 if sequence == 0 else 0.6))
        encoder.acknowledge(sequence)
        decoded = decoder.decode(encoded.payload, sequence)
        assert min(encoded.bytes_by_group.values()) >= 0 and decoded.bytes_by_group == encoded.bytes_by_group
        assert sum(encoded.bytes_by_group.values()) == pytest.approx(len(encoded.payload), abs=0.02)


@pytest.mark.parametrize(("rho", "lag"), [(0.0, 1), (0.2, 2), (0.4, 5)])
def test_error_of_fast_entries_is_about_half_a_step(rho: float, lag: int) -> None:
    tables = load()
    step = np.concatenate([tables.base_step[group_slices()[name]] for name in FAST_GROUPS]) * 2 ** (rho * 5) / UNIT
    step[:6] = step[:3].max()
    frames = clip(40, seed=2)
    for frame, (_, decoded) in zip(frames, transmit(frames, dict.fromkeys(GROUP_NAMES, rho), lag), strict=True):
        error = fast_error(frame, decoded)
        assert (error <= 1.5 * step + 1e-4).all()
        assert (error <= 0.55 * step + 1e-4).mean() > 0.8


def test_coded_bits_are_within_three_percent_of_the_entropy() -> None:
    results = [encoded for seed in range(4) for encoded, _ in transmit(clip(100, seed=10 * seed), FINE_RHO)]
    coded, ideal = sum(e.bits_coded for e in results), sum(e.bits_ideal for e in results)
    sizes = [len(encoded.payload) for encoded in results]
    assert np.median(sizes) <= 100 and max(sizes) <= 400
    assert ideal < coded <= 1.03 * ideal


def test_higher_rho_gives_fewer_bytes_and_larger_errors() -> None:
    frames, sizes, errors = clip(60, seed=4), [], []
    for rho in (0.0, 0.33, 0.67, 1.0):
        results = transmit(frames, dict.fromkeys(GROUP_NAMES, rho))
        sizes.append(sum(len(encoded.payload) for encoded, _ in results))
        errors.append(np.mean([fast_error(f, d).mean() for f, (_, d) in zip(frames, results, strict=True)]))
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 0.6 * sizes[0]
    assert errors == sorted(errors)
    (encoded, decoded) = transmit(frames[:30], {**FINE_RHO, "left_arm": 1.0})[-1]
    got = decoded.frame.people[0].labels
    assert (len(got["left_arm"]), len(got["right_arm"])) == (9, 9)
    assert decoded.rho["left_arm"] == 1.0 and decoded.rho["right_arm"] == pytest.approx(0.2)
    assert encoded.bytes_by_group["left_arm"] < encoded.bytes_by_group["right_arm"]


def test_new_and_returning_people_need_no_key_frame() -> None:
    motion = moving_labels(60, seed=11)
    seen = {1: range(60), 2: range(10, 60), 7: [t for t in range(60) if t < 40 or t > 50]}
    frames = [frame_of(t, *(person(motion[t], who) for who, times in seen.items() if t in times)) for t in range(60)]
    results = transmit(frames, FINE_RHO)
    assert not any(encoded.key for encoded, _ in results[2:])
    first, second, _ = results[10][1].frame.people
    assert np.abs(concatenate(first.labels) - concatenate(second.labels))[group_slices()["torso"]].max() < 0.25
    assert [each.identity for each in results[45][1].frame.people] == [1, 2]
    assert "shape" not in results[51][0].bytes_by_group, "it is remembered"
    assert "shape" in results[51][1].frame.people[2].labels


def test_packet_of_another_frame_state_model_or_tables_is_refused() -> None:
    frames, encoder, decoder = clip(2, seed=20), FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    payload = encoder.encode(frames[0], FINE_RHO).payload
    tables = default_tables()
    other_tables = FrameCodec(MODEL_HASH, replace(tables, base_step=tables.base_step + 1))
    for codec, sequence in ((decoder, 1), (FrameCodec(b"another."), 0), (other_tables, 0)):
        with pytest.raises(ChecksumMismatch):
            codec.decode(payload, sequence)
    with pytest.raises(MalformedPacket, match=r"frames \[-1\]"):
        decoder.decode(payload, -1)
    decoder.decode(payload, 0)
    encoder.acknowledge(0)
    state = decoder._received[0]
    decoder._received[0] = replace(state, seal=state.seal ^ 1)
    with pytest.raises(ChecksumMismatch):
        decoder.decode(encoder.encode(frames[1], FINE_RHO).payload, 1)


def test_confidence_score_camera_and_source_round_trip() -> None:
    vector = moving_labels(1, seed=13)[0]
    sure = replace(person(vector), score=0.5, confidence={"head": 0.2})
    frames = [frame_of(0, sure), frame_of(1, replace(sure, score=0.9, confidence={"head": 0.8}), source="b.jpg")]
    frames[1] = replace(frames[1], camera=Camera(100, 50, 70.0))
    got = [decoded.frame for _, decoded in transmit(frames, FINE_RHO, lag=1)]
    assert [(each.source, each.camera) for each in got] == [(each.source, each.camera) for each in frames]
    first, second = (each.people[0] for each in got)
    assert [first.confidence["head"], second.confidence["head"]] == pytest.approx([0.2, 0.8])
    assert first.confidence["root"] == 1.0
    assert [first.score, second.score] == pytest.approx([0.5, 0.9], abs=0.01)


def test_expected_frames_are_predicted_from_until_one_is_lost() -> None:
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    frames = clip(10, seed=15)
    references = []
    for frame in frames:
        encoded = encoder.encode(frame, FINE_RHO)
        references.append(encoded.reference)
        encoder.expect(frame.sequence)
        if frame.sequence == 2:
            encoder.acknowledge(2)
        if frame.sequence == 6:
            with pytest.raises(MissingReference, match="frame 5"):
                decoder.decode(encoded.payload, 6)
            encoder.rewind()
        elif frame.sequence != 5:
            assert fast_error(frame, decoder.decode(encoded.payload, frame.sequence)).max() < 0.25
    assert references == [None, 0, 1, 2, 3, 4, 5, 2, 7, 8]


def test_key_frame_when_acknowledgements_are_missing() -> None:
    encoder = FrameCodec(MODEL_HASH)
    encoded = []
    for frame in clip(REMEMBERED_FRAMES + 10, seed=16):
        encoded.append(encoder.encode(frame, FINE_RHO))
        if frame.sequence == 0:
            encoder.acknowledge(0)
    assert not encoded[REMEMBERED_FRAMES - 1].key
    assert encoded[REMEMBERED_FRAMES + 1].key
    decoder = FrameCodec(MODEL_HASH)
    with pytest.raises(MissingReference, match="frame 0"):
        decoder.decode(encoded[1].payload, 1)
    for frame_encoded in encoded:
        decoder.decode(frame_encoded.payload, frame_encoded.sequence)
    encoder.reset()
    last = clip(REMEMBERED_FRAMES + 13, seed=16)[-3:]
    assert encoder.encode(last[0], FINE_RHO).key
    encoder.encode(last[1], FINE_RHO)
    for sequence in (last[0].sequence, 1, 999, -1):  # old and unknown ones are ignored
        encoder.acknowledge(sequence)
    assert encoder.encode(last[2], FINE_RHO).reference == last[0].sequence


def test_only_few_references_are_kept_between_streams() -> None:
    frames = clip(9, seed=18)
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    packets = []
    for frame in frames[:7]:
        packets.append(encoder.encode(frame, FINE_RHO).payload)
        decoder.decode(packets[-1], frame.sequence)
    decoder.keep_only(5)
    encoder.acknowledge(5)
    decoded = decoder.decode(encoder.encode(frames[7], FINE_RHO).payload, 7)
    assert decoded.reference == 5
    encoder.acknowledge(6)
    with pytest.raises(MissingReference):
        decoder.decode(encoder.encode(frames[8], FINE_RHO).payload, 8)
    decoder.keep_only(-1)
    assert decoder.decode(packets[0], 0).frame.sequence == frames[0].sequence


def test_encode_refuses_invalid_frames() -> None:
    vector = moving_labels(1, seed=22)[0]
    codec = FrameCodec(MODEL_HASH)
    good = person(vector)
    with pytest.raises(ValueError, match="finite"):
        codec.encode(frame_of(0, person(np.full(LABEL_SIZE, np.inf, dtype=np.float32))), FINE_RHO)
    with pytest.raises(ValueError, match="distinct identities"):
        codec.encode(frame_of(0, good, good), FINE_RHO)
    with pytest.raises(ValueError, match=r"0…255"):
        codec.encode(frame_of(0, replace(good, identity=256)), FINE_RHO)
    with pytest.raises(ValueError, match="unknown label groups"):
        codec.encode(frame_of(0, good), {"tail": 0.1})
    with pytest.raises(ValueError, match="unknown label group"):
        codec.encode(frame_of(0, PersonLabels(0, 1.0, {"tail": vector[:2]})), FINE_RHO)
    codec.encode(frame_of(0, good), FINE_RHO)
    with pytest.raises(ValueError, match="must increase"):
        codec.encode(frame_of(0, good), FINE_RHO)
    with pytest.raises(ValueError, match="8 bytes"):
        FrameCodec(b"short")


def test_pictures_have_fine_slow_groups_at_once() -> None:
    """No later frame refines them; the decoder needs to know nothing of it."""
    (frame,) = clip(1, seed=9)
    errors = {}
    for progressive in (True, False):
        encoded = FrameCodec(MODEL_HASH, progressive=progressive).encode(frame, dict.fromkeys(GROUP_NAMES, 0.0))
        decoded = FrameCodec(MODEL_HASH).decode(encoded.payload, frame.sequence).frame.people[0].labels
        errors[progressive] = max(
            np.abs(frame.people[0].labels[name] - decoded[name]).max() for name in ("shape", "appearance")
        )
    assert errors[False] < 0.25 * errors[True]
