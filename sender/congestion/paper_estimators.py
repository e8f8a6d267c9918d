"""The paper's estimators of the link: bandwidth B(t) and delay D(t)."""

from collections import deque
from dataclasses import dataclass

from sender.congestion.samples import LinkSample


@dataclass(frozen=True, slots=True)
class _Arrival:
    at_ms: float
    bits: int
    spacing_ms: float


class PaperBandwidth:
    """B(t) = φ B(t−1) + (1−φ) ΣS_i / ΣΔt_i (AFLSC, eq. 15).

    S_i is a frame's size and Δt_i the time since the previous frame arrived, over a sliding window. B(t) measures the
    sending rate, not the capacity: a sender that never fills the link measures its own rate. It is therefore reported,
    but drives the compression only under `--policy paper`.

    Args:
        phi: φ, the weight of the old value.
        window_ms: length of the sliding window.

    Raises:
        ValueError: `phi` is not in [0, 1), or `window_ms` not above 0.
    """

    def __init__(self, phi: float = 0.8, window_ms: float = 1000.0) -> None:
        if not 0 <= phi < 1:
            raise ValueError(f"phi {phi} is not in [0, 1)")
        if window_ms <= 0:
            raise ValueError(f"window_ms {window_ms} is not above 0")
        self._phi = phi
        self._window_ms = window_ms
        self._window: deque[_Arrival] = deque()
        self._bandwidth_bps: float | None = None

    @property
    def bandwidth_bps(self) -> float | None:
        """B(t) in bits per second; None before the first interval was measured."""
        return self._bandwidth_bps

    def update(self, sample: LinkSample, now_ms: float) -> float | None:
        """Adds an acknowledged frame and returns B(t); the first frame of a stream has no interval and is ignored."""
        if sample.arrival_spacing_ms is not None and sample.arrival_spacing_ms > 0:
            self._window.append(_Arrival(now_ms, sample.message_bytes * 8, sample.arrival_spacing_ms))
        while self._window and self._window[0].at_ms < now_ms - self._window_ms:
            self._window.popleft()
        if self._window:
            bits = sum(arrival.bits for arrival in self._window)
            window_bps = bits / sum(arrival.spacing_ms for arrival in self._window) * 1e3
            old_bps = window_bps if self._bandwidth_bps is None else self._bandwidth_bps
            self._bandwidth_bps = self._phi * old_bps + (1 - self._phi) * window_bps
        return self._bandwidth_bps


class PaperDelay:
    """D(t) = Σ w_i rtt_i / Σ w_i (AFLSC, eq. 16), with weights that halve with age.

    The paper leaves the weights open; recent round trips describe the present link better.

    Args:
        half_life_ms: age at which a round trip weighs half.
        window_ms: age at which it is dropped.

    Raises:
        ValueError: an argument is not above 0.
    """

    def __init__(self, half_life_ms: float = 500.0, window_ms: float = 5000.0) -> None:
        if half_life_ms <= 0 or window_ms <= 0:
            raise ValueError("half_life_ms and window_ms must be above 0")
        self._half_life_ms = half_life_ms
        self._window_ms = window_ms
        self._round_trips: deque[tuple[float, float]] = deque()
        self._delay_ms: float | None = None

    @property
    def delay_ms(self) -> float | None:
        """D(t) in milliseconds; None before the first sample."""
        return self._delay_ms

    def update(self, sample: LinkSample, now_ms: float) -> float:
        """Adds an acknowledged frame and returns D(t) in milliseconds."""
        self._round_trips.append((now_ms, sample.round_trip_time_ms))
        while self._round_trips[0][0] < now_ms - self._window_ms:
            self._round_trips.popleft()
        weights = [0.5 ** ((now_ms - at_ms) / self._half_life_ms) for at_ms, _ in self._round_trips]
        weighted = sum(weight * rtt_ms for weight, (_, rtt_ms) in zip(weights, self._round_trips, strict=True))
        self._delay_ms = weighted / sum(weights)
        return self._delay_ms
