"""The way of a frame at the receiver.

link ─ codec ─ motion ─ [ engine: decode ─ diffusion ─ surface, and the skinned body ] ─ publish
"""

import asyncio
import ctypes
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from common.blobs import FACE, PREVIEW, SIGNAL, Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.errors import ChecksumMismatch, MalformedPacket, WireError
from common.frames import LabelFrame
from common.texture.face_picture import FaceAssembly
from common.weights.manifest import model_hash
from common.wire.convert import FrameMessage
from receiver.engine.batching import FairExecutor
from receiver.engine.engine import (
    Priority,
    ReconstructedPerson,
    ReconstructionEngine,
    ReconstructionRequest,
    ReconstructionResult,
    RequestWithdrawn,
)
from receiver.link.session import Arrival, FrameOutcome, LiveLoad, Session
from receiver.metrics import DropReason, ReceiverMetrics
from receiver.motion.session_motion import SessionMotion
from receiver.pictures import ChannelPictures, check_preview
from receiver.publish.files import OutputGuard
from receiver.publish.observer import ObservedSender, SessionObserver
from receiver.publish.publisher import FramePublisher
from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_writer import SessionWriter, UnrecordedWriter
from receiver.received_people import BlobHandler, ReceivedPeople
from receiver.texture.live_face import SHOWN_S, with_still_eyes

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _SessionState:
    """What the next frame of a session depends on, and what was logged about it."""

    decoder: FrameCodec
    motion: SessionMotion
    writer: SessionWriter
    people: ReceivedPeople
    blob_handlers: Mapping[str, BlobHandler]
    observers: Sequence[SessionObserver]
    face_parts: FaceAssembly = field(default_factory=FaceAssembly)
    faces_s: dict[int, float] = field(default_factory=dict)
    published: ReconstructionRequest | None = None
    logged_late: bool = False
    logged_left_out: bool = False


class ReceiverPipeline:
    """Decodes, reconstructs and publishes the frames of all sessions; sessions share the engine fairly.

    Args:
        new_decoder: makes the decoder of a session; by default that of the networks that ship.
        peer_people: most people reconstructed in a frame, of the highest scores: more than stand before a camera.
        live_wait_ms: longest wait of a live frame once a newer one has arrived; what comes later is of no use.
        new_motion: makes the motion of a session.
    """

    def __init__(
        self,
        engine: ReconstructionEngine,
        directory: SessionDirectory,
        metrics: ReceiverMetrics,
        clock: Clock = SYSTEM_CLOCK,
        observers: Sequence[SessionObserver] = (),
        load: LiveLoad | None = None,
        new_decoder: Callable[[], FrameCodec] | None = None,
        peer_people: int = 16,
        live_wait_ms: float = 500.0,
        new_motion: Callable[[], SessionMotion] = SessionMotion,
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._metrics = metrics
        self._clock = clock
        self._peer_people, self._live_wait_ms = peer_people, live_wait_ms
        self._observers = observers
        self._load = load or LiveLoad()
        self._new_decoder = new_decoder or partial(FrameCodec, model_hash())
        self._new_motion = new_motion
        self._decoding = FairExecutor(1, "decoding")
        self._sessions: dict[bytes, _SessionState] = {}
        self._output = OutputGuard(clock)
        self._publisher = FramePublisher(engine.skeleton, metrics, clock, directory.config.meshes)
        self._channel_pictures = ChannelPictures(directory.config, metrics)

    async def on_session(self, session: Session) -> int:
        """Opens the session's output; returns one after the last frame that an earlier receiver wrote there.

        Raises:
            NotOwner: another sender began the session, maybe with an earlier receiver.
            OutputError: the session cannot be recorded.
        """
        if session.session_id not in self._sessions:
            writer = self._new_writer(session)
            self._sessions[session.session_id] = state = self._new_state(session, writer)
            session.traffic.report_to(self._metrics.link_bytes)
            for observer in state.observers:
                observer.session_began(writer.number, session)
            if _priority(session) is Priority.LIVE:
                self._load.began(session.session_id)
        self._metrics.peer_connected()
        next_sequence = self._sessions[session.session_id].writer.last_sequence + 1
        logger.info("session of %s begins at frame %d", session.sender, next_sequence)
        return next_sequence

    def _new_writer(self, session: Session) -> SessionWriter:
        if not session.recorded:
            return UnrecordedWriter()
        self._output.check()
        with self._output.attempt():
            return self._directory.session(
                session.session_id.hex(), session.owner, durable=session.durable, timely=session.timely
            )

    def _new_state(self, session: Session, writer: SessionWriter) -> _SessionState:
        people = ReceivedPeople()
        handlers: Mapping[str, BlobHandler] = {
            **people.handlers,
            PREVIEW: check_preview,
            SIGNAL: partial(self._channel_pictures.take, session, writer.number),
        }
        observers = () if session.upload else self._observers
        if isinstance(session.own, ObservedSender):
            observers = (*observers, *session.own.observers)
        return _SessionState(self._new_decoder(), self._new_motion(), writer, people, handlers, observers)

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        """Decodes, reconstructs and publishes frames, in order; late ones of a live session are only decoded.

        Raises:
            WireError: the packet must not be used.
            OutputError: the frame cannot be written, or others could not a short time ago.
        """
        if session.recorded:
            # Before the networks run: while the disk is full, only one attempt a second costs their time.
            self._output.check()
        # The session may end while this frame is handled.
        state = self._sessions[session.session_id]
        stages_ms: dict[str, float] = {}
        # Not in the event loop: a frame of many people takes a tenth of a second, and whoever is here may send it.
        packet = await self._decoding.run(
            session.account, session.session_id, self._decode, session, state, frame, stages_ms
        )
        for observer in state.observers:
            observer.packet_decoded(state.writer.number, packet, frame.payload, state.decoder)
        self._take_face(session, state, frame.faces)
        superseded = Arrival(arrival.at_s)
        superseded.superseded.set()
        for decoded in packet[:-1]:
            await self._reconstruct(session, state, decoded, superseded, dict(stages_ms))
            session.handled(decoded.frame.sequence)
        return await self._reconstruct(session, state, packet[-1], arrival, stages_ms)

    async def _reconstruct(
        self,
        session: Session,
        state: _SessionState,
        decoded: DecodedFrame,
        arrival: Arrival,
        stages_ms: dict[str, float],
    ) -> FrameOutcome:
        """Reconstructs and publishes a frame; raises as `on_frame`."""
        self._load.received(session.session_id, min(len(decoded.frame.people), self._peer_people))
        state.people.begin(decoded.frame)
        may_drop = _priority(session) is Priority.LIVE
        request = result = None
        if not (may_drop and arrival.superseded.is_set() and self._left_s(arrival) < 0):
            request = await self._request(session, state, decoded.frame)
            result = await (self._in_time(request, arrival) if may_drop else self._engine.reconstruct(request))
        if request is None or result is None:
            self._drop_late(session, state)
            return FrameOutcome.LATE
        for stage, spent_ms in result.stages_ms.items():
            self._metrics.stage_took(stage, spent_ms)
        stages_ms.update(result.stages_ms)
        with self._output.attempt():
            record = await self._publisher.publish(
                session, state.writer, decoded, result, stages_ms, request.appearance
            )
        state.published = request
        for observer in state.observers:
            observer.frame_published(state.writer.number, record, result.people)
        return FrameOutcome.PUBLISHED

    async def pose(self, number: int, frame: LabelFrame) -> tuple[ReconstructedPerson, ...] | None:
        """People of a session as they are at another moment, if nobody waits for the engine; nothing is published.

        None before the first frame is published; people who were not in the newest one are left out.
        """
        states = (state for state in self._sessions.values() if state.writer.number == number)
        state = next(states, None)
        if state is None or (published := state.published) is None:
            return None
        known = {person.identity for person in published.frame.people}
        now_s = self._clock.monotonic()
        live = {identity for identity, came_s in state.faces_s.items() if now_s - came_s < SHOWN_S}
        people = (person for person in frame.people if person.identity in known)
        shown = (with_still_eyes(person) if person.identity in live else person for person in people)
        published_people = replace(frame, people=tuple(shown))
        request = replace(published, frame=published_people, priority=Priority.REPLAY)
        return (await self._engine.reconstruct(request)).people

    def on_blob(self, session: Session, blob: Blob) -> None:
        """Gives a blob to the handler of its kind.

        Raises:
            MalformedPacket: the blob does not decode, its kind is unknown, or its identity is out of range.
        """
        state = self._sessions[session.session_id]
        handler = state.blob_handlers.get(blob.kind)
        if handler is None:
            raise MalformedPacket("its kind is unknown")
        handler(blob)
        for observer in state.observers:
            observer.blob_taken(state.writer.number, blob)
        if blob.kind == FACE and (picture := state.people.face(blob.key)) is not None:
            state.faces_s[blob.key] = self._clock.monotonic()
            for observer in state.observers:
                observer.face_shown(state.writer.number, blob.key, picture)

    def _take_face(self, session: Session, state: _SessionState, part: bytes) -> None:
        """Takes a part of a face's picture; one that is wrong leaves the frame as it is."""
        try:
            if part and (packet := state.face_parts.take(part)) is not None:
                self.on_blob(session, Blob(FACE, packet.identity, packet.content))
        except MalformedPacket as error:
            logger.debug("a picture of a face of %s is left out: %s", session.sender, error)

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        """Counts a message that is not reconstructed: a duplicate, or (None) one that is not readable."""
        self._metrics.frame_dropped(DropReason.MALFORMED if frame is None else DropReason.DUPLICATE)

    def on_stream_end(self, session: Session) -> None:
        """Keeps of the decoder's states what the next stream may begin with."""
        self._sessions[session.session_id].decoder.keep_only(session.decodable_from)

    async def on_session_end(self, session: Session) -> None:
        """Forgets the session; its files stay."""
        state = self._sessions.pop(session.session_id, None)
        if state is not None:
            state.writer.close()
            self._metrics.peer_left()
            for observer in state.observers:
                observer.session_ended(state.writer.number)
            self._load.ended(session.session_id)
            asyncio.get_running_loop().run_in_executor(None, return_freed_memory)
        logger.info("session of %s ended after frame %d", session.sender, session.next_sequence - 1)

    async def close(self) -> None:
        """Finishes the frames in the engine and those being written."""
        await self._engine.close()
        # A request that is finished resumes its `on_frame` in the next turn of the event loop.
        await asyncio.sleep(0)
        await self._publisher.close()
        await self._channel_pictures.close()
        self._decoding.shutdown()

    def restore(self, session: Session, state: bytes) -> None:
        """Takes over a decoder's state that was recorded. Raises MalformedPacket for a damaged one."""
        self._sessions[session.session_id].decoder.restore(state)

    def skip(self, session: Session, frame: FrameMessage) -> None:
        """Decodes a frame on which later ones depend. Raises WireError."""
        state = self._sessions[session.session_id]
        for decoded in state.decoder.decode_bundle(frame.payload, frame.sequences):
            if not session.has_handled(decoded.frame.sequence):
                state.motion.process(decoded)

    def _decode(
        self, session: Session, state: _SessionState, frame: FrameMessage, stages_ms: dict[str, float]
    ) -> Sequence[DecodedFrame]:
        try:
            with self._metrics.stage("codec") as span:
                session.check_leap(frame.sequence)
                packet = state.decoder.decode_bundle(frame.payload, frame.sequences)
        except (MalformedPacket, ChecksumMismatch):
            self._metrics.frame_dropped(DropReason.MALFORMED)
            raise
        except WireError:
            self._metrics.frame_dropped(DropReason.UNDECODABLE)
            raise
        stages_ms["codec"] = span.ms
        with self._metrics.stage("motion") as span:
            packet = tuple(state.motion.process(decoded) for decoded in packet)
        stages_ms["motion"] = span.ms
        for decoded in packet:
            self._metrics.frame_received({name: round(share) for name, share in decoded.bytes_by_group.items()})
        return packet

    async def _request(self, session: Session, state: _SessionState, labels: LabelFrame) -> ReconstructionRequest:
        labels = self._within_limit(session, state, labels)
        return ReconstructionRequest(
            session.account,
            session.session_id,
            labels,
            state.people.appearance(labels, live=session.live),
            priority=_priority(session),
            # Uploaded photographs are the sessions that are not recorded.
            still=not session.recorded,
        )

    async def _in_time(self, request: ReconstructionRequest, arrival: Arrival) -> ReconstructionResult | None:
        """The people of a live frame; None if it gets late while it waits for the engine."""
        withdrawal = asyncio.create_task(self._withdraw_when_late(request, arrival))
        try:
            result = await self._engine.reconstruct(request)
        except RequestWithdrawn:
            return None
        finally:
            withdrawal.cancel()
        # A live frame may wait for twice as long before it is dropped.
        self._load.waited(delayed=result.stages_ms.get("queue", 0.0) > self._live_wait_ms / 2)
        return result

    def _within_limit(self, session: Session, state: _SessionState, labels: LabelFrame) -> LabelFrame:
        """The frame with the people of the highest scores that one sender may have, in the same order."""
        excess = len(labels.people) - self._peer_people
        if excess <= 0:
            return labels
        if not state.logged_left_out:
            state.logged_left_out = True
            logger.warning(
                "frames of %s have up to %d people, the %d of the highest scores are reconstructed",
                session.sender,
                len(labels.people),
                self._peer_people,
            )
        self._metrics.people_left_out(excess)
        by_score = sorted(labels.people, key=lambda person: person.score, reverse=True)
        chosen = {person.identity for person in by_score[: self._peer_people]}
        return replace(labels, people=tuple(person for person in labels.people if person.identity in chosen))

    def _left_s(self, arrival: Arrival) -> float:
        """How long a frame may still wait."""
        return self._live_wait_ms / 1e3 - (self._clock.monotonic() - arrival.at_s)

    async def _withdraw_when_late(self, request: ReconstructionRequest, arrival: Arrival) -> None:
        await asyncio.sleep(max(self._left_s(arrival), 0.0))
        await arrival.superseded.wait()
        self._engine.withdraw(request)

    def _drop_late(self, session: Session, state: _SessionState) -> None:
        self._metrics.frame_dropped(DropReason.LATE)
        self._load.waited(delayed=True)
        if not state.logged_late:
            state.logged_late = True
            logger.warning(
                "frames of %s arrive faster than they are reconstructed: late ones are dropped", session.sender
            )


def _priority(session: Session) -> Priority:
    if session.replayed:
        return Priority.REPLAY
    return Priority.LIVE if session.live else Priority.UPLOAD


def return_freed_memory() -> None:
    """Gives whole free pages of the heap back to the system, in a few milliseconds; without glibc it does nothing.

    glibc keeps what a thread has freed between blocks that are still in use.  Smaller blocks of their own for each
    array (`M_MMAP_THRESHOLD`) would do without, and cost a sixth of the receiver's processor time a frame.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
