"""The perception stage: a frame in, the people that are followed in it out, each with what perception saw."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from common.configuration import option
from common.frames import Camera
from sender.perception.crop import CropBox
from sender.perception.finder import Finder
from sender.perception.output import PerceptionOutput
from sender.perception.perceive import Perception
from sender.perception.tracker import Track, Tracker, TrackerConfig

Image = npt.NDArray[np.uint8]
Box = npt.NDArray[np.float32]

_FIND_EVERY_FRAMES = 10
_MOST_PEOPLE = 64
# How much of a new box is taken over when the crop follows a person: steady hands against fast ones.
_FOLLOW = 0.6
# A box that moved by less than this share of its size has not moved: a crop that trembles makes the joints tremble.
_STILL = 0.04
# Keypoints end at ankles and eyes; the person goes on for about this share of the box.
_BEYOND = np.array([0.06, 0.08, 0.06, 0.05], dtype=np.float32)


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
        finder: looks at whole frames.
        perception: looks at crops.
        config: how many people to follow.
    """

    def __init__(self, finder: Finder, perception: Perception, config: TrackingConfig) -> None:
        self._finder = finder
        self._perception = perception
        self._tracker = Tracker(TrackerConfig(most=config.max_people))
        self._frames = 0

    @classmethod
    def load(cls, config: TrackingConfig) -> "PerceptionStage":
        """With the weights that ship.

        Raises:
            WeightsError: some are missing, damaged or of another version.
        """
        return cls(Finder.load(), Perception.load(), config)

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
        if self._frames % _FIND_EVERY_FRAMES == 0 or self._tracker.lost:
            self._tracker.detect(self._finder.find(image), camera.width, camera.height)
        self._frames += 1
        tracks = self._tracker.seen
        self._settle(image, tuple(track for track in tracks if track.rough))
        people = self._observe(image, tracks)
        for track, person in zip(tracks, people, strict=True):
            box = person_box(person.output, person.crop)
            self._tracker.observe(track, follow(track.box, box), person.score)
        self._tracker.part()
        still = {track.identity for track in self._tracker.seen}
        present = [person for person in people if person.identity in still]
        return tuple(sorted(present, key=lambda person: person.crop.side * person.score, reverse=True))

    def _settle(self, image: Image, tracks: tuple[Track, ...]) -> None:
        """Looks into the finder's boxes for where the people in them really are."""
        for track, person in zip(tracks, self._observe(image, tracks), strict=True):
            track.box, track.rough = person_box(person.output, person.crop), False

    def _observe(self, image: Image, tracks: tuple[Track, ...]) -> list[ObservedPerson]:
        if not tracks:
            return []
        crops = [CropBox.around(track.box) for track in tracks]
        output = self._perception.observe([crop.cut(image, self._perception.size) for crop in crops])
        sure = presence(output)
        return [
            ObservedPerson(track.identity, float(sure[row]) * min(1.0, track.score + 0.3), crop, one(output, row))
            for row, (track, crop) in enumerate(zip(tracks, crops, strict=True))
        ]


def follow(old: Box, new: Box) -> Box:
    """Where the crop goes next when a person's box was `old` and is seen at `new`."""
    moved = float(np.abs(new - old).max()) / max(float((old[2:] - old[:2]).max()), 1.0)
    return old if moved < _STILL else np.asarray(old + _FOLLOW * (new - old), dtype=np.float32)


def one(output: PerceptionOutput, row: int) -> PerceptionOutput:
    """One person of a batch, as a batch of one."""
    return PerceptionOutput(*(getattr(output, item.name)[row : row + 1] for item in fields(output)))


def presence(output: PerceptionOutput) -> npt.NDArray[np.float32]:
    """How likely each crop shows a person at all, (B,) 0…1: visible keypoints that are sharply placed, on a mask."""
    visible = output.visible_logit.sigmoid()
    best = visible.topk(6, dim=1).values.mean(dim=1)
    area = (output.mask_logits > 0).float().mean(dim=(-2, -1))
    return np.asarray((best * (area / 0.03).clamp(max=1.0)).numpy(), dtype=np.float32)


def person_box(output: PerceptionOutput, crop: CropBox) -> Box:
    """The box of one person in pixels: around the mask and the keypoints that are in sight."""
    places = output.keypoints_2d[0].numpy()
    inside = (output.keypoints_sigma[0].numpy() < 0.12) & (output.visible_logit[0].numpy() > -2.0)
    mask = output.mask_logits[0] > 0
    corners = [places[inside]] if inside.sum() >= 3 else []
    if mask.float().mean() > 0.01:
        corners.append(_mask_corners(mask))
    if not corners:
        return np.array([*crop.to_pixels(np.full(2, 0.1)), *crop.to_pixels(np.full(2, 0.9))], dtype=np.float32)
    points = crop.to_pixels(np.concatenate(corners).astype(np.float32))
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    if len(corners) == 1 and inside.sum() >= 3:
        width, height = box[2:] - box[:2]
        box = box + _BEYOND * np.array([-width, -height, width, height])
    return np.asarray(box, dtype=np.float32)


def _mask_corners(mask_HW: torch.Tensor) -> Box:
    """Top left and bottom right of a mask in crop units, a hundredth of its pixels cut off as specks."""
    corners = []
    for axis in (0, 1):
        share = mask_HW.float().sum(dim=axis).cumsum(0) / mask_HW.sum()
        low = int((share < 0.005).sum())
        high = int((share < 0.995).sum()) + 1
        corners.append((low / len(share), high / len(share)))
    return np.array([[corners[0][0], corners[1][0]], [corners[0][1], corners[1][1]]], dtype=np.float32)
