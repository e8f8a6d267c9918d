"""Packets with right checksums and absurd content: one verdict, and the decoder's state stays as it was."""

from dataclasses import replace

import numpy as np
import pytest

from common.arrays import FloatArray
from common.codec.frame_codec import FrameCodec, _Content
from common.codec.frame_state import DecodedFrame, FrameReferences
from common.codec.packet import MAX_PACKET_BYTES, References, Scene, code_references, seal
from common.codec.range_coder import SymbolWriter
from common.errors import MalformedPacket
from common.frames import Camera, LabelFrame, PersonLabels, unseen_groups
from common.labels import GROUP_NAMES, LABEL_SIZE, OPTIONAL_GROUPS, group_slices, split
from tests.netlab.hostile.hostile_packets import longest_to_decode, packet_of
from tests.support.motion.label_motion import CAMERA, FINE_RHO, MODEL_HASH, frame_of, moving_labels, person, transmit

NOW_MS = 1_800_000_000_000


def key_packet(time_ms: int = NOW_MS, camera: Camera = CAMERA) -> bytes:
    """Key packet 4 without people."""
    content = _Content(time_ms, 0, Scene(camera, "x", ()), (), ())
    codec = FrameCodec(MODEL_HASH)
    return packet_of(codec, SymbolWriter(codec._tables), 4, content)


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        (key_packet(time_ms=-1), "capture"),
        (key_packet(time_ms=2**47), "capture"),
        (key_packet(camera=Camera(640, 480, 1e-45)), "focal length"),
        (key_packet(camera=Camera(640, 480, float("nan"))), "focal length"),
    ],
)
def test_absurd_packet_is_malformed(payload: bytes, match: str) -> None:
    decoder = FrameCodec(MODEL_HASH)
    with pytest.raises(MalformedPacket, match=match):
        decoder.decode(payload, 4)
    assert not decoder._received


def test_stream_that_is_longer_than_its_symbols_is_malformed() -> None:
    codec = FrameCodec(MODEL_HASH)
    codec.decode(key_packet(), 4)
    writer, state = SymbolWriter(codec._tables), codec._received[4]
    references = FrameReferences(state)
    code_references(writer, References(1, 0))
    content = _Content(NOW_MS, 0, state.scene, (), ())
    codec._code(writer, 5, references, content)
    body = writer.finish() + bytes(9)
    with pytest.raises(MalformedPacket, match="bits for"):
        codec.decode(seal(body, codec._seed((5,), references)), 5)


def test_longest_code_for_every_entry_is_short_and_refused() -> None:
    packet = longest_to_decode(FrameCodec(MODEL_HASH))
    assert len(packet) < MAX_PACKET_BYTES / 2
    with pytest.raises(MalformedPacket, match="64 standard deviations"):
        FrameCodec(MODEL_HASH).decode(packet, 0)


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
        decoder.decode(encoded.payload, sequence)
        encoder.acknowledge(sequence)


LEGS = frozenset({"left_leg", "right_leg"})


def hiding(motion: FloatArray, hidden: range, groups: frozenset[str] = LEGS) -> list[LabelFrame]:
    """A clip in which groups are unseen for some frames."""
    shown = [replace(person(row), confidence=dict.fromkeys(GROUP_NAMES, 0.8)) for row in motion]
    unseen = [replace(each, confidence={**each.confidence, **dict.fromkeys(groups, 0.0)}) for each in shown]
    return [frame_of(t, (unseen if t in hidden else shown)[t]) for t in range(len(motion))]


def legs(decoded: DecodedFrame) -> FloatArray:
    return np.concatenate([decoded.frame.people[0].labels[name] for name in sorted(LEGS)])


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_unseen_groups_are_sent_once_and_rest(lag: int) -> None:
    frames = hiding(moving_labels(60, seed=1), range(20, 40))
    results = transmit(frames, FINE_RHO, lag)
    for frame, (_, decoded) in zip(frames, results, strict=True):
        assert unseen_groups(decoded.frame.people[0]) == unseen_groups(frame.people[0])
    sent = [
        frame.sequence
        for frame, (encoded, _) in zip(frames, results, strict=True)
        if "left_leg" in encoded.bytes_by_group
    ]
    assert sent == [*range(20 + lag), *range(40, 60)], "until the receiver is known to have them"
    assert all(not LEGS & decoded.rho.keys() for _, decoded in results[20 + lag : 40])
    at_rest = [legs(decoded) for _, decoded in results[20 + lag - 1 : 40]]
    assert all((each == at_rest[0]).all() for each in at_rest)
    means = np.concatenate([frames[20 + lag - 1].people[0].labels[name] for name in sorted(LEGS)])
    assert np.abs(at_rest[0] - means).max() < 0.5, "coarse"
    again = np.concatenate([frames[40].people[0].labels[name] for name in sorted(LEGS)])
    assert np.abs(legs(results[40][1]) - again).max() < 0.2


def test_unseen_group_that_moves_far_is_sent_again_at_most_once_a_second() -> None:
    still = np.repeat(moving_labels(1, seed=3), 200, axis=0)
    drifting = still.copy()
    drifting[:, group_slices()["left_leg"]] += np.linspace(0, 12, 200, dtype=np.float32)[:, None]
    for motion, times in ((still, 0), (drifting, 6)):
        frames = hiding(motion, range(200))
        results = transmit(frames, FINE_RHO)
        sent = [t for t, (encoded, _) in enumerate(results) if t > 5 and "left_leg" in encoded.bytes_by_group]
        assert len(sent) in (times, times - 1) and (np.diff(sent) >= 30).all()
        off = frames[-1].people[0].labels["left_leg"] - results[-1][1].frame.people[0].labels["left_leg"]
        assert np.abs(off).max() < 3.5


def test_confidence_of_a_limb_that_is_seen_is_never_zero() -> None:
    (frame,) = [frame_of(0, replace(person(moving_labels(1, seed=6)[0]), confidence=dict.fromkeys(GROUP_NAMES, 0.01)))]
    ((_, decoded),) = transmit([frame], FINE_RHO)
    assert unseen_groups(decoded.frame.people[0]) == set(OPTIONAL_GROUPS)
    assert decoded.frame.people[0].confidence["left_leg"] == 1 / 15


MOTION = moving_labels(60, seed=40)


def near(t: int) -> PersonLabels:
    """With all groups."""
    return replace(person(MOTION[t]), labels=split(MOTION[t]))


def clip(*with_face: range) -> list[LabelFrame]:
    seen = {t for each in with_face for t in each}
    return [frame_of(t, near(t) if t in seen else person(MOTION[t])) for t in range(len(MOTION))]


def test_labels_come_while_they_are_there() -> None:
    for t, (_, decoded) in enumerate(transmit(clip(range(10, 30), range(45, 60)), FINE_RHO)):
        (got,) = decoded.frame.people
        has = 10 <= t < 30 or t >= 45
        assert {name in got.labels for name in OPTIONAL_GROUPS} == {has}, t
        assert all((got.confidence.get(name, 0.0) > 0) == has for name in OPTIONAL_GROUPS)
        if has:
            for name in OPTIONAL_GROUPS:
                assert np.abs(got.labels[name] - split(MOTION[t])[name]).max() < 1.1, (t, name)
