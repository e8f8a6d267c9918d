"""What a sender reports about itself and its link, for the people who watch the receiver."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.frames import MAX_PEOPLE
from common.wire import semantic_link_pb2 as pb
from common.wire.checks import require

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
