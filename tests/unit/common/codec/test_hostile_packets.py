"""Packets with right checksums and absurd content: one verdict, and the decoder's state stays as it was."""

import numpy as np
import pytest

from common.codec.frame_codec import FrameCodec, _Content
from common.codec.frame_state import FrameReferences
from common.codec.packet import MAX_PACKET_BYTES, References, Scene, code_references, seal
from common.codec.range_coder import SymbolWriter
from common.errors import MalformedPacket
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import GROUP_NAMES, LABEL_SIZE, split
from tests.netlab.hostile.hostile_packets import longest_to_decode, packet_of
from tests.support.motion.label_motion import CAMERA, MODEL_HASH

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
