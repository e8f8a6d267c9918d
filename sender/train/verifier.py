"""Trains the verifier: whether a crop that the detector proposes shows a person.

Frames are composed of rendered people and distractors (`sender.train.detector_frames`), and with --photographs also
pictures with person boxes that are held back (`openimages`; validation has those of `people` too).  The detector
proposes boxes from a low score on, and perception refines each box, as in use.  A crop shows a person if the refined
box has an IoU of at least 0.5 with a person's.

The people must be new to detector and perception, which are more certain of people they were trained on: render a data
set with a seed of its own.  CPU recipe: 1,000 training and 200 validation frames of 8,192 and 768 crops take ten
minutes on two cores, nearly all of it for detector and perception, whose outputs are kept in --out.  --export also
writes the weights.

Examples:
  python -m sender.train.verifier --data unseen --frames 500 --photographs photographs --export
  python -m sender.train.verifier --data unseen --out runs/verifier --frames 100
  python -m sender.train.verifier --data unseen --seed 1 --export --weights /tmp/weights
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from common.arrays import FloatArray
from common.io.atomic_write import atomic_replacement
from common.synthetic.dataset.split import Split
from common.training.recipe import Defaults, Progress, Recipe
from common.training.run import main, on_device
from sender.perception.inference.detector import Detector
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import refine_boxes
from sender.perception.inference.verifier import (
    EVIDENCE,
    KIND,
    WEIGHTS_NAME,
    VerifierConfig,
    VerifierNet,
    evidence,
    log_odds,
)
from sender.train.detector_frames import Frame, composed_frames
from sender.train.detector_scores import in_crowd
from sender.train.photograph_frames import randomly_grey
from sender.train.photographs import Photograph, PhotographDataset, Source

# Below this score the detector is nearly always wrong.
_MIN_PROPOSAL_SCORE = 0.08
_MAX_PROPOSALS = 10
# The verifier's scores compare it with the detector alone at this score.
_DETECTOR_SCORE = 0.35
# A crop is positive from the first IoU with a person on and negative up to the second; those between are left out.
_POSITIVE_IOU, _NEGATIVE_IOU = 0.5, 0.35
_EPOCHS = 60
# Share of the photographs that is learned from, and how often each is varied.
_LEARNED_SHARE, _PASSES = 2 / 3, 2
_NOISE = 0.05


@dataclass(frozen=True, slots=True)
class Examples:
    """Proposals with perception's certainty.

    Args:
        evidence: (N, EVIDENCE).
        person: (N,) 1 where the crop shows a person, else 0.
        score: (N,) the detector's.
        frames: number of frames that they are from.
    """

    evidence: Tensor
    person: Tensor
    score: Tensor
    frames: int


class Proposals(NamedTuple):
    """Evidence (B, EVIDENCE), 1 or 0 for a person or not (B,), and the detector's score (B,)."""

    evidence: Tensor
    person: Tensor
    score: Tensor


class VerifierTraining(Recipe[VerifierNet, Proposals]):
    """Cross-entropy of the posterior, whose prior is the detector's score."""

    name, kind = WEIGHTS_NAME, KIND
    storage = "float32"
    defaults = Defaults(10.0, batch=256, rate=2e-3, seed=0, threads=2, warm_share=0.3, average_decay=0.99)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
        frames = "training frames; a fifth as many for validation (%(default)s)"
        add("--frames", type=int, default=1000, help=frames)
        add("--photographs", type=Path, metavar="DIR", help="also this folder of sender.train.photographs")
        summary = "read perception's uncertainties only, not its trunk's statistics"
        add("--no-summary", action="store_true", help=summary)
        add("--size", type=int, default=416, help="side of composed frames (default: %(default)s)")

    def prepare(self) -> VerifierNet:
        options = self.options
        self._examples = gather(options, "train", options.frames, self.device)
        self._val = gather(options, "val", max(options.frames // 5, 1), self.device)
        if options.steps is None:
            options.steps = _EPOCHS * max(len(self._examples.person) // options.batch, 1)
        self.facts = {"examples": len(self._examples.person)}
        return self.or_shipped(
            VerifierNet(VerifierConfig(summary=bool(options.photographs) and not options.no_summary))
        )

    def optimisers(self, network: VerifierNet) -> Sequence[torch.optim.Optimizer]:
        return [torch.optim.AdamW(network.parameters(), lr=self.options.rate, weight_decay=0.05)]

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Proposals]:
        examples = self._examples
        while True:
            rows = torch.from_numpy(rng.integers(len(examples.person), size=count))
            yield Proposals(examples.evidence[rows], examples.person[rows], examples.score[rows])

    def step(self, network: VerifierNet, batch: Proposals) -> tuple[Tensor, Mapping[str, Tensor]]:
        noisy = batch.evidence + _NOISE * torch.randn_like(batch.evidence)
        posterior = network(noisy) + log_odds(batch.score)
        return functional.binary_cross_entropy_with_logits(posterior, batch.person), {}

    def evaluate(self, network: VerifierNet) -> dict[str, float]:
        """ROC AUC, share of people kept and false positives a frame: of the verifier, and of the detector alone."""
        examples = on_device(self._val, self.device)
        posterior = (network(examples.evidence) + log_odds(examples.score)).sigmoid()
        person, scores = examples.person > 0.5, {}
        for name, score, least in (("", posterior, 0.5), ("_detector", examples.score, _DETECTOR_SCORE)):
            kept = score >= least
            scores[f"auc{name}"] = round(area_under_curve(score, person), 4)
            scores[f"kept{name}"] = round(float((kept & person).sum() / person.sum()), 4)
            scores[f"false_per_frame{name}"] = round(float((kept & ~person).sum()) / examples.frames, 4)
        return scores

    def manifest_recipe(self, progress: Progress) -> dict[str, Any]:
        options = self.options
        flags = " --photographs photographs" if options.photographs else ""
        command = f"python -m sender.train.verifier --frames {options.frames} --size {options.size}{flags}"
        return {"command": command, "examples": self.facts["examples"], "split": "val"}


Generator = np.random.Generator

# The pictures of `openimages` were stretched to squares.  Most photographs have 4:3 or 3:4; log of width over height.
_LOG_ASPECTS, _ASPECT_SHARES, _ASPECT_NOISE = (0.29, -0.29, 0.0), (0.6, 0.3, 0.1), 0.08


def photograph_frames(photographs: PhotographDataset, source: Source, rng: Generator) -> Iterator[Frame]:
    """Every photograph of a source once; those of `openimages` with likely proportions, some mirrored or grey."""
    for index in photographs.indices(source):
        item = photographs[index]
        yield varied(item, rng) if source == "openimages" else Frame(item.image, item.boxes, item.crowds)


def varied(item: Photograph, rng: Generator) -> Frame:
    """A photograph with random proportions, mirrored in half of the cases, sometimes grey."""
    aspect = rng.choice(_LOG_ASPECTS, p=_ASPECT_SHARES) + rng.normal(0, _ASPECT_NOISE)
    height, width = item.image.shape[:2]
    size = round(width * np.exp(aspect / 2)), round(height * np.exp(-aspect / 2))
    image = np.asarray(cv2.resize(item.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    stretch = np.tile(np.array([size[0] / width, size[1] / height], np.float32), 2)
    boxes, crowds = item.boxes * stretch, item.crowds * stretch
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        boxes, crowds = (mirrored_boxes(array, size[0]) for array in (boxes, crowds))
    return Frame(randomly_grey(rng, image), boxes, crowds)


def mirrored_boxes(boxes_n4: FloatArray, width: int) -> FloatArray:
    """Boxes (n, 4) in the mirror image of a picture of `width` pixels."""
    return np.asarray(boxes_n4[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0], np.float32)


def frames_of(options: argparse.Namespace, split: Split, count: int) -> Iterator[Frame]:
    """`count` composed frames, and photographs that neither detector nor perception were trained on.

    Two thirds of those of `openimages` are learned from, the others and those of `people` validate.
    """
    rng = np.random.default_rng([options.seed, split == "train"])
    composed = composed_frames(options.data, split, options.size, rng)
    yield from (composed() for _ in range(count))
    if options.photographs:
        photographs = PhotographDataset(options.photographs, "val")
        learned = round(_LEARNED_SHARE * len(photographs.indices("openimages")))
        if split == "train":
            for _ in range(_PASSES):
                yield from islice(photograph_frames(photographs, "openimages", rng), learned)
        else:
            yield from islice(photograph_frames(photographs, "openimages", rng), learned, None)
            yield from photograph_frames(photographs, "people", rng)


def gather(options: argparse.Namespace, split: Split, frames: int, device: torch.device) -> Examples:
    """Examples from `frames_of`, or from `--out` if they were gathered before."""
    kind = "-photographs" if options.photographs else ""
    file = options.out / f"examples-{split}-{options.seed}-{frames}{kind}.npz"
    if not file.exists():
        detector, perception = Detector.load(device=device), Perception.load(device=device)
        detector.threshold = _MIN_PROPOSAL_SCORE
        rows = [torch.zeros(0, EVIDENCE + 2)]
        for number, frame in enumerate(frames_of(options, split, frames)):
            rows.append(_examples_of_frame(detector, perception, frame))
            if number % 100 == 0:
                print(f"{split}: {number} frames, {sum(map(len, rows))} examples", flush=True)
        options.out.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(file) as partial, open(partial, "wb") as output:
            np.savez(output, rows=torch.cat(rows).numpy(), frames=number + 1)
    arrays = np.load(file)
    rows_NX = torch.from_numpy(arrays["rows"])
    person, score = rows_NX[:, EVIDENCE:].unbind(1)
    return Examples(rows_NX[:, :EVIDENCE], person, score, int(arrays["frames"]))


def _examples_of_frame(detector: Detector, perception: Perception, frame: Frame) -> Tensor:
    """(n, EVIDENCE + 2) rows of evidence, person, score; proposals in a crowd that match nobody are left out."""
    proposals = detector.find(frame.image)[:_MAX_PROPOSALS]
    if not proposals:
        return torch.zeros(0, EVIDENCE + 2)
    refined = refine_boxes(perception, frame.image, [proposal.box for proposal in proposals])
    boxes = torch.from_numpy(np.stack(refined.person_boxes()))
    iou = largest_iou(boxes, frame.boxes)
    scores = torch.tensor([proposal.score for proposal in proposals])
    columns = torch.stack([(iou >= _POSITIVE_IOU).float(), scores], dim=1)
    crowded = torch.from_numpy(in_crowd(boxes.numpy(), frame.ignored))
    clear = (iou >= _POSITIVE_IOU) | ((iou <= _NEGATIVE_IOU) & ~crowded)
    return torch.cat([evidence(refined.output), columns], dim=1)[clear]


def largest_iou(boxes_d4: Tensor, people_n4: FloatArray) -> Tensor:
    """(d,) IoU of each box with the person that it overlaps most; 0 without people."""
    if not len(people_n4):
        return torch.zeros(len(boxes_d4))
    overlaps: Tensor = box_iou(boxes_d4, torch.from_numpy(people_n4))
    return overlaps.amax(dim=1)


def area_under_curve(score_N: Tensor, person_N: Tensor) -> float:
    """Area under the ROC curve: the probability that a positive example has a higher score than a negative one."""
    positive, negative = score_N[person_N].cpu().numpy(), score_N[~person_N].cpu().numpy()
    if not len(positive) or not len(negative):
        return float("nan")
    return float(mannwhitneyu(positive, negative).statistic) / (len(positive) * len(negative))


if __name__ == "__main__":
    raise SystemExit(main(VerifierTraining))
