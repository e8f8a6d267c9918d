"""Feeds the estimators of the link and turns their state into a compression rate ρ per label group."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from common.codec.tables import load_allocation as rate_distortion
from common.wire.traffic import MessageCost
from sender.congestion.capacity import Capacity, CapacityEstimator
from sender.congestion.meter import USED_SHARE
from sender.congestion.pacer import BackgroundPacer
from sender.congestion.packet_train import PacketTrainSample
from sender.congestion.paper_estimators import PaperBandwidth, PaperDelay
from sender.congestion.samples import LinkSample
from sender.rate.decision import ASSUMED, Means, bits_at, decide, label_bytes
from sender.rate.policy import HEADROOM, RateConfig, link_stress, rho_by_group

_FRAME_RATE_WINDOW_MS = 2000.0
_SIZE_SMOOTHING = 0.8
# Of the first frames, before the link is known.
_INITIAL_F, _USUAL_FRAME_RATE_HZ = 0.5, 30.0
# One decision a second, and one at once where the capacity has fallen by so much.
_DECISION_MS, _FALLEN = 1000.0, 0.9


@dataclass(frozen=True, slots=True)
class RateState:
    """State of the link and of rate control.

    Args:
        bandwidth_bps: B(t) (15); None before it was measured.
        delay_ms: D(t) (16); None before the first acknowledgement.
        capacity: drives f under `--policy capacity`.
    """

    bandwidth_bps: float | None
    delay_ms: float | None
    capacity: Capacity
    f: float


class RateController:
    """Estimators and policy of one session.

    Args:
        frame_rate_hz: frame rate of the source; None measures it from the frames offered, which is right for a live
            source. A file waits for the link, so its rate must be given.
        budget_bps: most that leaves, whatever the source's rate.
        message_cost: what a message takes, as it was measured last.

    Raises:
        ValueError: `frame_rate_hz` is not above 0.
    """

    def __init__(
        self,
        config: RateConfig,
        frame_rate_hz: float | None = None,
        budget_bps: float = math.inf,
        message_cost: Callable[[], MessageCost | None] = lambda: None,
    ) -> None:
        if frame_rate_hz is not None and frame_rate_hz <= 0:
            raise ValueError(f"frame_rate_hz {frame_rate_hz} is not above 0")
        self._config = config
        self._frame_rate_hz = frame_rate_hz
        self._budget_bps = budget_bps
        self._message_cost = message_cost
        self._offered_ms: deque[float] = deque()
        self._bandwidth = PaperBandwidth()
        self._delay = PaperDelay()
        self._capacity_estimator = CapacityEstimator()
        self._capacity = Capacity(None, False)
        first = decide(Means(math.inf, USED_SHARE * budget_bps, frame_rate_hz or _USUAL_FRAME_RATE_HZ))
        self._decision = replace(first, f=max(first.f, _INITIAL_F))
        self._decided_ms, self._decided_bps = -math.inf, 0.0
        self._size_ratio = 1.0
        self._pacer = BackgroundPacer()
        self._wire_bytes: float | None = None

    def on_offered(self, now_ms: float) -> None:
        """Records a frame of the source, whether it will be sent or superseded."""
        self._offered_ms.append(now_ms)
        while self._offered_ms[0] < now_ms - _FRAME_RATE_WINDOW_MS:
            self._offered_ms.popleft()

    def on_connected(self) -> None:
        """Resets the frames in flight for a new stream."""
        self._pacer.restart()

    def on_sent(self, sequence: int, payload_bytes: int, now_ms: float) -> None:
        self._pacer.sent(sequence, payload_bytes, now_ms)

    def on_packet_train(self, measurement: PacketTrainSample, now_ms: float) -> None:
        self._capacity = self._capacity_estimator.on_packet_train(measurement, now_ms)

    def on_acknowledged(self, sample: LinkSample, now_ms: float) -> None:
        self._pacer.acknowledged(sample, now_ms)
        self._bandwidth.update(sample, now_ms)
        self._delay.update(sample, now_ms)
        self._capacity = self._capacity_estimator.update(sample, now_ms)
        self._wire_bytes = _smoothed(self._wire_bytes, sample.wire_bytes / sample.frames)
        ratio = sample.message_bytes / sample.frames / label_bytes(self._decision.f)
        self._size_ratio = _smoothed(self._size_ratio, ratio)
        self._decide(sample, now_ms)

    def _decide(self, sample: LinkSample, now_ms: float) -> None:
        """Decides anew once a second, and at once where the capacity has fallen."""
        measured = self._capacity.measured and self._capacity.bps is not None
        capacity_bps = HEADROOM * (self._capacity.bps or 0.0) if measured else math.inf
        if now_ms - self._decided_ms < _DECISION_MS and capacity_bps >= _FALLEN * self._decided_bps:
            return
        self._decided_ms, self._decided_bps = now_ms, capacity_bps
        round_trip_s = (sample.round_trip_time_ms + sample.hold_ms) / 1e3
        self._decision = decide(
            Means(
                capacity_bps,
                USED_SHARE * self._budget_bps,
                max(self._source_frame_rate_hz(), 1.0),
                round_trip_s,
                self._size_ratio,
                self._message_cost() or ASSUMED,
            )
        )

    def rho(self, importance: Mapping[str, float]) -> dict[str, float]:
        """ρ by group for the next frame (17). Raises ValueError if there is no group, or a negative importance."""
        return rho_by_group(importance, self._f())

    @property
    def follows_capacity(self) -> bool:
        """Whether the policy measures the capacity and allocates bits (`allocate`); others set ρ by (17) (`rho`)."""
        return self._config.policy == "capacity"

    def allocate(self, weights: Mapping[str, float], uncertainty_mm: Mapping[str, float]) -> dict[str, float]:
        """ρ by group for the next frame under `--policy capacity`: as many bits as f leaves, where they help most.

        f = 0 allows the finest levels that the labels' uncertainty justifies, f = 2 the bits of the coarsest level.
        """
        table = rate_distortion()
        return table.allocate(bits_at(self._f()), weights, table.finest(uncertainty_mm))

    @property
    def bundle(self) -> int:
        """Most frames of a live message; they are those that have to wait."""
        return self._decision.frames if self.follows_capacity else 1

    @property
    def ahead_steps(self) -> int:
        """How far ahead of their capture the labels of live frames are (`LabelFrame.ahead_steps`)."""
        return self._decision.ahead_steps if self.follows_capacity else 0

    def background_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
        """How many bytes of blobs may follow the frame that has just left.

        Under `--policy capacity` blobs use only capacity that frames leave. The other policies have no such budget:
        each frame is followed by a share 1 − f of the blob, the share of labels of no importance in (17).

        Args:
            blob_bytes: size of the blob that is next or in transfer.
        """
        if not self.follows_capacity:
            return int((1 - min(self._f(), 1.0)) * blob_bytes)
        lower_quartile_bps, rate_hz = self._capacity_estimator.lower_quartile_bps(now_ms), self._source_frame_rate_hz()
        if lower_quartile_bps is None or rate_hz <= 0:
            return 0
        free_bytes = (HEADROOM * lower_quartile_bps - self._source_bps()) / (8 * rate_hz)
        allowed = self._pacer.allowed_bytes(in_flight_bytes, lower_quartile_bps, free_bytes, now_ms)
        return min(allowed, blob_bytes)

    @property
    def state(self) -> RateState:
        return RateState(self._bandwidth.bandwidth_bps, self._delay.delay_ms, self._capacity, self._f())

    def _f(self) -> float:
        if self._config.policy == "fixed":
            return self._config.fixed_f
        if self._config.policy == "capacity":
            return self._decision.f
        bandwidth_bps, delay_ms = self._bandwidth.bandwidth_bps, self._delay.delay_ms
        if bandwidth_bps is None or delay_ms is None:
            return _INITIAL_F
        return link_stress(bandwidth_bps, delay_ms)

    def _source_bps(self) -> float:
        """Bit rate of the source at the present size of a frame, headers included; at most the budget."""
        source_bps = 0.0 if self._wire_bytes is None else self._wire_bytes * 8 * self._source_frame_rate_hz()
        return min(source_bps, self._budget_bps)

    def _source_frame_rate_hz(self) -> float:
        if self._frame_rate_hz is not None:
            return self._frame_rate_hz
        if len(self._offered_ms) < 2 or self._offered_ms[-1] <= self._offered_ms[0]:
            return 0.0
        return (len(self._offered_ms) - 1) / (self._offered_ms[-1] - self._offered_ms[0]) * 1e3


def _smoothed(mean: float | None, value: float) -> float:
    return value if mean is None else _SIZE_SMOOTHING * mean + (1 - _SIZE_SMOOTHING) * value
