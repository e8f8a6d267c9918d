"""Faces and fingers that are not seen any more become neutral, within a fifth of a second."""

from dataclasses import replace
from typing import Final

from common.arrays import FloatArray
from common.frames import PersonLabels
from common.labels import OPTIONAL_GROUPS

FADE_S: Final = 0.2


class FadingGroups:
    """What was last known of the optional groups of everybody."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, str], tuple[float, FloatArray]] = {}

    def faded(self, person: PersonLabels, captured_at: float) -> PersonLabels:
        """The person with what is left of the groups that were there a short time before."""
        fading = {}
        for group in OPTIONAL_GROUPS:
            key, values = (person.identity, group), person.labels.get(group)
            if values is not None:
                self._last[key] = captured_at, values
            elif key in self._last:
                seen_at, last = self._last[key]
                left = 1 - (captured_at - seen_at) / FADE_S
                if left <= 0:
                    del self._last[key]
                elif left <= 1:  # later than what is known
                    fading[group] = (left * last).astype(last.dtype)
        return replace(person, labels={**person.labels, **fading}) if fading else person

    def clear(self) -> None:
        """Forgets everybody."""
        self._last.clear()
