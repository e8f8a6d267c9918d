"""Means over a person's two views, which perception sees by turns in a stream: flip augmentation for half the price.

The errors of perception on a crop and on its mirror image differ by a constant, nearly: a person who stands still would
jump to and fro.  The mean of two successive frames has none of that, but lags by half a frame, which the velocity makes
up for; it is taken between frames of one view, and averaged.  With x_t what is seen in frame t,

    h ← h + g ((x_t − x_{t−2}) / 4 − h),     mean_t = (x_t + x_{t−1}) / 2 + h
"""

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
# Share g by which the velocity follows the newest frames: joints are as exact as with both views in each frame.
_GAIN = np.float32(0.5)


@dataclass(slots=True)
class _Seen:
    """Of one person: the last two frames, newest last, and the movement h in half a frame."""

    last: list[tuple[View, FloatArray]] = field(default_factory=list)
    half_step: FloatArray | None = None


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

    def mean(self, identity: int, view: View, values: FloatArray) -> FloatArray:
        """What both views would show in this frame.

        Args:
            values: (N,) numbers that perception saw or that follow from it, such as a box.
        """
        seen = self._people.setdefault(identity, _Seen())
        mean = values if view == "both" else self._mean(seen, view, values)
        seen.last = [*seen.last[-1:], (view, values)]
        return mean

    def _mean(self, seen: _Seen, view: View, values: FloatArray) -> FloatArray:
        if not seen.last or seen.last[-1][0] == view:
            return values
        view_before, before = seen.last[-1]
        if view_before == "both":
            # One view alone would be off.
            return before if seen.half_step is None else before + 2 * seen.half_step
        if seen.last[0][0] == view:
            half_step = (values - seen.last[0][1]) / np.float32(4)
            seen.half_step = (
                half_step if seen.half_step is None else seen.half_step + _GAIN * (half_step - seen.half_step)
            )
        middle = (values + before) / np.float32(2)
        return middle if seen.half_step is None else np.asarray(middle + seen.half_step, np.float32)
