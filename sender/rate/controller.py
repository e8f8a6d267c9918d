"""Messages a second × frames a message × ρ as one decision: what shows people with the least error.

A person is shown where the receiver predicts them, from labels whose age grows until the next message.  Most of a
message is headers and its acknowledgement, so finer labels and more frames a message mean fewer messages:

    error² = (gain · quantisation(f))² + motion(mean age)²,   mean age = round trip / 2 + space between messages / 2

Of every f the space between messages follows from what link and budget carry.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from common.codec.tables import load_allocation as rate_distortion
from common.frames import AHEAD_STEP_S, MAX_AHEAD_STEPS
from common.labels import GROUP_NAMES
from common.wire.traffic import MessageCost
from sender.congestion.capacity import (
    Capacity,
    CapacityEstimator,
    LinkSample,
    PacketTrainSample,
    PaperBandwidth,
    PaperDelay,
)
from sender.congestion.pacing import USED_SHARE, BackgroundPacer
from sender.rate.policy import HEADROOM, RateConfig, link_stress, rho_by_group

MAX_F: Final = 2.0
"""Largest f of `--policy capacity`; equation (18) gives at most 1."""
# What is assumed until it is measured: headers, and a part of an acknowledgement, of QUIC (`tests.bench.wire`).
ASSUMED: Final = MessageCost(sent=55.0, answered=70.0, other_bps=0.0)
# Of a packet, besides label groups.
_HEADER_BYTES: Final = 3
# Distance of a predicted joint from the true one: so much at once, and more with each second that the newest label is
# old.  A line through ages of 67 to 400 ms on the motions of the validation split, with perception's noise and the
# network that ships; whether the labels before were 33 or 200 ms apart made no difference.
_NEW_MM: Final = 8.0
_MM_PER_S: Final = 400.0
# Prediction takes the quantiser's steps for motion: they move the skin shown so many times as far as the labels, at any
# rate (1.2 to 15 messages a second, f from 0.4 to 1.7, motions of the training and validation splits).
_GAIN: Final = 5.3
# What is recorded, and shown with a delay, is interpolated between labels: as many a second are worth a second frame in
# a message, which costs what is shown at once 2 % at most.  Where two do not suffice they cost 3 to 8 % over QUIC, at
# 2.4 and 5 kbit/s, and hardly anything where a message takes this much in any case.
_LABELS_PER_S: Final = 15.0
_MOST_FRAMES, _DEAR_MESSAGE_BYTES, _MOST_FRAMES_IF_DEAR = 2, 120.0, 4
# Labels that are so far apart are this share of it ahead of their capture: the best of 0 to 0.4 s at spacings of 0.3 to
# 1 s, on motions of the validation split, by 5 to 26 %.
_AHEAD_SHARE: Final = 0.43
_RARE_S: Final = 0.2
# Of pictures of faces: labels have this much of what link and budget carry alone, then this share of what is more;
# pictures are not sent below the least, and more than the most shows nothing.  Blobs have the rest.
_LABELS_ALONE_BPS, _LABELS_SHARE, _FACES_SHARE = 12_000.0, 0.7, 0.9
LEAST_FACES_BPS: Final = 3_500.0
# Of a link's capacity, with labels and alone: parts of pictures leave with labels, which arrive 5 ms later by them.
_FACES_HEADROOM, _FACES_LINK_SHARE = 0.65, 0.15
_MOST_FACES_BPS: Final = 48_000.0
# Faces were to be shown within this time.
_FACES_MS: Final = 2000.0
_F_STEP: Final = 0.1
_STEPS: Final = range(round(MAX_F / _F_STEP) + 1)


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to send with, and what to send.

    Args:
        capacity_bps: from sender to receiver, infinite if the link was never full.
        budget_bps: both ways together.
        frame_rate_hz: of the source.
        round_trip_s: with the receiver's work on a frame.
        size_ratio: bytes of a frame's labels, divided by those of the table: several people take several times as many.
        cost: of a message, besides its labels.
    """

    capacity_bps: float
    budget_bps: float
    frame_rate_hz: float
    round_trip_s: float = 0.1
    size_ratio: float = 1.0
    cost: MessageCost = ASSUMED

    def messages_per_s(self, label_bytes: float) -> float:
        """How many messages with so many bytes of labels link and budget carry."""
        alone = self.capacity_bps / (8 * (self.cost.sent + label_bytes))
        answered = (self.budget_bps - self.cost.other_bps) / (8 * (self.cost.answered + label_bytes))
        return max(min(alone, answered), 0.1)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is sent from now on.

    Args:
        f: link stress, 0 to 2, from which ρ follows (`RateController.allocate`).
        frames: of a message, at most.
        error_mm: what is expected of what the receiver shows.
        ahead_steps: how far ahead of their capture the labels are (`LabelFrame.ahead_steps`).
        sent_bps, used_bps: what labels take with their headers, to the receiver, and both ways together.
    """

    f: float
    frames: int
    error_mm: float
    ahead_steps: int = 0
    sent_bps: float = 0.0
    used_bps: float = 0.0


def label_bytes(f: float) -> float:
    """Mean bytes of one person's labels in a frame."""
    return _quantised(round(f / _F_STEP))[0]


def decide(means: Means) -> Decision:
    """The decision of least error."""
    return min((_option(step, means) for step in _STEPS), key=lambda one: one.error_mm)


def _option(step: int, means: Means) -> Decision:
    """What becomes of an f, which is a number of steps."""
    size, quantisation_mm = _quantised(step)
    size *= means.size_ratio
    wanted_hz, dear = min(means.frame_rate_hz, _LABELS_PER_S), means.cost.answered > _DEAR_MESSAGE_BYTES
    most = _MOST_FRAMES_IF_DEAR if dear else _MOST_FRAMES
    rates_hz = [
        min(means.messages_per_s(_HEADER_BYTES + count * size), means.frame_rate_hz) for count in range(1, most + 1)
    ]
    enough = (count for count, rate_hz in enumerate(rates_hz, 1) if count * rate_hz >= wanted_hz)
    frames = next(enough, most if dear else 1)
    messages_hz = rates_hz[frames - 1]
    age_s = means.round_trip_s / 2 + 0.5 / messages_hz
    motion_mm = _NEW_MM + _MM_PER_S * age_s
    error_mm = math.hypot(_GAIN * quantisation_mm, motion_mm)
    message_bytes, cost = _HEADER_BYTES + frames * size, means.cost
    sent_bps, used_bps = (8 * messages_hz * (each + message_bytes) for each in (cost.sent, cost.answered))
    ahead_steps = _ahead_steps(1 / messages_hz)
    return Decision(step * _F_STEP, frames, error_mm, ahead_steps, sent_bps, used_bps + cost.other_bps)


def beside_faces(bps: float) -> float:
    """What labels have of so much, if faces are to be shown: all where little would be left."""
    labels_bps = _LABELS_ALONE_BPS + _LABELS_SHARE * max(bps - _LABELS_ALONE_BPS, 0.0)
    return labels_bps if _FACES_SHARE * (bps - labels_bps) >= LEAST_FACES_BPS else bps


def _ahead_steps(apart_s: float) -> int:
    """How far ahead labels are that are so far apart."""
    return min(round(_AHEAD_SHARE * apart_s / AHEAD_STEP_S), MAX_AHEAD_STEPS) if apart_s >= _RARE_S else 0


def faces_bps(left_bps: float) -> float:
    """What pictures of faces have of what labels leave."""
    return min(max(_FACES_SHARE * left_bps, 0.0), _MOST_FACES_BPS)


@lru_cache(maxsize=64)
def _quantised(step: int) -> tuple[float, float]:
    """Bytes of a frame's labels, and how far their quantisation moves the surface, mm."""
    table = rate_distortion()
    rho = table.allocate(bits_at(step * _F_STEP), {}, np.zeros(len(GROUP_NAMES), np.int64))
    levels = [round(rho[name] * (table.bits.shape[1] - 1)) for name in GROUP_NAMES]
    rows = np.arange(len(levels))
    return float(table.bits[rows, levels].sum()) / 8, float(np.linalg.norm(table.mm[rows, levels]))


def bits_at(f: float) -> float:
    """Bits of a frame's labels: at f = 0 those of the finest level, at f = 2 those of the coarsest."""
    coarsest_bits, finest_bits = rate_distortion().bounds_bits
    return finest_bits * math.pow(coarsest_bits / finest_bits, f / MAX_F)


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
        self._faces_ms, self._face_bytes = -math.inf, 0.0

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
        self._wire_bytes = _smoothed(self._wire_bytes, (sample.wire_bytes - sample.face_bytes) / sample.frames)
        self._face_bytes = _smoothed(self._face_bytes, sample.face_bytes / sample.frames)
        ratio = (sample.message_bytes - sample.face_bytes) / sample.frames / label_bytes(self._decision.f)
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
        budget_bps = USED_SHARE * self._budget_bps
        if now_ms - self._faces_ms < _FACES_MS:
            capacity_bps, budget_bps = beside_faces(capacity_bps), beside_faces(budget_bps)
        self._decision = decide(
            Means(
                capacity_bps,
                budget_bps,
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

    def show_faces(self, now_ms: float) -> None:
        """Records that a frame has pictures of faces, for which labels make room."""
        self._faces_ms = now_ms

    def face_bps(self, now_ms: float) -> float:
        """Bits a second that pictures of faces may take now: of what labels leave."""
        lower_quartile_bps = self._capacity_estimator.lower_quartile_bps(now_ms)
        if not self.follows_capacity or lower_quartile_bps is None:
            return 0.0
        return faces_bps(
            min(
                _FACES_HEADROOM * lower_quartile_bps - self._decision.sent_bps,
                _FACES_LINK_SHARE * lower_quartile_bps / _FACES_SHARE,
                USED_SHARE * self._budget_bps - self._decision.used_bps,
            )
        )

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
        free_bytes = (HEADROOM * lower_quartile_bps - self._source_bps()) / (8 * rate_hz) - self._face_bytes
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
