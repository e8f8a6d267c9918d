"""People whom the sender loses for a moment go on, and return without a jump.

Somebody behind a pillar, or turned so that perception misses them, is in none of the frames until they are found again.
Their motion goes on and comes to rest, with less and less confidence, for as long as they were seen before and at most
a second.  Who leaves the picture is gone at once, and who is there under another identity.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol, Self

import numpy as np

from common.arrays import FloatArray
from common.frames import MAX_PEOPLE, Camera, LabelFrame, PersonLabels
from common.labels import concatenate, split
from common.motion.label_track import LIFETIME_S, LabelTrack, MotionPredictor
from common.motion.steps import SLOW, Blend, between, moved, orientation_of, place_of

_RETURN_S: Final = 0.4
"""Who returns within their lifetime goes for so long from where they were displayed to where they are."""
_FARTHEST_M: Final = 1.0  # who returns farther away is there at once
_ACROSS_M: Final = 0.3  # people who are no farther from each other, across the line of sight, and `_ALONG`, are one
_ALONG: Final = 0.15  # the same along the line of sight, as a share of the distance
_BORDER: Final = 0.03  # who leaves the picture has the head this near to its border, a share of the picture
_HEAD_M: Final = 0.6  # the head is so far above the pelvis


@dataclass(slots=True, eq=False)
class Presence:
    """Where a person is, also in frames without them.

    Args:
        labels: as they were last sent.
        track: of the last labels with which they were displayed.
        carried: (LABEL_SIZE,) as they were last displayed without being sent; None while they are sent.
        returns: the way from where they were displayed, after they were sent again.
    """

    labels: PersonLabels
    track: LabelTrack
    carried: FloatArray | None = None
    returns: Blend | None = None

    @classmethod
    def begin(cls, labels: PersonLabels, now_s: float) -> Self:
        """Of somebody who is new."""
        return cls(labels, LabelTrack.begin(now_s, concatenate(labels.labels)))

    @property
    def newest(self) -> FloatArray:
        """(LABEL_SIZE,) as they were displayed last."""
        return self.track.labels[-1] if self.carried is None else self.carried

    def sent(self, labels: PersonLabels, now_s: float) -> PersonLabels:
        """Takes the labels of a frame; returns them as they are displayed."""
        vector, carried = concatenate(labels.labels), self.carried
        if carried is not None:
            self.returns = _way_back(carried, vector, now_s)
        self.labels, self.carried = labels, None
        if self.returns is not None:
            left = self.returns.left(now_s)
            vector = moved(vector, left * self.returns.offset)
            labels = _with(labels, vector)
            self.returns = self.returns if left else None
        if carried is None:
            self.track = self.track.add(now_s, vector)
        else:
            self.track = replace(LabelTrack.begin(now_s, vector), began_s=self.track.began_s)
        return labels

    def missed(self, predictor: MotionPredictor, camera: Camera, now_s: float) -> PersonLabels | None:
        """The labels that are displayed in a frame without the person; None if they are gone."""
        seen_s, away_s = self.track.times_s[-1] - self.track.began_s, now_s - self.track.times_s[-1]
        if away_s > min(LIFETIME_S, seen_s):
            return None
        self.carried = predictor.predict(self.track, now_s)
        if not _in_picture(self.carried, camera):
            return None
        known = 1 - away_s / LIFETIME_S
        confidence = {name: known * value for name, value in self.labels.confidence.items()}
        return replace(_with(self.labels, self.carried), score=known * self.labels.score, confidence=confidence)


class Tracked(Protocol):
    """What is remembered of a person: None before their first frame, and when they are gone."""

    presence: Presence | None


def with_absent(frame: LabelFrame, tracks: Mapping[int, Tracked], predictor: MotionPredictor) -> LabelFrame:
    """The frame with everybody who is there; call it for every frame, in order.

    Args:
        tracks: of everybody in the frame, and of others, by identity.
        predictor: continues the motion of people.
    """
    now_s, people = frame.captured_at, list[PersonLabels]()
    for labels in frame.people:
        track = tracks[labels.identity]
        if track.presence is None or now_s - track.presence.track.times_s[-1] > LIFETIME_S:
            track.presence = Presence.begin(labels, now_s)
        people.append(track.presence.sent(labels, now_s))
    present = {labels.identity for labels in frame.people}
    displayed = [each.newest for who, track in tracks.items() if who in present and (each := track.presence)]
    for identity, track in tracks.items():
        if identity not in present and (presence := track.presence) is not None:
            missed = presence.missed(predictor, frame.camera, now_s)
            if missed is None or any(_are_one(presence.newest, other) for other in displayed):
                track.presence = None
            else:
                people.append(missed)
    return replace(frame, people=tuple(people[:MAX_PEOPLE]))


def _way_back(displayed: FloatArray, sent: FloatArray, now_s: float) -> Blend | None:
    """From labels (LABEL_SIZE,) that were displayed to those that are sent again; None if that is too far."""
    if np.linalg.norm(place_of(sent) - place_of(displayed)) > _FARTHEST_M:
        return None
    step = between(sent, displayed)
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
