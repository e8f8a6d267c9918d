"""The paper's estimators of the link: bandwidth B(t) and delay D(t)."""

from collections import deque

from sender.congestion.samples import LinkSample

# φ, the weight of the old value, and the length of the sliding window.
_PHI, _BANDWIDTH_WINDOW_MS = 0.8, 1000.0
# The paper leaves the weights of (16) open; recent round trips describe the present link better.
_HALF_LIFE_MS, _DELAY_WINDOW_MS = 500.0, 5000.0


class PaperBandwidth:
    """B(t) = φ B(t−1) + (1−φ) ΣS_i / ΣΔt_i (AFLSC, eq. 15), in bits per second; None before the first interval.

    S_i is a frame's size and Δt_i the time since the previous frame arrived, over a sliding window. B(t) measures the
    sending rate, not the capacity: a sender that never fills the link measures its own rate. It is therefore reported,
    but drives the compression only under `--policy paper`.
    """

    def __init__(self) -> None:
        self.bandwidth_bps: float | None = None
        self._window: deque[tuple[float, int, float]] = deque()

    def update(self, sample: LinkSample, now_ms: float) -> None:
        """Adds an acknowledged frame; the first frame of a stream has no interval and is ignored."""
        if sample.arrival_spacing_ms:
            self._window.append((now_ms, sample.message_bytes * 8, sample.arrival_spacing_ms))
        while self._window and self._window[0][0] < now_ms - _BANDWIDTH_WINDOW_MS:
            self._window.popleft()
        if self._window:
            _, bits, spacings_ms = zip(*self._window, strict=True)
            window_bps = sum(bits) / sum(spacings_ms) * 1e3
            old_bps = window_bps if self.bandwidth_bps is None else self.bandwidth_bps
            self.bandwidth_bps = _PHI * old_bps + (1 - _PHI) * window_bps


class PaperDelay:
    """D(t) = Σ w_i rtt_i / Σ w_i (AFLSC, eq. 16), weights halving with age, in milliseconds; None before a sample."""

    def __init__(self) -> None:
        self.delay_ms: float | None = None
        self._round_trips: deque[tuple[float, float]] = deque()

    def update(self, sample: LinkSample, now_ms: float) -> None:
        self._round_trips.append((now_ms, sample.round_trip_time_ms))
        while self._round_trips[0][0] < now_ms - _DELAY_WINDOW_MS:
            self._round_trips.popleft()
        weights = [0.5 ** ((now_ms - at_ms) / _HALF_LIFE_MS) for at_ms, _ in self._round_trips]
        weighted = sum(weight * rtt_ms for weight, (_, rtt_ms) in zip(weights, self._round_trips, strict=True))
        self.delay_ms = weighted / sum(weights)
