"""Who is who from frame to frame: identities that survive crossings and short losses.  Pure: boxes in, tracks out.

Boxes are (4,) left, top, right, bottom in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from common.arrays import Box
from common.frames import IDENTITIES
from sender.perception.inference.detector import Detection
from sender.perception.tracking.appearance import Appearance
from sender.perception.tracking.pose_similarity import ImagePose

_UNLIKELY = 1e3
# Colours that differ by so much more are another person's; by so much they are never the same person's.
_UNLIKE, _SOMEBODY_ELSE = 0.02, 0.12
# Overlap of boxes from which one person may be taken for the other.
_CLOSE = 0.05
# What a difference of colour weighs against a distance; how fast what somebody looks like is learnt.
_COLOURS, _LEARN = 5.0, 0.03


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """How patient the tracker is.

    Args:
        most: people followed at once.
        forget_frames: a person unseen for longer is another one on return.
        least_confidence: below it an observation counts as not seen.
    """

    most: int = 1
    forget_frames: int = 50
    least_confidence: float = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Somebody who may be a stranger, or somebody lost.

    Args:
        box: where perception saw them.
        score: how likely there is somebody.
        looks: what they look like.
        pose: where their keypoints are.
    """

    box: Box
    score: float
    looks: Appearance | None = None
    image_pose: ImagePose | None = None


@dataclass(slots=True, eq=False)
class Track:
    """One person.

    Args:
        identity: 0…255, not given away again before it has to be.
        box: where the person was last.
        velocity: (4,) pixels a frame, of the box.
        unseen: frames since the person was last seen.
        remembered: what the person looked like so far.
        looks: what is seen there now.
        pose: where the keypoints were last.
    """

    identity: int
    box: Box
    velocity: Box = field(default_factory=lambda: np.zeros(4, dtype=np.float32))
    unseen: int = 0
    remembered: Appearance | None = None
    looks: Appearance | None = None
    image_pose: ImagePose | None = None

    def change(self) -> float | None:
        """How far what is seen now is from what is remembered, 0…1; None where that cannot be said."""
        return self.remembered.distance(self.looks) if self.remembered and self.looks else None

    def lose(self) -> None:
        """The person was not seen in this frame, and what was seen moved with somebody else."""
        self.unseen, self.velocity = 1, np.zeros_like(self.velocity)

    def predicted(self) -> Box:
        """Where the box should be now: moving on for a few frames, then staying."""
        return np.asarray(self.box + self.velocity * min(self.unseen + 1, 5), dtype=np.float32)


def overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    size = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    both = float(np.prod(np.maximum(size, 0)))
    return both / max(_area(first) + _area(second) - both, 1e-9)


def is_duplicate(first: Box, second: Box) -> bool:
    """Two boxes of one person: nearly the same, or one a good part of the other (legs of somebody)."""
    shared = overlap(first, second)
    size = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    within = float(np.prod(np.maximum(size, 0))) / max(min(_area(first), _area(second)), 1e-9)
    return shared > 0.8 or (shared > 0.3 and within > 0.9)


def _one_person(first: Track | Candidate, second: Track | Candidate) -> bool:
    """Two of one person, by their boxes or by their keypoints."""
    image_poses = first.image_pose, second.image_pose
    return is_duplicate(first.box, second.box) or bool(
        image_poses[0] and image_poses[1] and image_poses[0].same(image_poses[1])
    )


def _unfamiliar(first: Track, second: Track) -> Track | None:
    """Which of two tracks on one person is of somebody else, going by the colours; None if they do not say."""
    one, other = first.change(), second.change()
    if one is None or other is None or abs(one - other) <= _UNLIKE:
        return None
    return first if one > other else second


def prominence(box: Box, score: float, width: int, height: int) -> float:
    """How much a person matters in a frame: area × centrality × score."""
    middle = (box[:2] + box[2:]) / 2 / np.array([width, height]) - 0.5
    centrality = 1.0 - 0.7 * min(1.0, 2.0 * float(np.abs(middle).max()))
    return _area(box) / (width * height) * centrality * score


class Tracker:
    """Matches detections with the people known so far.

    Args:
        config: how many, how patient.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self._tracks: list[Track] = []
        self._next_identity = 0

    @property
    def seen(self) -> tuple[Track, ...]:
        """People seen in the last frame, in the order in which they came."""
        return tuple(track for track in self._tracks if track.unseen == 0)

    def reset(self) -> None:
        """Forgets everybody; identities go on counting."""
        self._tracks.clear()

    def advance(self) -> None:
        """A new frame begins: who was lost has been lost for one frame more."""
        for track in self._tracks:
            if track.unseen:
                track.unseen += 1
        self._tracks = [track for track in self._tracks if track.unseen <= self.config.forget_frames]

    @property
    def room(self) -> int:
        """How many more people can be followed."""
        return max(0, self.config.most - len(self.seen))

    def unmatched(self, detections: Sequence[Detection]) -> list[Detection]:
        """Of what the detector found, all that does not belong to somebody in sight."""
        seen = self.seen
        known = {column for _, column in _pairs([[_distance(track, d.box) for d in detections] for track in seen])}
        return [d for index, d in enumerate(detections) if index not in known and not self._in_sight(d.box)]

    def add_tracks(self, candidates: Sequence[Candidate], width: int, height: int) -> None:
        """Who was lost is found again, and the most prominent of the others become known, while there is room.

        Of whom only a part was followed (legs, say), more is followed if that is what was found.
        """
        order = sorted(candidates, key=lambda one: prominence(one.box, one.score, width, height), reverse=True)
        fresh: list[Candidate] = []
        for one in order:
            known = next((track for track in self.seen if _one_person(one, track)), None)
            if known is not None and not is_duplicate(one.box, known.box) and _area(one.box) > _area(known.box):
                known.box = one.box
            if known is None and not any(_one_person(one, other) for other in fresh):
                fresh.append(one)
        lost = [track for track in self._tracks if track.unseen]
        back = {column: lost[row] for row, column in _pairs([[_return(track, one) for one in fresh] for track in lost])}
        for index in sorted(range(len(fresh)), key=lambda index: index not in back)[: self.room]:
            if index in back:
                back[index].box, back[index].unseen = fresh[index].box, 0
            else:
                self._tracks.append(Track(self._identity(), fresh[index].box))

    def observe(
        self,
        track: Track,
        box: Box,
        confidence: float,
        looks: Appearance | None = None,
        image_pose: ImagePose | None = None,
    ) -> None:
        """Takes in where perception saw a track's person; with little confidence, it was not seen in this frame."""
        track.looks, track.image_pose = looks, image_pose
        if confidence < self.config.least_confidence:
            track.unseen = 1
            return
        track.velocity = np.asarray(0.6 * track.velocity + 0.4 * (box - track.box), dtype=np.float32)
        track.box, track.unseen = box, 0

    def resolve_id_switches(self) -> None:
        """People who meet are told apart by their colours.

        A track that has slipped onto somebody close by, who looks otherwise, is lost.  Of two tracks on one person that
        look alike both were that person's, and the longer known stays.
        """
        for track in self.seen:
            close = any(overlap(track.box, other.box) > _CLOSE for other in self.seen if other is not track)
            if close and (track.change() or 0.0) > _SOMEBODY_ELSE:
                track.lose()
        kept: list[Track] = []
        for track in self._tracks:
            rival = next((o for o in kept if not o.unseen and not track.unseen and _one_person(track, o)), None)
            unmatched_candidate = _unfamiliar(track, rival) if rival else None
            if rival is None or unmatched_candidate:
                kept.append(track)
            if unmatched_candidate:
                unmatched_candidate.lose()
        self._tracks = kept
        for track in self.seen:
            if track.looks is not None:
                known = track.remembered
                track.remembered = known.blended(track.looks, _LEARN) if known else track.looks

    def _in_sight(self, box: Box) -> bool:
        return any(is_duplicate(box, track.box) for track in self.seen)

    def _identity(self) -> int:
        used = {track.identity for track in self._tracks}
        while self._next_identity % IDENTITIES in used:
            self._next_identity += 1
        identity = self._next_identity % IDENTITIES
        self._next_identity += 1
        return identity


def _area(box: Box) -> float:
    return float(np.prod(np.maximum(box[2:] - box[:2], 0)))


def _pairs(cost: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """(row, column) of the assignment of least cost, without what cannot be."""
    if not cost or not cost[0]:
        return []
    table = np.array(cost)
    rows, columns = linear_sum_assignment(table)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if table[r, c] < _UNLIKELY]


def _return(track: Track, candidate: Candidate) -> float:
    """What it costs to believe that a lost person is back."""
    different = candidate.looks.distance(track.remembered) if candidate.looks and track.remembered else None
    if different is not None and different > _SOMEBODY_ELSE:
        return _UNLIKELY
    return _distance(track, candidate.box) + _COLOURS * (different or 0.0)


def _distance(track: Track, box: Box) -> float:
    """What it costs to believe that a box shows a track's person; `_UNLIKELY` where it cannot be."""
    expected = track.predicted()
    size = float(max(expected[2:] - expected[:2]))
    apart = float(np.linalg.norm((expected[:2] + expected[2:] - box[:2] - box[2:]) / 2)) / max(size, 1.0)
    ratio = abs(float(np.log(max(_area(box), 1.0) / max(_area(expected), 1.0))))
    shared = overlap(expected, box)
    if shared < 0.1 and apart > 0.35 * (1 + 0.2 * min(track.unseen, 5)):
        return _UNLIKELY
    return 1.0 - shared + apart + 0.3 * ratio
