"""Publishes reconstructed frames: the meshes of each person, then the frame's record."""

import asyncio
from collections.abc import Mapping, Sequence

from common.clock import Clock
from common.codec.frame_state import DecodedFrame
from common.frames import LabelFrame
from common.io.telemetry import timed
from common.text import printable
from receiver.config import Meshes
from receiver.engine.batching import FairExecutor
from receiver.engine.engine import PersonAppearance, ReconstructedPerson, ReconstructionResult
from receiver.link.session import Session
from receiver.mesh.skinned_glb import Skeleton
from receiver.metrics import ReceiverMetrics
from receiver.publish.frame_record import FrameRecord, PersonRecord, age_and_error_ms, rounded_bytes
from receiver.publish.session_writer import SessionWriter

# Encoding and writing meshes overlaps with reconstruction; one session's meshes are written one after the other.
_THREADS = 2
# As many bytes as a packet has room for.
_MOST_SOURCE = 255


class FramePublisher:
    """Writes the frames of all sessions in threads that the sessions share fairly."""

    def __init__(self, skeleton: Skeleton, metrics: ReceiverMetrics, clock: Clock, meshes: Meshes) -> None:
        self._skeleton = skeleton
        self._meshes = meshes
        self._metrics = metrics
        self._clock = clock
        self._threads = FairExecutor(_THREADS, "publish")
        self._frames = 0
        self._published = asyncio.Event()

    async def publish(
        self,
        session: Session,
        writer: SessionWriter,
        decoded: DecodedFrame,
        result: ReconstructionResult,
        stages_ms: dict[str, float],
        appearance: Mapping[int, PersonAppearance],
    ) -> FrameRecord:
        """Writes a frame in its session's turn; adds `publish` to `stages_ms`. Raises OutputError."""

        def write() -> FrameRecord:
            with timed() as span:
                people = [self._write_person(writer, decoded.frame, each, appearance) for each in result.people]
            stages_ms["publish"] = span.ms
            self._metrics.stage_took("publish", span.ms)
            return self._append(session, writer, decoded, people, stages_ms)

        self._frames += 1
        try:
            return await self._threads.run(session.account, session.session_id, write)
        finally:
            self._frames -= 1
            self._published.set()

    async def close(self) -> None:
        """Finishes the frames that are being written, and ends the threads."""
        while self._frames:
            self._published.clear()
            await self._published.wait()
        self._threads.shutdown()

    def _append(
        self,
        session: Session,
        writer: SessionWriter,
        decoded: DecodedFrame,
        people: Sequence[PersonRecord],
        stages_ms: Mapping[str, float],
    ) -> FrameRecord:
        labels = decoded.frame
        age_ms, clock_error_ms = None, None
        if not session.replayed and not session.upload:
            age_ms, clock_error_ms = age_and_error_ms(
                self._clock.wall(), labels.captured_at + decoded.clock_set_s, session.clock
            )
        record = FrameRecord(
            sequence=labels.sequence,
            # Lists and pages show it, and a sender may call it what it likes.
            source=printable(labels.source, _MOST_SOURCE),
            captured_at=labels.captured_at,
            age_ms=age_ms,
            clock_error_ms=clock_error_ms,
            bytes_by_group=rounded_bytes(decoded.bytes_by_group, sum(decoded.bytes_by_group.values())),
            rho=decoded.rho,
            stages_ms=stages_ms,
            people=tuple(people),
            left_out=len(labels.people) - len(people),
            link_bytes=session.traffic.total_bytes or None,
            camera=labels.camera if people else None,
        )
        writer.append(record)
        self._metrics.frame_published(age_ms, clock_error_ms)
        return record

    def _write_person(
        self,
        writer: SessionWriter,
        labels: LabelFrame,
        person: ReconstructedPerson,
        appearance: Mapping[int, PersonAppearance],
    ) -> PersonRecord:
        surface = body = None
        wears = appearance[person.labels.identity].wears
        self._metrics.person_published(person.labels.score, person.keypoints_2d[:, 2])
        number = person.labels.identity if len(labels.people) > 1 else None
        if writer.wants_meshes(labels.sequence):
            if self._meshes != "none":
                surface = writer.write_surface(labels.sequence, person.surface, number)
                self._metrics.mesh_published("surface")
            if self._meshes != "surfaces":
                body = writer.write_body(labels.sequence, person.body, self._skeleton, number)
                self._metrics.mesh_published("body")
        seen_s = writer.faces.seconds(person.labels, labels.captured_at)
        return PersonRecord.of(person, wears, self._skeleton, surface, body, seen_s)
