"""A frame in which people are read: what readers see of them, and the labels that they write.

A reader looks at those whose turn it is, remembers what it reads with each person, and writes labels of everybody.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from common.arrays import FloatArray, Image
from common.frames import Camera, PersonLabels
from sender.people.reading_schedule import ReadingSchedule
from sender.perception.crop import USUAL_STEP_S
from sender.perception.track import ObservedPerson


@dataclass(slots=True)
class PersonView:
    """One person, and their labels as far as they are read; fields as of `PersonLabels`."""

    seen: ObservedPerson
    labels: dict[str, FloatArray]
    sigma: dict[str, FloatArray] = field(default_factory=dict)
    confidence: dict[str, float] = field(default_factory=dict)
    face_landmarks: FloatArray | None = None
    face_chart: Image | None = None

    def write(self, group: str, entries: FloatArray, confidence: float, sigma: FloatArray | None = None) -> None:
        """Takes what a reader says of a group."""
        self.labels[group], self.confidence[group] = entries, confidence
        if sigma is not None:
            self.sigma[group] = sigma

    @property
    def finished(self) -> PersonLabels:
        """The labels, when all readers have read."""
        seen = self.seen
        face = self.face_landmarks, self.face_chart
        return PersonLabels(seen.identity, seen.score, self.labels, self.sigma, self.confidence, *face)


@dataclass(frozen=True, slots=True)
class PeopleView:
    """All people of a frame.

    Args:
        image: (H, W, 3) uint8 RGB.
        step_s: since the frame before.
        is_still: whether the frame is a picture of its own.
        schedule: in this frame; by default everybody is new.
    """

    image: Image
    camera: Camera
    people: Sequence[PersonView]
    schedule: ReadingSchedule = field(default_factory=ReadingSchedule)
    step_s: float = USUAL_STEP_S
    is_still: bool = False


class Reader(Protocol):
    """Reads something of people by a network, and writes the labels of it."""

    @property
    def part(self) -> str:
        """Its name among `sender.metrics.PARTS`."""

    def label(self, view: PeopleView) -> None:
        """Looks at whoever is due in the next frame, and writes everybody's labels."""
