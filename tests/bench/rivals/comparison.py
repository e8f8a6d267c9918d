"""Means over clips, and the rate of every system at the error of ours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tests.bench.measures import mean_by_key
from tests.bench.rivals.bodies import Figures
from tests.bench.rivals.systems import FAMILIES, OURS, Result

Bound = Literal["none", "at_least", "at_most"]
Curve = Sequence[tuple[float, float]]
"""Bytes a frame and error of several settings."""
JOINT_ERRORS_MM = (3.0, 8.0)
"""Added joint errors at which rates are compared."""
MPJPE_SHARE = 0.05
"""Share by which the error against the truth may exceed that of the uncompressed labels."""
UNCODED = "uncompressed"
PACKET_BYTES, ANSWER_BYTES, SEGMENT_BYTES = 52, 13, 1148
"""Of a packet of frames over QUIC, encrypted: what it has beside so many bytes of a frame, and what answers it.

From the IP header on, as `tests.bench.wire --quic` counts them; one answer is for five packets.
"""
Rates = dict[str, float | str | None]


@dataclass(frozen=True, slots=True)
class EqualRate:
    """The rate at which a system has a given error.

    Args:
        frame_bytes: mean bytes a frame.
        bound: `at_least` if no setting has so small an error, `at_most` if the cheapest one has.
    """

    frame_bytes: float
    bound: Bound = "none"


def equal_rate(curve: Curve, error: float) -> EqualRate:
    """The rate at an error, interpolated on the curve's frontier, or of the setting nearest to it."""
    points = frontier(curve)
    if points[-1][1] > error:
        return EqualRate(points[-1][0], "at_least")
    if points[0][1] <= error:
        return EqualRate(points[0][0], "at_most")
    sizes, errors = np.array(points[::-1]).T
    return EqualRate(float(np.exp(np.interp(error, errors, np.log(sizes)))))


def to_receiver_bytes(frame_bytes: float) -> float:
    """A frame on the link, headers and encryption included."""
    return frame_bytes + PACKET_BYTES * math.ceil(frame_bytes / SEGMENT_BYTES)


def both_ways_bytes(frame_bytes: float) -> float:
    """A frame on the link with what answers it: the same rule for labels, pictures and meshes."""
    return to_receiver_bytes(frame_bytes) + ANSWER_BYTES * math.ceil(frame_bytes / SEGMENT_BYTES)


def frontier(curve: Curve) -> list[tuple[float, float]]:
    """The points whose error no cheaper point has, the cheapest first: errors fall strictly."""
    points: list[tuple[float, float]] = []
    for point in sorted(curve):
        if not points or point[1] < points[-1][1]:
            points.append(point)
    return points


@dataclass(frozen=True, eq=False)
class Comparison:
    """All settings of all systems, means over clips.

    Args:
        figures: setting → figures.
        family: setting → its system.
        uncoded: figures of the uncompressed labels.
        sizes: setting → bytes of the frames of the first clip.
    """

    figures: Mapping[str, Figures]
    family: Mapping[str, str]
    uncoded: Figures
    sizes: Mapping[str, tuple[int, ...]]

    @classmethod
    def from_clips(cls, clips: Sequence[Sequence[Result]], uncoded: Sequence[Figures]) -> "Comparison":
        """The means of each setting's results, which are the same settings in every clip."""
        rows: dict[str, list[Figures]] = {}
        for results in clips:
            for result in results:
                rows.setdefault(result.setting, []).append(result.figures)
        return cls(
            {setting: mean_by_key(found) for setting, found in rows.items()},
            {result.setting: result.family for result in clips[0]},
            mean_by_key(uncoded),
            {result.setting: result.sizes for result in clips[0]},
        )

    def settings(self, *families: str) -> list[str]:
        """The settings of some systems."""
        return [setting for setting, family in self.family.items() if family in families]

    def rate(self, family: str, key: str, error: float) -> EqualRate | None:
        """The rate of a system at an error; None if it did not run."""
        curve = [
            (self.figures[setting]["bytes_per_frame"], self.figures[setting][key]) for setting in self.settings(family)
        ]
        finite = [point for point in curve if np.isfinite(point).all()]
        return equal_rate(finite, error) if finite else None

    @property
    def families(self) -> list[str]:
        """The systems that ran, in order."""
        return [family for family in FAMILIES if family in self.family.values()]


def criteria(comparison: Comparison) -> dict[str, tuple[str, float]]:
    """Criterion → key of an error and its value."""
    limits = {f"added joint error {error:g} mm": ("added_joint_error_mm", error) for error in JOINT_ERRORS_MM}
    limit = (1 + MPJPE_SHARE) * comparison.uncoded["mpjpe_mm"]
    return limits | {f"MPJPE within {100 * MPJPE_SHARE:g} %": ("mpjpe_mm", limit)}


def equal_rates(comparison: Comparison) -> dict[str, dict[str, Rates]]:
    """Criterion → system → `bytes_per_frame`, `bound`, `ratio` to ours, `ratio_bound`; `link_…` with headers."""
    found: dict[str, dict[str, Rates]] = {}
    for criterion, (key, error) in criteria(comparison).items():
        ours = comparison.rate(OURS, key, error)
        found[criterion] = {}
        for family in comparison.families:
            rate = comparison.rate(family, key, error)
            if rate is None or ours is None:
                continue
            found[criterion][family] = {
                "bytes_per_frame": rate.frame_bytes,
                "bound": rate.bound,
                "ratio": rate.frame_bytes / ours.frame_bytes,
                "ratio_bound": ratio_bound(rate.bound, ours.bound),
                "link_bytes_per_frame": both_ways_bytes(rate.frame_bytes),
                "link_ratio": both_ways_bytes(rate.frame_bytes) / both_ways_bytes(ours.frame_bytes),
            }
    return found


def ratio_bound(rival: Bound, ours: Bound) -> str:
    """What is known of rival / ours if one of them, or both, are bounds."""
    if ours == "none":
        return rival
    opposite = {"at_least": "at_most", "at_most": "at_least"}[ours]
    return opposite if rival in ("none", opposite) else "unknown"


BOUND_WORDS: Mapping[str, str] = {"none": "", "at_least": "at least ", "at_most": "at most ", "unknown": "about "}
