"""Recordings for tests, made of counted or real packets."""

from collections.abc import Sequence
from pathlib import Path

from common.blobs import Blob
from common.codec.frame_codec import FrameCodec
from common.frames import LabelFrame
from common.recording.format import Record, RecordedFrame, RecordedState, RecordingFacts
from common.recording.writer import RecordingWriter
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH

FACTS = RecordingFacts(1, MODEL_HASH.hex(), "sender", "0.1.0", "studio", False)
BEGAN_US = 1_800_000_000_000_000
FRAME_US = 33_333


def counted_frame(sequence: int, *, key: bool = False) -> RecordedFrame:
    """A frame of a 30 fps stream whose payload is its number."""
    captured_us = BEGAN_US + sequence * FRAME_US
    return RecordedFrame(sequence, captured_us, key, sequence.to_bytes(4, "little") * 12)


def write_counted(path: Path, frames: int, *, entry_every: int = 300, blob_every: int = 0) -> list[Record | Blob]:
    """Writes counted frames, with key frames and blobs in between; returns all of it in order."""
    written: list[Record | Blob] = []
    writer = RecordingWriter(path, FACTS)
    for sequence in range(frames):
        if blob_every and sequence % blob_every == 0:
            blob = Blob("colours", sequence // blob_every % 3, bytes([sequence % 251]) * 300)
            writer.add_blob(blob)
            written.append(blob)
        key = sequence % entry_every == 0
        frame = counted_frame(sequence, key=key)
        writer.add_frame(frame, entry_point=key)
        written.append(frame)
    writer.close()
    return written


def write_clip(path: Path, frames: Sequence[LabelFrame], *, state_every: int, lag: int = 1) -> None:
    """Records a clip as a receiver does: one key frame, and the decoder's states from time to time."""
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    writer = RecordingWriter(path, FACTS)
    for frame in frames:
        encoder.acknowledge(frame.sequence - lag)
        encoded = encoder.encode(frame, FINE_RHO)
        decoder.decode(encoded.payload, frame.sequence)
        captured_us = round(frame.captured_at * 1e6)
        recorded = RecordedFrame(frame.sequence, captured_us, encoded.key, encoded.payload)
        writer.add_frame(recorded, entry_point=encoded.key)
        if frame.sequence % state_every == 0 and not encoded.key:
            writer.begin_entry_point()
            writer.add_state(RecordedState(frame.sequence, decoder.snapshot()))
    writer.close()
