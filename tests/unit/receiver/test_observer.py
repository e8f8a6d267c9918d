"""What the receiver's pipeline tells an observer."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from common.blobs import MAX_PREVIEW_BYTES, PREVIEW, Blob
from common.clock import Clock
from common.codec.frame_codec import FrameCodec
from common.errors import MalformedPacket
from common.frames import Camera
from receiver.engine.engine import ReconstructedPerson
from receiver.link.frame_handler import Arrival
from receiver.link.session import Session
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.config import PublishConfig
from receiver.publish.frame_record import FrameRecord
from receiver.publish.observer import SessionObserver
from receiver.publish.session_directory import SessionDirectory
from tests.support import fake_link
from tests.support.fake_reconstructor import FakeEngine
from tests.unit.receiver.test_pipeline import HASH, packets

JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"


class Notes(SessionObserver):
    """Records its notifications."""

    def __init__(self) -> None:
        self.taken: list[tuple[object, ...]] = []

    def session_began(self, number: int, session: Session) -> None:
        self.taken.append(("began", number, session.sender))

    def frame_published(
        self, number: int, record: FrameRecord, people: Sequence[ReconstructedPerson], camera: Camera
    ) -> None:
        identities = [person.labels.identity for person in people]
        assert identities == [person.identity for person in record.people]
        self.taken.append(("frame", number, record.sequence, identities, camera.width))

    def blob_taken(self, number: int, blob: Blob) -> None:
        self.taken.append((blob.kind, number, blob.data))

    def session_ended(self, number: int) -> None:
        self.taken.append(("ended", number))


@pytest.fixture
async def watched(tmp_path: Path):  # type: ignore[no-untyped-def]
    notes, session = Notes(), fake_link.new_session(FrameCodec(HASH))
    clock = Clock(monotonic=lambda: 0.0, wall=lambda: 1000.5)
    with SessionDirectory(PublishConfig(out=tmp_path)) as directory:
        pipeline = ReceiverPipeline(FakeEngine(), directory, ReceiverMetrics(), clock, observers=[notes])
        await pipeline.on_session(session)
        yield pipeline, session, notes
        await pipeline.close()


async def test_observer_is_notified_in_order(watched) -> None:  # type: ignore[no-untyped-def]
    pipeline, session, notes = watched
    for message in packets(2):
        await pipeline.on_frame(session, message, Arrival(0.0))
    pipeline.on_blob(session, Blob(PREVIEW, 0, JPEG))
    await pipeline.on_session_end(session)
    assert notes.taken == [
        ("began", 1, "test"),
        ("frame", 1, 0, [3], 640),
        ("frame", 1, 1, [3], 640),
        ("preview", 1, JPEG),
        ("ended", 1),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG a picture \xff\xd9", "no JPEG"),
        (JPEG[:-1], "no JPEG"),
        (JPEG[:-2] + bytes(MAX_PREVIEW_BYTES) + JPEG[-2:], "previews have up to 16384"),
    ],
)
async def test_unusable_preview_is_refused(watched, data: bytes, reason: str) -> None:  # type: ignore[no-untyped-def]
    pipeline, session, notes = watched
    with pytest.raises(MalformedPacket, match=reason):
        pipeline.on_blob(session, Blob(PREVIEW, 0, data))
    assert [kind for kind, *_ in notes.taken] == ["began"]
