"""The way of a frame at the receiver.

link ─ codec ─ [ engine: decode ─ diffusion ─ surface, and the skinned body ] ─ publish
"""

import asyncio
import logging
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.blobs import MAX_PREVIEW_BYTES, PICTURE, PREVIEW, SIGNAL, TEXTURE, Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.codec.frame_codec import DecodedFrame
from common.errors import ChecksumMismatch, MalformedPacket, WireError
from common.frames import LabelFrame
from common.texture.point_colours import PointColours
from common.wire.convert import FrameMessage
from receiver.engine.engine import (
    Priority,
    ReconstructedPerson,
    ReconstructionEngine,
    ReconstructionRequest,
    ReconstructionResult,
    RequestWithdrawn,
)
from receiver.engine.fair_executor import FairExecutor
from receiver.frame_age import age_and_error_ms
from receiver.link.live_load import LiveLoad
from receiver.link.session import Session
from receiver.metrics import DropReason, ReceiverMetrics
from receiver.pictures.channel_pictures import ChannelPictures
from receiver.pictures.key_pictures import KeyPictures
from receiver.publish.frame_record import FrameRecord, PersonRecord, rounded_bytes
from receiver.publish.observer import FrameObserver, Unobserved
from receiver.publish.output_guard import OutputGuard
from receiver.publish.session_directory import SessionDirectory, SessionWriter
from receiver.recording.recorder import SessionRecorder, Unrecorded
from receiver.sharing import SharingConfig
from receiver.texture.inpainting import TextureInpainter
from receiver.texture.received_colours import received_colours
from receiver.texture.received_texture import ReceivedTextures
from receiver.texture.threads import TextureThreads
from receiver.traces import ReceiverTraces

logger = logging.getLogger(__name__)

# Encoding and writing meshes overlaps with reconstruction; one session's meshes are written one after the other.
_PUBLISH_THREADS = 2
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass(slots=True)
class _SessionState:
    """What the next frame of a session depends on, and what was logged about it."""

    writer: SessionWriter
    textures: ReceivedTextures
    colours: Mapping[int, PointColours] = field(default_factory=dict)
    logged_late: bool = False
    logged_left_out: bool = False


class ReceiverPipeline:
    """Decodes, reconstructs and publishes the frames of all sessions; sessions share the engine fairly.

    Args:
        observer: notified of what is published.
        recorder: notified of what a replay needs.
        load: counts the people of live sessions.
        completer: estimates what no camera has seen of people; without it, that is filled from the surroundings.
    """

    def __init__(
        self,
        engine: ReconstructionEngine,
        directory: SessionDirectory,
        metrics: ReceiverMetrics,
        clock: Clock = SYSTEM_CLOCK,
        sharing: SharingConfig | None = None,
        observer: FrameObserver | None = None,
        traces: ReceiverTraces | None = None,
        recorder: SessionRecorder | None = None,
        load: LiveLoad | None = None,
        completer: TextureInpainter | None = None,
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._metrics = metrics
        self._clock = clock
        self._sharing = sharing or SharingConfig()
        self._observer: FrameObserver = observer or Unobserved()
        self._traces = traces or ReceiverTraces()
        self._recorder: SessionRecorder = recorder or Unrecorded()
        self._load = load or LiveLoad()
        self._sessions: dict[bytes, _SessionState] = {}
        self._output = OutputGuard(clock)
        self._publishers = FairExecutor(_PUBLISH_THREADS, "publish")
        self._texture_threads = TextureThreads(completer)
        self._pictures = KeyPictures(self._texture_threads.executor)
        self._channel_pictures = ChannelPictures(directory.config, metrics)
        self._publishing = 0
        self._published = asyncio.Event()

    async def on_session(self, session: Session) -> None:
        """Opens the session's output; frames that an earlier receiver wrote there are not requested again.

        Raises:
            NotOwner: another sender began the session, maybe with an earlier receiver.
            OutputError: the session cannot be recorded.
        """
        if session.session_id not in self._sessions:
            self._output.check()
            with self._output.attempt():
                writer = self._directory.session(session.session_id.hex(), session.owner, durable=session.durable)
            textures = self._texture_threads.textures(*_account_and_session(session))
            self._sessions[session.session_id] = _SessionState(writer, textures)
            session.next_sequence = max(session.next_sequence, writer.last_sequence + 1)
            self._observer.session_began(writer.number, session)
            self._recorder.session_began(writer.number, session)
            if _priority(session) is Priority.LIVE:
                self._load.began(session.session_id)
        self._metrics.peer_connected()
        logger.info("session of %s begins at frame %d", session.sender, session.next_sequence)

    async def on_frame(self, session: Session, frame: FrameMessage) -> None:
        """Decodes, reconstructs and publishes one frame; a late one of a live session is only decoded.

        Raises:
            WireError: the packet must not be used.
            OutputError: the frame cannot be written, or others could not a short time ago.
        """
        # Before the networks run: while the disk is full, only one attempt a second costs their time.
        self._output.check()
        stages_ms: dict[str, float] = {}
        decoded = self._decode(session, frame, stages_ms)
        self._recorder.frame_decoded(session, decoded, frame.payload)
        self._load.received(session.session_id, min(len(decoded.frame.people), self._sharing.peer_people))
        # The session may end while this frame is handled.
        state = self._sessions[session.session_id]
        result = None if self._is_late(session) else await self._reconstruct(session, state, decoded.frame)
        if result is None:
            self._drop_late(session, state, frame.sequence)
            self._traces.finished(session, frame.sequence, stages_ms, "late")
            return
        if self._may_drop(session):
            # A live frame may wait for twice as long before it is dropped.
            self._load.waited(delayed=result.stages_ms.get("queue", 0.0) > self._sharing.live_wait_ms / 2)
        for stage, spent_ms in result.stages_ms.items():
            self._metrics.stage_passed(stage, spent_ms)
        stages_ms.update(result.stages_ms)
        with self._output.attempt():
            await self._publish(session, state.writer, decoded, result, stages_ms)

    def on_blob(self, session: Session, blob: Blob) -> None:
        """Takes colours and textures for the frames that follow, writes a picture, or passes a preview on.

        Raises:
            MalformedPacket: the blob does not decode, its kind is unknown, or its identity is out of range.
        """
        self._metrics.blob_bytes_received(len(blob.data))
        if blob.kind == PREVIEW:
            self._take_preview(session, blob)
        elif blob.kind == TEXTURE:
            self._sessions[session.session_id].textures.take(blob)
        elif blob.kind == PICTURE:
            self._pictures.take(session, self._sessions[session.session_id].writer, blob)
        elif blob.kind == SIGNAL:
            self._channel_pictures.take(session, self._sessions[session.session_id].writer.number, blob)
        else:
            self._take_colours(session, blob)
        self._recorder.blob_taken(session, blob)

    def _take_preview(self, session: Session, blob: Blob) -> None:
        if len(blob.data) > MAX_PREVIEW_BYTES:
            raise MalformedPacket(f"a preview of {len(blob.data)} bytes; previews have up to {MAX_PREVIEW_BYTES}")
        # Not decoded here: a browser's decoder is made for pictures of strangers.
        if not (blob.data.startswith(_JPEG_BEGIN) and blob.data.endswith(_JPEG_END)):
            raise MalformedPacket("the preview is no JPEG")
        self._observer.preview_received(self._sessions[session.session_id].writer.number, blob.data)

    def _take_colours(self, session: Session, blob: Blob) -> None:
        state = self._sessions[session.session_id]
        # A new mapping: a request in the engine refers to the old one.
        state.colours = {**state.colours, blob.key: received_colours(blob)}

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        """Counts a message that is not reconstructed: a duplicate, or (None) one that is not readable."""
        self._metrics.frame_dropped(DropReason.MALFORMED if frame is None else DropReason.DUPLICATE)

    async def on_session_end(self, session: Session) -> None:
        """Forgets the session; its files stay."""
        state = self._sessions.pop(session.session_id, None)
        if state is not None:
            state.textures.close()
            self._channel_pictures.session_ended(session)
            self._metrics.peer_left()
            self._observer.session_ended(state.writer.number)
            self._recorder.session_ended(session)
            self._load.ended(session.session_id)
        logger.info("session of %s ended after frame %d", session.sender, session.next_sequence - 1)

    async def close(self) -> None:
        """Finishes the frames in the engine and those being written."""
        await self._engine.close()
        # A request that is finished resumes its `on_frame` in the next turn of the event loop.
        await asyncio.sleep(0)
        while self._publishing:
            self._published.clear()
            await self._published.wait()
        await self._pictures.finish()
        await self._channel_pictures.close()
        self._publishers.shutdown()
        for state in self._sessions.values():
            state.textures.close()
        self._texture_threads.shutdown()

    def _decode(self, session: Session, frame: FrameMessage, stages_ms: dict[str, float]) -> DecodedFrame:
        try:
            with self._metrics.stage("codec") as span:
                decoded = session.decode(frame)
        except (MalformedPacket, ChecksumMismatch):
            self._metrics.frame_dropped(DropReason.MALFORMED)
            raise
        except WireError:
            self._metrics.frame_dropped(DropReason.UNDECODABLE)
            raise
        stages_ms["codec"] = span.ms
        sizes = rounded_bytes(decoded.bytes_by_group, len(frame.payload))
        self._metrics.frame_received({name: size for name, size in sizes.items() if name != "total"})
        return decoded

    async def _reconstruct(
        self, session: Session, state: _SessionState, labels: LabelFrame
    ) -> ReconstructionResult | None:
        """The people of a frame; None if it was withdrawn as late while it waited for the engine."""
        live = session.live and not session.durable
        labels = self._within_limit(session, state, labels)
        if not live:
            await state.textures.decoded(person.identity for person in labels.people)
        request = ReconstructionRequest(
            *_account_and_session(session),
            labels,
            state.colours,
            state.textures.of_next_frame(wait=live),
            priority=_priority(session),
        )
        withdrawal = asyncio.create_task(self._withdraw_when_late(session, request))
        try:
            return await self._engine.reconstruct(request)
        except RequestWithdrawn:
            return None
        finally:
            withdrawal.cancel()

    def _within_limit(self, session: Session, state: _SessionState, labels: LabelFrame) -> LabelFrame:
        """The frame with the people of the highest scores that one sender may have, in the same order."""
        excess = len(labels.people) - self._sharing.peer_people
        if excess <= 0:
            return labels
        if not state.logged_left_out:
            state.logged_left_out = True
            logger.warning(
                "frames of %s have up to %d people, %d are reconstructed: see --peer-people",
                session.sender,
                len(labels.people),
                self._sharing.peer_people,
            )
        self._metrics.people_left_out(excess)
        by_score = sorted(labels.people, key=lambda person: person.score, reverse=True)
        chosen = {person.identity for person in by_score[: self._sharing.peer_people]}
        return replace(labels, people=tuple(person for person in labels.people if person.identity in chosen))

    def _is_late(self, session: Session) -> bool:
        return self._may_drop(session) and session.newer_waits.is_set() and self._left_ms(session) < 0

    def _may_drop(self, session: Session) -> bool:
        return _priority(session) is Priority.LIVE

    def _left_ms(self, session: Session) -> float:
        """How long the frame that is being handled may still wait."""
        return self._sharing.live_wait_ms - (self._clock.monotonic() - session.arrived_s) * 1e3

    async def _withdraw_when_late(self, session: Session, request: ReconstructionRequest) -> None:
        if self._may_drop(session):
            await asyncio.sleep(max(self._left_ms(session), 0.0) / 1e3)
            await session.newer_waits.wait()
            self._engine.withdraw(request)

    def _drop_late(self, session: Session, state: _SessionState, sequence: int) -> None:
        session.late_sequence = sequence
        self._metrics.frame_dropped(DropReason.LATE)
        self._load.waited(delayed=True)
        if not state.logged_late:
            state.logged_late = True
            logger.warning(
                "frames of %s arrive faster than they are reconstructed: late ones are dropped", session.sender
            )

    async def _publish(
        self,
        session: Session,
        writer: SessionWriter,
        decoded: DecodedFrame,
        result: ReconstructionResult,
        stages_ms: dict[str, float],
    ) -> None:
        """Writes the meshes of each person in the session's turn, then the frame's record."""
        labels = decoded.frame
        records: list[PersonRecord] = []
        spent_ms = 0.0

        def write(people: Sequence[ReconstructedPerson]) -> None:
            nonlocal spent_ms
            began_s = time.perf_counter()
            records.extend(self._write_person(writer, labels, person) for person in people)
            spent_ms += (time.perf_counter() - began_s) * 1e3

        def write_last() -> FrameRecord:
            write(result.people[-1:])
            self._metrics.stage_passed("publish", spent_ms)
            stages_ms["publish"] = spent_ms
            record = self._append(session, writer, decoded, records, stages_ms)
            self._traces.finished(session, labels.sequence, stages_ms, "published")
            return record

        self._publishing += 1
        try:
            for person in result.people[:-1]:
                await self._publishers.run(*_account_and_session(session), write, (person,))
            record = await self._publishers.run(*_account_and_session(session), write_last)
        finally:
            self._publishing -= 1
            self._published.set()
        self._observer.frame_published(writer.number, session, record, result.people, decoded.frame.camera)

    def _append(
        self,
        session: Session,
        writer: SessionWriter,
        decoded: DecodedFrame,
        records: Sequence[PersonRecord],
        stages_ms: Mapping[str, float],
    ) -> FrameRecord:
        """Writes the frame's record; runs in a publisher thread."""
        labels = decoded.frame
        age_ms, clock_error_ms = None, None
        if not session.replayed:
            age_ms, clock_error_ms = age_and_error_ms(self._clock.wall(), labels.captured_at, session.clock)
        record = FrameRecord(
            sequence=labels.sequence,
            source=labels.source,
            captured_at=labels.captured_at,
            age_ms=age_ms,
            clock_error_ms=clock_error_ms,
            bytes_by_group=rounded_bytes(decoded.bytes_by_group, sum(decoded.bytes_by_group.values())),
            rho=decoded.rho,
            stages_ms=stages_ms,
            people=tuple(records),
            left_out=len(labels.people) - len(records),
        )
        writer.append(record)
        self._metrics.frame_published(age_ms, clock_error_ms, session=writer.number, people=len(records))
        return record

    def _write_person(self, writer: SessionWriter, labels: LabelFrame, person: ReconstructedPerson) -> PersonRecord:
        surface = body = None
        self._metrics.person_published(person.labels.score, person.keypoints_2d[:, 2])
        number = person.labels.identity if len(labels.people) > 1 else None
        if writer.wants_meshes(labels.sequence):
            surface = writer.write_surface(labels.sequence, person.surface, number)
            self._metrics.mesh_published("surface")
            if self._directory.config.body:
                body = writer.write_body(labels.sequence, person.body, self._engine.skeleton, number)
                self._metrics.mesh_published("body")
        return PersonRecord(
            person.labels.identity, person.labels.score, person.keypoints_2d, person.joints_3d, surface, body
        )


def _priority(session: Session) -> Priority:
    if session.replayed:
        return Priority.REPLAY
    # A frame of a complete session is late without harm, also that of a camera.
    return Priority.LIVE if session.live and not session.durable else Priority.UPLOAD


def _account_and_session(session: Session) -> tuple[Hashable, Hashable]:
    return session.account, session.session_id
