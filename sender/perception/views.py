"""The clock of a source's frames, and means over the two views in which perception sees a person by turns.

That is flip augmentation for half the price.  The errors of perception on a crop and on its mirror image differ by a
constant, nearly: a person who stands still would jump to and fro.  The mean of a frame and the last one in the other
view has none of that, but lags by half a step, which the velocity makes up for; it is taken between frames of one view,
and averaged.  With x_i what is seen in frame i, at the time t_i, and j and k the last frames before in the same view
and in the other one,

    v ← v + g ((x_i − x_j) / (t_i − t_j) − v),     mean_i = (x_i + x_k) / 2 + v (t_i − t_k) / 2
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
# What was seen longer ago in the other view says nothing, seconds.
_MOST_APART_S = 0.2


@dataclass(slots=True)
class ViewMean:
    """What was seen of one person in the last frame of each view.

    Args:
        last: the numbers, and the time of the frame.
        velocity: of the numbers, a second.
    """

    last: dict[View, tuple[FloatArray, float]] = field(default_factory=dict)
    velocity: FloatArray | None = None

    def add(self, view: View, values: FloatArray, now_s: float) -> FloatArray:
        """Takes a frame; returns what both views would show in it.

        Args:
            values: (N,) numbers that perception saw or that follow from it, such as a box.
            now_s: of the frame, later than of the last one.
        """
        if view == "both":
            mean, self.last = values, {}
        else:
            mean = self._mean(view, values, now_s)
        self.last[view] = values, now_s
        return mean

    def _mean(self, view: View, values: FloatArray, now_s: float) -> FloatArray:
        if view in self.last:
            first, first_s = self.last[view]
            velocity = (values - first) / np.float32(now_s - first_s)
            gain = np.float32(1 - math.exp(-(now_s - first_s) / 2 / _VELOCITY_S))
            self.velocity = velocity if self.velocity is None else self.velocity + gain * (velocity - self.velocity)
        before, before_s = self.last.get(OTHER[view], self.last.get("both", (values, -math.inf)))
        step_s = now_s - before_s
        if step_s > _MOST_APART_S:
            return values
        if OTHER[view] not in self.last:
            # One view alone would be off.
            return before if self.velocity is None else np.asarray(before + step_s * self.velocity, np.float32)
        middle = (values + before) / np.float32(2)
        return middle if self.velocity is None else np.asarray(middle + step_s / 2 * self.velocity, np.float32)


class ViewTurns:
    """Decides in which view people are seen.

    Args:
        live: whether the source is a camera. Its frames are rare when the machine is busy, and a second view of each
            would make them rarer.
    """

    def __init__(self, *, live: bool = False) -> None:
        self._live = live
        self._view: View = "plain"
        self._last_s: float | None = None

    def next_view(self, people: Sequence[ViewMean], time_s: float | None, *, keeps: bool = False) -> View:
        """How everybody in a frame is to be seen: in both views where somebody is new, and after a pause of a file.

        Args:
            people: what was seen of them.
            time_s: on the source's clock; None where it has none.
            keeps: as in the last frame.
        """
        last_s, self._last_s = self._last_s, time_s
        follows = time_s is not None and last_s is not None and 0.0 < time_s - last_s <= _TURN_S
        if keeps:
            return self._view
        if not all(person.last for person in people) or not (follows or self._live):
            return "both"
        self._view = OTHER[self._view] if follows else "plain"
        return self._view


USUAL_STEP_S: Final = 1 / 30
"""From one frame to the next where the source does not say."""


class FrameClock:
    """Seconds of the source's own time; never goes back.

    Attributes:
        now_s: from the first frame to the present one.
        step_s: from the frame before to the present one.
    """

    def __init__(self) -> None:
        self.now_s, self.step_s = 0.0, USUAL_STEP_S
        self._last_s: float | None = None
        self._began = False

    def tick(self, time_s: float | None) -> float:
        """Goes on to the next frame; returns how much later it is.

        Args:
            time_s: on the source's clock; where it is unknown or does not advance, the usual step passes.
        """
        step_s = 0.0 if time_s is None or self._last_s is None else time_s - self._last_s
        self.step_s, self._last_s = step_s if step_s > 0 else USUAL_STEP_S, time_s
        if self._began:
            self.now_s += self.step_s
        self._began = True
        return self.step_s
