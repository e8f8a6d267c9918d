"""Recordings: what is left after kill -9, how long a two-hour file takes to open and to seek, and bytes a frame.

    python -m tests.bench.recording

The file is that of a receiver at 30 frames a second with one to three people in turn: real packets of synthetic motion,
of which 40 seconds for each number of people repeat. Every check fails the bench.
"""

import argparse
import itertools
import multiprocessing
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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


def write(writer: RecordingWriter, records: Iterator[Record], frames: int, added: Any = None) -> None:
    """Writes so many frames as a receiver does; counts them in `added`."""
    while writer.frames < frames:
        record = next(records)
        if isinstance(record, RecordedState):
            writer.begin_entry_point()
            writer.add_state(record)
        else:
            writer.add_frame(record, entry_point=record.sequence == 0)
        if added is not None:
            added.value = writer.frames


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


def killed(folder: Path, chunks: list[list[Record]], kills: int, rng: random.Random) -> dict[str, float]:
    """Kills a writing process at random moments; everything up to the last whole block must play."""
    context = multiprocessing.get_context("fork")
    lost, played = list[int](), list[int]()
    for number in range(kills):
        path, added = folder / f"killed-{number}.bw", context.RawValue("l", 0)

        def record(path: Path = path, added: Any = added) -> None:
            write(RecordingWriter(path, FACTS), stream(chunks), 1 << 40, added)

        process = context.Process(target=record)
        process.start()
        # The moment is random both in the process's time and in its frames.
        moment = rng.randrange(1, 1500)
        while added.value < moment:
            time.sleep(rng.random() * 2e-3)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with Recording(path) as recording:
            frames = play(recording)
        expected = [
            each for each in itertools.islice(stream(chunks), 8 * added.value) if isinstance(each, RecordedFrame)
        ]
        if [each.payload for each in frames] != [each.payload for each in expected[: len(frames)]]:
            raise AssertionError(f"{path}: other frames than were written")
        lost.append(added.value - len(frames))
        played.append(len(frames))
        path.unlink()
    if max(lost) > 31:
        raise AssertionError(f"{max(lost)} frames lost: more than the block in hand")
    return {"kills": kills, "frames_played_median": statistics.median(played), "frames_lost_most": max(lost)}


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
    report.add_amount(parser, "--kills", "of a writer", 50, 5)
    report.add_amount(parser, "--minutes", "of the long file", 120.0, 2.0, float)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    kills, minutes = options.kills, options.minutes
    rng = random.Random(options.seed)
    random.seed(options.seed)
    chunks = [chunk(people) for people in (1, 2, 3)]
    with tempfile.TemporaryDirectory() as folder:
        figures = {**killed(Path(folder), chunks, kills, rng), **long_file(Path(folder), chunks, minutes, rng)}
    report.publish(options, {"bodywire": figures}, f"{kills} kills, {minutes:g} min, seed {options.seed}")


if __name__ == "__main__":
    sys.exit(main())
