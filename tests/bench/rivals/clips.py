"""The clips that all systems carry, and what the sender perceives in their uncompressed frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.arrays import FloatArray, Image
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.errors import SourceError
from common.frames import Camera, PersonLabels
from common.labels import LABEL_SIZE, concatenate
from sender.capture.source import CapturedFrame
from sender.perception.observed_person import ObservedPerson
from tests.bench.measures import centred, mean_distance_mm
from tests.bench.moving_clips import CAMERA
from tests.bench.perceived import FrameSender
from tests.bench.rivals.footage import Footage
from tests.support.motion.rendered_clip import FPS

Figures = dict[str, float]


class Joints:
    """The joints of labels."""

    def __init__(self) -> None:
        self._space, self._kinematics = LabelSpace.load(), KeypointKinematics(BodyModel.load())

    @torch.inference_mode()
    def __call__(self, labels: FloatArray) -> FloatArray:
        """(T, 17, 3) COCO keypoints of labels (T, LABEL_SIZE), metres; NaN for NaN."""
        return np.asarray(self._kinematics(self._space.decode(torch.from_numpy(labels)))[0].numpy())


def held(labels: Sequence[Mapping[str, FloatArray] | None]) -> FloatArray:
    """(T, LABEL_SIZE) labels, those of the last person in frames without one, NaN before the first."""
    rows = np.full((len(labels), LABEL_SIZE), np.nan, np.float32)
    for number, groups in enumerate(labels):
        rows[number] = concatenate(groups) if groups is not None else rows[max(number - 1, 0)]
    return rows


def captured_frames(name: str, pictures: Sequence[Image], camera: Camera = CAMERA) -> list[CapturedFrame]:
    """Pictures as a source's frames; another name is another source."""
    return [
        CapturedFrame(index, name, index / FPS, index / FPS, picture, camera) for index, picture in enumerate(pictures)
    ]


@dataclass(frozen=True, eq=False)
class PerceivedClip:
    """A clip as the sender perceives it; frames in which it finds nobody are left out.

    Args:
        pictures: T frames (H, W, 3) RGB with a person.
        people: the labels of each frame.
        observed: what perception saw, and where.
        joints: (T, 17, 3) of the uncompressed labels, metres.
        truth: (T, 17, 3) true ones.
    """

    name: str
    pictures: Sequence[Image]
    people: tuple[PersonLabels, ...]
    observed: tuple[ObservedPerson, ...]
    joints: FloatArray
    truth: FloatArray

    def errors(self, joints: FloatArray) -> Figures:
        """Errors of joints (T, 17, 3) about the hips; frames without a person, which are NaN, do not count."""
        shown = np.isfinite(joints).all(axis=(1, 2))
        found, before, truth = (np.stack([*map(centred, each[shown])]) for each in (joints, self.joints, self.truth))
        return {"added_joint_error_mm": mean_distance_mm(found, before), "mpjpe_mm": mean_distance_mm(found, truth)}


def perceive(name: str, footage: Footage, sender: FrameSender, joints: Joints) -> PerceivedClip:
    """The labels of a clip's person. Raises SourceError if nobody is found in the clip."""
    found = []
    for index, frame in enumerate(captured_frames(name, footage.pictures)):
        perceived = sender.stages.perceive(frame)
        if people := sender.stages.label(perceived).people:
            found.append((index, people[0], perceived.observed[0]))
    if not found:
        raise SourceError(f"nobody is found in the clip {name}")
    kept, people, seen = zip(*found, strict=True)
    labels = np.stack([concatenate(person.labels) for person in people])
    pictures, truth = [footage.pictures[index] for index in kept], footage.joints[list(kept)]
    return PerceivedClip(name, pictures, people, seen, joints(labels), truth)
