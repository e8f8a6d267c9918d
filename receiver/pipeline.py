"""The way of a frame at the receiver.

link ─ codec ─ decode ─ diffusion ─ surface ─ publish
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from common.blobs import COLOURS, Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.codec.frame_codec import DecodedFrame
from common.errors import ChecksumMismatch, MalformedPacket, WireError
from common.frames import IDENTITIES, LabelFrame
from common.texture.point_colours import PointColours
from common.texture.point_colours import decode as decode_colours
from common.wire.convert import FrameMessage
from receiver.diffusion.stage import PointCloud
from receiver.engine.reconstruction import ReconstructedPerson, Reconstructor, Timings
from receiver.link.session import SenderClock, Session
from receiver.metrics import FrameFate, ReceiverMetrics
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.publish.session_directory import SessionDirectory, SessionWriter

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    """A session between two frames."""

    writer: SessionWriter
    source: str = ""
    clouds: dict[int, PointCloud] = field(default_factory=dict)
    colours: Mapping[int, PointColours] = field(default_factory=dict)


class ReceiverPipeline:
    """Handles the frames of all sessions; reconstruction runs in one worker thread, beside the link's event loop."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        directory: SessionDirectory,
        metrics: ReceiverMetrics,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._reconstructor = reconstructor
        self._directory = directory
        self._metrics = metrics
        self._clock = clock
        self._sessions: dict[bytes, _Running] = {}
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reconstruct")

    async def on_session(self, session: Session) -> None:
        """Opens the session's place on disk; what an earlier receiver wrote there is not asked for again."""
        if session.session_id not in self._sessions:
            writer = self._directory.session(session.session_id.hex(), durable=session.durable)
            self._sessions[session.session_id] = _Running(writer)
            session.next_sequence = max(session.next_sequence, writer.last_sequence + 1)
        self._metrics.peer_connected()
        logger.info("session of %s begins at frame %d", session.sender, session.next_sequence)

    async def on_frame(self, session: Session, frame: FrameMessage) -> None:
        """Decodes, reconstructs and publishes one frame.

        Raises:
            WireError: the packet must not be used.
            OutputError: the frame cannot be written.
        """
        timings = Timings()
        decoded = self._decode(session, frame, timings)
        running = self._sessions[session.session_id]
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._worker, self._publish, running, decoded, timings, session.clock)

    def on_blob(self, session: Session, blob: Blob) -> None:
        """Takes in what somebody's surface looks like, for the frames to come.

        Raises:
            MalformedPacket: it tells nothing of the kind.
        """
        self._metrics.blob_bytes_received(len(blob.data))
        if blob.kind != COLOURS:
            logger.info("a blob of unknown kind %s from %s", blob.kind, session.sender)
            return
        if blob.key >= IDENTITIES:
            raise MalformedPacket(f"colours of person {blob.key}; there are {IDENTITIES} at most")
        running = self._sessions[session.session_id]
        # The worker may be looking at the one that was there before.
        running.colours = {**running.colours, blob.key: decode_colours(blob.data)}

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        """Counts what came and is not reconstructed."""
        self._metrics.frame_dropped(FrameFate.MALFORMED if frame is None else FrameFate.DUPLICATE)

    async def on_session_end(self, session: Session) -> None:
        """Forgets the session; its files stay."""
        if self._sessions.pop(session.session_id, None) is not None:
            self._metrics.peer_left()
        logger.info("session of %s ended after frame %d", session.sender, session.next_sequence - 1)

    def close(self) -> None:
        """Waits for the frame in hand."""
        self._worker.shutdown()

    def _decode(self, session: Session, frame: FrameMessage, timings: Timings) -> DecodedFrame:
        try:
            with self._metrics.stage("codec") as span:
                decoded = session.decode(frame)
        except (MalformedPacket, ChecksumMismatch):
            self._metrics.frame_dropped(FrameFate.MALFORMED)
            raise
        except WireError:
            self._metrics.frame_dropped(FrameFate.UNDECODABLE)
            raise
        timings.stages_ms["codec"] = span.ms
        sizes = whole_bytes(decoded.bytes_by_group, len(frame.payload))
        self._metrics.frame_received({name: size for name, size in sizes.items() if name != "total"})
        return decoded

    def _publish(self, running: _Running, decoded: DecodedFrame, timings: Timings, clock: SenderClock | None) -> None:
        labels = decoded.frame
        if labels.source != running.source:
            # Another file may show another person: nobody's cloud is a start for it.
            running.source, running.clouds = labels.source, {}
        people = self._reconstructor.reconstruct(labels, running.clouds, timings, running.colours)
        running.clouds = {person.labels.identity: person.cloud for person in people}
        with self._metrics.stage("publish") as span:
            records = tuple(self._write_person(running.writer, labels, person) for person in people)
        timings.stages_ms["publish"] = span.ms
        # Until the clocks are compared, they are taken for one: on one machine they are.
        offset_s = clock.offset_s if clock else 0.0
        age_ms = (self._clock.wall() - offset_s - labels.captured_at) * 1e3
        clock_error_ms = clock.error_s * 1e3 if clock else None
        running.writer.append(
            FrameRecord(
                sequence=labels.sequence,
                source=labels.source,
                captured_at=labels.captured_at,
                age_ms=age_ms,
                clock_error_ms=clock_error_ms,
                bytes_by_group=whole_bytes(decoded.bytes_by_group, sum(decoded.bytes_by_group.values())),
                rho=decoded.rho,
                stages_ms=timings.stages_ms,
                people=records,
            )
        )
        self._metrics.frame_published(age_ms, float("nan") if clock_error_ms is None else clock_error_ms)

    def _write_person(self, writer: SessionWriter, labels: LabelFrame, person: ReconstructedPerson) -> PersonRecord:
        surface = body = None
        number = person.labels.identity if len(labels.people) > 1 else None
        if writer.wants_meshes(labels.sequence):
            surface = writer.write_surface(labels.sequence, person.surface, number)
            self._metrics.mesh_published("surface")
            if self._directory.config.body:
                body = writer.write_body(labels.sequence, person.body, self._reconstructor.skeleton, number)
                self._metrics.mesh_published("body")
        one = person.labels
        return PersonRecord(one.identity, one.score, person.keypoints_2d, person.joints_3d, surface, body)


def whole_bytes(shares: Mapping[str, float], total: float) -> dict[str, int]:
    """Byte shares of the groups as whole numbers under their names, and the payload's length under `total`."""
    return {"total": round(total), **{name: round(share) for name, share in shares.items()}}
