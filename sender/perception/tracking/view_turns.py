"""Means over a person's two views, which perception sees by turns in a stream: flip augmentation for half the price.

The errors of perception on a crop and on its mirror image differ by a constant, nearly: a person who stands still would
jump to and fro.  The mean of two successive frames has none of that, but lags by half a step, which the velocity makes
up for; it is taken between frames of one view, and averaged.  With x_i what is seen in frame i, at the time t_i,

    v ← v + g ((x_i − x_{i−2}) / (t_i − t_{i−2}) − v),     mean_i = (x_i + x_{i−1}) / 2 + v (t_i − t_{i−1}) / 2
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from common.arrays import FloatArray

View = Literal["both", "plain", "mirrored"]
"""How the network sees a crop: as it is, as its mirror image, or both, in twice the time."""

OTHER: Final[dict[View, View]] = {"both": "both", "plain": "mirrored", "mirrored": "plain"}

# Frames that follow each other within this time are seen in one view, seconds.
_TURN_S = 0.1
# Time constant of the velocity, g = 0.5 at 30 frames a second: joints are as exact as with both views in each frame.
_VELOCITY_S = 0.048


@dataclass(slots=True)
class _Seen:
    """Of one person: the last two frames with their times, newest last, and the velocity, a second."""

    last: list[tuple[View, FloatArray, float]] = field(default_factory=list)
    velocity: FloatArray | None = None


class ViewTurns:
    """Keeps what was seen of each identity in the last two frames.

    Args:
        live: whether the source is a camera. Its frames are rare when the machine is busy, and a second view of each
            would make them rarer.
    """

    def __init__(self, *, live: bool = False) -> None:
        self._live = live
        self._people: dict[int, _Seen] = {}
        self._view: View = "plain"
        self._last_s: float | None = None

    def next_view(self, identities: Sequence[int], time_s: float | None) -> View:
        """How everybody in a frame is to be seen: in both views where somebody is new, and after a pause of a file.

        Args:
            time_s: on the source's clock; None where it has none.
        """
        last_s, self._last_s = self._last_s, time_s
        follows = time_s is not None and last_s is not None and 0.0 < time_s - last_s <= _TURN_S
        if any(identity not in self._people for identity in identities) or not (follows or self._live):
            return "both"
        self._view = OTHER[self._view] if follows else "plain"
        return self._view

    def forget(self, identity: int) -> None:
        """Forgets one person, who was not seen for a while."""
        self._people.pop(identity, None)

    def mean(self, identity: int, view: View, values: FloatArray, now_s: float) -> FloatArray:
        """What both views would show in this frame.

        Args:
            values: (N,) numbers that perception saw or that follow from it, such as a box.
            now_s: of the frame, later than of the last one.
        """
        seen = self._people.setdefault(identity, _Seen())
        mean = values if view == "both" else self._mean(seen, view, values, now_s)
        seen.last = [*seen.last[-1:], (view, values, now_s)]
        return mean

    def _mean(self, seen: _Seen, view: View, values: FloatArray, now_s: float) -> FloatArray:
        if not seen.last or seen.last[-1][0] == view:
            return values
        view_before, before, before_s = seen.last[-1]
        step_s = now_s - before_s
        if view_before == "both":
            # One view alone would be off.
            return before if seen.velocity is None else np.asarray(before + step_s * seen.velocity, np.float32)
        view_first, first, first_s = seen.last[0]
        if view_first == view:
            velocity = (values - first) / np.float32(now_s - first_s)
            gain = np.float32(1 - math.exp(-step_s / _VELOCITY_S))
            seen.velocity = velocity if seen.velocity is None else seen.velocity + gain * (velocity - seen.velocity)
        middle = (values + before) / np.float32(2)
        return middle if seen.velocity is None else np.asarray(middle + step_s / 2 * seen.velocity, np.float32)
