"""Smooths labels over time with a One Euro filter (Casiez et al., CHI 2012) per person and group.

A low-pass filter whose cutoff frequency rises with speed: no jitter at rest, little lag in motion.

    f = f_min + β |ẋ|,   x̂ += (1 − e^(−2πfΔt)) (x − x̂)

Before, x is moved towards the last x where a group moves faster than anybody does.

Each group has its own speed, so that a moving arm does not add jitter to the legs.  Of the `root` group, orientation,
position in the image and distance are filtered apart: a body that lags behind the picture is seen at once, also when
only the camera moves, whereas the distance from one frame is uncertain.  `shape`, which does not change, is averaged
(`sender.semantics.over_time.steady_shape`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from common.arrays import FloatArray
from common.labels import GROUP_NAMES, LABEL_SIZE, OPTIONAL_GROUPS, group_slices
from sender.perception.track import HELD_S
from sender.perception.views import View, ViewMean
from sender.semantics.over_time.facing import Facing, FacingResolver
from sender.semantics.over_time.steady_shape import SteadyShape

_ROOT = group_slices()["root"]
_ORIENTATION = slice(_ROOT.start, _ROOT.start + 6)
_IMAGE_POSITION = slice(_ORIENTATION.stop, _ORIENTATION.stop + 2)
_DISTANCE = slice(_IMAGE_POSITION.stop, _ROOT.stop)
# Region colours are averaged in `sender.semantics.region_colours`, `surface` in `sender.attributes`, `head_shape` in
# `sender.face`.
_UNFILTERED = ("root", "shape", "appearance", "surface", "head_shape", *OPTIONAL_GROUPS)
_SMOOTHED = (
    _ORIENTATION,
    _IMAGE_POSITION,
    _DISTANCE,
    *(group_slices()[name] for name in GROUP_NAMES if name not in _UNFILTERED),
)
# What turns with a person who is seen from the other side.
_POSE = np.concatenate([np.r_[group] for group in _SMOOTHED if group not in (_IMAGE_POSITION, _DISTANCE)])
_SPEED_CUTOFF_HZ = 1.0
# f_min, the cutoff frequency at rest.
_MIN_CUTOFF_HZ = 0.4
SPEED_GAIN: Final = 1.2
"""β, hertz per standard deviation a second: by the jitter of rendered clips of the training split."""
# Both of the position in the image, which must follow a camera that pans.
_POSITION_MIN_CUTOFF_HZ = 1.0
_POSITION_SPEED_GAIN = 10.0
# The distance's cutoff frequency over that of the other groups: one frame tells little of it.
_DISTANCE_SHARE = 0.5
# The distance is low-pass filtered once more: its acceleration is half as large, and its error the same.
_DISTANCE_CUTOFF_HZ = 2.5
# Standard deviations a second, root mean square: nobody's limbs move faster in recorded motions, but some errors do.
_MOST_SPEEDS = np.full(len(_SMOOTHED), 20.0, np.float32)
_MOST_SPEEDS[[_SMOOTHED.index(_IMAGE_POSITION), _SMOOTHED.index(_DISTANCE)]] = np.inf
_TINY = np.float32(1e-9)
# The smoothed entries and the group of each; (G, LABEL_SIZE) makes the groups' means.
_ENTRIES = np.concatenate([np.r_[group] for group in _SMOOTHED])
_GROUP_OF_ENTRY = np.repeat(np.arange(len(_SMOOTHED)), [group.stop - group.start for group in _SMOOTHED])
_MEANS = np.zeros((len(_SMOOTHED), LABEL_SIZE), np.float32)
for _row, _group in zip(_MEANS, _SMOOTHED, strict=True):
    _row[_group] = 1 / (_group.stop - _group.start)


@dataclass(slots=True)
class _FilterState:
    facing: FacingResolver
    views: ViewMean
    time_s: float
    value: FloatArray
    speed: FloatArray
    last: FloatArray
    distance: FloatArray
    shape: SteadyShape

    def limit(self, labels: FloatArray, step_s: float) -> None:
        """Lets no group of the labels of the next frame, `step_s` later, move too far from those of the last one."""
        last = self.last[_ENTRIES]
        moved = labels - self.last
        shares = np.minimum(1, _MOST_SPEEDS * np.float32(step_s) / (np.sqrt(_MEANS @ moved**2) + _TINY))
        labels[_ENTRIES] = last + shares[_GROUP_OF_ENTRY] * (labels[_ENTRIES] - last)

    def add(self, labels: FloatArray, step_s: float) -> None:
        """Updates the speed by the next labels, `step_s` later."""
        speed = (labels - self.value) / np.float32(step_s)
        self.speed += _gain(_SPEED_CUTOFF_HZ, step_s) * (speed - self.speed)
        self.last = labels

    def turn(self, labels: FloatArray) -> None:
        """Goes on with the pose of the next labels, at rest: there is nothing between two sides of a person."""
        self.value[_POSE], self.speed[_POSE], self.last = labels[_POSE], 0, labels

    def speeds(self) -> FloatArray:
        """(G,) root mean square of each group's speed, σ a second."""
        return np.asarray(np.sqrt(_MEANS @ self.speed**2))


@dataclass(slots=True)
class Filtered:
    """What a filter remembers of one person: nothing before their first frame."""

    state: _FilterState | None = None


class LabelSmoother:
    """Filters labels.

    Args:
        strength: above 0; a stronger filter lets less through at rest.
        speed_gain: β of most groups; a smaller one lags more.
    """

    def __init__(self, strength: float = 1.0, speed_gain: float = SPEED_GAIN) -> None:
        self._speed_gains = np.full(len(_SMOOTHED), speed_gain, np.float32)
        self._speed_gains[_SMOOTHED.index(_IMAGE_POSITION)] = _POSITION_SPEED_GAIN
        self._speed_gains[_SMOOTHED.index(_DISTANCE)] *= _DISTANCE_SHARE
        least_hz = [_POSITION_MIN_CUTOFF_HZ if group == _IMAGE_POSITION else _MIN_CUTOFF_HZ for group in _SMOOTHED]
        self._min_cutoff_hz = np.array(least_hz, np.float32) / np.float32(strength)
        self._min_cutoff_hz[_SMOOTHED.index(_DISTANCE)] *= _DISTANCE_SHARE

    def smooth(self, person: Filtered, time_s: float, labels: FloatArray, view: View = "both") -> FloatArray:
        """One person's labels (LABEL_SIZE,), smoothed by the earlier ones; `appearance` and `surface` pass unchanged.

        Args:
            time_s: of the frame, on the source's clock; the filter starts again if it does not advance.
            view: of the person that the labels are from.

        Raises:
            ValueError: `labels` is not a whole label vector.
        """
        if labels.shape != (LABEL_SIZE,):
            raise ValueError(f"expected {LABEL_SIZE} label entries, got {labels.shape}")
        state = person.state
        if state is None or not 0.0 < time_s - state.time_s <= HELD_S:
            speed, shape, views = np.zeros_like(labels), SteadyShape(), ViewMean()
            shape.steady(labels, time_s)
            value, last, distance = labels.copy(), labels.copy(), labels[_DISTANCE].copy()
            person.state = _FilterState(FacingResolver(), views, time_s, value, speed, last, distance, shape)
            return views.add(view, labels, time_s)
        labels, step_s = labels.copy(), time_s - state.time_s
        facing = state.facing.judge(time_s, labels, state.value, state.time_s)
        if facing is Facing.TURNED:
            state.turn(labels)
            state.views = ViewMean()
        elif facing is Facing.WAITS:
            labels[_POSE] = state.value[_POSE]
        state.limit(labels, step_s)
        labels = state.shape.steady(state.views.add(view, labels, time_s), time_s)
        state.add(labels, step_s)
        value = labels.copy()
        gains = _gain(self._min_cutoff_hz + self._speed_gains * state.speeds(), step_s)[_GROUP_OF_ENTRY]
        before = state.value[_ENTRIES]
        value[_ENTRIES] = before + gains * (labels[_ENTRIES] - before)
        state.time_s, state.value = time_s, value
        state.distance = state.distance + _gain(_DISTANCE_CUTOFF_HZ, step_s) * (value[_DISTANCE] - state.distance)
        smoothed = value.copy()
        smoothed[_DISTANCE] = state.distance
        return smoothed


def _gain(cutoff_hz: float | FloatArray, step_s: float) -> FloatArray:
    """Gains of first-order low-pass filters for a time step."""
    return np.asarray(1.0 - np.exp(-2.0 * np.pi * step_s * cutoff_hz), np.float32)
