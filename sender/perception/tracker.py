"""Who is who from frame to frame: identities that survive crossings and short losses.  Pure: boxes in, tracks out.

Boxes are (4,) left, top, right, bottom in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from common.frames import IDENTITIES
from sender.perception.finder import Detection

Box = npt.NDArray[np.float32]

_UNLIKELY = 1e3


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """How patient the tracker is.

    Args:
        most: people followed at once.
        forget_frames: a person unseen for longer is another one on return.
        least_confidence: below it an observation counts as not seen.
        least_score: a detection below it starts no new track.
    """

    most: int = 1
    forget_frames: int = 20
    least_confidence: float = 0.3
    least_score: float = 0.33


@dataclass(slots=True, eq=False)
class Track:
    """One person.

    Args:
        identity: 0…255, not given away again before it has to be.
        box: where the person was last.
        velocity: (4,) pixels a frame, of the box.
        score: how sure the finder was, lately.
        unseen: frames since the person was last seen.
        rough: the box is the finder's, and nobody has looked into it yet.
    """

    identity: int
    box: Box
    score: float
    velocity: Box = field(default_factory=lambda: np.zeros(4, dtype=np.float32))
    unseen: int = 0
    rough: bool = True

    def predicted(self) -> Box:
        """Where the box should be now: moving on for a few frames, then staying."""
        return np.asarray(self.box + self.velocity * min(self.unseen + 1, 5), dtype=np.float32)


def overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    size = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    both = float(np.prod(np.maximum(size, 0)))
    return both / max(_area(first) + _area(second) - both, 1e-9)


def doubles(first: Box, second: Box) -> bool:
    """Two boxes of one person: nearly the same, or one a good part of the other (legs of somebody)."""
    shared = overlap(first, second)
    size = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    within = float(np.prod(np.maximum(size, 0))) / max(min(_area(first), _area(second)), 1e-9)
    return shared > 0.8 or (shared > 0.3 and within > 0.9)


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

    @property
    def lost(self) -> bool:
        """Somebody is missing, or there is room for more people than are seen."""
        return len(self.seen) < self.config.most

    def reset(self) -> None:
        """Forgets everybody; identities go on counting."""
        self._tracks.clear()

    def advance(self) -> None:
        """A new frame begins: who was lost has been lost for one frame more."""
        for track in self._tracks:
            if track.unseen:
                track.unseen += 1
        self._tracks = [track for track in self._tracks if track.unseen <= self.config.forget_frames]

    def detect(self, detections: Sequence[Detection], width: int, height: int) -> None:
        """Takes in what the finder found: known people are found again, the most prominent others become known."""
        pairs = self._match(detections)
        found = {track.identity: detection for track, detection in pairs}
        for track in self._tracks:
            detection = found.get(track.identity)
            track.score = 0.85 * track.score if detection is None else 0.5 * (track.score + detection.score)
            if detection is not None and track.unseen:
                track.box, track.unseen, track.rough = detection.box, 0, True
        taken = {id(detection) for _, detection in pairs}
        fresh = [d for d in detections if id(d) not in taken and d.score >= self.config.least_score]
        fresh = [d for d in fresh if not any(doubles(d.box, track.box) for track in self.seen)]
        fresh.sort(key=lambda d: prominence(d.box, d.score, width, height), reverse=True)
        for detection in fresh[: max(0, self.config.most - len(self.seen))]:
            self._tracks.append(Track(self._identity(), detection.box, detection.score))

    def observe(self, track: Track, box: Box, confidence: float) -> None:
        """Takes in where perception saw a track's person; with little confidence, it was not seen in this frame."""
        if confidence < self.config.least_confidence:
            track.unseen = 1
            return
        track.velocity = np.asarray(0.6 * track.velocity + 0.4 * (box - track.box), dtype=np.float32)
        track.box, track.unseen = box, 0

    def part(self) -> None:
        """Two tracks that have slipped onto one person become one: the longer known stays."""
        kept: list[Track] = []
        for track in self._tracks:
            if track.unseen or not any(doubles(track.box, other.box) for other in kept if not other.unseen):
                kept.append(track)
        self._tracks = kept

    def _match(self, detections: Sequence[Detection]) -> list[tuple[Track, Detection]]:
        if not self._tracks or not detections:
            return []
        cost = np.array([[_distance(track, d.box) for d in detections] for track in self._tracks])
        rows, columns = linear_sum_assignment(cost)
        return [
            (self._tracks[row], detections[column])
            for row, column in zip(rows, columns, strict=True)
            if cost[row, column] < _UNLIKELY
        ]

    def _identity(self) -> int:
        used = {track.identity for track in self._tracks}
        while self._next_identity % IDENTITIES in used:
            self._next_identity += 1
        identity = self._next_identity % IDENTITIES
        self._next_identity += 1
        return identity


def _area(box: Box) -> float:
    return float(np.prod(np.maximum(box[2:] - box[:2], 0)))


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
