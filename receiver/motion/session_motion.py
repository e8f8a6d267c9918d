"""The motion of a session's people: labels that do not flicker, complete, and without a jump where somebody was lost.

Somebody behind a pillar, or turned so that perception misses them, is in none of the frames until they are found again.
Their motion goes on and comes to rest, with less and less confidence, for as long as they were seen before and at most
a second.  Who leaves the picture is gone at once, and who is there under another identity.

Labels are smoothed over the last frames, and faded where they are not seen any more.  This changes what is displayed,
not the states that later packets are predicted from.
"""

import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Self

import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.clock import BridgedTimes
from common.codec.frame_state import DecodedFrame
from common.codec.person import ENTRIES
from common.codec.tables import GROUP_OF_ENTRY, UNIT, rho_levels, steps
from common.codec.tables import load as load_tables
from common.frames import MAX_PEOPLE, Camera, LabelFrame, PersonLabels, unseen_groups
from common.labels import FAST_GROUPS, GROUP_NAMES, LABEL_SIZE, OPTIONAL_GROUPS, concatenate, group_slices, split
from common.motion.label_track import LIFETIME_S, Continued, LabelTrack, MotionPredictor
from common.motion.steps import SLOW, Blend, between, moved, orientation_of, place_of
from receiver.motion.hidden import HiddenLimbs, LimbCompletion, load_completion
from receiver.motion.legs import FootContact, PlantedFeet

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


def with_absent(frame: LabelFrame, tracks: Mapping[int, "PersonTrack"], predictor: MotionPredictor) -> LabelFrame:
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


logger = logging.getLogger(__name__)

# From one frame to the next, until two are known.
_INTERVAL_S: Final = 1 / 30


class SourceTimes:
    """Times of capture of a session's frames, which go on while the source does."""

    def __init__(self) -> None:
        self._source, self._newest, self._warned = "", -1, False
        self._times = BridgedTimes(_INTERVAL_S)

    def bridged(self, decoded: DecodedFrame) -> DecodedFrame:
        """The frame with its time on the clock as it was at the source's first frame; frames may come late."""
        frame, set_s = decoded.frame, -self._times.shift_s
        if frame.source != self._source:
            self._source, self._times, set_s = frame.source, BridgedTimes(_INTERVAL_S), 0.0
        captured_at = frame.captured_at - set_s
        if frame.sequence > self._newest:
            self._newest, captured_at = frame.sequence, self._times.following(frame.captured_at)
        if -self._times.shift_s != set_s and not self._warned:
            self._warned = True
            text = "the sender's clock was set by %+.0f s at frame %d: the times of its frames go on as before"
            logger.warning(text, -self._times.shift_s - set_s, frame.sequence)
        frame = replace(frame, captured_at=captured_at)
        return replace(decoded, frame=frame, clock_set_s=-self._times.shift_s)


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


@dataclass(slots=True, eq=False)
class PersonTrack:
    """What is remembered of one person, by what works on their labels, in this order; None before the first frame.

    Args:
        newest_s: when they were last in a frame, as sent or as predicted.
    """

    newest_s: float
    smoothing: LabelSmoothing = field(default_factory=LabelSmoothing)
    presence: Presence | None = None
    limbs: LimbCompletion | None = None
    contact: FootContact | None = None


class SessionMotion:
    """The motion of a session's people, who begin anew in another source.

    Args:
        hidden: completes limbs; by default with the learned diffusion.
        continued: continues the motion of people whom the sender has lost.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, hidden: HiddenLimbs | None = None, continued: Continued | None = None) -> None:
        self._hidden, self._continued = hidden or load_completion(), continued or Continued()
        self._planted = PlantedFeet(self._hidden.legs)
        self._times = SourceTimes()
        self._source, self._newest_s = "", 0.0
        self._tracks: dict[int, PersonTrack] = {}

    def process(self, decoded: DecodedFrame) -> DecodedFrame:
        """The frame as it is to be displayed; call it in order."""
        smooth = self.smooth(decoded)
        return replace(smooth, frame=self.complete(smooth.frame))

    def smooth(self, decoded: DecodedFrame) -> DecodedFrame:
        """The frame with labels that do not flicker, on a clock that goes on; call it in order."""
        decoded = self._times.bridged(decoded)
        frame = decoded.frame
        self._begin(frame)
        if decoded.reference is None:
            for track in self._tracks.values():
                track.smoothing = LabelSmoothing()
        people = tuple(
            self._tracks[person.identity].smoothing.displayed(
                person, decoded.rho_by_person[person.identity], frame.captured_at
            )
            for person in frame.people
        )
        return replace(decoded, frame=replace(frame, people=people))

    def complete(self, frame: LabelFrame) -> LabelFrame:
        """The frame with people and limbs that nobody saw, and feet that stand; call it in order."""
        self._begin(frame)
        frame = with_absent(frame, self._tracks, self._continued)
        return replace(frame, people=tuple(self._completed(person, frame.captured_at) for person in frame.people))

    def _begin(self, frame: LabelFrame) -> None:
        """Forgets who was away for longer than a lifetime, everybody of another source, or where times go back."""
        now_s = frame.captured_at
        known = frame.source == self._source and now_s >= self._newest_s
        self._source, self._newest_s = frame.source, now_s
        tracks = self._tracks.items() if known else ()
        self._tracks = {who: track for who, track in tracks if now_s - track.newest_s <= LIFETIME_S}
        for person in frame.people:
            self._tracks.setdefault(person.identity, PersonTrack(now_s)).newest_s = now_s

    def _completed(self, labels: PersonLabels, now_s: float) -> PersonLabels:
        track = self._tracks[labels.identity]
        track.newest_s = now_s
        labels, track.limbs = self._hidden.complete(labels, track.limbs, now_s)
        labels, track.contact = self._planted.settle(labels, track.contact, now_s)
        return labels
