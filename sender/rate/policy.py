"""From the state of the link to a compression rate ρ for each label group."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from common.io.configuration import option
from sender.congestion.capacity import Capacity


@dataclass(frozen=True, slots=True)
class RateConfig:
    """How the state of the link sets the compression."""

    policy: Literal["capacity", "paper", "fixed"] = option("capacity", help="what drives the compression")
    rho_min: float = option(0.0, help="compression of the most important labels, 0 (fine) to 1 (coarse)")
    rho_max: float = option(1.0, help="compression of the least important labels on the worst link")
    fixed_f: float = option(0.25, help="badness of the link, 0 to 1, that --policy fixed assumes")
    bandwidth_min_kbps: float = option(50.0, help="B_min of eq. 18: the worst bandwidth, kbit/s")
    bandwidth_max_kbps: float = option(1000.0, help="B_max of eq. 18: the best bandwidth, kbit/s")
    delay_min_ms: float = option(10.0, help="D_min of eq. 18: the best round trip")
    delay_max_ms: float = option(300.0, help="D_max of eq. 18: the worst round trip")
    bandwidth_weight: float = option(0.5, help="a of eq. 18")
    delay_weight: float = option(0.5, help="b of eq. 18")
    headroom: float = option(0.8, help="share of the capacity that --policy capacity uses")

    def __post_init__(self) -> None:
        if not 0 <= self.rho_min <= self.rho_max <= 1:
            raise ValueError(f"rho_min {self.rho_min} and rho_max {self.rho_max} are not 0 <= min <= max <= 1")
        if not 0 <= self.fixed_f <= 1:
            raise ValueError(f"fixed_f {self.fixed_f} is not between 0 and 1")
        if not 0 <= self.bandwidth_min_kbps < self.bandwidth_max_kbps:
            raise ValueError("bandwidth_min_kbps must be at least 0 and below bandwidth_max_kbps")
        if not 0 <= self.delay_min_ms < self.delay_max_ms:
            raise ValueError("delay_min_ms must be at least 0 and below delay_max_ms")
        if min(self.bandwidth_weight, self.delay_weight) < 0:
            raise ValueError("bandwidth_weight and delay_weight must not be below 0")
        if not 0 < self.headroom <= 1:
            raise ValueError(f"headroom {self.headroom} is not in (0, 1]")


def link_stress(bandwidth_bps: float, delay_ms: float, config: RateConfig) -> float:
    """f(B, D) = a (B_max − B)/(B_max − B_min) + b (D − D_min)/(D_max − D_min) (AFLSC, eq. 18).

    B, D and the result are clamped: outside their range (18) would leave [ρ_min, ρ_max].

    Returns:
        0 (a link that needs no compression) to 1.
    """
    low_bps, high_bps = config.bandwidth_min_kbps * 1e3, config.bandwidth_max_kbps * 1e3
    thin = (high_bps - _clamp(bandwidth_bps, low_bps, high_bps)) / (high_bps - low_bps)
    low_ms, high_ms = config.delay_min_ms, config.delay_max_ms
    slow = (_clamp(delay_ms, low_ms, high_ms) - low_ms) / (high_ms - low_ms)
    return _clamp(config.bandwidth_weight * thin + config.delay_weight * slow, 0.0, 1.0)


def rho_by_group(importance: Mapping[str, float], f: float, rho_min: float, rho_max: float) -> dict[str, float]:
    """ρ(y'_i) = ρ_min + (ρ_max − ρ_min) (1 − ω_i / max W) f (AFLSC, eq. 17).

    Under (17) the most important group stays at ρ_min on any link. f may go on to 2: what is beyond 1 raises all groups
    alike, the most important one last, for links on which sparing the others is not enough.

    Args:
        importance: ω by group, none below 0; only the ratios count.
        f: 0 to 1 as in the paper, up to 2 beyond it.

    Raises:
        ValueError: no group, a negative importance or one that is not a number.
    """
    if not importance or not all(omega >= 0 for omega in importance.values()):
        raise ValueError(f"importance must be a number of at least 0 for each of one or more groups, got {importance}")
    greatest = max(importance.values()) or 1.0
    common, extra = min(f, 1.0), max(f - 1.0, 0.0)
    return {
        group: rho_min + (rho_max - rho_min) * min((1 - omega / greatest) * common + extra, 1.0)
        for group, omega in importance.items()
    }


class BudgetController:
    """Finds the f at which bytes per frame fit the capacity: an integral controller on the logarithm of their ratio.

    It reacts fast to too much and slowly to too little, and while the link was never seen full it lets f sink: with
    spare capacity, quality rises.

    Args:
        headroom: share of the capacity to use.
        start: f before anything is known.
    """

    _HIGHEST = 2.0
    _UP_PER_S = 3.0
    _DOWN_PER_S = 0.25
    # A gap in the samples is no reason for one big step.
    _LONGEST_STEP_S = 0.2

    def __init__(self, headroom: float = 0.8, start: float = 0.5) -> None:
        self._headroom = headroom
        self._f = start
        self._last_ms: float | None = None

    @property
    def f(self) -> float:
        """The present f, 0 to 2; see `rho_by_group`."""
        return self._f

    def update(self, capacity: Capacity, wanted_bps: float, now_ms: float) -> float:
        """Takes in the capacity and what the source would send at the present f, and returns the new f."""
        elapsed_s = 0.0 if self._last_ms is None else (now_ms - self._last_ms) / 1e3
        self._last_ms = now_ms
        step_s = _clamp(elapsed_s, 0.0, self._LONGEST_STEP_S)
        error = self._error(capacity, wanted_bps)
        gain = self._UP_PER_S if error > 0 else self._DOWN_PER_S
        self._f = _clamp(self._f + gain * error * step_s, 0.0, self._HIGHEST)
        return self._f

    def _error(self, capacity: Capacity, wanted_bps: float) -> float:
        if capacity.bps is None or not capacity.measured or wanted_bps <= 0:
            return -1.0
        return _clamp(math.log(wanted_bps / max(self._headroom * capacity.bps, 1.0)), -1.0, 1.0)


def _clamp(value: float, lowest: float, highest: float) -> float:
    return min(max(value, lowest), highest)
