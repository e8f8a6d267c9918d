"""Tracking of people: identities that survive crossings, occlusions and short losses.

    detections, what was read ─ `Tracker` ─ `TrackedPerson` ─ `DriftDetector`: still the same person?

A tracked box follows perception's own prediction in it, and the verifier takes furniture for people.  Two things are
independent of both: keypoints with narrow heat maps, which furniture rarely has, and the detector.

Whoever is lost for so long that the tracker gives them up is forgotten, and so is all that readers remember of them:
nothing else has a lifetime, and a new source has new people.

Boxes are (4,) left, top, right, bottom in pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Self, TypeVar, cast

import numpy as np
from scipy.optimize import linear_sum_assignment

from common.arrays import Box
from common.frames import IDENTITIES
from sender.config import TrackerConfig
from sender.face.head import HeadPose
from sender.perception.crop import USUAL_STEP_S, CropBox, View, ViewMean
from sender.perception.detect import (
    Appearance,
    Detection,
    ImagePose,
    area,
    confirms,
    intersection_over_union,
    is_duplicate,
    prominence,
)
from sender.perception.perception_network import PerceptionOutput

# Located keypoints within this share of the crop's side are in one cell of a grid.
_CELL_SIZE = 0.1
# Nobody has fewer cells in a box that covers more of the frame, or at a lower presence.  Chosen on rendered clips and
# on `data/people`.
_MIN_CELLS, _MAX_COVERAGE, _MIN_PRESENCE = 2, 0.15, 0.6
# With so many cells a person is clear, and the box needs no confirmation.
_CLEAR_CELLS = 5
# Least share of a box that is within the frame, and its least longer side there.
_MIN_INSIDE, _MIN_SIDE_PX = 0.2, 8
# Least area of a person's mask over that of the box.
_MIN_FILL = 0.2
# A person's box changes by less from one frame to the next: ratio of areas and of aspects.
_MAX_AREA_CHANGE, _MAX_ASPECT_CHANGE = 1.5, 1.4
# A track is stationary while its box overlaps the one in which the person was last clear: people who turn away, who are
# hidden in part or blurred.  Any other track ends after so many seconds of nobody, or after so many searches in a row
# that did not confirm it; the second numbers are of stationary tracks, the third of an improbable person.
_STATIONARY_IOU = 0.5
_NOBODY_S, _STATIONARY_NOBODY_S = 0.03, 0.62
_CONTRADICTIONS, _STATIONARY_CONTRADICTIONS, _IMPROBABLE_CONTRADICTIONS = 3, 10, 1
# Below this presence nobody is clear, and the detector searches at once.
_CLEAR_PRESENCE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What perception knows about a box, besides its prediction.

    Args:
        presence: probability of a person, from the verifier.
        cells: cells of a grid over the crop with located keypoints.
        coverage: share of the frame that the box covers.
        inside: share of the box that is within the frame.
        side_px: longer side of the part within the frame.
        fill: area of the mask over that of the box.
    """

    box: Box
    presence: float
    cells: int
    coverage: float
    inside: float
    side_px: float
    fill: float

    @classmethod
    def from_output(
        cls, output: PerceptionOutput, crop: CropBox, box: Box, presence: float, width: int, height: int
    ) -> Self:
        """From the output for one person (a batch of one) in a crop of a frame of width × height."""
        located = output.keypoints_2d[0][output.located[0]].float().numpy()
        cells = {(int(x), int(y)) for x, y in np.floor(located / _CELL_SIZE)}
        limit = np.array([width, height, width, height])
        clipped = np.clip(box, 0, limit)
        mask_px = float((output.mask_logits[0].numpy() > 0).mean()) * crop.side**2
        clipped_px = area(clipped)
        return cls(
            box=box,
            presence=presence,
            cells=len(cells),
            coverage=clipped_px / (width * height),
            inside=clipped_px / max(area(box), 1.0),
            side_px=float((clipped[2:] - clipped[:2]).max()),
            fill=mask_px / max(area(box), 1.0),
        )

    @property
    def is_nobody(self) -> bool:
        """Whether the box is too large, too improbable or too far outside for keypoints at so few cells."""
        if self.inside < _MIN_INSIDE or self.side_px < _MIN_SIDE_PX:
            return True
        return self.cells < _MIN_CELLS and (self.coverage > _MAX_COVERAGE or self.presence < _MIN_PRESENCE)

    @property
    def is_clear(self) -> bool:
        probable = self.presence >= _CLEAR_PRESENCE and self.fill >= _MIN_FILL
        return probable and self.cells >= _CLEAR_CELLS and not self.is_nobody


@dataclass(slots=True, eq=False)
class DriftDetector:
    """Decides over time whether one track still shows its person.

    Args:
        clear_box: the box when the person was last clear; None before.
        nobody_s: since the first frame in a row in which perception showed nobody; None where it showed somebody.
        contradictions: searches in a row of the detector that did not confirm the box, since the person was clear.
        search_due: whether the detector must search in the next frame.
    """

    clear_box: Box | None = None
    nobody_s: float | None = None
    contradictions: int = 0
    search_due: bool = False
    last: Evidence | None = None

    def observe(self, evidence: Evidence, step_s: float = USUAL_STEP_S) -> None:
        """Takes what a frame showed, which was so much later than the last one."""
        unsteady = False
        if self.last is not None:
            # Area or aspect change faster than a person's do.
            old, new = (np.maximum(box[2:] - box[:2], 1) for box in (self.last.box, evidence.box))
            wider, higher = np.log(new / old).tolist()
            unsteady = abs(wider + higher) > np.log(_MAX_AREA_CHANGE) or abs(wider - higher) > np.log(
                _MAX_ASPECT_CHANGE
            )
        unsteady |= self.clear_box is not None and not self._is_stationary(evidence.box)
        improbable = evidence.fill < _MIN_FILL or evidence.presence < _CLEAR_PRESENCE or evidence.is_nobody
        self.search_due = not evidence.is_clear and (improbable or self.contradictions > 0 or unsteady)
        if evidence.is_nobody:
            # One frame alone is never believed: it lasts no time.
            self.nobody_s = 0.0 if self.nobody_s is None else self.nobody_s + step_s
        else:
            self.nobody_s = None
        if evidence.is_clear:
            self.clear_box, self.contradictions = evidence.box, 0
        self.last = evidence

    def compare(self, box: Box, detections: Sequence[Detection]) -> None:
        """Takes the detections of a search; `box` is the track's before it."""
        confirmed = any(confirms(detection.box, box) for detection in detections)
        self.contradictions = 0 if confirmed else self.contradictions + 1

    @property
    def has_drifted(self) -> bool:
        """Whether the box shows nobody any more."""
        last = self.last
        if last is None or last.is_clear:
            return False
        if last.inside < _MIN_INSIDE or last.side_px < _MIN_SIDE_PX:
            return True
        nobody_s = self.nobody_s or 0.0
        if self._is_stationary(last.box):
            return nobody_s >= _STATIONARY_NOBODY_S or self.contradictions >= _STATIONARY_CONTRADICTIONS
        improbable = last.presence < _MIN_PRESENCE
        limit = _IMPROBABLE_CONTRADICTIONS if improbable else _CONTRADICTIONS
        return nobody_s >= _NOBODY_S or self.contradictions >= limit

    def _is_stationary(self, box: Box) -> bool:
        return self.clear_box is not None and intersection_over_union(self.clear_box, box) >= _STATIONARY_IOU


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


@dataclass(frozen=True, slots=True)
class ObservedPerson:
    """One person in one frame.

    Args:
        person: the same from frame to frame.
        score: probability that this is a person, 0…1.
        crop: the part of the frame that perception read.
        output: perception's predictions there, a batch of one.
        view: how perception saw the crop.
        is_propagated: whether perception read the frame before, and only the keypoints are of this one.
        head: of a close-up, from the landmarks of the face; the output's keypoints there are its own.
    """

    person: TrackedPerson
    score: float
    crop: CropBox
    output: PerceptionOutput
    view: View = "both"
    head: HeadPose | None = None
    is_propagated: bool = False

    @property
    def identity(self) -> int:
        """0…255."""
        return self.person.identity


# Appearances at a larger distance (mean colour difference, 0…1) belong to different people.
_MAX_APPEARANCE_DISTANCE = 0.12
# Of two tracks on one person, one has switched to it if its appearance has changed by this much more than the other's.
_SWITCH_APPEARANCE_MARGIN = 0.02
# A track slips to somebody whose centre is nearer than this share of the larger person's size.
_SLIPPED_DISTANCE = 0.75
# People whose boxes overlap by more may be confused.
_CLOSE_IOU = 0.05
# The remembered appearance follows the present one with this time constant, seconds.
_APPEARANCE_S = 1.1

# The detector looks for a person who was lost at once and for so long, seconds.
_SEARCHED_S = 0.5

# Costs of an assignment; a pair at `_IMPOSSIBLE` is never assigned.
_IMPOSSIBLE = 1e3
_APPEARANCE_COST = 5.0
_SIZE_COST = 0.3
# Boxes that overlap by less are a pair only if their centres are nearer than this share of the person's size, and this
# much more for every second of extrapolation.
_MIN_IOU = 0.1
_MAX_CENTRE_DISTANCE = 0.28
_CENTRE_DISTANCE_GROWTH = 2.1


class Tracker:
    """Assigns detections to tracks.

    In each frame: `begin_frame`, then `associate` and `add_tracks` if the detector has run, then `update`.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self._tracks: list[TrackedPerson] = []
        self._next_identity = 0
        self._step_s = USUAL_STEP_S

    @property
    def seen(self) -> tuple[TrackedPerson, ...]:
        """Tracks whose person was seen in the last frame, oldest first."""
        return tuple(track for track in self._tracks if not track.is_lost)

    @property
    def known(self) -> tuple[TrackedPerson, ...]:
        """Those who are lost, too."""
        return tuple(self._tracks)

    @property
    def search_due(self) -> bool:
        """Whether the detector must search at once: nobody is seen, someone was just lost, or a track may drift."""
        if not self.seen or any(track.is_lost and track.unseen_s <= _SEARCHED_S for track in self._tracks):
            return True
        return any(track.drift.search_due for track in self.seen)

    @property
    def room(self) -> int:
        """How many more people can be tracked."""
        return max(0, self.config.max_people - len(self.seen))

    def reset(self) -> None:
        """Drops all tracks; their identities are not reused at once."""
        self._tracks.clear()

    def begin_frame(self, step_s: float = USUAL_STEP_S) -> None:
        """Ages the tracks by the time since the last frame, and drops those that were lost for too long."""
        self._step_s = step_s
        for track in self._tracks:
            track.unseen_s += step_s
            # The landmarks of a head that comes back are looked for anew.
            track.head = None if track.is_lost else track.head
        self._tracks = [track for track in self._tracks if not track.is_lost or track.unseen_s <= self.config.forget_s]

    def associate(self, detections: Sequence[Detection]) -> list[Detection]:
        """Compares the tracks seen with the detections of this frame; returns those that belong to none of them."""
        for track in self.seen:
            track.drift.compare(track.box, detections)
        costs = [[_match_cost(track, detection.box) for detection in detections] for track in self.seen]
        matched = {column for _, column in _assign(costs)}
        return [
            detection
            for index, detection in enumerate(detections)
            if index not in matched and not any(is_duplicate(detection.box, track.box) for track in self.seen)
        ]

    def is_too_small(self, rough_box: Box, growth: float) -> bool:
        """Whether a person in a rough box would get no track, even if the refined box is `growth` times as high."""
        left, top, right, bottom = rough_box
        tallest = max((_height(track.box) for track in self.seen), default=0.0)
        return float(max(right - left, bottom - top)) * growth < self.config.least_height_share * tallest

    def add_tracks(self, candidates: Sequence[Detection], width: int, height: int) -> list[TrackedPerson | None]:
        """Resumes lost tracks with candidates, and starts tracks for the most prominent others, while there is room.

        A candidate that shows all of a person whose track covers only a part (legs, say) replaces the track's box.  A
        track that has slipped to somebody else returns to its person when that one is detected nearby.

        Returns:
            Of each candidate, the track that was resumed or started.
        """
        given = candidates
        boxes = [track.box for track in self.seen] + [candidate.box for candidate in candidates]
        tallest = max(map(_height, boxes), default=0.0)
        candidates = [item for item in candidates if _height(item.box) >= self.config.least_height_share * tallest]
        ordered = sorted(candidates, key=lambda item: prominence(item.box, item.score, width, height), reverse=True)
        new: list[Detection] = []
        for candidate in ordered:
            track = next((track for track in self.seen if is_same_person(candidate, track)), None)
            if track is None:
                slipped = next((track for track in self.seen if _has_slipped_from(track, candidate)), None)
                if slipped is not None:
                    slipped.move_to(candidate.box)
                elif not any(is_same_person(candidate, other) for other in new):
                    new.append(candidate)
            elif not is_duplicate(candidate.box, track.box) and area(candidate.box) > area(track.box):
                track.move_to(candidate.box)
        lost = [track for track in self._tracks if track.is_lost]
        costs = [[_reidentification_cost(track, candidate) for candidate in new] for track in lost]
        resumed = {column: lost[row] for row, column in _assign(costs)}
        tracks: dict[Detection, TrackedPerson] = {}
        for index in sorted(range(len(new)), key=lambda index: index not in resumed)[: self.room]:
            track = resumed[index] if index in resumed else TrackedPerson(self._new_identity())
            track.move_to(new[index].box)
            tracks[new[index]] = track
            if index not in resumed:
                self._tracks.append(track)
        return [tracks.get(each) for each in given]

    def update(self) -> tuple[TrackedPerson, ...]:
        """Ends tracks that have drifted or switched to another person, when all were observed; returns the others."""
        for track in self.seen:
            if track.drift.has_drifted:
                track.mark_lost()
        self._resolve_id_switches()
        return self.seen

    def _resolve_id_switches(self) -> None:
        """Marks tracks as lost that have switched to a person nearby of another appearance; of two tracks on one person
        with similar appearances, keeps the older."""
        for track in self.seen:
            others = [other for other in self.seen if other is not track]
            close = any(intersection_over_union(track.box, other.box) > _CLOSE_IOU for other in others)
            if close and (track.appearance_change() or 0.0) > _MAX_APPEARANCE_DISTANCE:
                track.mark_lost()
        kept: list[TrackedPerson] = []
        for track in self._tracks:
            older = [other for other in kept if not other.is_lost and not track.is_lost]
            rival = next((other for other in older if is_same_person(track, other)), None)
            switched = _switched(track, rival) if rival else None
            if rival is None or switched:
                kept.append(track)
            if switched:
                switched.mark_lost()
        self._tracks = kept
        share = 1 - math.exp(-self._step_s / _APPEARANCE_S)
        for track in self.seen:
            if track.appearance is not None:
                known = track.remembered
                track.remembered = known.blended(track.appearance, share) if known else track.appearance

    def _new_identity(self) -> int:
        used = {track.identity for track in self._tracks}
        while self._next_identity % IDENTITIES in used:
            self._next_identity += 1
        identity = self._next_identity % IDENTITIES
        self._next_identity += 1
        return identity


def is_same_person(first: TrackedPerson | Detection, second: TrackedPerson | Detection) -> bool:
    """Whether two boxes or two poses are one person's."""
    if is_duplicate(first.box, second.box):
        return True
    if first.image_pose is None or second.image_pose is None:
        return False
    return first.image_pose.is_same_person(second.image_pose)


def _has_slipped_from(track: TrackedPerson, candidate: Detection) -> bool:
    """Whether a track follows somebody else, and a candidate nearby looks more like its person."""
    change = track.appearance_change()
    if change is None or track.remembered is None or candidate.appearance is None:
        return False
    distance = candidate.appearance.distance(track.remembered)
    if distance is None or change - distance <= _SWITCH_APPEARANCE_MARGIN or distance > _MAX_APPEARANCE_DISTANCE:
        return False
    size = max(float((box[2:] - box[:2]).max()) for box in (track.box, candidate.box))
    apart = np.linalg.norm((track.box[:2] + track.box[2:] - candidate.box[:2] - candidate.box[2:]) / 2)
    return float(apart) < _SLIPPED_DISTANCE * size


def _switched(first: TrackedPerson, second: TrackedPerson) -> TrackedPerson | None:
    """Which of two tracks on one person belongs to another person, by appearance; None if that is undecided."""
    first_change, second_change = first.appearance_change(), second.appearance_change()
    if first_change is None or second_change is None:
        return None
    if abs(first_change - second_change) <= _SWITCH_APPEARANCE_MARGIN:
        return None
    return first if first_change > second_change else second


def _assign(costs: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """(row, column) of the assignment of least total cost, without impossible pairs."""
    if not costs or not costs[0]:
        return []
    table = np.array(costs)
    rows, columns = linear_sum_assignment(table)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if table[r, c] < _IMPOSSIBLE]


def _reidentification_cost(track: TrackedPerson, candidate: Detection) -> float:
    """Cost of resuming a lost track with a candidate."""
    difference = None
    if candidate.appearance is not None and track.remembered is not None:
        difference = candidate.appearance.distance(track.remembered)
    if difference is not None and difference > _MAX_APPEARANCE_DISTANCE:
        return _IMPOSSIBLE
    return _match_cost(track, candidate.box) + _APPEARANCE_COST * (difference or 0.0)


def _match_cost(track: TrackedPerson, box: Box) -> float:
    """Cost of assigning a box to a track, from overlap, distance and size; `_IMPOSSIBLE` if they are too far apart."""
    expected = track.predicted()
    size = float(max(expected[2:] - expected[:2]))
    centre_distance = float(np.linalg.norm((expected[:2] + expected[2:] - box[:2] - box[2:]) / 2)) / max(size, 1.0)
    size_ratio = abs(float(np.log(max(area(box), 1.0) / max(area(expected), 1.0))))
    iou = intersection_over_union(expected, box)
    farthest = _MAX_CENTRE_DISTANCE + _CENTRE_DISTANCE_GROWTH * min(track.unseen_s, EXTRAPOLATED_S)
    if iou < _MIN_IOU and centre_distance > farthest:
        return _IMPOSSIBLE
    return 1.0 - iou + centre_distance + _SIZE_COST * size_ratio


def _height(box: Box) -> float:
    return float(box[3] - box[1])
