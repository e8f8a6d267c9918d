"""The times of a session's frames, and when people are there.

Shapes: N frames of a session, K frames that show a person.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from common.arrays import Float64Array, IntArray
from common.clock import BridgedTimes

GAP_S = 0.25
"""A person whom no frame shows for longer was away: what is before and behind does not belong together."""

Interval = tuple[float, float]
"""From, and until: seconds; until infinity, if nothing ends it."""

# A camera or a link that gives no frames for so long, and for so many usual intervals, shows nobody.
_SILENT_S, _SILENT_INTERVALS = 1.0, 3
_MIN_STEP_S = 1e-3
_FALLBACK_STEP_S = 1 / 30
# Share of the median interval within which others are usual.
_USUAL = 0.5


@dataclass(frozen=True, slots=True)
class MediaTimes:
    """When frames were captured.

    Args:
        times_s: (N,) since the first one, strictly increasing.
        usual_s: the median time from one to the next.
        set_s: by how many seconds the clock was set, each time.
    """

    times_s: Float64Array
    usual_s: float = _FALLBACK_STEP_S
    set_s: Sequence[float] = ()


def media_times(captured_at: Iterable[float]) -> MediaTimes:
    """The times of frames, in order, by their times of capture.

    Frames follow each other at the usual interval where the sender's clock was set, or stood still.

    Args:
        captured_at: (N,) seconds since the epoch.
    """
    bridged = BridgedTimes(_FALLBACK_STEP_S)
    pairs = (each for captured_s in captured_at for each in (bridged.following(captured_s), bridged.shift_s))
    steps_s, shifts_s = np.diff(np.fromiter(pairs, np.float64).reshape(-1, 2), axis=0).T
    usual = (steps_s >= _MIN_STEP_S) & (shifts_s == 0)
    usual_s = float(np.median(steps_s[usual])) if usual.any() else _FALLBACK_STEP_S
    times_s = np.concatenate([[0.0], np.cumsum(np.where(usual, steps_s, usual_s))])
    return MediaTimes(times_s, usual_s, (-shifts_s[shifts_s != 0]).tolist())


def frame_rate(times_s: Float64Array) -> float:
    """Frames a second by the mean of usual intervals, a whole number from 1 on; 30 for a single frame.

    Args:
        times_s: (N,) strictly increasing.
    """
    if len(times_s) < 2:
        return 1 / _FALLBACK_STEP_S
    steps_s = np.sort(np.diff(times_s))
    # Times of capture are in milliseconds: of 60 frames a second, most intervals are 17 ms.
    rate = 1 / float(steps_s[np.abs(steps_s / steps_s[len(steps_s) // 2] - 1) <= _USUAL].mean())
    return float(round(rate)) if rate >= 1 else rate


def presence(times_s: Float64Array, rows: IntArray, usual_s: float) -> list[Interval]:
    """When a person is there, in order.

    Args:
        times_s: (N,) of all frames.
        rows: (K,) of those that show the person.
        usual_s: from one frame to the next.
    """
    steps_s, silent_s = np.diff(times_s[rows]), max(_SILENT_S, _SILENT_INTERVALS * usual_s)
    away = np.flatnonzero(((np.diff(rows) > 1) & (steps_s > GAP_S)) | (steps_s > silent_s))
    firsts, lasts = rows[[0, *(away + 1)]].tolist(), rows[[*away, -1]].tolist()

    def end_s(last: int) -> float:
        if last == len(times_s) - 1:
            return math.inf
        following_s = float(times_s[last + 1])
        return following_s if following_s - times_s[last] <= silent_s else float(times_s[last]) + usual_s

    return [(float(times_s[first]) if first else 0.0, end_s(last)) for first, last in zip(firsts, lasts, strict=True)]
