"""What the sender records: every frame, decodable from every key frame on, with a link or without."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from common.blobs import PREVIEW, TEXTURE, Blob
from common.codec.frame_codec import FrameCodec
from common.codec.tables import load, steps
from common.errors import OutputError
from common.frames import LabelFrame
from common.labels import GROUPS
from common.recording.format import RecordedFrame
from common.recording.reader import Recording
from common.recording.writer import RecordingWriter
from sender.recorder import NoPeer, RecordedDelivery, open_recorder
from tests.support.motion.label_motion import MODEL_HASH, clip
from tests.support.receiver.recordings import FACTS


class Link:
    """Takes everything."""

    outstanding = 7

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.posted: list[Blob] = []
        self.drained = False

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        self.sent.append(frame.sequence)
        self.posted.extend(ahead)

    def post(self, blob: Blob) -> None:
        self.posted.append(blob)

    async def drain(self) -> None:
        self.drained = True


def replayed(path: Path, position_us: int = 0) -> list[LabelFrame]:
    codec = FrameCodec(MODEL_HASH)
    with Recording(path) as recording:
        return [
            codec.decode(each.payload, each.sequence).frame
            for each in recording.read(position_us)
            if isinstance(each, RecordedFrame)
        ]


def assert_close(found: LabelFrame, captured: LabelFrame) -> None:
    """Within half a step of the finest quantisation, for the groups that go with every frame."""
    step = steps(load().base_step, np.zeros(len(GROUPS), np.int64)) / 2**16
    for one, other in zip(found.people, captured.people, strict=True):
        for name, values in one.labels.items():
            difference = np.abs(values - other.labels[name][: len(values)])
            assert difference.max() <= 2.1 * step.max(), name


async def test_every_frame_is_recorded_and_passed_on(tmp_path: Path) -> None:
    path, link, frames = tmp_path / "talk.bw", Link(), clip(30, seed=3, people=2)
    with open_recorder(RecordingWriter(path, FACTS), MODEL_HASH) as recorder:
        assert recorder is not None
        delivery = RecordedDelivery(link, recorder)
        for frame in frames:
            await delivery.send(frame)
        assert delivery.outstanding == 7
        await delivery.drain()
        recorder.close()
        assert recorder.summary() == f"recorded 30 frames, {path.stat().st_size} bytes in {path}"
    assert link.sent == [frame.sequence for frame in frames] and link.drained
    found = replayed(path)
    assert [frame.sequence for frame in found] == list(range(30))
    for one, other in zip(found, frames, strict=True):
        assert one.captured_at == pytest.approx(other.captured_at, abs=1e-3)
        assert_close(one, other)


async def test_recording_decodes_from_every_tenth_second(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    with open_recorder(RecordingWriter(path, FACTS), MODEL_HASH) as recorder:
        assert recorder is not None
        for frame in clip(330, seed=4):
            recorder.frame(frame)
    for position_us, first in ((0, 0), (9_000_000, 0), (10_500_000, 300)):
        assert [frame.sequence for frame in replayed(path, position_us)] == list(range(first, 330))


async def test_blobs_are_recorded_before_their_frame_but_no_pictures(tmp_path: Path) -> None:
    path, link = tmp_path / "talk.bw", Link()
    (frame,) = clip(1, seed=1)
    with open_recorder(RecordingWriter(path, FACTS), MODEL_HASH) as recorder:
        assert recorder is not None
        delivery = RecordedDelivery(link, recorder)
        delivery.post(Blob(PREVIEW, 0, b"jpeg"))
        delivery.post(Blob(TEXTURE, 1, b"posted"))
        await delivery.send(frame, [Blob(TEXTURE, 2, b"ahead")])
    with Recording(path) as recording:
        read = [each.data if isinstance(each, Blob) else "frame" for each in recording.read()]
    assert read == [b"posted", b"ahead", "frame"]
    assert [blob.data for blob in link.posted] == [b"jpeg", b"posted", b"ahead"]


async def test_sender_without_peer_takes_everything() -> None:
    taken: list[int] = []
    delivery = NoPeer(lambda frame: taken.append(frame.sequence))
    await delivery.connect()
    for frame in clip(3, seed=1):
        await delivery.send(frame)
    delivery.post(Blob(TEXTURE, 0, b"?"))
    await delivery.drain()
    await delivery.close()
    assert taken == [0, 1, 2] and delivery.outstanding == 0


def test_nothing_is_recorded_unless_asked_for_and_no_file_is_overwritten(tmp_path: Path) -> None:
    with open_recorder(None, MODEL_HASH) as recorder:
        assert recorder is None
    (tmp_path / "talk.bw").touch()
    with pytest.raises(OutputError, match="exists"):
        RecordingWriter(tmp_path / "talk.bw", FACTS)
