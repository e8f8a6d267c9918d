"""The thread that writes: in order, and no failure of it reaches the session."""

from pathlib import Path

import pytest

from common.blobs import Blob
from common.recording.format import RecordedFrame
from common.recording.reader import Recording
from common.recording.writer import BackgroundRecording, RecordingWriter
from tests.support.receiver.recordings import FACTS, counted_frame


def submit_frames(recording: BackgroundRecording, first: int, after: int) -> None:
    for sequence in range(first, after):
        frame = counted_frame(sequence, key=sequence == 0)
        recording.submit(lambda writer, frame=frame: writer.add_frame(frame, entry_point=frame.key))  # type: ignore[misc]


def sequences(path: Path) -> list[int]:
    with Recording(path) as recording:
        assert recording.whole
        return [each.sequence for each in recording.read() if isinstance(each, RecordedFrame)]


def test_work_is_done_in_order_and_the_file_is_complete_after_close(tmp_path: Path) -> None:
    recording = BackgroundRecording(RecordingWriter(tmp_path / "talk.bw", FACTS))
    submit_frames(recording, 0, 100)
    recording.close()
    recording.close()
    assert recording.finished and not recording.failed
    assert sequences(tmp_path / "talk.bw") == list(range(100))


def test_work_that_fails_ends_the_recording_with_what_is_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recording = BackgroundRecording(RecordingWriter(tmp_path / "talk.bw", FACTS))
    submit_frames(recording, 0, 40)
    recording.submit(lambda writer: writer.add_blob(Blob("colours", 0, bytes(40 << 20))))
    submit_frames(recording, 40, 60)
    recording.close()
    assert recording.failed and caplog.text.count("the recording ends here, the session goes on") == 1
    assert sequences(tmp_path / "talk.bw") == list(range(40))
