"""A person's labels with their times: what predictors, completion and playout read."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.frames import LabelFrame
from common.labels import concatenate

LIFETIME_S: Final = 1.0
"""Who was out of sight for longer may be somebody else, and begins anew."""
MOST_LABELS: Final = 121
"""How many labels of a person are kept, and given to predictors, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelTrack:
    """The newest labels of a person.

    Args:
        times_s: (n,) of the moments that the labels describe, increasing.
        labels: (n, LABEL_SIZE).
        began_s: when the person was first seen.
    """

    times_s: Float64Array
    labels: FloatArray
    began_s: float

    @classmethod
    def begin(cls, moment_s: float, labels: FloatArray) -> Self:
        """With the first labels (LABEL_SIZE,)."""
        return cls(np.array([moment_s]), labels[None], moment_s)

    def before(self, moment_s: float) -> "LabelTrack | None":
        """Without what was said about later moments, which was predicted; None if nothing else is known."""
        place = bisect_left(self.times_s, moment_s)
        if place == len(self.times_s):
            return self
        return LabelTrack(self.times_s[:place], self.labels[:place], self.began_s) if place else None

    def add(self, moment_s: float, labels: FloatArray) -> "LabelTrack":
        """With further ones, also those that come late; those that are known change nothing."""
        if abs(moment_s - self.times_s[-1]) > LIFETIME_S:
            return LabelTrack.begin(moment_s, labels)
        place = bisect_left(self.times_s, moment_s)
        if place < len(self.times_s) and self.times_s[place] == moment_s:
            return self
        times_s = np.concatenate([self.times_s[:place], [moment_s], self.times_s[place:]])
        rows = np.concatenate([self.labels[:place], labels[None], self.labels[place:]])
        return LabelTrack(times_s[-MOST_LABELS:], rows[-MOST_LABELS:], self.began_s)


def with_frame(tracks: Mapping[int, LabelTrack], frame: LabelFrame, *, is_newest: bool = True) -> dict[int, LabelTrack]:
    """The tracks by identity of everybody in a source, with the labels of a frame.

    Args:
        is_newest: it is not late: what was predicted for later gives way, and who was away for a lifetime is forgotten.
    """
    moment_s, found = frame.describes_s, dict(tracks)
    for person in frame.people:
        labels, track = concatenate(person.labels), found.get(person.identity)
        if track is not None and is_newest:
            track = track.before(moment_s)
        found[person.identity] = LabelTrack.begin(moment_s, labels) if track is None else track.add(moment_s, labels)
    if not is_newest:
        return found
    return {who: track for who, track in found.items() if abs(track.times_s[-1] - moment_s) <= LIFETIME_S}
