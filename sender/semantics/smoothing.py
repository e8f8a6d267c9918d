"""Smooths labels over time with a One Euro filter (Casiez et al., CHI 2012) per identity and group.

A low-pass filter whose cutoff frequency rises with speed: no jitter at rest, little lag in motion.

    f = f_min + β √max(ẋ² − 2σ², 0),   x̂ += (1 − e^(−2πfΔt)) (x − x̂)

Noise looks like speed and would open the filter where it is needed most, on limbs that are hard to see.  Its share σ²
of the squared speed is estimated from the second differences of the labels, which noise dominates.

Each group has its own speed, so that a moving arm does not add jitter to the legs.  Of the `root` group, orientation,
position in the image and distance are filtered apart: a body that lags behind the picture is seen at once, also when
only the camera moves, whereas the distance from one frame is uncertain.  `shape`, which does not change, is averaged:
on rendered clips of the validation split it moves a fifth as much from frame to frame, and the joints are as exact.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray
from common.labels import GROUP_NAMES, LABEL_SIZE, group_slices
from sender.perception.tracking.view_turns import View, ViewTurns
from sender.semantics.facing import FacingResolver

_ROOT = group_slices()["root"]
_ORIENTATION = slice(_ROOT.start, _ROOT.start + 6)
_IMAGE_POSITION = slice(_ORIENTATION.stop, _ORIENTATION.stop + 2)
_DISTANCE = slice(_IMAGE_POSITION.stop, _ROOT.stop)
# Region colours are averaged in `sender.semantics.region_colours`, `surface` in `sender.clothing`.
_UNFILTERED = ("root", "shape", "appearance", "surface")
_SHAPE = group_slices()["shape"]
# Frames that the mean of `shape` covers: a tracker may give an identity to somebody else.
_SHAPE_FRAMES = 150
_SMOOTHED = (
    _ORIENTATION,
    _IMAGE_POSITION,
    _DISTANCE,
    *(group_slices()[name] for name in GROUP_NAMES if name not in _UNFILTERED),
)
_SPEED_CUTOFF_HZ = 1.0
# Variance of the second difference of white noise, over that of the noise.
_SECOND_DIFFERENCE = 6.0
# Of the mean of the noise, over about half a second.
_NOISE_CUTOFF_HZ = 0.3
# How often the squared speed that noise alone would show is left out: people who stand move half as much.
_NOISE_SHARE = 2.0
# f_min, the cutoff frequency at rest.
_MIN_CUTOFF_HZ = 0.4
# β, hertz per standard deviation a second.
_SPEED_GAIN = 1.4
# Both of the position in the image, which must follow a camera that pans.
_POSITION_MIN_CUTOFF_HZ = 1.0
_POSITION_SPEED_GAIN = 10.0
# The distance's cutoff frequency over that of the other groups: one frame tells little of it.
_DISTANCE_SHARE = 0.5
# After a longer gap, the filter starts again.
_FORGET_S = 0.5


@dataclass(slots=True)
class _FilterState:
    time_s: float
    value: FloatArray
    speed: FloatArray
    noise: FloatArray
    last: tuple[FloatArray, ...]
    frames: int = 1

    def add(self, labels: FloatArray, step_s: float) -> None:
        """Updates speed and noise by the next labels, `step_s` later."""
        speed = (labels - self.value) / np.float32(step_s)
        self.speed += _gain(_SPEED_CUTOFF_HZ, step_s) * (speed - self.speed)
        if len(self.last) > 1:
            second = labels - 2 * self.last[-1] + self.last[-2]
            gain = _gain(_NOISE_CUTOFF_HZ, step_s)
            self.noise += gain * (second**2 / _SECOND_DIFFERENCE - self.noise)
        self.last = (*self.last[-1:], labels)

    def speed_of(self, group: slice, step_s: float) -> float:
        """Root mean square of a group's speed, σ a second, without the share of the noise."""
        gain = _gain(_SPEED_CUTOFF_HZ, step_s)
        noise = self.noise[group].mean() / step_s**2 * gain / (2 - gain)
        return float(np.sqrt(max(0.0, np.mean(self.speed[group] ** 2) - _NOISE_SHARE * noise)))


class LabelSmoother:
    """Filters the labels of each identity.

    Args:
        strength: above 0; a stronger filter lets less through at rest.
    """

    def __init__(self, strength: float = 1.0) -> None:
        self._strength = strength
        self.reset()

    def reset(self) -> None:
        """Forgets everybody, for a new source."""
        self._states: dict[int, _FilterState] = {}
        self._facing = FacingResolver()
        self._views = ViewTurns()

    def smooth(self, identity: int, time_s: float, labels: FloatArray, view: View = "both") -> FloatArray:
        """One person's labels (LABEL_SIZE,), smoothed by the earlier ones; `appearance` and `surface` pass unchanged.

        Args:
            time_s: of the frame, on the source's clock; the filter starts again if it does not advance.
            view: of the person that the labels are from.

        Raises:
            ValueError: `labels` is not a whole label vector.
        """
        if labels.shape != (LABEL_SIZE,):
            raise ValueError(f"expected {LABEL_SIZE} label entries, got {labels.shape}")
        state = self._states.get(identity)
        if state is None or not 0.0 < time_s - state.time_s <= _FORGET_S:
            zeros = np.zeros_like(labels)
            self._states[identity] = _FilterState(time_s, labels.copy(), zeros, zeros.copy(), (labels.copy(),))
            self._facing.forget(identity)
            self._views.forget(identity)
            return self._views.mean(identity, view, self._facing.resolve(identity, time_s, labels))
        labels = self._views.mean(identity, view, self._facing.resolve(identity, time_s, labels))
        step_s = time_s - state.time_s
        state.add(labels, step_s)
        value = labels.copy()
        for group in _SMOOTHED:
            gain = _gain(self._cutoff_hz(group, state.speed_of(group, step_s)), step_s)
            value[group] = state.value[group] + gain * (labels[group] - state.value[group])
        state.frames = min(state.frames + 1, _SHAPE_FRAMES)
        value[_SHAPE] = state.value[_SHAPE] + (labels[_SHAPE] - state.value[_SHAPE]) / np.float32(state.frames)
        state.time_s, state.value = time_s, value
        return value.copy()

    def _cutoff_hz(self, group: slice, speed: float) -> float:
        if group == _IMAGE_POSITION:
            return _POSITION_MIN_CUTOFF_HZ / self._strength + _POSITION_SPEED_GAIN * speed
        cutoff_hz = _MIN_CUTOFF_HZ / self._strength + _SPEED_GAIN * speed
        return cutoff_hz * _DISTANCE_SHARE if group == _DISTANCE else cutoff_hz


def _gain(cutoff_hz: float, step_s: float) -> np.float32:
    """Gain of a first-order low-pass filter for a time step."""
    return np.float32(1.0 - np.exp(-2.0 * np.pi * cutoff_hz * step_s))
