"""The receiver's pipeline: what it writes, in which order, and how it treats unusable packets."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.blobs import PREVIEW, TEXTURE, WEARS, Blob
from common.body.anatomy import ATLAS_SIZE
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.errors import MalformedPacket, MissingReference, OutputError, WireError
from common.texture.atlas import TILES, WITHDRAWN
from common.texture.atlas import encode as encode_tile
from common.texture.face_picture import FacePacket, FaceParts, FaceVideoEncoder, LiveFace
from common.wear_kinds import VALUES
from common.wears import Wears
from common.wire.convert import FrameMessage
from receiver.config import Meshes
from receiver.engine.engine import Priority, ReconstructedPerson
from receiver.link.refusals import OwnKind, StreamRefused
from receiver.link.session import Arrival, FrameOutcome, LiveLoad, SenderClock, Session
from receiver.publish.frame_record import FrameRecord, rounded_bytes
from receiver.publish.observer import ObservedSender, SessionObserver
from sender.preview.video import small_jpeg
from tests.support.link.counting_codec import label_frame
from tests.support.receiver.running_receiver import MODEL, RunningReceiver, live_session, packets

EVERYWHERE = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
GREY = np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 90, np.uint8)
JPEG = small_jpeg(np.zeros((48, 64, 3), np.uint8)) or b""


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RunningReceiver]:
    async with RunningReceiver(tmp_path) as receiver:
        yield receiver


async def test_each_frame_is_written_with_its_meshes(receiver: RunningReceiver) -> None:
    session = await receiver.begin()
    await receiver.handle(session, *packets(3))
    written = receiver.lines()
    assert [line["seq"] for line in written] == [0, 1, 2]
    assert written[0]["age_ms"] == 500.0 and "left_out" not in written[0]
    assert {"codec", "diffusion", "publish"} <= set(written[0]["stages_ms"])
    for line in written:
        (person,) = line["people"]
        assert (receiver.out / person["surface"]).exists() and (receiver.out / person["body"]).exists()
    asked = {(request.account, request.session) for request in receiver.engine.requests}
    assert asked == {("studio", session.session_id)}
    # A receiver that is restarted goes on behind the frames on disk.
    await receiver.pipeline.on_session_end(session)
    assert (await receiver.begin()).next_sequence == 3


async def test_source_that_would_turn_the_text_around_it_is_escaped(receiver: RunningReceiver) -> None:
    await receiver.handle(await receiver.begin(), *packets(1, source="a\u202egpj.exe\n"))
    assert receiver.lines()[0]["source"] == r"a\u202egpj.exe\n"


@pytest.mark.parametrize(
    ("meshes", "written"), [("all", {"surface", "body"}), ("surfaces", {"surface"}), ("none", {"body"})]
)
async def test_meshes_that_are_wanted_are_written(tmp_path: Path, meshes: Meshes, written: set[str]) -> None:
    async with RunningReceiver(tmp_path, meshes=meshes) as receiver:
        await receiver.handle(await receiver.begin(), *packets(1))
    (person,) = receiver.lines()[0]["people"]
    assert {kind for kind in ("surface", "body") if person[kind] is not None} == written
    own = {path.name for path in (tmp_path / "meshes").iterdir() if path.name.startswith("000000")}
    assert own == {Path(person[kind]).name for kind in written}


class Faces(SessionObserver):
    """Remembers what it is shown."""

    def __init__(self) -> None:
        self.blobs: list[Blob] = []
        self.shown: list[tuple[int, tuple[int, ...]]] = []

    def blob_taken(self, number: int, blob: Blob) -> None:
        self.blobs.append(blob)

    def face_shown(self, number: int, identity: int, face: LiveFace) -> None:
        self.shown.append((identity, face.picture.shape))


async def test_parts_of_faces_make_a_picture_and_wrong_ones_leave_the_frame(tmp_path: Path) -> None:
    faces, cutter = Faces(), FaceParts()
    data = FaceVideoEncoder(64).encode(np.full((64, 64, 3), 120, np.uint8), 4000, key=True)
    cutter.put(FacePacket(7, True, 64, bytes(12), data))
    frames = list(packets(12))
    parts = [cutter.take(len(data) // 2 + 8), cutter.take(1000), b"?", bytes([7, 3, 0xE0]) + bytes(40)]
    async with RunningReceiver(tmp_path, observers=[faces]) as receiver:
        session = await receiver.begin()
        sent = [replace(frame, faces=part) for frame, part in zip(frames, parts, strict=False)]
        await receiver.handle(session, *sent, *frames[len(sent) :])
        assert [line["seq"] for line in receiver.lines()] == list(range(12))
    assert faces.shown == [(7, (64, 64, 3))] and [blob.key for blob in faces.blobs] == [7]


def bundled(frames: int, size: int) -> list[FrameMessage]:
    """Frames in bundles, from 0 on."""
    encoder, messages = FrameCodec(MODEL), list[FrameMessage]()
    for first in range(0, frames, size):
        bundle = [label_frame(sequence) for sequence in range(first, first + size)]
        payload = encoder.encode_bundle(bundle, {}).payload
        encoder.acknowledge(first + size - 1)
        messages.append(FrameMessage(first + size - 1, payload, earlier=tuple(range(first, first + size - 1))))
    return messages


async def test_each_frame_of_a_bundle_is_written_in_order(receiver: RunningReceiver) -> None:
    session = await receiver.begin()
    await receiver.handle(session, *bundled(8, 4))
    assert [line["seq"] for line in receiver.lines()] == list(range(8))
    assert receiver.count("received") == receiver.count("published") == 8


async def test_failure_within_a_bundle_repeats_no_frame(receiver: RunningReceiver) -> None:
    session, publish, left = await receiver.begin(), receiver.pipeline._publisher.publish, 2

    async def failing(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise OutputError("the disk is full")
        return await publish(*arguments)

    receiver.pipeline._publisher.publish = failing  # type: ignore[assignment, method-assign]
    (message,) = bundled(4, 4)
    with pytest.raises(OutputError):
        await receiver.handle(session, message)
    assert session.next_sequence == 2 and [line["seq"] for line in receiver.lines()] == [0, 1]


async def test_earlier_frames_of_a_late_live_bundle_are_only_decoded(receiver: RunningReceiver) -> None:
    session = await receiver.begin(live_session())
    arrival = Arrival(receiver.now_s - 0.6)
    (message,) = bundled(4, 4)
    assert await receiver.pipeline.on_frame(session, message, arrival) is FrameOutcome.PUBLISHED
    assert receiver.count("late") == 3 and [line["seq"] for line in receiver.lines()] == [3]


async def test_session_sets_the_priority(receiver: RunningReceiver) -> None:
    for number, (live, replayed, priority) in enumerate(
        [(True, False, Priority.LIVE), (False, False, Priority.UPLOAD), (True, True, Priority.REPLAY)]
    ):
        session = await receiver.begin(live_session(live=live, replayed=replayed, number=number))
        await receiver.handle(session, *packets(1))
        assert receiver.engine.requests[-1].priority is priority


async def test_people_of_live_sessions_are_counted(tmp_path: Path) -> None:
    receiver = RunningReceiver(tmp_path, load=(load := LiveLoad()))
    load._clock = receiver.clock
    async with receiver:
        session = await receiver.begin(live_session())
        for message in packets(4):
            receiver.now_s += 1.0
            await receiver.handle(session, message)
        assert load.people_per_second == 1
        await receiver.pipeline.on_session_end(session)
        assert load.people_per_second == 0


@pytest.mark.parametrize(
    ("queue_ms", "live", "full"), [(260.0, True, True), (240.0, True, False), (260.0, False, False)]
)
async def test_live_frames_that_wait_long_for_the_engine_leave_no_room(
    tmp_path: Path, queue_ms: float, live: bool, full: bool
) -> None:
    load = LiveLoad(lambda: 100.0)
    async with RunningReceiver(tmp_path, load=load) as receiver:
        receiver.engine.queue_ms = queue_ms
        await receiver.begin(live_session(number=1))
        await receiver.handle(await receiver.begin(live_session(live=live)), *packets(2))
        with pytest.raises(StreamRefused, match="wait for too long") if full else contextlib.nullcontext():
            load.admit()


async def test_age_is_corrected_by_the_clock_offset(receiver: RunningReceiver) -> None:
    session = await receiver.begin()
    first, second = packets(2)
    await receiver.handle(session, first)
    # The sender's clock is 0.4 s behind ours: what it calls 1000.0 was 1000.4 here.
    session.clock = SenderClock(0.4, 0.003)
    await receiver.handle(session, second)
    assert [line["age_ms"] for line in receiver.lines()] == pytest.approx([500.0, 100.0], abs=0.1)
    assert [line["clock_error_ms"] for line in receiver.lines()] == [None, 3.0]


async def test_unusable_packets_raise_and_are_counted_but_not_written(receiver: RunningReceiver) -> None:
    session = await receiver.begin()
    whole, second = packets(2)
    for payload in (whole.payload[:-3], b"", whole.payload[:20] + b"x" + whole.payload[21:]):
        with pytest.raises(WireError):
            await receiver.handle(session, FrameMessage(0, payload))
    with pytest.raises(MissingReference):
        await receiver.handle(session, second)
    assert receiver.lines() == []
    await receiver.handle(session, whole)
    assert len(receiver.lines()) == 1
    for unused in (whole, None, None):
        receiver.pipeline.on_unused(session, unused)
    counts = [receiver.count(fate) for fate in ("duplicate", "malformed", "undecodable", "published")]
    assert counts == [1, 2 + 2, 1, 1], "an empty payload is no message"


def test_rounded_bytes_keep_the_total() -> None:
    assert rounded_bytes({"root": 10.4, "header": 20.6}, 31.0) == {"total": 31, "root": 10, "header": 21}


async def test_line_has_what_people_wear_once_it_has_arrived(receiver: RunningReceiver) -> None:
    session, messages = await receiver.begin(), packets(2)
    await receiver.handle(session, next(messages))
    shares = {name: np.full(len(values), 1 / len(values), np.float32) for name, values in VALUES.items()}
    long = np.array([0, 0, 0.2, 0.8], np.float32)
    receiver.pipeline.on_blob(session, Blob(WEARS, 3, Wears({**shares, "sleeve": long}).encode()))
    await receiver.handle(session, next(messages))
    assert [request.appearance[3].worn is not None for request in receiver.engine.requests] == [False, True]
    before, after = (line["people"][0] for line in receiver.lines())
    assert before["id"] == after["id"] == 3 and "wears" not in before
    assert after["wears"]["sleeve"] == ["long", 0.8] and set(after["wears"]) == set(VALUES)


async def test_blobs_apply_to_the_frames_that_follow(receiver: RunningReceiver) -> None:
    session = await receiver.begin()
    on_blob, messages = receiver.pipeline.on_blob, packets(3)
    tile, key = encode_tile(TILES[0], GREY, EVERYWHERE), TILES[0].key(3)
    for blob in (None, Blob(TEXTURE, key, tile), Blob(TEXTURE, key, WITHDRAWN)):
        if blob is not None:
            on_blob(session, blob)
        await receiver.handle(session, next(messages))
    shown = [request.appearance[3].texture is not None for request in receiver.engine.requests]
    assert shown == [False, True, False]
    for malformed, reason in (
        (Blob("of another time", 3, b"?"), "its kind is unknown"),
        (Blob(TEXTURE, key, tile[:-5]), "."),
        (Blob(WEARS, 3, b"?"), "another length"),
        (Blob(WEARS, 256, bytes(12)), "person 256"),
        (Blob(PREVIEW, 0, JPEG[:-1]), "no JPEG"),
    ):
        with pytest.raises(MalformedPacket, match=reason):
            on_blob(session, malformed)


class Gated(FrameCodec):
    """A decoder that waits until the event loop goes on."""

    def __init__(self, goes_on: threading.Event) -> None:
        super().__init__(MODEL)
        self._goes_on = goes_on

    def decode_bundle(self, payload: bytes, sequences: Sequence[int]) -> tuple[DecodedFrame, ...]:
        assert self._goes_on.wait(10), "the event loop waits for the decoder"
        return super().decode_bundle(payload, sequences)


async def test_event_loop_goes_on_while_a_frame_is_decoded(tmp_path: Path) -> None:
    goes_on = threading.Event()
    async with RunningReceiver(tmp_path, new_decoder=lambda: Gated(goes_on)) as receiver:
        session = await receiver.begin()
        handling = asyncio.create_task(receiver.handle(session, *packets(2)))
        await asyncio.sleep(0)
        goes_on.set()
        assert await handling == [FrameOutcome.PUBLISHED] * 2


class Notes(SessionObserver):
    """Records its notifications."""

    def __init__(self) -> None:
        self.taken: list[tuple[object, ...]] = []

    def session_began(self, number: int, session: Session) -> None:
        self.taken.append(("began", number, session.sender))

    def frame_published(self, number: int, record: FrameRecord, people: Sequence[ReconstructedPerson]) -> None:
        identities = [person.labels.identity for person in people]
        assert identities == [person.identity for person in record.people]
        self.taken.append(("frame", number, record.sequence, identities))

    def blob_taken(self, number: int, blob: Blob) -> None:
        self.taken.append((blob.kind, number, blob.data))

    def session_ended(self, number: int) -> None:
        self.taken.append(("ended", number))


async def test_observers_are_notified_in_order(tmp_path: Path) -> None:
    notes = Notes()
    async with RunningReceiver(tmp_path, observers=[SessionObserver(), notes]) as receiver:
        session = await receiver.begin()
        await receiver.handle(session, *packets(2))
        receiver.pipeline.on_blob(session, Blob(PREVIEW, 0, JPEG))
        with pytest.raises(MalformedPacket):
            receiver.pipeline.on_blob(session, Blob(PREVIEW, 0, b"?"))
        await receiver.pipeline.on_session_end(session)
    assert notes.taken == [
        ("began", 1, "camera"),
        ("frame", 1, 0, [3]),
        ("frame", 1, 1, [3]),
        ("preview", 1, JPEG),
        ("ended", 1),
    ]


@pytest.mark.parametrize("kind", OwnKind)
async def test_uploads_have_no_observers_but_their_own(tmp_path: Path, kind: OwnKind) -> None:
    everybodys, own = Notes(), Notes()
    async with RunningReceiver(tmp_path, observers=[SessionObserver(), everybodys]) as receiver:
        sent = live_session(live=False)
        sent.own = ObservedSender("upload", "anna", kind, (own,))
        session = await receiver.begin(sent)
        await receiver.handle(session, *packets(2))
        receiver.pipeline.on_blob(session, Blob(PREVIEW, 0, JPEG))
        await receiver.pipeline.on_session_end(session)
        lines = receiver.lines()
        assert [request.still for request in receiver.engine.requests] == [kind is OwnKind.PICTURES] * 2
    assert bool(everybodys.taken) == (kind is OwnKind.CAMERA) and own.taken
    assert len(lines) == (0 if kind is OwnKind.PICTURES else 2)
    assert all((line["age_ms"] is None) == (kind is OwnKind.CLIP) for line in lines)
    assert any(tmp_path.glob("meshes/*")) == (kind is not OwnKind.PICTURES)
