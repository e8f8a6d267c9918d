"""What the link has carried, for rate control, metrics and the reports that leave behind frames."""

from collections.abc import Sequence

from common.clock import SYSTEM_CLOCK, Clock
from common.codec.frame_state import EncodedFrame
from common.frames import LabelFrame
from common.wire.frame_messages import MAX_CAMERA_FPS, MAX_CAPACITY_BPS, MAX_TIME_MS, REPORTED_STAGES, SenderReport
from sender.congestion.capacity import LinkSample, PacketTrainSample
from sender.link.session import Fate, LinkObserver
from sender.metrics import DropReason, SenderMetrics
from sender.rate.controller import RateController

# So that each picture comes with its own times.
_STILLS_INTERVAL_S = 0.0


class Reporter:
    """Composes a report once a second at most, or behind every picture.

    Args:
        stills: whether the frames are pictures of their own.
        interval_s: at least between two reports of a stream.
    """

    def __init__(
        self,
        rate: RateController,
        metrics: SenderMetrics,
        *,
        stills: bool = False,
        interval_s: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._rate = rate
        self._metrics = metrics
        self._interval_s = _STILLS_INTERVAL_S if stills else interval_s
        self._clock = clock
        self._last_s = -float("inf")

    def due(self) -> SenderReport | None:
        """The report to send now; None if the last one was not long enough ago."""
        now_s = self._clock.monotonic()
        if now_s - self._last_s < self._interval_s:
            return None
        frames, passed_s, self._last_s = self._metrics.take_camera_frames(), now_s - self._last_s, now_s
        state, means_ms = self._rate.state, self._metrics.take_stage_means_ms()
        return SenderReport(
            capacity_bps=min(max(round(state.capacity.bps), 1), MAX_CAPACITY_BPS) if state.capacity.bps else None,
            round_trip_ms=None if state.delay_ms is None else min(state.delay_ms, MAX_TIME_MS),
            # An idle source waits in `capture` for hours.
            stages_ms={stage: min(means_ms[stage], MAX_TIME_MS) for stage in REPORTED_STAGES if stage in means_ms},
            capacity_at_least=bool(state.capacity.bps) and not state.capacity.measured,
            people_limit=self._metrics.people_limit,
            camera_fps=min(frames / passed_s, MAX_CAMERA_FPS) or None if passed_s > 0 else None,
        )


_FATES = {
    Fate.LATE: DropReason.LATE,
    Fate.SUPERSEDED: DropReason.REPLACED,
    Fate.REJECTED: DropReason.UNACKNOWLEDGED,
    Fate.LOST: DropReason.UNACKNOWLEDGED,
}


class LinkAccount(LinkObserver):
    """Passes the link's measurements on to rate control and metrics, and keeps the totals of the session.

    Attributes:
        acknowledged_frames, late_frames, lost_frames: of those that were sent, how many were reconstructed, came too
            late for it, and have no answer.
    """

    def __init__(self, rate: RateController, metrics: SenderMetrics, clock: Clock = SYSTEM_CLOCK) -> None:
        self._rate = rate
        self._metrics = metrics
        self._clock = clock
        self.acknowledged_frames = self.late_frames = self.lost_frames = 0
        self._last_sent = -1
        self.payload_bytes = 0

    def connected(self) -> None:
        self._rate.on_connected()
        self._metrics.peer_connected(True)

    def disconnected(self, reason: str) -> None:
        self._metrics.peer_connected(False)

    def sent(self, frames: Sequence[LabelFrame], encoded: EncodedFrame) -> None:
        self.payload_bytes += len(encoded.payload)
        self._last_sent = max(self._last_sent, frames[-1].sequence)
        self._rate.on_sent(frames[-1].sequence, len(encoded.payload), self._clock.monotonic_ms())
        self._metrics.frames_sent(len(frames), {group: round(share) for group, share in encoded.bytes_by_group.items()})

    def acknowledged(self, frames: Sequence[LabelFrame], sample: LinkSample) -> None:
        self._rate.on_acknowledged(sample, self._clock.monotonic_ms())
        self._metrics.frames_acknowledged(len(frames), sample.round_trip_time_ms)
        state = self._rate.state
        self._metrics.set_link(state.bandwidth_bps or 0.0, state.delay_ms or 0.0, state.capacity.bps or 0.0, state.f)

    def probed(self, measurement: PacketTrainSample) -> None:
        self._rate.on_packet_train(measurement, self._clock.monotonic_ms())

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        if fate is Fate.SUPERSEDED and frame.sequence <= self._last_sent:
            fate = Fate.LOST
        self._count(fate, 1)
        if fate is not Fate.ACKNOWLEDGED:
            self._metrics.frame_dropped(_FATES[fate])

    def found(self, frame: LabelFrame, fate: Fate) -> None:
        self._count(Fate.LOST, -1)
        self._count(fate, 1)

    @property
    def sent_frames(self) -> int:
        """How many frames have left, be it several times, and met their fate."""
        return self.acknowledged_frames + self.late_frames + self.lost_frames

    def _count(self, fate: Fate, frames: int) -> None:
        if fate is Fate.ACKNOWLEDGED:
            self.acknowledged_frames += frames
        elif fate is Fate.LATE:
            self.late_frames += frames
        elif fate is not Fate.SUPERSEDED:
            self.lost_frames += frames
