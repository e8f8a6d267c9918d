"""The perception stage: a frame in, the people that are followed in it out, each with what perception saw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.arrays import Box, Image
from common.frames import Camera
from common.io.configuration import option
from sender.perception.inference.crop import CropBox
from sender.perception.inference.detector import Detection, Detector
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import look, person_box, refine_boxes
from sender.perception.inference.verifier import Verifier
from sender.perception.network.output import PerceptionOutput
from sender.perception.tracking.appearance import Appearance
from sender.perception.tracking.pose_similarity import ImagePose
from sender.perception.tracking.tracker import Candidate, Track, Tracker, TrackerConfig, overlap, prominence

_DETECT_EVERY_FRAMES = 10
_MOST_PEOPLE = 64
# How much of a new box is taken over when the crop follows a person: steady hands against fast ones.
_FOLLOW = 0.6
# A box that moved by less than this share of its size has not moved: a crop that trembles makes the joints tremble.
_STILL = 0.04
# Presence from which a stranger is a person; how likely somebody who was there a frame ago still is.
_LEAST_PRESENCE, _STAYS = 0.4, 0.8
# How many more strangers are looked at than there is room for.
_MORE_LOOKS = 3
# A box that overlaps by more with one where nobody was is not looked into again before the next search of all.
_SAME = 0.6


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """Whom to follow."""

    max_people: int = option(1, help="people followed at once, the most prominent first")

    def __post_init__(self) -> None:
        if not 1 <= self.max_people <= _MOST_PEOPLE:
            raise ValueError(f"--max-people must be between 1 and {_MOST_PEOPLE}, not {self.max_people}")


@dataclass(frozen=True, slots=True)
class ObservedPerson:
    """One person in one frame.

    Args:
        identity: stable from frame to frame, 0…255.
        score: how sure it is that this is a person, 0…1.
        crop: where in the frame perception looked.
        output: what it saw there, a batch of one.
    """

    identity: int
    score: float
    crop: CropBox
    output: PerceptionOutput


class PerceptionStage:
    """Finds people now and then, follows them in between.

    Args:
        detector: looks at whole frames.
        perception: looks at crops.
        verifier: judges whether perception saw a person.
        config: how many people to follow.
    """

    def __init__(self, detector: Detector, perception: Perception, verifier: Verifier, config: TrackingConfig) -> None:
        self._detector = detector
        self._perception = perception
        self._verifier = verifier
        self._tracker = Tracker(TrackerConfig(most=config.max_people))
        self._rejected_boxes: list[Box] = []
        self._frames = 0

    @classmethod
    def load(cls, config: TrackingConfig) -> "PerceptionStage":
        """With the weights that ship.

        Raises:
            WeightsError: some are missing, damaged or of another version.
        """
        return cls(Detector.load(), Perception.load(), Verifier.load(), config)

    def reset(self) -> None:
        """A new source: nobody is known, and the first frame is searched."""
        self._tracker.reset()
        self._frames = 0

    def process(self, image: Image, camera: Camera) -> tuple[ObservedPerson, ...]:
        """The people followed in a frame (H, W, 3) uint8 RGB, most prominent first; empty when nobody is there.

        Args:
            camera: the frame's; its size is the image's.
        """
        self._tracker.advance()
        due = self._frames % _DETECT_EVERY_FRAMES == 0
        if due:
            self._rejected_boxes.clear()
        if due or self._tracker.room:
            unmatched = self._tracker.unmatched(self._detector.find(image))
            self._tracker.add_tracks(self._verified(image, unmatched), camera.width, camera.height)
        self._frames += 1
        tracks = self._tracker.seen
        people = self._observe(image, tracks)
        for track, person in zip(tracks, people, strict=True):
            box = person_box(person.output, person.crop)
            looks, image_pose = Appearance.of(person.output), ImagePose.of(person.output, person.crop)
            self._tracker.observe(track, follow(track.box, box), person.score, looks, image_pose)
        self._tracker.resolve_id_switches()
        still = {track.identity for track in self._tracker.seen}
        present = [person for person in people if person.identity in still]
        return tuple(sorted(present, key=lambda person: person.crop.side * person.score, reverse=True))

    def _verified(self, image: Image, unmatched: Sequence[Detection]) -> list[Candidate]:
        """Who of the strangers is a person: where perception sees them at the second look, and how surely."""
        height, width = image.shape[:2]
        new = [one for one in unmatched if all(overlap(one.box, box) < _SAME for box in self._rejected_boxes)]
        new.sort(key=lambda one: prominence(one.box, one.score, width, height), reverse=True)
        new = new[: self._tracker.room + _MORE_LOOKS] if self._tracker.room else []
        if not new:
            return []
        seen = refine_boxes(self._perception, image, [one.box for one in new])
        presence = self._verifier.presence(seen.output, [one.score for one in new]).tolist()
        self._rejected_boxes += [one.box for one, sure in zip(new, presence, strict=True) if sure < _LEAST_PRESENCE]
        return [
            Candidate(person_box(output, crop), sure, Appearance.of(output), ImagePose.of(output, crop))
            for output, crop, sure in zip(seen.rows(), seen.crops, presence, strict=True)
            if sure >= _LEAST_PRESENCE
        ]

    def _observe(self, image: Image, tracks: Sequence[Track]) -> list[ObservedPerson]:
        if not tracks:
            return []
        seen = look(self._perception, image, [track.box for track in tracks])
        presence = self._verifier.presence(seen.output, _STAYS).tolist()
        people = zip(tracks, presence, seen.crops, seen.rows(), strict=True)
        return [ObservedPerson(track.identity, sure, crop, output) for track, sure, crop, output in people]


def follow(old: Box, new: Box) -> Box:
    """Where the crop goes next when a person's box was `old` and is seen at `new`."""
    moved = float(np.abs(new - old).max()) / max(float((old[2:] - old[:2]).max()), 1.0)
    return old if moved < _STILL else np.asarray(old + _FOLLOW * (new - old), dtype=np.float32)
