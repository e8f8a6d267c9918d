"""Steadies labels over time: each group passes a One-Euro filter (Casiez et al., CHI 2012), one per identity.

A low-pass filter whose cutoff rises with speed: what stands still stops trembling, what moves is not held back.

    f = f_min + β |ẋ|,   x̂ += (1 − e^(−2πfΔt)) (x − x̂)

The speed is a group's own, so that a waving arm does not shake the legs.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray
from common.io.configuration import option
from common.labels import GROUP_NAMES, LABEL_SIZE, group_slices

# Region colours have a memory of their own (`sender.semantics.region_colours`).
_SMOOTHED = tuple(group_slices()[name] for name in GROUP_NAMES if name != "appearance")
_SPEED_CUTOFF_HZ = 1.0


@dataclass(frozen=True, slots=True)
class SmoothingConfig:
    """How much labels are steadied; the defaults lag a moving person by less than a frame at 30 fps."""

    smoothing: float = option(1.0, help="0 sends labels as they are seen; larger values hold still people stiller")

    def __post_init__(self) -> None:
        if not 0.0 <= self.smoothing <= 10.0:
            raise ValueError(f"--smoothing must lie between 0 and 10, not {self.smoothing:g}")


@dataclass(frozen=True, slots=True)
class OneEuroConfig:
    """Constants of the filter.

    Args:
        least_cutoff_hz: f_min, of what stands still.
        gain: β, hertz for each standard deviation a second.
        forget_s: after a longer silence, the next labels are taken as they are.
    """

    least_cutoff_hz: float = 1.0
    gain: float = 1.0
    forget_s: float = 0.5


@dataclass(slots=True)
class _Memory:
    time_s: float
    value: FloatArray
    speed: FloatArray


class LabelSmoother:
    """Filters the labels of everybody by identity.

    Args:
        config: constants.
    """

    def __init__(self, config: OneEuroConfig | None = None) -> None:
        self._config = config or OneEuroConfig()
        self._memory: dict[int, _Memory] = {}

    def reset(self) -> None:
        """Forgets everybody."""
        self._memory.clear()

    def smooth(self, identity: int, time_s: float, labels: FloatArray) -> FloatArray:
        """One person's labels (104,) at a time, steadied by those before; `appearance` passes unchanged.

        Raises:
            ValueError: `labels` are not a whole vector of the vocabulary.
        """
        if labels.shape != (LABEL_SIZE,):
            raise ValueError(f"expected {LABEL_SIZE} label entries, got {labels.shape}")
        known = self._memory.get(identity)
        if known is None or not 0.0 < time_s - known.time_s <= self._config.forget_s:
            self._memory[identity] = _Memory(time_s, labels.copy(), np.zeros_like(labels))
            return labels
        step_s = time_s - known.time_s
        speed = (labels - known.value) / np.float32(step_s)
        known.speed += _share(_SPEED_CUTOFF_HZ, step_s) * (speed - known.speed)
        value = labels.copy()
        for group in _SMOOTHED:
            moving = float(np.sqrt(np.mean(known.speed[group] ** 2)))
            share = _share(self._config.least_cutoff_hz + self._config.gain * moving, step_s)
            value[group] = known.value[group] + share * (labels[group] - known.value[group])
        known.time_s, known.value = time_s, value
        return value.copy()


def smoother_of(config: SmoothingConfig) -> LabelSmoother | None:
    """The filter that the user asked for; None if none."""
    if config.smoothing == 0.0:
        return None
    return LabelSmoother(OneEuroConfig(least_cutoff_hz=1.0 / config.smoothing))


def _share(cutoff_hz: float, step_s: float) -> np.float32:
    """How much of a new value a first-order low-pass filter takes over after a step."""
    return np.float32(1.0 - np.exp(-2.0 * np.pi * cutoff_hz * step_s))
