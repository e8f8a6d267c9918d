"""The sender in process: crops or frames in, labels out."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch

from common.frames import LabelFrame, PersonLabels
from common.synthetic.dataset.shards import Batch
from sender.capture.open import DEMO_CLIP
from sender.capture.source import CapturedFrame
from sender.capture.video import VideoFileSource
from sender.perception.inference.crop import CropBox
from sender.perception.inference.detector import Detector
from sender.perception.inference.predictor import Perception
from sender.perception.inference.verifier import Verifier
from sender.perception.network.network import PerceptionNet
from sender.perception.network.output import PerceptionOutput
from sender.perception.stage import ObservedPerson, PerceptionStage, TrackingConfig
from sender.semantics.smoothing import SmoothingConfig
from sender.semantics.stage import SemanticsStage
from tests.bench.crops import camera_of
from tests.bench.measures import intersection_over_union


class CropSender:
    """Perception and semantics on given crops, each of a person never seen before.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._perception, self._semantics = Perception.load(), SemanticsStage.load()

    @property
    def size(self) -> int:
        """Pixels of a crop."""
        return self._perception.size

    @property
    def network(self) -> PerceptionNet:
        """Perception's."""
        return self._perception.net

    def perceive(self, batch: Batch) -> list[tuple[PersonLabels, dict[str, float]]]:
        """Labels of everybody in a batch of crops, and how good mask (IoU) and depth (mm, on the mask) are."""
        output = self._perception.observe(list(batch["image"]))
        labels = [self._label(output[row : row + 1], float(focal)) for row, focal in enumerate(batch["focal"])]
        return list(zip(labels, seen(output, batch), strict=True))

    def _label(self, output: PerceptionOutput, focal: float) -> PersonLabels:
        self._semantics.reset()
        person = ObservedPerson(0, 1.0, CropBox(0, 0, self.size), output)
        return self._semantics.label([person], camera_of(focal, self.size))[0]


def seen(output: PerceptionOutput, batch: Batch) -> list[dict[str, float]]:
    """`mask_iou` and `depth_mm` of each crop, at half its resolution."""
    mask = torch.from_numpy(np.asarray(batch["mask"], np.float32))[:, None]
    person = (torch.nn.functional.avg_pool2d(mask, 2)[:, 0] > 127.5).numpy()
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
    """Perception and semantics on whole frames, as the sender's pipeline drives them.

    Args:
        max_people: most people a frame.
        detector: looks at whole frames; the one that ships if not given.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, max_people: int = 1, detector: Detector | None = None) -> None:
        tracking = TrackingConfig(max_people=max_people)
        self._perception = PerceptionStage(detector or Detector.load(), Perception.load(), Verifier.load(), tracking)
        self._semantics = SemanticsStage.load(SmoothingConfig())
        self._source = ""

    def label(self, captured: CapturedFrame) -> LabelFrame:
        """One frame to labels; another source's people are strangers."""
        return self.label_observed(captured, self.observe(captured))

    def observe(self, captured: CapturedFrame) -> Sequence[ObservedPerson]:
        """Perception of one frame."""
        if captured.source != self._source:
            self._perception.reset()
            self._semantics.reset()
            self._source = captured.source
        return self._perception.process(captured.image, captured.camera)

    def label_observed(self, captured: CapturedFrame, observed: Sequence[ObservedPerson]) -> LabelFrame:
        """Semantics of one frame."""
        people = self._semantics.label(observed, captured.camera, captured.media_time_s)
        return LabelFrame(captured.sequence, captured.source, captured.captured_at, captured.camera, people)


def demo_frames(limit: int | None) -> Iterator[CapturedFrame]:
    """The demo clip, or its first frames.

    Raises:
        SourceError: it is missing.
    """
    with VideoFileSource(DEMO_CLIP) as source:
        yield from islice(source, limit)
