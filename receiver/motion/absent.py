"""People whom the sender loses for a moment go on, and return without a jump.

Somebody behind a pillar, or turned so that perception misses them, is in none of the frames until they are found again.
Their motion goes on and comes to rest, with less and less confidence, for as long as they were seen before and at most
a second.  Who leaves the picture is gone at once, and who is there under another identity.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.frames import MAX_PEOPLE, Camera, LabelFrame, PersonLabels
from common.labels import concatenate, split
from receiver.motion.extrapolation import MOST_LABELS, MotionPredictor
from receiver.motion.legs import Pelvis
from receiver.motion.steps import SLOW, between, moved, place_of, rest_of_way

ABSENT_S: Final = 1.0
"""Who was out of sight for longer may be somebody else, and begins anew."""
# Within it, who returns goes from where they were shown to where they are, if that is not farther; metres.
_RETURN_S, _FARTHEST_M = 0.4, 1.0
# People who are no farther from each other, across the line of sight and as a share of their distance, are one.
_ACROSS_M, _ALONG = 0.3, 0.15
# Of who leaves the picture, the head is this near to its border: shares of the picture, and metres above the pelvis.
_BORDER, _HEAD_M = 0.03, 0.6


@dataclass(slots=True, eq=False)
class _Person:
    """What is remembered of a person.

    Args:
        labels: as they were last sent.
        began_s: when they were first sent.
        times_s, vectors: of the last labels, in which they were shown.
        shown: (LABEL_SIZE,) last, and when.
        apart: what is left of the way from what was shown when they returned, and when that was.
    """

    labels: PersonLabels
    began_s: float
    times_s: deque[float] = field(default_factory=partial(deque, maxlen=MOST_LABELS))
    vectors: deque[FloatArray] = field(default_factory=partial(deque, maxlen=MOST_LABELS))
    absent: bool = False
    shown: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    apart: tuple[Float64Array, float] | None = None

    def sent(self, labels: PersonLabels, now_s: float) -> PersonLabels:
        """Takes the labels of a frame; returns them as they are shown."""
        vector = concatenate(labels.labels)
        if self.absent:
            self._return(vector, now_s)
        self.labels, self.absent = labels, False
        if self.apart is not None:
            step, since_s = self.apart
            left = rest_of_way((now_s - since_s) / _RETURN_S)
            vector = moved(vector, left * step)
            labels = _with(labels, vector)
            self.apart = self.apart if left else None
        self.times_s.append(now_s)
        self.vectors.append(vector)
        self.shown = vector
        return labels

    def _return(self, vector: FloatArray, now_s: float) -> None:
        """Goes on from where the person was shown, unless that is too far."""
        apart = between(vector, self.shown)
        apart[SLOW] = 0.0
        near = np.linalg.norm(Pelvis.of(vector).position - Pelvis.of(self.shown).position) <= _FARTHEST_M
        self.apart = (apart, now_s) if near else None
        self.times_s.clear()
        self.vectors.clear()

    def missed(self, predictor: MotionPredictor, camera: Camera, now_s: float) -> PersonLabels | None:
        """The labels that are shown in a frame without the person; None if they are gone."""
        seen_s, away_s = self.times_s[-1] - self.began_s, now_s - self.times_s[-1]
        if away_s > min(ABSENT_S, seen_s):
            return None
        self.shown = predictor.predict(np.array(self.times_s), np.stack(self.vectors), now_s)
        if not _in_picture(self.shown, camera):
            return None
        self.absent, known = True, 1 - away_s / ABSENT_S
        confidence = {name: known * value for name, value in self.labels.confidence.items()}
        return replace(_with(self.labels, self.shown), score=known * self.labels.score, confidence=confidence)


class AbsentPeople:
    """Adds to frames who is missing in them for a moment; call it in order.

    Args:
        predictor: continues the motion of people.
    """

    def __init__(self, predictor: MotionPredictor) -> None:
        self._predictor = predictor
        self._people: dict[int, _Person] = {}
        self._newest_s = -math.inf

    def complete(self, frame: LabelFrame) -> LabelFrame:
        """The frame with everybody who is there."""
        if frame.captured_at < self._newest_s:
            return frame
        self._newest_s, shown = frame.captured_at, list[PersonLabels]()
        now_s = self._newest_s
        for labels in frame.people:
            person = self._people.get(labels.identity)
            if person is None or now_s - person.times_s[-1] > ABSENT_S:
                person = self._people[labels.identity] = _Person(labels, now_s)
            shown.append(person.sent(labels, now_s))
        present = {labels.identity for labels in frame.people}
        for identity in self._people.keys() - present:
            missed = self._people[identity].missed(self._predictor, frame.camera, now_s)
            place = self._people[identity].shown
            if missed is None or any(_is_there(place, self._people[other].shown) for other in present):
                del self._people[identity]
            else:
                shown.append(missed)
        return replace(frame, people=tuple(shown[:MAX_PEOPLE]))


def _is_there(one: FloatArray, other: FloatArray) -> bool:
    """Whether two labels (LABEL_SIZE,) are one person's."""
    (x, y, z), (other_x, other_y, other_z) = place_of(one), place_of(other)
    across = z * math.hypot(x / z - other_x / other_z, y / z - other_y / other_z)
    return bool(across < _ACROSS_M and abs(other_z / z - 1) < _ALONG)


def _with(labels: PersonLabels, vector: FloatArray) -> PersonLabels:
    """Labels with the entries (LABEL_SIZE,) of the groups that they have."""
    groups = split(vector)
    return replace(labels, labels={name: groups[name] for name in labels.labels})


def _in_picture(vector: FloatArray, camera: Camera) -> bool:
    """Whether the head is in the picture, and not at its border."""
    pelvis = Pelvis.of(vector)
    head = pelvis.position - _HEAD_M * pelvis.rotation[:, 1]
    size = np.array([camera.width, camera.height])
    place = camera.project(head[None].astype(np.float32))[0] / size
    return bool((place > _BORDER).all() and (place < 1 - _BORDER).all())
