"""The rate of every system at the error of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tests.bench.measures import mean_by_key
from tests.bench.rivals.clips import Figures
from tests.bench.rivals.systems import OURS, Result

Bound = Literal["none", "at_least", "at_most", "unknown"]
JOINT_ERRORS_MM = (3.0, 8.0)
"""Added joint errors at which rates are compared."""
MPJPE_SHARE = 0.05
"""Share by which the error against the truth may exceed that of the uncompressed labels."""
UNCODED = "uncompressed"
BOUND_WORDS: Mapping[str, str] = {"none": "", "at_least": "at least ", "at_most": "at most ", "unknown": "about "}
_OPPOSITE: Mapping[str, Bound] = {"at_least": "at_most", "at_most": "at_least"}
Rates = dict[str, float | str]


def equal_rate(curve: Sequence[tuple[float, float]], error: float) -> tuple[float, Bound]:
    """The bytes a frame at an error, interpolated on the settings (bytes, error) whose error no cheaper one has.

    If no setting has so small an error, or the cheapest one has, it is the rate of the nearest, and a bound.
    """
    points: list[tuple[float, float]] = []
    for point in sorted(curve):
        if not points or point[1] < points[-1][1]:
            points.append(point)
    if points[-1][1] > error:
        return points[-1][0], "at_least"
    if points[0][1] <= error:
        return points[0][0], "at_most"
    sizes, errors = np.array(points[::-1]).T
    return float(np.exp(np.interp(error, errors, np.log(sizes)))), "none"


@dataclass(frozen=True, eq=False)
class Comparison:
    """All settings of all systems, means over clips.

    Args:
        figures: setting → figures.
        family: setting → its system.
        uncoded: figures of the uncompressed labels.
    """

    figures: Mapping[str, Figures]
    family: Mapping[str, str]
    uncoded: Figures

    @classmethod
    def from_clips(cls, clips: Sequence[Sequence[Result]], uncoded: Sequence[Figures]) -> "Comparison":
        """The means of each setting's results, which are the same settings in every clip."""
        rows: dict[str, list[Figures]] = {}
        for results in clips:
            for result in results:
                rows.setdefault(result.setting, []).append(result.figures)
        means = {setting: mean_by_key(found) for setting, found in rows.items()}
        return cls(means, {result.setting: result.family for result in clips[0]}, mean_by_key(uncoded))

    def rate(self, family: str, key: str, error: float) -> tuple[float, Bound]:
        """See `equal_rate`."""
        own = [figures for setting, figures in self.figures.items() if self.family[setting] == family]
        return equal_rate([(each["bytes_per_frame"], each[key]) for each in own if np.isfinite(each[key])], error)


def criteria(comparison: Comparison) -> dict[str, tuple[str, float]]:
    """Criterion → key of an error and its value."""
    limits = {f"added joint error {error:g} mm": ("added_joint_error_mm", error) for error in JOINT_ERRORS_MM}
    limit = (1 + MPJPE_SHARE) * comparison.uncoded["mpjpe_mm"]
    return limits | {f"MPJPE within {100 * MPJPE_SHARE:g} %": ("mpjpe_mm", limit)}


def equal_rates(comparison: Comparison) -> dict[str, dict[str, Rates]]:
    """Criterion → system → `bytes_per_frame`, `bound`, `ratio` to ours, `ratio_bound`."""
    found: dict[str, dict[str, Rates]] = {}
    for criterion, (key, error) in criteria(comparison).items():
        ours, bound_of_ours = comparison.rate(OURS, key, error)
        found[criterion] = {}
        for family in dict.fromkeys(comparison.family.values()):
            rate, bound = comparison.rate(family, key, error)
            ratio = {"ratio": rate / ours, "ratio_bound": ratio_bound(bound, bound_of_ours)}
            found[criterion][family] = {"bytes_per_frame": rate, "bound": bound, **ratio}
    return found


def ratio_bound(rival: Bound, ours: Bound) -> Bound:
    """What is known of rival / ours if one of them, or both, are bounds."""
    if ours == "none":
        return rival
    return _OPPOSITE[ours] if rival in ("none", _OPPOSITE[ours]) else "unknown"
