"""What is written is read: whole, from any time on, and up to the last whole block of a file that was cut."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from common.blobs import Blob
from common.errors import OutputError, RecordingError
from common.recording.format import HEAD, RecordedFrame, parse_facts
from common.recording.reader import Recording
from common.recording.writer import RecordingWriter
from tests.support.processes.full_disk import fill_disk
from tests.support.receiver.recordings import BEGAN_US, FACTS, FRAME_US, counted_frame, write_counted


def sequences(recording: Recording, position_us: int = 0) -> list[int]:
    return [each.sequence for each in recording.read(position_us) if isinstance(each, RecordedFrame)]


def test_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    written = write_counted(path, 700, blob_every=50)
    with Recording(path) as recording:
        assert recording.facts == FACTS
        assert recording.whole
        assert (recording.began_us, recording.duration_us) == (BEGAN_US, 699 * FRAME_US)
        assert list(recording.read()) == written
    assert path.stat().st_mode & 0o777 == 0o600


def test_facts_say_whether_labels_are_timely_and_older_ones_that_they_are_not() -> None:
    facts = replace(FACTS, timely=True)
    assert parse_facts(facts.encode()) == facts
    older = json.loads(facts.encode())
    del older["timely"]
    assert parse_facts(json.dumps(older).encode()) == FACTS


def test_read_from_a_time_begins_at_the_entry_point_before_with_the_newest_blobs(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    written = write_counted(path, 1000, entry_every=300, blob_every=70)
    with Recording(path) as recording:
        read = list(recording.read(15_000_000))
    frames = [each.sequence for each in read if isinstance(each, RecordedFrame)]
    assert frames == list(range(300, 1000))
    ahead = read[: read.index(counted_frame(300, key=True))]
    before = [each for each in written[: written.index(counted_frame(300, key=True))] if isinstance(each, Blob)]
    assert {blob.key: blob for blob in ahead if isinstance(blob, Blob)} == {blob.key: blob for blob in before}
    assert len(ahead) == 3


@pytest.mark.parametrize("set_s", [259_200, -259_200])
def test_times_go_on_where_the_clock_was_set(tmp_path: Path, set_s: int) -> None:
    writer = RecordingWriter(tmp_path / "talk.bw", FACTS)
    for sequence in range(900):
        frame = counted_frame(sequence, key=sequence % 300 == 0)
        set_us = set_s * 1_000_000 * (sequence >= 400)
        writer.add_frame(replace(frame, captured_us=frame.captured_us + set_us), entry_point=frame.key)
    writer.close()
    with Recording(tmp_path / "talk.bw") as recording:
        assert recording.duration_us == pytest.approx(899 * FRAME_US, abs=1_000_000)
        times_us = [each.captured_us for each in recording.read() if isinstance(each, RecordedFrame)]
        assert all(0 < later - one <= 1_000_000 for one, later in pairwise(times_us))
        assert sequences(recording, 25_000_000)[0] == 600 and sequences(recording, 12_000_000)[0] == 300


def test_cut_file_plays_up_to_its_last_whole_block(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    write_counted(path, 200, blob_every=90)
    with Recording(path) as recording:
        blocks = recording.blocks
    data = path.read_bytes()
    for number, block in enumerate(blocks):
        for extra in (0, 1, HEAD.size, HEAD.size + 5):
            path.write_bytes(data[: block.offset + extra])
            with Recording(path) as recording:
                assert recording.whole == (extra == 0)
                assert recording.blocks == blocks[:number]
                assert sequences(recording) == list(range(len(sequences(recording))))


WRITE_FOREVER = """
import sys
from pathlib import Path
from common.recording.writer import RecordingWriter
from tests.support.receiver.recordings import FACTS, counted_frame
writer = RecordingWriter(Path(sys.argv[1]), FACTS)
print("began", flush=True)
sequence = 0
while True:
    writer.add_frame(counted_frame(sequence, key=sequence % 300 == 0), entry_point=sequence % 300 == 0)
    sequence += 1
    if sequence % 30 == 0:
        print(sequence, flush=True)
"""


@pytest.mark.parametrize("lines", [0, 70])
def test_killed_writer_leaves_everything_up_to_its_last_whole_block(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "talk.bw"
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOREVER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "began\n"
        for _ in range(lines):
            writer.stdout.readline()
        writer.kill()
        reported = writer.stdout.read().split()
    with Recording(path) as recording:
        found = sequences(recording)
    assert found == list(range(len(found)))
    # At most the 31 frames of the block in hand are lost.
    added = int(reported[-1]) if reported else 30 * lines
    assert len(found) >= added - 31


def test_full_disk_ends_the_recording_behind_a_whole_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "talk.bw"
    writer = RecordingWriter(path, FACTS)
    fill_disk(monkeypatch, 2000)
    with pytest.raises(OutputError, match="No space left"):
        for sequence in range(1000):
            writer.add_frame(counted_frame(sequence, key=sequence == 0), entry_point=sequence == 0)
    writer.close()
    with Recording(path) as recording:
        found = sequences(recording)
    assert found and found == list(range(len(found)))


def test_recording_of_other_networks_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    write_counted(path, 10)
    with Recording(path) as recording:
        recording.check(1, FACTS.model)
        with pytest.raises(
            RecordingError, match=r"codec version 1 .* codec version 2 .*: replay it with Bodywire 0\.1\.0"
        ):
            recording.check(2, FACTS.model)
        with pytest.raises(RecordingError, match=f"networks {FACTS.model}"):
            recording.check(1, "00" * 8)
    spooled = tmp_path / "000000000000.bw"
    RecordingWriter(spooled, replace(FACTS, recorded_by="spool")).close()
    with Recording(spooled) as recording, pytest.raises(RecordingError, match="part of a spool"):
        recording.check(1, FACTS.model)
