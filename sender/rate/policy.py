"""Policies that turn the state of the link into a compression rate ρ per label group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from common.io.command_line import option

# Of equation (18).
_BANDWIDTH_RANGE_BPS: Final = (50e3, 1000e3)
_DELAY_RANGE_MS: Final = (10.0, 300.0)
# Share of the measured capacity that labels use.
HEADROOM: Final = 0.8


@dataclass(frozen=True, slots=True)
class RateConfig:
    """How the state of the link determines the compression."""

    policy: Literal["capacity", "paper", "fixed"] = option(
        "capacity", help="compression by measured capacity, by the paper's eq. 18, or fixed", advanced=True
    )
    fixed_f: float = option(0.25, help="link stress f, 0 to 1, under --policy fixed", advanced=True)

    def __post_init__(self) -> None:
        if not 0 <= self.fixed_f <= 1:
            raise ValueError(f"fixed_f {self.fixed_f} is not between 0 and 1")


def link_stress(bandwidth_bps: float, delay_ms: float) -> float:
    """f(B, D) = a (B_max − B)/(B_max − B_min) + b (D − D_min)/(D_max − D_min) with a = b = 1/2 (AFLSC, eq. 18).

    B and D are clamped, since (18) is not bounded outside [B_min, B_max] and [D_min, D_max].

    Returns:
        The link stress, 0 (no compression needed) to 1.
    """
    (low_bps, high_bps), (low_ms, high_ms) = _BANDWIDTH_RANGE_BPS, _DELAY_RANGE_MS
    bandwidth_stress = (high_bps - _clamp(bandwidth_bps, low_bps, high_bps)) / (high_bps - low_bps)
    delay_stress = (_clamp(delay_ms, low_ms, high_ms) - low_ms) / (high_ms - low_ms)
    return (bandwidth_stress + delay_stress) / 2


def rho_by_group(importance: Mapping[str, float], f: float) -> dict[str, float]:
    """ρ(y'_i) = ρ_min + (ρ_max − ρ_min) (1 − ω_i / max W) f (AFLSC, eq. 17), with ρ_min = 0 and ρ_max = 1.

    Under (17) the most important group stays at ρ_min on any link. As an extension f may rise to 2: the excess over 1
    raises all groups by the same amount, for links on which compressing the less important groups is not enough.

    Args:
        importance: ω by group, none below 0; only the ratios matter.
        f: link stress, 0 to 1 as in the paper, up to 2 beyond it.

    Raises:
        ValueError: no group, or an importance that is negative or not a number.
    """
    if not importance or not all(omega >= 0 for omega in importance.values()):
        raise ValueError(f"importance must be a number of at least 0 for each of one or more groups, got {importance}")
    max_importance = max(importance.values()) or 1.0
    paper_f, excess = min(f, 1.0), max(f - 1.0, 0.0)
    return {group: min((1 - omega / max_importance) * paper_f + excess, 1.0) for group, omega in importance.items()}


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
