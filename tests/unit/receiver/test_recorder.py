"""What the receiver records of a session: enough to decode it from about every tenth second on."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from common.blobs import PREVIEW, TEXTURE, Blob
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.errors import MissingReference, OutputError
from common.frames import LabelFrame
from common.recording.format import RecordedFrame, RecordedState
from common.recording.reader import Recording
from receiver.config import RecordConfig
from receiver.link.session import Session
from receiver.recorder import FileRecorder
from tests.support.link.counting_codec import new_session
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH, clip, frame_of
from tests.support.processes.full_disk import fill_disk


def slow_clip(frames: int, seed: int = 5) -> list[LabelFrame]:
    """Two frames a second, so that few frames last long."""
    return [
        LabelFrame(each.sequence, each.source, 1_800_000_000.0 + each.sequence / 2, each.camera, each.people)
        for each in clip(frames, seed)
    ]


def new_recorder(path: Path) -> FileRecorder:
    return FileRecorder(RecordConfig(path), codec=1, model=MODEL_HASH.hex(), version="0.1.0")


def session_of(number: int = 1) -> Session:
    session = new_session()
    session.session_id = bytes([number]) * 16
    return session


def record(
    recorder: FileRecorder,
    session: Session,
    frames: Sequence[LabelFrame],
    lag: int = 1,
    keys: Sequence[int] = (),
    begins: int = 0,
    bundle: int = 1,
) -> list[DecodedFrame]:
    """Decodes and records frames whose acknowledgements arrive `lag` packets late; returns what was decoded."""
    encoder, decoder, decoded = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH), list[DecodedFrame]()
    for first in range(0, len(frames), bundle):
        together = frames[first : first + bundle]
        numbers = [frame.sequence for frame in together]
        if begins in numbers:
            recorder.session_began(1, session)
        encoder.acknowledge(numbers[-1] - lag * bundle)
        if numbers[0] in keys:
            encoder.reset()
        payload = encoder.encode_bundle(together, FINE_RHO).payload
        packet = decoder.decode_bundle(payload, numbers)
        recorder.packet_decoded(1, packet, payload, decoder)
        decoded += packet
    recorder.session_ended(1)
    recorder.close()
    return decoded


def replayed(path: Path, position_us: int) -> dict[int, LabelFrame]:
    """The frames that a new decoder makes of a recording from a time on."""
    decoder, frames = FrameCodec(MODEL_HASH), {}
    with Recording(path) as recording:
        for each in recording.read(position_us):
            if isinstance(each, RecordedState):
                decoder.restore(each.data)
            elif isinstance(each, RecordedFrame):
                with suppress(MissingReference):  # as a replay
                    for decoded in decoder.decode_bundle(each.payload, (*each.earlier, each.sequence)):
                        frames[decoded.frame.sequence] = decoded.frame
    return frames


def assert_equal(found: LabelFrame, expected: LabelFrame) -> None:
    assert (found.sequence, found.captured_at, found.camera) == (
        expected.sequence,
        expected.captured_at,
        expected.camera,
    )
    for one, other in zip(found.people, expected.people, strict=True):
        assert one.labels.keys() == other.labels.keys()
        assert all(np.array_equal(one.labels[name], other.labels[name]) for name in one.labels)


@pytest.mark.parametrize(("lag", "bundle"), [(1, 1), (2, 1), (5, 1), (1, 3)])
def test_recording_decodes_from_any_time_to_exactly_the_live_labels(tmp_path: Path, lag: int, bundle: int) -> None:
    path = tmp_path / "talk.bw"
    live = record(new_recorder(path), session_of(), slow_clip(90), lag, bundle=bundle)
    for second in (0, 4, 10, 19, 31, 44):
        frames = replayed(path, second * 1_000_000)
        first = min(frames)
        assert 2 * second - 40 <= first <= 2 * second
        assert list(frames) == list(range(first, 90)) and first % bundle == 0
        for sequence, frame in frames.items():
            assert_equal(frame, live[sequence].frame)


def test_states_are_recorded_every_twenty_seconds(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    record(new_recorder(path), session_of(), slow_clip(90), keys=(8,))
    with Recording(path) as recording:
        first, *rest = recording.read()
    assert isinstance(first, RecordedFrame) and first.key and first.sequence == 0
    assert [each.sequence for each in rest if isinstance(each, RecordedState)] == [40, 80]


def test_recording_within_a_stream_begins_behind_its_first_packet(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    decoded = record(new_recorder(path), session_of(), slow_clip(12), lag=2, begins=6)
    found = replayed(path, 0)
    assert list(found) == list(range(7, 12))
    for sequence, frame in found.items():
        assert_equal(frame, decoded[sequence].frame)


def test_replay_misses_one_packet_where_the_recording_begins_just_before_a_loss(tmp_path: Path) -> None:
    path, recorder = tmp_path / "talk.bw", new_recorder(tmp_path / "talk.bw")
    encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
    for frame in slow_clip(20):
        number = frame.sequence
        if number == 6:
            recorder.session_began(1, session_of())
        payload = encoder.encode(frame, FINE_RHO).payload
        encoder.expect(number)
        if number == 2:
            encoder.acknowledge(number)
        if number == 8:
            encoder.rewind()  # it is lost: the next one is predicted from frame 2
        else:
            recorder.packet_decoded(1, [decoder.decode(payload, number)], payload, decoder)
    recorder.close()
    assert list(replayed(path, 0)) == [7, *range(10, 20)]


def test_blobs_are_recorded_between_the_frames_but_no_pictures(tmp_path: Path) -> None:
    path, recorder, session = tmp_path / "talk.bw", new_recorder(tmp_path / "talk.bw"), session_of()
    codec = FrameCodec(MODEL_HASH)
    decoder = FrameCodec(MODEL_HASH)
    recorder.session_began(1, session)
    for sequence in range(3):
        recorder.blob_taken(1, Blob(PREVIEW, 0, b"jpeg"))
        recorder.blob_taken(1, Blob(TEXTURE, sequence, b"colours"))
        payload = codec.encode(frame_of(sequence), {}).payload
        recorder.packet_decoded(1, [decoder.decode(payload, sequence)], payload, decoder)
    recorder.session_ended(1)
    recorder.close()
    with Recording(path) as recording:
        read = [each.key if isinstance(each, Blob) else f"frame {each.sequence}" for each in recording.read()]
    assert read == [0, "frame 0", 1, "frame 1", 2, "frame 2"]


def test_further_sessions_have_names_of_their_own(tmp_path: Path) -> None:
    for folder, names in (
        (tmp_path / "talk.bw", ["talk.bw", "talk-2.bw"]),
        (tmp_path / "talks", ["talks/session-4.bw", "talks/session-4-2.bw"]),
    ):
        config = RecordConfig(folder)
        config.check()
        recorder = FileRecorder(config, codec=1, model="00", version="0.1.0")
        for number in (1, 2):
            session = session_of(number)
            recorder.session_began(4, session)
            recorder.session_ended(4)
        recorder.close()
        assert all((tmp_path / name).exists() for name in names)


def test_places_that_cannot_be_written_are_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talk.bw").touch()
    with pytest.raises(OutputError, match="exists: remove it, or give --record another name"):
        RecordConfig(tmp_path / "talk.bw").check()
    with pytest.raises(OutputError, match="does not exist or cannot be written"):
        RecordConfig(tmp_path / "nowhere" / "talk.bw").check()
    RecordConfig(None).check()
    with pytest.raises(OutputError, match="File name too long"):
        RecordConfig(tmp_path / ("a" * 5000)).check()
    monkeypatch.setattr("receiver.config.os.access", lambda *_: False)
    for read_only in (tmp_path / "new.bw", tmp_path):
        with pytest.raises(OutputError, match="does not exist or cannot be written"):
            RecordConfig(read_only).check()


def test_full_disk_ends_the_recording_and_not_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill_disk(monkeypatch, 3000)
    live = record(new_recorder(tmp_path / "talk.bw"), session_of(), slow_clip(90))
    assert len(live) == 90
    assert [each.levelname for each in caplog.records if "No space left" in each.message] == ["ERROR"]
    assert "the session goes on" in caplog.text
    frames = replayed(tmp_path / "talk.bw", 0)
    assert 0 < len(frames) < 90
    for sequence, frame in frames.items():
        assert_equal(frame, live[sequence].frame)
