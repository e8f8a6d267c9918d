"""Key frames: perception reads every other frame of a camera, and its output is propagated to the ones between.

This is for machines that would else leave frames out.  What perception says of a person changes little from one frame
to the next but for where the keypoints are, which MoveNet tells in a fifth of the time.  (Zhu et al., *Deep Feature
Flow for Video Recognition*, CVPR 2017, propagate features likewise.)
"""

import math
from collections.abc import Collection, Sequence

from sender.people.tracked_person import TrackedPerson
from sender.perception.observed_person import ObservedPerson

# A frame that is later than a key frame by more is one, too.
_PROPAGATED_S = 0.2
# After a late frame, frames are propagated for so long: for twice as long whenever it was not long enough.
_FIRST_PAUSE_S, _MOST_PAUSE_S = 2.0, 32.0


class KeyFrames:
    """Decides which frames of a source are key frames: all, until one is late.

    Attributes:
        was_propagated: whether the last frame was none.
    """

    def __init__(self) -> None:
        self._until_s, self._pause_s = -math.inf, _FIRST_PAUSE_S / 2
        self._people: dict[TrackedPerson, ObservedPerson] = {}
        self._read_s = -math.inf
        self.was_propagated = False

    def late(self, now_s: float) -> None:
        """Takes note that this frame is late, and that the one before it has been left out."""
        if now_s > self._until_s:
            self._pause_s = min(2 * self._pause_s, _MOST_PAUSE_S)
        self._until_s = now_s + self._pause_s

    def before(self, people: Collection[TrackedPerson], now_s: float) -> list[ObservedPerson]:
        """What a key frame right before this frame showed of these people; nothing where this one must be one, too."""
        last = now_s - self._read_s <= _PROPAGATED_S and not self.was_propagated
        if not last or now_s > self._until_s or set(people) != set(self._people):
            return []
        return [self._people[person] for person in people]

    def keep(self, people: Sequence[ObservedPerson], now_s: float) -> None:
        """Takes the people of this frame."""
        self.was_propagated = any(person.is_propagated for person in people)
        if not self.was_propagated:
            # Close-ups are followed by their landmarks, and both views together are twice as exact as either.
            fit = all(person.view != "both" and person.head is None for person in people)
            self._people = {each.person: each for each in people} if fit else {}
            self._read_s = now_s
