"""A frame in which people are read: whose turn it is, what readers see of them, and the labels that they write.

The cost of a frame does not grow with the number of people: a reader looks at those whose turn it is, remembers what it
reads with each person, and writes labels of everybody.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from common.arrays import FloatArray, Image
from common.frames import Camera, PersonLabels
from sender.perception.crop import USUAL_STEP_S
from sender.perception.track import ObservedPerson


@dataclass(slots=True)
class Turn:
    """When somebody, or a part of them, is to be read.

    Args:
        due_s: as of `Perceived.now_s`; None before their first frame.
    """

    due_s: float | None = None


class HasTurn(Protocol):
    """What is remembered of somebody who is read by turns."""

    turn: Turn


class ReadingSchedule:
    """Of the readers of one thread.

    Attributes:
        now_s: of the present frame, as of `Perceived.now_s`.
    """

    def __init__(self) -> None:
        self.now_s, self._before_s, self._busy_until_s = 0.0, 0.0, -math.inf

    def begin(self, now_s: float) -> None:
        """Goes on to the next frame; the first one of a source is at 0."""
        self.now_s, self._before_s = now_s, self.now_s
        if now_s == 0.0:
            self._before_s, self._busy_until_s = 0.0, -math.inf

    @property
    def is_busy(self) -> bool:
        """Whether the time of this frame belongs to something that was read."""
        return self.now_s < self._busy_until_s

    def occupy(self, seconds: float) -> None:
        """Takes note that what is read in this frame takes the time of several."""
        self._busy_until_s = self.now_s + seconds

    def due(
        self,
        turns: Sequence[Turn | None],
        *,
        first_s: float = -math.inf,
        most: int = 1,
        all_new: bool = True,
        yields: bool = False,
    ) -> list[int]:
        """Rows of those who are to be read in this frame, whoever waits longest first.

        Args:
            turns: None of those who cannot be read.
            first_s: from somebody's first frame to when they are due; −∞ for at once.
            most: how many are read in a frame.
            all_new: whether those who are due at once are read at once, however many they are.
            yields: whether in a busy frame only those are read who are new or wait for longer than a frame.
        """
        waiting = list[tuple[float, int]]()
        for row, turn in enumerate(turns):
            if turn is not None:
                turn.due_s = self.now_s + first_s if turn.due_s is None else turn.due_s
                if turn.due_s < self._before_s if yields and self.is_busy else turn.due_s <= self.now_s:
                    waiting.append((turn.due_s, row))
        new = sum(math.isinf(due_s) for due_s, _ in waiting) if all_new else 0
        return [row for _, row in sorted(waiting)][: max(new, most)]

    def due_of(
        self, observed: Sequence[ObservedPerson], known: Sequence[HasTurn], *, first_s: float = -math.inf
    ) -> list[int]:
        """The same of people whose masks are read, which no frame has to which they are propagated."""
        pairs = zip(observed, known, strict=True)
        return self.due([None if each.is_propagated else memory.turn for each, memory in pairs], first_s=first_s)

    def was_read(self, turn: Turn, pause_s: float) -> None:
        """Takes note that somebody is to be read again after a pause."""
        turn.due_s = self.now_s + pause_s


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
