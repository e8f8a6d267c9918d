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

from common.arrays import FloatArray
from common.frames import MAX_PEOPLE, Camera, LabelFrame, PersonLabels
from common.labels import concatenate, split
from common.motion.extrapolation import MOST_LABELS, MotionPredictor
from common.motion.steps import SLOW, Blend, between, moved, orientation_of, place_of

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
        carried: (LABEL_SIZE,) as they were last shown without being sent; None while they are sent.
        returns: the way from where they were shown, after they were sent again.
    """

    labels: PersonLabels
    began_s: float
    times_s: deque[float] = field(default_factory=partial(deque, maxlen=MOST_LABELS))
    vectors: deque[FloatArray] = field(default_factory=partial(deque, maxlen=MOST_LABELS))
    carried: FloatArray | None = None
    returns: Blend | None = None

    @property
    def shown(self) -> FloatArray:
        """(LABEL_SIZE,) last."""
        return self.vectors[-1] if self.carried is None else self.carried

    def sent(self, labels: PersonLabels, now_s: float) -> PersonLabels:
        """Takes the labels of a frame; returns them as they are shown."""
        vector = concatenate(labels.labels)
        if self.carried is not None:
            self.returns = _way_back(self.carried, vector, now_s)
            self.times_s.clear()
            self.vectors.clear()
        self.labels, self.carried = labels, None
        if self.returns is not None:
            left = self.returns.left(now_s)
            vector = moved(vector, left * self.returns.offset)
            labels = _with(labels, vector)
            self.returns = self.returns if left else None
        self.times_s.append(now_s)
        self.vectors.append(vector)
        return labels

    def missed(self, predictor: MotionPredictor, camera: Camera, now_s: float) -> PersonLabels | None:
        """The labels that are shown in a frame without the person; None if they are gone."""
        seen_s, away_s = self.times_s[-1] - self.began_s, now_s - self.times_s[-1]
        if away_s > min(ABSENT_S, seen_s):
            return None
        self.carried = predictor.predict(np.array(self.times_s), np.stack(self.vectors), now_s)
        if not _in_picture(self.carried, camera):
            return None
        known = 1 - away_s / ABSENT_S
        confidence = {name: known * value for name, value in self.labels.confidence.items()}
        return replace(_with(self.labels, self.carried), score=known * self.labels.score, confidence=confidence)


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
        now_s = frame.captured_at
        if now_s < self._newest_s:
            return frame
        self._newest_s, shown = now_s, list[PersonLabels]()
        for labels in frame.people:
            person = self._people.get(labels.identity)
            if person is None or now_s - person.times_s[-1] > ABSENT_S:
                person = self._people[labels.identity] = _Person(labels, now_s)
            shown.append(person.sent(labels, now_s))
        present = {labels.identity for labels in frame.people}
        for identity in self._people.keys() - present:
            person = self._people[identity]
            missed = person.missed(self._predictor, frame.camera, now_s)
            if missed is None or any(_are_one(person.shown, self._people[other].shown) for other in present):
                del self._people[identity]
            else:
                shown.append(missed)
        return replace(frame, people=tuple(shown[:MAX_PEOPLE]))


def _way_back(shown: FloatArray, sent: FloatArray, now_s: float) -> Blend | None:
    """From labels (LABEL_SIZE,) that were shown to those that are sent again; None if that is too far."""
    if np.linalg.norm(place_of(sent) - place_of(shown)) > _FARTHEST_M:
        return None
    step = between(sent, shown)
    step[SLOW] = 0.0
    return Blend(step, now_s, _RETURN_S)


def _are_one(one: FloatArray, other: FloatArray) -> bool:
    """Whether labels (LABEL_SIZE,) of two identities are one person's."""
    (x, y, z), (other_x, other_y, other_z) = place_of(one), place_of(other)
    across = z * math.hypot(x / z - other_x / other_z, y / z - other_y / other_z)
    return bool(across < _ACROSS_M and abs(other_z / z - 1) < _ALONG)


def _with(labels: PersonLabels, vector: FloatArray) -> PersonLabels:
    """Labels with the entries (LABEL_SIZE,) of the groups that they have."""
    groups = split(vector)
    return replace(labels, labels={name: groups[name] for name in labels.labels})


def _in_picture(vector: FloatArray, camera: Camera) -> bool:
    """Whether the head is in the picture, and not at its border."""
    head = place_of(vector) - _HEAD_M * orientation_of(vector)[:, 1]
    size = np.array([camera.width, camera.height])
    place = camera.project(head[None].astype(np.float32))[0] / size
    return bool((place > _BORDER).all() and (place < 1 - _BORDER).all())
