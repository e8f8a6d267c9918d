"""Messages of frames and reports, with the checks of their fields.

Frames and their acknowledgements, each coded relative to the one before it on the same stream.

A stream is ordered and loses nothing, so both ends know what came before.  In steady state only the payload of a frame
and two times of its acknowledgement are left.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate, pairwise

from common.codec.packet import MAX_BUNDLE, MAX_BUNDLE_SPAN, MAX_PACKET_BYTES, follow
from common.errors import MalformedPacket
from common.frames import MAX_FRAME_SEQUENCE, MAX_PEOPLE
from common.text import printable
from common.wire import semantic_link_pb2 as pb

NO_SEQUENCE = -1
"""No frame, where a sequence is optional."""
MAX_SEQUENCE = MAX_FRAME_SEQUENCE + 1
"""Largest number of a frame that comes next; no frame has it."""
MAX_BLOB_BYTES = 1_048_576
MAX_BLOB = 2**32 - 1
MAX_TIME_NS = 2**62
MAX_TIME_US = MAX_TIME_NS // 1000


def require(valid: bool, rule: str) -> None:
    if not valid:
        raise MalformedPacket(f"a message is invalid: {rule}")


def require_sequence(sequence: int, *, optional: bool = False) -> None:
    lowest = NO_SEQUENCE if optional else 0
    require(lowest <= sequence <= MAX_SEQUENCE, f"a sequence is between {lowest} and 2^53 - 1")


def require_blob(number: int) -> None:
    require(1 <= number <= MAX_BLOB, "blobs are counted from 1, in 32 bits")


def require_blob_bytes(*counts: int) -> None:
    rule = f"a blob has at most {MAX_BLOB_BYTES} bytes"
    require(all(0 <= count <= MAX_BLOB_BYTES for count in counts), rule)


def require_times(*times_ns: int) -> None:
    require(all(0 <= time_ns <= MAX_TIME_NS for time_ns in times_ns), "a time is between 0 and 2^62 ns")


def require_times_us(*times_us: int) -> None:
    require(all(0 <= time_us <= MAX_TIME_US for time_us in times_us), "a time is between 0 and 2^62 ns")


MAX_PAYLOAD_BYTES = MAX_PACKET_BYTES
MAX_FACES_BYTES = 1024
MAX_REASON_CHARACTERS = 512
MAX_WINDOW = 64
FRAME_FIELDS_BYTES = 4
"""Bytes of a gRPC message around a payload of less than 128 bytes, in steady state."""


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """One encoded frame, or a bundle of them.

    Args:
        sequence: of the last frame; rises from frame to frame, unless one is sent again; live senders leave gaps.
        payload: opaque to the link.
        may_wait: the acknowledgement may wait for that of the next message.
        earlier: numbers of the other frames of a bundle, in order.
        faces: a part of a face's picture (`common.texture.face_picture`), opaque to the link; empty for none.
    """

    sequence: int
    payload: bytes
    may_wait: bool = False
    earlier: tuple[int, ...] = ()
    faces: bytes = b""

    def __post_init__(self) -> None:
        require_sequence(self.sequences[0])
        require(self.sequence <= MAX_FRAME_SEQUENCE, "frames are numbered up to 2^53 - 2")
        rule = f"a bundle has up to {MAX_BUNDLE} frames in order, within {MAX_BUNDLE_SPAN}"
        require(not self.earlier or follow(self.sequences), rule)
        require(1 <= len(self.payload) <= MAX_PAYLOAD_BYTES, f"a payload has 1 to {MAX_PAYLOAD_BYTES} bytes")
        require(len(self.faces) <= MAX_FACES_BYTES, f"a part of a face's picture has up to {MAX_FACES_BYTES} bytes")

    @property
    def sequences(self) -> tuple[int, ...]:
        """The numbers of its frames, in order."""
        return *self.earlier, self.sequence


class AckStatus(Enum):
    """Result of a frame at the receiver; a late one was decoded, but not reconstructed."""

    DECODED = "decoded"
    LATE = "late"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The receiver's answer to one frame, or a bundle, sent after its reconstruction.

    Args:
        sequence: the frame's, the last one's of a bundle; `NO_SEQUENCE` if the message could not be parsed.
        status: after a rejected frame, the next one must be a key frame.
        received_us: when the frame arrived, microseconds since the epoch on the receiver's clock.
        spacing_us: since the previous frame of this stream arrived; 0 for the first.
        hold_us: from the arrival of the frame to the departure of this answer.
        reason: why the frame was rejected.
    """

    sequence: int
    status: AckStatus
    received_us: int
    spacing_us: int
    hold_us: int
    reason: str = ""

    def __post_init__(self) -> None:
        require_sequence(self.sequence, optional=True)
        require_times_us(self.received_us, self.spacing_us, self.hold_us)
        require(len(self.reason) <= MAX_REASON_CHARACTERS, f"a reason has at most {MAX_REASON_CHARACTERS} characters")


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """The answers to frames that were handled shortly after each other, in one message."""

    frames: tuple[Acknowledgement, ...]

    def __post_init__(self) -> None:
        require(1 <= len(self.frames) <= MAX_WINDOW, f"a message acknowledges 1 to {MAX_WINDOW} frames")


@dataclass(frozen=True, slots=True)
class Position:
    """What came before on a stream.

    Args:
        sequence: the newest frame's; `NO_SEQUENCE` before the first.
        received_us: when the frame acknowledged last arrived; 0 before the first.
    """

    sequence: int = NO_SEQUENCE
    received_us: int = 0

    def gap(self, sequence: int) -> int:
        """A sequence relative to the one that follows."""
        return sequence - (self.sequence + 1)

    def sequence_at(self, gap: int) -> int:
        """The inverse of `gap`."""
        return self.sequence + 1 + gap

    def behind(self, sequence: int, received_us: int = 0) -> "Position":
        """The position after a frame, or the acknowledgement of one."""
        return Position(self.sequence if sequence == NO_SEQUENCE else sequence, received_us)


def frame_to_proto(frame: FrameMessage, before: Position) -> pb.Frame:
    """As a protobuf message behind `before`."""
    left_out = [after - number - 1 for number, after in pairwise(frame.sequences)]
    return pb.Frame(
        payload=frame.payload,
        gap=before.gap(frame.sequences[0]),
        may_wait=frame.may_wait,
        earlier=len(frame.earlier),
        left_out=left_out if any(left_out) else (),
        faces=frame.faces,
    )


def frame_from_proto(frame: pb.Frame, before: Position) -> FrameMessage:
    """The inverse of `frame_to_proto`. Raises MalformedPacket if a field is out of range."""
    first = before.sequence_at(frame.gap)
    require(frame.earlier < MAX_BUNDLE, f"a bundle has up to {MAX_BUNDLE} frames")
    require(
        len(frame.left_out) in (0, frame.earlier), "a bundle names what it leaves out behind each frame, or nothing"
    )
    steps = [1 + left_out for left_out in frame.left_out or (0,) * frame.earlier]
    *earlier, sequence = accumulate(steps, initial=first)
    return FrameMessage(sequence, frame.payload, frame.may_wait, tuple(earlier), frame.faces)


def acknowledgements_to_proto(
    acknowledgements: Acknowledgements, before: Position
) -> tuple[pb.Acknowledgements, Position]:
    """As a protobuf message behind `before`, and the position after it."""
    coded = []
    for ack in acknowledgements.frames:
        coded.append(
            pb.Acknowledgement(
                gap=before.gap(ack.sequence),
                status=_STATUS_TO_PROTO[ack.status],
                reason=ack.reason,
                spacing_us=ack.spacing_us,
                hold_us=ack.hold_us,
                clock_step_us=ack.received_us - (before.received_us + ack.spacing_us),
            )
        )
        before = before.behind(ack.sequence, ack.received_us)
    return pb.Acknowledgements(frames=coded), before


def acknowledgements_from_proto(
    acknowledgements: pb.Acknowledgements, before: Position
) -> tuple[Acknowledgements, Position]:
    """The inverse of `acknowledgements_to_proto`.

    Raises:
        MalformedPacket: a field is out of range, or there are too many acknowledgements, or none.
    """
    acks: list[Acknowledgement] = []
    for frame in acknowledgements.frames:
        require(len(acks) < MAX_WINDOW, f"a message acknowledges 1 to {MAX_WINDOW} frames")
        if frame.status not in _STATUS_FROM_PROTO:
            raise MalformedPacket("an acknowledgement has an unknown status")
        ack = Acknowledgement(
            before.sequence_at(frame.gap),
            _STATUS_FROM_PROTO[frame.status],
            before.received_us + frame.spacing_us + frame.clock_step_us,
            frame.spacing_us,
            frame.hold_us,
            printable(frame.reason, MAX_REASON_CHARACTERS),
        )
        acks.append(ack)
        before = before.behind(ack.sequence, ack.received_us)
    return Acknowledgements(tuple(acks)), before


_STATUS_TO_PROTO = {
    AckStatus.DECODED: pb.Acknowledgement.STATUS_DECODED,
    AckStatus.REJECTED: pb.Acknowledgement.STATUS_REJECTED,
    AckStatus.DUPLICATE: pb.Acknowledgement.STATUS_DUPLICATE,
    AckStatus.LATE: pb.Acknowledgement.STATUS_LATE,
}
_STATUS_FROM_PROTO = {number: status for status, number in _STATUS_TO_PROTO.items()}


REPORTED_STAGES = ("capture", "perception", "semantics", "colours", "preview", "codec")
MAX_TIME_MS = (2**32 - 1) / 1e3
MAX_CAPACITY_BPS = 10**12
MAX_CAMERA_FPS = 10_000.0


@dataclass(frozen=True, slots=True)
class SenderReport:
    """The state of a sender, at most once a second; nothing depends on it.

    Args:
        capacity_bps: estimated capacity of the link, bits a second; None while it is unknown.
        capacity_at_least: the link was never seen full: `capacity_bps` is a lower bound.
        round_trip_ms: the delay that the sender measures, without the receiver's own time; None while it is unknown.
        stages_ms: mean milliseconds of the passes through `REPORTED_STAGES` since the last report; those that did not
            run are left out.
        people_limit: most people that the sender follows at a time; None if it does not say.
        camera_fps: frames a second that a live camera gives, of which the newest are taken; None if unknown.
    """

    capacity_bps: int | None = None
    round_trip_ms: float | None = None
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    capacity_at_least: bool = False
    people_limit: int | None = None
    camera_fps: float | None = None

    def __post_init__(self) -> None:
        require(self.capacity_bps is None or 0 < self.capacity_bps <= MAX_CAPACITY_BPS, "a capacity is up to 10^12")
        times_ms = [] if self.round_trip_ms is None else [self.round_trip_ms]
        times_ms += self.stages_ms.values()
        valid = all(math.isfinite(time_ms) and 0 <= time_ms <= MAX_TIME_MS for time_ms in times_ms)
        require(valid, "a reported time is between 0 and 2^32 microseconds")
        require(
            self.camera_fps is None or 0 < self.camera_fps <= MAX_CAMERA_FPS, "a camera gives up to 10,000 frames/s"
        )
        limit = self.people_limit
        require(limit is None or 0 < limit <= MAX_PEOPLE, f"a sender follows up to {MAX_PEOPLE} people")
        require(set(self.stages_ms) <= set(REPORTED_STAGES), "a report has only the stages of a sender")


def report_to_proto(report: SenderReport) -> pb.SenderReport:
    """As a protobuf message; every time that is known is at least 1 µs, because 0 means unknown."""
    stages = {f"{stage}_us": _microseconds(time_ms) for stage, time_ms in report.stages_ms.items()}
    round_trip_us = 0 if report.round_trip_ms is None else _microseconds(report.round_trip_ms)
    message = pb.SenderReport(round_trip_us=round_trip_us, **stages)  # type: ignore[arg-type]  # stages are integers
    message.capacity_bps, message.capacity_at_least = report.capacity_bps or 0, report.capacity_at_least
    message.people_limit, message.camera_chz = report.people_limit or 0, round(100 * (report.camera_fps or 0))
    return message


def report_from_proto(report: pb.SenderReport) -> SenderReport:
    """The inverse of `report_to_proto`. Raises MalformedPacket if a field is out of range."""
    stages_us = {stage: int(getattr(report, f"{stage}_us")) for stage in REPORTED_STAGES}
    return SenderReport(
        capacity_bps=report.capacity_bps or None,
        round_trip_ms=report.round_trip_us / 1e3 or None,
        stages_ms={stage: time_us / 1e3 for stage, time_us in stages_us.items() if time_us},
        capacity_at_least=report.capacity_at_least,
        people_limit=report.people_limit or None,
        camera_fps=report.camera_chz / 100 or None,
    )


def _microseconds(time_ms: float) -> int:
    return max(round(time_ms * 1e3), 1)
