"""Recordings: how long a two-hour file takes to open and to seek, and bytes a frame.

    python -m tests.bench.recording

The file is that of a receiver at 30 frames a second with one to three people in turn: real packets of synthetic motion,
of which 40 seconds for each number of people repeat. Every check fails the bench.
"""

import argparse
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.codec.frame_codec import FrameCodec
from common.recording.reader import Recording
from common.recording.records import Record, RecordedFrame, RecordedState
from common.recording.writer import RecordingWriter
from tests.bench import report
from tests.support.label_motion import FINE_RHO, MODEL_HASH, clip
from tests.support.recordings import BEGAN_US, FACTS, FRAME_US

CHUNK_FRAMES, ENTRY_EVERY, LAG = 1200, 600, 2
SEEKS = 20


def chunk(people: int) -> list[Record]:
    """Forty seconds of packets, acknowledged two frames late, with the state of an entry point in the middle."""
    encoder, decoder, records = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH), list[Record]()
    for frame in clip(CHUNK_FRAMES, seed=people, people=people):
        encoder.acknowledge(frame.sequence - LAG)
        encoded = encoder.encode(frame, FINE_RHO)
        decoder.decode(encoded.payload, frame.sequence)
        records.append(RecordedFrame(frame.sequence, 0, encoded.key, encoded.payload))
        if frame.sequence == ENTRY_EVERY:
            records.append(RecordedState(frame.sequence, decoder.snapshot()))
    return records


def stream(chunks: list[list[Record]]) -> Iterator[Record]:
    """The chunks again and again, without end, at 30 frames a second."""
    number = 0
    for record in itertools.chain.from_iterable(itertools.cycle(chunks)):
        if isinstance(record, RecordedFrame):
            captured_us = BEGAN_US + number * FRAME_US
            record = RecordedFrame(record.sequence, captured_us, record.key, record.payload)
            number += 1
        yield record


def write(writer: RecordingWriter, records: Iterator[Record], frames: int) -> None:
    """Writes so many frames as a receiver does."""
    while writer.frames < frames:
        record = next(records)
        if isinstance(record, RecordedState):
            writer.begin_entry_point()
            writer.add_state(record)
        else:
            writer.add_frame(record, entry_point=record.sequence == 0)


def play(recording: Recording, position_us: int = 0, until_us: int | None = None) -> list[RecordedFrame]:
    """Decodes from a position, or from the entry point before it, to the first frame behind `until_us`."""
    codec, frames = FrameCodec(MODEL_HASH), list[RecordedFrame]()
    for record in recording.read(position_us):
        if isinstance(record, RecordedState):
            codec.restore(record.data)
        elif isinstance(record, RecordedFrame):
            codec.decode(record.payload, record.sequence)
            frames.append(record)
            if until_us is not None and record.captured_us - recording.began_us >= until_us:
                break
    return frames


def long_file(folder: Path, chunks: list[list[Record]], minutes: float, rng: random.Random) -> dict[str, float]:
    """Writes a long file; times to open it, and to seek and decode to a frame."""
    path, frames = folder / "long.bw", round(minutes * 1800)
    writer = RecordingWriter(path, FACTS)
    write(writer, stream(chunks), frames)
    writer.close()
    payload = sum(len(each.payload) for part in chunks for each in part if isinstance(each, RecordedFrame))
    figures: dict[str, float] = {"minutes": minutes, "megabytes": path.stat().st_size / 1e6}
    figures["bytes_per_frame"] = path.stat().st_size / frames
    figures["payload_bytes_per_frame"] = payload / (CHUNK_FRAMES * len(chunks))
    figures["open_ms"] = opening_ms(path)
    seeks = [seek_ms(path, rng.randrange(frames) * FRAME_US) for _ in range(SEEKS)]
    figures["open_and_seek_ms_median"], figures["open_and_seek_ms_most"] = statistics.median(seeks), max(seeks)
    return figures


def opening_ms(path: Path) -> float:
    """Processor time to open a recording and to know its length."""
    began_s = time.process_time()
    with Recording(path) as recording:
        _ = recording.duration_us
    return (time.process_time() - began_s) * 1e3


def seek_ms(path: Path, position_us: int) -> float:
    """Processor time from the closed file to the first decoded frame at a position."""
    began_s = time.process_time()
    with Recording(path) as recording:
        frames = play(recording, position_us, position_us)
        if frames[-1].captured_us - recording.began_us != position_us:
            raise AssertionError(f"another frame than that at {position_us} us")
    return (time.process_time() - began_s) * 1e3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("recording", __doc__, 0)
    report.add_amount(parser, "--minutes", "of the long file", 120.0, 2.0, float)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    chunks = [chunk(people) for people in (1, 2, 3)]
    with tempfile.TemporaryDirectory() as folder:
        figures = long_file(Path(folder), chunks, options.minutes, random.Random(options.seed))
    report.publish(options, {"bodywire": figures}, f"{options.minutes:g} min, seed {options.seed}")


if __name__ == "__main__":
    sys.exit(main())
