"""One person whom the tracker follows, and what is remembered of them.

Whoever is lost for so long that the tracker gives them up is forgotten, and so is all that readers remember of them:
nothing else has a lifetime, and a new source has new people.

Boxes are (4,) left, top, right, bottom in pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar, cast

import numpy as np

from common.arrays import Box
from sender.face.head_pose import HeadPose
from sender.perception.tracking.drift import DriftDetector
from sender.perception.tracking.similarity import Appearance, ImagePose
from sender.perception.tracking.view_turns import ViewMean

T = TypeVar("T")

# The velocity follows with this time constant, seconds.
_VELOCITY_S = 0.065
# A person who moves by less in a frame, as a share of the box's longer side, is looked for in the same place.
_MIN_SPEED = 0.04
HELD_S: Final = 0.7
"""What was read of somebody is shown for so long, and what is filtered begins again after a longer gap."""
EXTRAPOLATED_S: Final = 0.17
"""A box is extrapolated for so long."""


@dataclass(slots=True, eq=False)
class TrackedPerson:
    """One person over time.

    The thread that perceives has the box and what is seen in it; each reader has its own memories (`Memory`).

    Args:
        identity: 0…255, reused as late as possible.
        velocity: (4,) of the box, pixels a second.
        unseen_s: since the person was last seen; in a frame that follows, of everybody.
        is_lost: whether the person was not seen in the last frame.
        remembered: appearance, averaged over time.
        views: means of the box over both views.
        head: of a close-up, in this frame.
    """

    identity: int
    box: Box = field(default_factory=lambda: np.zeros(4, dtype=np.float32))
    velocity: Box = field(default_factory=lambda: np.zeros(4, dtype=np.float32))
    unseen_s: float = 0.0
    is_lost: bool = False
    remembered: Appearance | None = None
    appearance: Appearance | None = None
    image_pose: ImagePose | None = None
    drift: DriftDetector = field(default_factory=DriftDetector)
    views: ViewMean = field(default_factory=ViewMean)
    head: HeadPose | None = None
    memories: "dict[Memory[object], object]" = field(default_factory=dict)

    def appearance_change(self) -> float | None:
        """Distance of the last appearance from the remembered one, 0…1; None if they cannot be compared."""
        return self.remembered.distance(self.appearance) if self.remembered and self.appearance else None

    def mark_lost(self) -> None:
        """Marks the person as not seen in this frame, and drops the velocity, which was another person's."""
        self.is_lost, self.velocity, self.drift = True, np.zeros_like(self.velocity), DriftDetector()

    def move_to(self, box: Box) -> None:
        """Takes a box of this frame in which the person was detected; the velocity is unknown."""
        self.box, self.velocity, self.unseen_s, self.is_lost = box, np.zeros_like(self.velocity), 0.0, False

    def observe(
        self, box: Box | None, appearance: Appearance | None = None, image_pose: ImagePose | None = None
    ) -> None:
        """Takes what perception has seen in this frame; the box is None where the person is not there."""
        self.appearance, self.image_pose = appearance, image_pose
        if box is None:
            self.is_lost, self.drift = True, DriftDetector()
            return
        if self.unseen_s > 0:
            gain = 1 - math.exp(-self.unseen_s / _VELOCITY_S)
            velocity = self.velocity + gain * ((box - self.box) / self.unseen_s - self.velocity)
            self.velocity = np.asarray(velocity, dtype=np.float32)
        self.box, self.unseen_s, self.is_lost = box, 0.0, False

    def expected_box(self) -> Box:
        """The box in which the person is looked for in this frame: moved on if they move fast, never resized."""
        step = (self.velocity[:2] + self.velocity[2:]) / 2 * self.unseen_s
        if float(np.abs(step).max()) < _MIN_SPEED * float((self.box[2:] - self.box[:2]).max()):
            return self.box
        return np.asarray(self.box + np.tile(step, 2), dtype=np.float32)

    def predicted(self) -> Box:
        """The box in this frame, extrapolated at constant velocity for at most `EXTRAPOLATED_S`."""
        return np.asarray(self.box + self.velocity * min(self.unseen_s, EXTRAPOLATED_S), dtype=np.float32)


class Memory(Generic[T]):
    """What one reader remembers of each person.

    Args:
        new: makes that of somebody who was not read before.
    """

    def __init__(self, new: Callable[[], T]) -> None:
        self._new = new

    def of(self, person: TrackedPerson) -> T:
        memories = cast(dict[Memory[T], T], person.memories)
        if self not in memories:
            memories[self] = self._new()
        return memories[self]

    def knows(self, person: TrackedPerson) -> bool:
        """Whether somebody was asked for before."""
        return self in person.memories
