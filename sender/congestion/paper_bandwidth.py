"""The paper's bandwidth B(t): what went through, smoothed."""

from collections import deque
from dataclasses import dataclass

from sender.congestion.samples import LinkSample


class PaperBandwidth:
    """B(t) = φ B(t−1) + (1−φ) ΣS_i / ΣΔt_i (AFLSC, eq. 15).

    S_i is a frame's size and Δt_i the time since the frame before it arrived, over a sliding window. It measures how
    much is *sent*, not how much could be: a sender that never fills the link reads its own rate. It is therefore
    reported, and drives the rate only under `--policy paper`.

    Args:
        phi: φ, the share of the old value that one sample leaves.
        window_ms: how far back the sums go.
    """

    def __init__(self, phi: float = 0.8, window_ms: float = 1000.0) -> None:
        if not 0 <= phi < 1:
            raise ValueError(f"phi {phi} is not in [0, 1)")
        if window_ms <= 0:
            raise ValueError(f"window_ms {window_ms} is not above 0")
        self._phi = phi
        self._window_ms = window_ms
        self._window: deque[_Transmission] = deque()
        self._bandwidth_bps: float | None = None

    @property
    def bandwidth_bps(self) -> float | None:
        """B(t) in bits per second; None before the first interval was measured."""
        return self._bandwidth_bps

    def update(self, sample: LinkSample, now_ms: float) -> float | None:
        """Takes in one acknowledged frame and returns B(t); a stream's first has no interval and changes nothing."""
        if sample.arrival_spacing_ms is not None and sample.arrival_spacing_ms > 0:
            self._window.append(_Transmission(now_ms, sample.message_bytes * 8, sample.arrival_spacing_ms))
        while self._window and self._window[0].at_ms < now_ms - self._window_ms:
            self._window.popleft()
        if self._window:
            bits = sum(each.bits for each in self._window)
            window_bps = bits / sum(each.spacing_ms for each in self._window) * 1e3
            old_bps = window_bps if self._bandwidth_bps is None else self._bandwidth_bps
            self._bandwidth_bps = self._phi * old_bps + (1 - self._phi) * window_bps
        return self._bandwidth_bps


@dataclass(frozen=True, slots=True)
class _Transmission:
    at_ms: float
    bits: int
    spacing_ms: float
