"""The sender's reports about itself, which its link sends behind frames."""

from common.clock import SYSTEM_CLOCK, Clock
from common.wire.frame_messages import MAX_CAMERA_FPS, MAX_CAPACITY_BPS, MAX_TIME_MS, REPORTED_STAGES, SenderReport
from sender.metrics import SenderMetrics
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
