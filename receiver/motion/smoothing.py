"""Labels of a person that do not flicker: smoothed over the last frames, and faded where they are not seen any more.

They change what is displayed, not the states that later packets are predicted from.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.codec.person import ENTRIES
from common.codec.tables import GROUP_OF_ENTRY, UNIT, rho_levels, steps
from common.codec.tables import load as load_tables
from common.frames import PersonLabels, unseen_groups
from common.labels import FAST_GROUPS, GROUP_NAMES, LABEL_SIZE, OPTIONAL_GROUPS, concatenate, group_slices, split

FADE_S: Final = 0.2
"""Faces and fingers that are not seen any more become neutral within this time."""
# Frames whose quantised labels are averaged, however fast they follow each other, and their greatest age.
_FRAMES: Final = 8
_MAX_AGE_S: Final = 0.5
# Range of an entry over the frames, in steps, up to which they are smoothed, and from which on they are not.
_RESTING, _MOVING = 1.2, 2.0
_LEAST_LINE = 3
_TINY: Final = 1e-12
_FAST_ENTRY: Final = np.isin(GROUP_OF_ENTRY, [g for g, name in enumerate(GROUP_NAMES) if name in FAST_GROUPS])
# The orientation is coded as a rotation about three axes, whose steps are those of its first three entries.
_STEP_OF_ENTRY: Final = np.arange(LABEL_SIZE)
_ORIENTATION: Final = group_slices()["root"].start
_STEP_OF_ENTRY[_ORIENTATION + 3 : _ORIENTATION + ENTRIES] -= 3


class LabelSmoothing:
    """One person's last frames, with the entries that were seen in each, and the optional groups as last seen."""

    def __init__(self) -> None:
        self._last: deque[tuple[float, FloatArray, BoolArray]] = deque(maxlen=_FRAMES)
        self._optional: dict[str, tuple[float, FloatArray]] = {}

    def displayed(self, person: PersonLabels, rho: Mapping[str, float], captured_at: float) -> PersonLabels:
        """Adds a frame; returns its person smoothed, with optional groups that fade.

        Args:
            rho: group name → ρ of the person's groups in the packet.
            captured_at: seconds.
        """
        smooth = split(self.smooth(captured_at, concatenate(person.labels), rho_levels(rho), unseen_groups(person)))
        known = {name: smooth[name] for name in FAST_GROUPS if name in person.labels}
        return self.faded(replace(person, labels={**person.labels, **known}), captured_at)

    def faded(self, person: PersonLabels, captured_at: float) -> PersonLabels:
        """The person with what is left of the optional groups that were there a short time before."""
        self._optional |= {
            group: (captured_at, person.labels[group]) for group in OPTIONAL_GROUPS if group in person.labels
        }
        left = {group: 1 - (captured_at - seen_at) / FADE_S for group, (seen_at, _) in self._optional.items()}
        fading = {
            group: (left[group] * values).astype(values.dtype)
            for group, (_, values) in self._optional.items()
            if group not in person.labels and 0 < left[group] <= 1
        }
        return replace(person, labels={**person.labels, **fading}) if fading else person

    def smooth(
        self, captured_at: float, labels: FloatArray, levels: IntArray, unseen: frozenset[str] = frozenset()
    ) -> FloatArray:
        """Adds a frame; returns its smoothed labels, (E,) in σ. Slow groups are as they were decoded.

        A limb that was unseen in one of the frames is not smoothed: its labels were a guess.

        Args:
            captured_at: seconds.
            labels: (E,) as decoded, in σ.
            levels: (groups,) ρ levels of the frame.
            unseen: groups that nobody sees.
        """
        self._last.append((captured_at, labels, _seen_entries(unseen)))
        recent = [each for each in self._last if 0 <= captured_at - each[0] <= _MAX_AGE_S]
        frames, seen = np.stack([row for _, row, _ in recent]), np.all([mask for _, _, mask in recent], axis=0)
        step = steps(load_tables().base_step, levels)[_STEP_OF_ENTRY] / UNIT
        moved = (frames.max(axis=0) - frames.min(axis=0)) / step
        resting = np.clip((_MOVING - moved) / (_MOVING - _RESTING), 0, 1) * _FAST_ENTRY * seen
        times_s = np.array([time_s - captured_at for time_s, *_ in recent], np.float32)
        return np.asarray(labels + resting * (_newest(frames, times_s) - labels), np.float32)


@lru_cache(maxsize=64)
def _seen_entries(unseen: frozenset[str]) -> BoolArray:
    """(E,) entries of other groups."""
    return ~np.isin(GROUP_NAMES, list(unseen))[GROUP_OF_ENTRY]


def _newest(frames: FloatArray, times_s: FloatArray) -> FloatArray:
    """(E,) the newest of frames (T, E) as far as the others confirm it: their mean, and R² of the line through them.

    Args:
        times_s: (T,) of the frames.
    """
    mean = frames.mean(axis=0)
    if len(frames) < _LEAST_LINE:
        return np.asarray(mean, np.float32)
    time = times_s - times_s.mean()
    squares, difference = max(float(time @ time), _TINY), frames - mean
    slope = time @ difference / squares
    explained = slope**2 * squares / np.maximum(np.square(difference).sum(axis=0), _TINY)
    return np.asarray(mean + explained * slope * time[-1], np.float32)
