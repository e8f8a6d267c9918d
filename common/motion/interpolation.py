"""What a person's labels say about any moment: between two of them, and beyond."""

from bisect import bisect_left
from collections.abc import Callable

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.motion.label_track import LabelTrack
from common.motion.steps import SLOW, between, moved

LabelsAt = Callable[[LabelTrack, float], FloatArray]
"""What a track says about a moment: labels (LABEL_SIZE,)."""


def interpolated(track: LabelTrack, at_s: float, beyond: LabelsAt) -> FloatArray:
    """Labels between two by the cubic of their velocities, which are those of parabolas through three labels.

    Args:
        beyond: what the track says of moments after the newest.
    """
    times_s, labels = track.times_s, track.labels
    if at_s >= times_s[-1]:
        return beyond(track, at_s)
    place = bisect_left(times_s, at_s)
    if place == 0:
        return np.asarray(labels[0])
    first = max(place - 2, 0)
    steps = [between(*labels[start : start + 2]) for start in range(first, min(place + 1, len(labels) - 1))]
    spans_s = np.diff(times_s[first : place + 2])
    here = place - 1 - first
    speeds = [step / span_s for step, span_s in zip(steps, spans_s, strict=True)]

    def speed(index: int) -> Float64Array:
        """Where two spans meet, or at the end of one."""
        if not 0 < index < len(speeds):
            return np.asarray(speeds[min(index, len(speeds) - 1)])
        one_s, other_s = spans_s[index - 1 : index + 1]
        return np.asarray((other_s * speeds[index - 1] + one_s * speeds[index]) / (one_s + other_s))

    span_s = float(spans_s[here])
    share = (at_s - float(times_s[place - 1])) / span_s
    value = share * share * (3 - 2 * share) * steps[here]
    value += span_s * share * (1 - share) * ((1 - share) * speed(here) - share * speed(here + 1))
    value[SLOW] = 0.0
    return moved(labels[place - 1], value)
