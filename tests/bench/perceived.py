"""The sender in process: takes crops or frames, returns labels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from common.arrays import FloatArray, Image
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import concatenate
from common.synthetic.render_shards import Batch
from sender.capture.open import DEMO_CLIP
from sender.capture.source import CapturedFrame
from sender.capture.video import VideoFileSource
from sender.config import SmoothingConfig, TrackerConfig
from sender.labelling import Labelling, Networks
from sender.lookahead import with_later
from sender.metrics import SenderMetrics
from sender.perception.crop import CropBox
from sender.perception.detect import Detector
from sender.perception.perception_network import PerceptionOutput
from sender.perception.perception_stage import CloseUps, PerceptionStage
from sender.perception.predictor import Perception
from sender.perception.read import Verifier
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.semantics_stage import SemanticsStage
from tests.bench.measures import intersection_over_union
from tests.bench.people.crops import camera_of, coarse_mask


@dataclass(frozen=True, eq=False)
class PerceivedCrop:
    """What the sender makes of one crop.

    Args:
        heads: scores of the mask and depth heads (`head_scores`).
        person: as perception sees them.
    """

    labels: PersonLabels
    heads: dict[str, float]
    image: Image
    camera: Camera
    person: ObservedPerson


class CropSender:
    """Perception and semantics on given crops, each of a new person.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._perception, self._semantics = Perception.load(), SemanticsStage.load()

    @property
    def size(self) -> int:
        return self._perception.size

    def perceive(self, batch: Batch) -> list[PerceivedCrop]:
        """All that the sender makes of each crop."""
        output = self.observe(batch)
        labels, heads = self.labels(output, batch, self._semantics), head_scores(output, batch)
        return [
            PerceivedCrop(labels[row], heads[row], *_observed(output[row : row + 1], batch, row))
            for row in range(len(output))
        ]

    def observe(self, batch: Batch) -> PerceptionOutput:
        """Perception of each crop."""
        return self._perception.observe(list(batch["image"]))

    def labels(self, output: PerceptionOutput, batch: Batch, semantics: SemanticsStage) -> list[PersonLabels]:
        """Labels of the observed person in each crop, by this semantics stage."""
        return [self._label(output[row : row + 1], batch, row, semantics) for row in range(len(output))]

    def _label(self, output: PerceptionOutput, batch: Batch, row: int, semantics: SemanticsStage) -> PersonLabels:
        _, camera, person = _observed(output, batch, row)
        semantics.observe([person], camera)
        return semantics.label_observed([person], camera, 0.0)[0].finished


def _observed(output: PerceptionOutput, batch: Batch, row: int) -> tuple[Image, Camera, ObservedPerson]:
    """A crop as a frame of its own, its camera, and the person in it."""
    image = np.asarray(batch["image"][row], np.uint8)
    person = ObservedPerson(TrackedPerson(0), 1.0, CropBox(0, 0, len(image)), output)
    return image, camera_of(float(batch["focal"][row]), len(image)), person


def head_scores(output: PerceptionOutput, batch: Batch) -> list[dict[str, float]]:
    """`mask_iou` and, on the true mask, `depth_mm` of perception's own heads, each crop at half its resolution."""
    person = coarse_mask(np.asarray(batch["mask"], np.uint8))
    found = (output.mask_logits > 0).numpy()
    error = np.abs(output.depth.float().numpy() - np.asarray(batch["depth"], np.float32))
    return [
        {
            "mask_iou": intersection_over_union(found[row], person[row]),
            "depth_mm": 1000 * float(error[row][person[row]].mean()) if person[row].any() else float("nan"),
        }
        for row in range(len(person))
    ]


class FrameSender:
    """Perception and semantics on whole frames, as in the sender's pipeline.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, limits: TrackerConfig | None = None) -> None:
        networks = networks_of_labels(limits or TrackerConfig(max_people=1))
        self._semantics, self.stages = networks.semantics, Labelling(networks, (), SenderMetrics())

    def label(self, captured: CapturedFrame) -> LabelFrame:
        """Labels of one frame; tracking starts again when the source changes."""
        return self.stages.label(self.stages.perceive(captured))

    def of_file(self, frames: Iterable[CapturedFrame]) -> Iterator[LabelFrame]:
        """Yields the labels of a file's frames, which wait for later ones."""
        for ready in with_later(frames, self.stages.perceive, self._semantics.wait(True)):
            yield self.stages.label(*ready)


def networks_of_labels(limits: TrackerConfig) -> Networks:
    """The sender's networks without those of faces and hands. Raises WeightsError."""
    perception = PerceptionStage(Detector.load(), Perception.load(), Verifier.load(), limits, CloseUps.load())
    return Networks(perception, SemanticsStage.load(SmoothingConfig()))


class LabelJoints:
    """The joints of labels. Raises WeightsError if the label space is missing or of another version."""

    def __init__(self) -> None:
        self._space, self._kinematics = LabelSpace.load(), KeypointKinematics(BodyModel.load())

    def __call__(self, person: PersonLabels) -> FloatArray:
        """(17, 3) camera space, metres."""
        joints: FloatArray = self.of(concatenate(person.labels)[None])[0]
        return joints

    @torch.inference_mode()
    def of(self, labels: FloatArray) -> FloatArray:
        """(T, 17, 3) of labels (T, LABEL_SIZE); NaN for NaN."""
        joints, _ = self._kinematics(self._space.decode(torch.from_numpy(labels)))
        return np.asarray(joints.numpy(), np.float32)


def demo_frames(limit: int | None) -> Iterator[CapturedFrame]:
    """The demo clip, or its first `limit` frames.

    Raises:
        SourceError: the clip is missing.
    """
    with VideoFileSource(DEMO_CLIP) as source:
        yield from islice(source, limit)
