"""Multi-object tracking: identities that survive crossings, occlusions and short losses.  Pure: boxes in, tracks out.

Boxes are (4,) left, top, right, bottom in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from common.arrays import Box
from common.frames import IDENTITIES
from sender.people.tracked_person import EXTRAPOLATED_S, TrackedPerson
from sender.perception.config import TrackerConfig
from sender.perception.inference.detector import Detection
from sender.perception.tracking.boxes import area, intersection_over_union, is_duplicate, prominence
from sender.perception.tracking.frame_clock import USUAL_STEP_S
from sender.perception.tracking.similarity import Appearance, ImagePose

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


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A person without a track: a new one, or one whose track was lost.

    Args:
        score: probability that the box shows a person.
        proposed: the detector's box; None of who was not found by it.
    """

    box: Box
    score: float
    appearance: Appearance | None = None
    image_pose: ImagePose | None = None
    proposed: Box | None = None


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
        """Ages the tracks and drops those that were lost for too long.

        Args:
            step_s: since the last frame.
        """
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

    def add_tracks(self, candidates: Sequence[Candidate], width: int, height: int) -> list[TrackedPerson | None]:
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
        new: list[Candidate] = []
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
        tracks: dict[Candidate, TrackedPerson] = {}
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
        """Ends identity switches by appearance, and removes duplicate tracks.

        A track that has switched to a person nearby of another appearance is marked lost.  Of two tracks on one
        person with similar appearances, the older is kept.
        """
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


def is_same_person(first: TrackedPerson | Candidate, second: TrackedPerson | Candidate) -> bool:
    """Whether two boxes or two poses are one person's."""
    if is_duplicate(first.box, second.box):
        return True
    if first.image_pose is None or second.image_pose is None:
        return False
    return first.image_pose.is_same_person(second.image_pose)


def _has_slipped_from(track: TrackedPerson, candidate: Candidate) -> bool:
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


def _reidentification_cost(track: TrackedPerson, candidate: Candidate) -> float:
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
