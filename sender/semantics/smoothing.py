"""Labels over time: facing, a steady shape, One Euro filters, and a fixed lag for those who may wait.

Facing: a frame in which nothing tells front from back has two explanations, half a turn apart, and perception jumps
between them, or halfway.  Nobody turns so fast: a pose that is turned too far from the one that is shown waits until
the frames agree on it.

`shape`, which does not change, is the mean over seconds, and the distance goes with it: whoever is taken for larger is
taken to be farther away.  On rendered clips of the validation split, the mean moves a fifth as much from frame to
frame, and the joints are as exact.

The rest is filtered (One Euro, Casiez et al., CHI 2012) per person and group: by a low-pass filter whose cutoff
frequency rises with speed, so that there is no jitter at rest and little lag in motion.

    f = f_min + β |ẋ|,   x̂ += (1 − e^(−2πfΔt)) (x − x̂)

Before, x is moved towards the last x where a group moves faster than anybody does.  Each group has its own speed, so
that a moving arm does not add jitter to the legs.  Of the `root` group, orientation, position in the image and distance
are filtered apart: a body that lags behind the picture is seen at once, also when only the camera moves, whereas the
distance from one frame is uncertain.

A filter lags behind what moves.  The same filter, run backwards over its own output from later frames, leads by as
much: the two undo each other, and noise is filtered twice.  Where all frames wait, both may lag twice as much: on
rendered clips of the training split, less than half of the acceleration's error remains, two thirds of the slide of
feet that stand, and joints are 1.5 mm closer.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import numpy as np

from common.arrays import FloatArray
from common.body.label_space import TRANSLATION_SCALE
from common.labels import GROUP_NAMES, LABEL_SIZE, OPTIONAL_GROUPS, group_slices
from sender.perception.crop import View, ViewMean
from sender.perception.track import HELD_S, Memory, TrackedPerson
from sender.semantics.bodies import CROSS, orientation

_ROOT = group_slices()["root"]
_ORIENTATION = slice(_ROOT.start, _ROOT.start + 6)
# A pose may be turned by so much from the one that is shown, and by so much more a second: radians. Less holds people
# back who turn around in rendered clips of the training split.
_MOST_NOISE, _MOST_SPEED = np.radians(45.0), np.radians(360.0)
# Two poses that are turned by less from each other agree, radians; so long they must agree, seconds.
_AGREED, _AGREED_S = np.radians(60.0), 0.2
# Facing the camera: where the orientation is missing.
_UPRIGHT = np.array([1, 0, 0, 0, 1, 0], np.float32)


class Facing(Enum):
    """What a frame says of the way a person faces."""

    FOLLOWS = auto()
    WAITS = auto()  # it is turned too far from what is shown, and is not believed yet
    TURNED = auto()  # it is turned too far, as were all frames before it for long enough


def turn_between(first: FloatArray, second: FloatArray) -> float:
    """Angle between the orientations of two label vectors (LABEL_SIZE,), radians."""
    entries = np.stack([first, second])[:, _ORIENTATION]
    one, other = orientation(np.where(entries.any(axis=1, keepdims=True), entries, _UPRIGHT), CROSS)
    cosine = (float((one * other).sum()) - 1) / 2
    return math.acos(min(max(cosine, -1.0), 1.0))


_SHAPE = group_slices()["shape"]
# Seconds that the mean covers: a tracker may give an identity to somebody else.
_SHAPE_S = 5.0
# The logarithm of a body's size by the first entry of `shape`, and the share of it that the distance follows on
# rendered clips of the training split.
_LOG_SIZE, _SIZE_SHARE = -0.097, 0.6
_DISTANCE_BY_SIZE = np.float32(_SIZE_SHARE * _LOG_SIZE / TRANSLATION_SCALE[2])


_IMAGE_POSITION = slice(_ORIENTATION.stop, _ORIENTATION.stop + 2)
_DISTANT = slice(_IMAGE_POSITION.stop, _ROOT.stop)
# Region colours are averaged in `sender.semantics.semantics_stage`, `head_shape` in `sender.face`.
_UNFILTERED = ("root", "shape", "appearance", "surface", "head_shape", *OPTIONAL_GROUPS)
_SMOOTHED = (
    _ORIENTATION,
    _IMAGE_POSITION,
    _DISTANT,
    *(group_slices()[name] for name in GROUP_NAMES if name not in _UNFILTERED),
)
# What turns with a person who is seen from the other side.
_POSE = np.concatenate([np.r_[group] for group in _SMOOTHED if group not in (_IMAGE_POSITION, _DISTANT)])
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
_MOST_SPEEDS[[_SMOOTHED.index(_IMAGE_POSITION), _SMOOTHED.index(_DISTANT)]] = np.inf
_TINY = np.float32(1e-9)
# The smoothed entries and the group of each; (G, LABEL_SIZE) makes the groups' means.
_ENTRIES = np.concatenate([np.r_[group] for group in _SMOOTHED])
_GROUP_OF_ENTRY = np.repeat(np.arange(len(_SMOOTHED)), [group.stop - group.start for group in _SMOOTHED])
_MEANS = np.zeros((len(_SMOOTHED), LABEL_SIZE), np.float32)
for _row, _group in zip(_MEANS, _SMOOTHED, strict=True):
    _row[_group] = 1 / (_group.stop - _group.start)


@dataclass(slots=True)
class Filtered:
    """What a filter remembers of one person: nothing before their first frame.

    Args:
        value, speed, last: (LABEL_SIZE,) of the last frame: what was shown but for the distance, its speed, σ a second,
            and what was to be filtered.
        distance: the one that was shown.
        other: a pose that is turned away from the one that is shown, and since when frames have shown it.
        frames: how many there were in a row.
    """

    time_s: float = -math.inf
    other: tuple[FloatArray, float] | None = None
    views: ViewMean = field(default_factory=ViewMean)
    value: FloatArray = field(default_factory=lambda: np.zeros(LABEL_SIZE, np.float32))
    speed: FloatArray = field(default_factory=lambda: np.zeros(LABEL_SIZE, np.float32))
    last: FloatArray = field(default_factory=lambda: np.zeros(LABEL_SIZE, np.float32))
    distance: FloatArray = field(default_factory=lambda: np.zeros(1, np.float32))
    shape: FloatArray = field(default_factory=lambda: np.zeros(_SHAPE.stop - _SHAPE.start, np.float32))
    frames: int = 0

    def begin(self, time_s: float, labels: FloatArray) -> None:
        """Takes the first labels, or those after a gap."""
        self.other, self.views, self.frames = None, ViewMean(), 1
        self.time_s, self.value, self.speed, self.last = time_s, labels.copy(), np.zeros_like(labels), labels.copy()
        self.distance, self.shape = labels[_DISTANT].copy(), labels[_SHAPE].copy()

    def judge(self, labels: FloatArray, time_s: float) -> Facing:
        """Whether the next labels (LABEL_SIZE,), in the camera space of their frame, follow those that are shown."""
        if turn_between(self.value, labels) <= _MOST_NOISE + _MOST_SPEED * (time_s - self.time_s):
            self.other = None
            return Facing.FOLLOWS
        agrees = self.other is not None and turn_between(self.other[0], labels) <= _AGREED
        since_s = self.other[1] if self.other is not None and agrees else time_s
        self.other = (labels.copy(), since_s) if time_s - since_s < _AGREED_S else None
        return Facing.WAITS if self.other else Facing.TURNED

    def steady(self, labels: FloatArray, step_s: float) -> FloatArray:
        """The next labels with the mean shape, and the distance that goes with it."""
        self.frames += 1
        share = np.float32(max(1 / self.frames, min(step_s / _SHAPE_S, 1.0)))
        self.shape = self.shape + share * (labels[_SHAPE] - self.shape)
        steady = labels.copy()
        steady[_SHAPE] = self.shape
        steady[_DISTANT] -= _DISTANCE_BY_SIZE * (labels[_SHAPE][0] - self.shape[0])
        return steady

    def limit(self, labels: FloatArray, step_s: float) -> None:
        """Lets no group of the labels of the next frame, `step_s` later, move too far from those of the last one."""
        last = self.last[_ENTRIES]
        moved = labels - self.last
        shares = np.minimum(1, _MOST_SPEEDS * np.float32(step_s) / (np.sqrt(_MEANS @ moved**2) + _TINY))
        labels[_ENTRIES] = last + shares[_GROUP_OF_ENTRY] * (labels[_ENTRIES] - last)


class LabelSmoother:
    """Filters labels.

    Args:
        strength: above 0; a stronger filter lets less through at rest.
        speed_gain: β of most groups; a smaller one lags more.
    """

    def __init__(self, strength: float = 1.0, speed_gain: float = SPEED_GAIN) -> None:
        self._speed_gains = np.full(len(_SMOOTHED), speed_gain, np.float32)
        self._speed_gains[_SMOOTHED.index(_IMAGE_POSITION)] = _POSITION_SPEED_GAIN
        self._speed_gains[_SMOOTHED.index(_DISTANT)] *= _DISTANCE_SHARE
        least_hz = [_POSITION_MIN_CUTOFF_HZ if group == _IMAGE_POSITION else _MIN_CUTOFF_HZ for group in _SMOOTHED]
        self._min_cutoff_hz = np.array(least_hz, np.float32) / np.float32(strength)
        self._min_cutoff_hz[_SMOOTHED.index(_DISTANT)] *= _DISTANCE_SHARE

    def smooth(self, person: Filtered, time_s: float, labels: FloatArray, view: View = "both") -> FloatArray:
        """One person's labels (LABEL_SIZE,), smoothed by the earlier ones; `appearance` passes unchanged.

        Args:
            time_s: of the frame, on the source's clock; the filter starts again if it does not advance.
            view: of the person that the labels are from.

        Raises:
            ValueError: `labels` is not a whole label vector.
        """
        if labels.shape != (LABEL_SIZE,):
            raise ValueError(f"expected {LABEL_SIZE} label entries, got {labels.shape}")
        if not 0.0 < time_s - person.time_s <= HELD_S:
            person.begin(time_s, labels)
            return person.views.add(view, labels, time_s)
        labels, step_s = labels.copy(), time_s - person.time_s
        facing = person.judge(labels, time_s)
        if facing is Facing.TURNED:
            # At rest: there is nothing between two sides of a person.
            person.value[_POSE], person.speed[_POSE], person.last = labels[_POSE], 0, labels
            person.views = ViewMean()
        elif facing is Facing.WAITS:
            labels[_POSE] = person.value[_POSE]
        person.limit(labels, step_s)
        labels = person.steady(person.views.add(view, labels, time_s), step_s)
        speed = (labels - person.value) / np.float32(step_s)
        person.speed += _gain(_SPEED_CUTOFF_HZ, step_s) * (speed - person.speed)
        value, speeds = labels.copy(), np.asarray(np.sqrt(_MEANS @ person.speed**2))
        gains = _gain(self._min_cutoff_hz + self._speed_gains * speeds, step_s)[_GROUP_OF_ENTRY]
        before = person.value[_ENTRIES]
        value[_ENTRIES] = before + gains * (labels[_ENTRIES] - before)
        person.time_s, person.value, person.last = time_s, value, labels
        person.distance = person.distance + _gain(_DISTANCE_CUTOFF_HZ, step_s) * (value[_DISTANT] - person.distance)
        smoothed = value.copy()
        smoothed[_DISTANT] = person.distance
        return smoothed


def _gain(cutoff_hz: float | FloatArray, step_s: float) -> FloatArray:
    """Gains of first-order low-pass filters for a time step."""
    return np.asarray(1.0 - np.exp(-2.0 * np.pi * step_s * cutoff_hz), np.float32)


LATER_S: Final = 0.27
"""Frames that are later by more change nothing."""
# Of `SPEED_GAIN`, where frames wait for later ones.
_WAITING_SHARE = 0.5


@dataclass(slots=True)
class _Person:
    """What the filter remembers, and the times and labels (LABEL_SIZE,) of filtered frames that wait."""

    forwards: Filtered = field(default_factory=Filtered)
    waiting: deque[tuple[float, FloatArray]] = field(default_factory=deque)


class FixedLagSmoother:
    """Filters the labels of each person.

    Args:
        strength: as of `LabelSmoother`.
        waits: whether labels are asked for when those that are `LATER_S` later are known.
    """

    def __init__(self, strength: float, *, waits: bool = False) -> None:
        gain = SPEED_GAIN * (_WAITING_SHARE if waits else 1.0)
        self._forwards, self._backwards = (LabelSmoother(strength, gain) for _ in range(2))
        self._people = Memory(_Person)

    def add(self, person: TrackedPerson, time_s: float, labels: FloatArray, view: View = "both") -> FloatArray:
        """Takes one person's labels in the next frame, and gives them filtered so far; arguments and result as of
        `LabelSmoother.smooth`."""
        known = self._people.of(person)
        filtered = self._forwards.smooth(known.forwards, time_s, labels, view)
        known.waiting.append((time_s, filtered))
        return filtered

    def next(self, person: TrackedPerson) -> FloatArray:
        """One person's labels (LABEL_SIZE,) in the oldest frame that is still here, which is forgotten.

        Raises:
            IndexError: there is none.
        """
        waiting, backwards = self._people.of(person).waiting, Filtered()
        last_s = waiting[0][0] + LATER_S
        for time_s, filtered in reversed([each for each in waiting if each[0] <= last_s]):
            labels = self._backwards.smooth(backwards, -time_s, filtered)
        waiting.popleft()
        return labels
