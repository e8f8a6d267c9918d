"""Trains the verifier: whether a crop that the detector proposes shows a person.

Frames are composed of rendered people (`sender.train.augment`), or photographs with person boxes that are held back:
those of `openimages`, and for validation those of `people`.  The detector proposes boxes from a low score on, and
perception refines each box, as in use.  A crop shows a person if the refined box has an IoU of at least 0.5 with a
person's, annotated or judged by eye.  With --shipped, only what MoveNet's scores in the refined box add to the verdict
is learned.

Annotations of photographs leave out many people, and box statues and posters.  Each line of `data/judged_boxes.tsv` is
a refined proposal in a photograph held back, and what a vision-language model saw in it, shown as a cell of a contact
sheet without annotation:

    person      one person, at least head and upper body, or all that is visible of somebody who is hidden in part
    fragment    a hand or an arm of somebody, or somebody far smaller than the box
    several     people, none of whom the box is about
    likeness    a statue, a doll, a drawing, a person on a screen
    nobody      an animal, a thing, a place
    unclear     too dark or too blurred to tell

The people must be new to detector and perception, which are more certain of people they were trained on: render a data
set with a seed of its own.  CPU recipe: 1,000 training and 200 validation frames of 8,192 and 768 crops take ten
minutes on two cores, nearly all of it for detector and perception, whose outputs are kept in --out.  --export also
writes the weights.

Examples:
  python -m sender.train.verifier --data unseen --frames 500 --photographs photographs --out runs/verifier --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from common.arrays import FloatArray
from common.synthetic.dataset import Split
from common.synthetic.render_shards import CropDataset
from common.tensor_rows import TensorRows
from common.training.recipe import Defaults, Recipe
from common.training.run import main, on_device
from sender.perception.detect import Detector
from sender.perception.perception_network import FusedOutput
from sender.perception.predictor import Perception
from sender.perception.read import (
    KIND,
    WEIGHTS_NAME,
    VerifierConfig,
    VerifierNet,
    evidence,
    log_odds,
    predict_in_boxes,
    second_certainty,
)
from sender.train.augment import FrameComposer
from sender.train.photographs.dataset import Photograph, PhotographDataset, in_crowd, read_table, resized

# Somewhat below the least score of a proposal in use.
_MIN_PROPOSAL_SCORE = 0.035
_MAX_PROPOSALS = 10
# The verifier's scores compare it with the detector alone at this score.
_DETECTOR_SCORE = 0.25
# A crop is positive from the first IoU with a person on and negative up to the second; those between are left out.
_POSITIVE_IOU, _NEGATIVE_IOU = 0.5, 0.35
# Of photographs whose boxes were judged, it is what the judged box with the largest IoU is, from this one on.
_JUDGED_IOU = 0.7
# A box is nobody's, too, if it overlaps a judged one that is nobody's by the first IoU, and all others by at most the
# second.
_EMPTY_IOU, _ELSEWHERE_IOU = 0.35, 0.1
_EPOCHS = 60
# Side of composed frames.
_COMPOSED_PX = 416
_NOISE = 0.05
# Rate of the numbers that weigh looks and opinions, over that of the network.
_VERDICT_RATE = 10.0
_RIDGE = 0.01
_JUDGED = Path(__file__).parent / "data" / "judged_boxes.tsv"
# What shows a person, nobody, and neither.
_KINDS = ("person",), ("nobody", "likeness", "fragment"), ("several", "unclear")
# The pictures of `openimages` were stretched to squares.  Most photographs have 4:3; their boxes were judged in it.
_ASPECT = 4 / 3


@dataclass(frozen=True, slots=True)
class Examples(TensorRows):
    """Proposals with perception's certainty.

    Args:
        evidence: (N, EVIDENCE), of the refined boxes, by a thorough look.
        person: (N,) 1 where the crop shows a person, else 0.
        score: (N,) the detector's.
        certainty: (N,) of the second opinion.
        frames: (N,) number of all frames that the examples are from.
    """

    evidence: Tensor
    person: Tensor
    score: Tensor
    certainty: Tensor
    frames: Tensor


class VerifierTraining(Recipe[VerifierNet, Examples]):
    """Cross-entropy of the posteriors of perception alone, and of both opinions.

    Their prior is the detector's score.
    """

    name, kind = WEIGHTS_NAME, KIND
    storage = "float32"
    defaults = Defaults(10.0, batch=256, rate=2e-3, seed=0, threads=2, warm_share=0.3, average_decay=0.99)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--data", type=Path, nargs="+", default=[], help="folders of rendered shards, of which frames are composed")
        frames = "training frames; a fifth as many for validation (%(default)s)"
        add("--frames", type=int, default=1000, help=frames)
        add("--photographs", type=Path, required=True, help="folder of sender.train.photographs.dataset")

    def prepare(self) -> VerifierNet:
        options = self.options
        self._examples = gather(options, "train", options.frames, self.device)
        self._val = gather(options, "val", max(options.frames // 5, 1), self.device)
        if options.steps is None:
            options.steps = _EPOCHS * max(len(self._examples) // options.batch, 1)
        self.facts = {"examples": len(self._examples), "frames": options.frames, "shipped": options.shipped}
        return self.or_shipped(VerifierNet(VerifierConfig()))

    def optimisers(self, network: VerifierNet) -> Sequence[torch.optim.Optimizer]:
        groups: list[dict[str, Any]] = [
            {"params": [*network.opinions.parameters()], "lr": _VERDICT_RATE * self.options.rate}
        ]
        if not self.options.shipped:
            groups.append({"params": [*network.hidden.parameters(), *network.verdict.parameters()]})
        return [torch.optim.AdamW(groups, lr=self.options.rate, weight_decay=0.05)]

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Examples]:
        while True:
            yield self._examples[torch.from_numpy(rng.integers(len(self._examples), size=count))]

    def step(self, network: VerifierNet, batch: Examples) -> tuple[Tensor, Mapping[str, Tensor]]:
        if self.options.shipped:
            # What they norm by belongs to what they have learned.
            network.norm.eval()
        seen, prior = batch.evidence + _NOISE * torch.randn_like(batch.evidence), log_odds(batch.score)
        posteriors = network(seen) + prior, network.of_two_opinions(seen, batch.certainty, prior)
        losses = [functional.binary_cross_entropy_with_logits(each, batch.person) for each in posteriors]
        # What both say is nearly the same: of many weights that say it, the small ones are taken.
        weights = [each for name, each in network.opinions.named_parameters() if name.endswith("weight")]
        ridge = [_RIDGE * each.square().sum() for each in weights]
        return torch.stack([*losses, *ridge]).sum(), {}

    def evaluate(self, network: VerifierNet) -> dict[str, float]:
        """ROC AUC, share of people kept and false positives a frame.

        Of both opinions, of perception alone, of the detector.
        """
        examples = on_device(self._val, self.device)
        prior = log_odds(examples.score)
        alone = (network(examples.evidence) + prior).sigmoid()
        person, scores = examples.person > 0.5, {}
        opinions = network.of_two_opinions(examples.evidence, examples.certainty, prior).sigmoid()
        verdicts_of = {"": opinions, "_alone": alone, "_detector": examples.score}
        for name, score in verdicts_of.items():
            kept = score >= (_DETECTOR_SCORE if name == "_detector" else 0.5)
            scores[f"auc{name}"] = round(area_under_curve(score, person), 4)
            scores[f"kept{name}"] = round(float((kept & person).sum() / person.sum()), 4)
            scores[f"false_per_frame{name}"] = round(float((kept & ~person).sum()) / int(examples.frames[0]), 4)
        return scores


@cache
def judged_boxes() -> Mapping[str, Mapping[str, list[list[float]]]]:
    """Name of the photograph → what is shown → boxes: left, top, right, bottom in 0…1 of the photograph's sides."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for row in read_table(_JUDGED):
        box = [float(row[side]) for side in ("left", "top", "right", "bottom")]
        found.setdefault(row["photograph"], {}).setdefault(row["shows"], []).append(box)
    return found


def as_judged(item: Photograph) -> tuple[Photograph, bool]:
    """A photograph with its judged boxes, and whether it has some.

    `crowds` are neither people nor nobody, and nothing is known outside of all boxes; without judgements, nobody is
    outside of the annotated ones.
    """
    judged = judged_boxes().get(item.name)
    if judged is None:
        return item, False
    size = np.tile(np.array(item.image.shape[1::-1], np.float32), 2)
    people, nobody, neither = (
        size * np.array([box for kind in kinds for box in judged.get(kind, ())], np.float32).reshape(-1, 4)
        for kinds in _KINDS
    )
    return replace(item, boxes=people, crowds=neither, nobody=nobody, keypoints=item.keypoints[:0]), True


def frames_of(options: argparse.Namespace, split: Split, count: int) -> Iterator[tuple[Photograph, bool]]:
    """`count` composed frames, and photographs that neither detector nor perception were trained on, as `as_judged`.

    Those of `openimages`, with likely proportions, are learned from, those of `people` validate.
    """
    rng = np.random.default_rng([options.seed, split == "train"])
    if options.data:
        composer = FrameComposer([CropDataset([folder], split) for folder in options.data], rng, _COMPOSED_PX)
        for image, boxes in (composer.frame() for _ in range(count)):
            yield (
                Photograph("people", "composed", image, boxes, boxes[:0], np.zeros((len(boxes), 17, 3), np.float32)),
                False,
            )
    photographs, learned = PhotographDataset(options.photographs, "val"), split == "train"
    for index in photographs.indices("openimages" if learned else "people"):
        frame, judged = as_judged(photographs[index])
        height, width = frame.image.shape[:2]
        likely = round(width * _ASPECT**0.5), round(height / _ASPECT**0.5)
        yield (resized(frame, likely) if learned else frame), judged


def gather(options: argparse.Namespace, split: Split, frames: int, device: torch.device) -> Examples:
    """Examples from `frames_of`, or from `--out` if they were gathered before."""

    def observed() -> Examples:
        detector, perception = Detector.load(device=device), Perception.load(device=device)
        detector.threshold = _MIN_PROPOSAL_SCORE
        found = [examples_of(detector, perception, *frame) for frame in frames_of(options, split, frames)]
        rows = Examples.concatenate([each for each in found if each])
        return replace(rows, frames=torch.full_like(rows.frames, len(found)))

    return Examples.cached(options.out / f"examples-{split}-{options.seed}-{frames}.pt", observed)


def examples_of(detector: Detector, perception: Perception, frame: Photograph, judged: bool) -> Examples | None:
    """Those of a frame (`frames_of`), without proposals of which nobody knows; None if nothing is proposed."""
    proposals = detector.find(frame.image, thorough=True)[:_MAX_PROPOSALS]
    if not proposals:
        return None
    first = predict_in_boxes(perception, frame.image, [proposal.box for proposal in proposals], view="plain")
    refined = predict_in_boxes(perception, frame.image, first.person_boxes(), thorough=True)
    assert isinstance(refined.output, FusedOutput)
    person, nobody = verdicts(np.stack(refined.person_boxes()), frame, judged=judged)
    scores = torch.tensor([proposal.score for proposal in proposals])
    seen, certainty = evidence(refined.output), second_certainty(refined.output)
    return Examples(seen, person.float(), scores, certainty, torch.ones_like(scores))[person | nobody]


def verdicts(boxes_d4: FloatArray, frame: Photograph, *, judged: bool) -> tuple[Tensor, Tensor]:
    """(d,) whether each box shows a person of the frame, and whether it shows nobody; neither is known of some."""
    shown = torch.stack([largest_iou(boxes_d4, each) for each in (frame.boxes, frame.nobody, frame.crowds)])
    if not judged:
        crowded = torch.from_numpy(in_crowd(boxes_d4, frame.crowds))
        return shown[0] >= _POSITIVE_IOU, (shown[0] <= _NEGATIVE_IOU) & ~crowded
    overlap, shows = shown.max(dim=0)
    alike = overlap >= _JUDGED_IOU
    # Where nobody is, the box that perception refines says little, and another perception's lies elsewhere.
    empty = (shown[1] >= _EMPTY_IOU) & (shown[[0, 2]].amax(dim=0) <= _ELSEWHERE_IOU)
    return alike & (shows == 0), (alike & (shows == 1)) | empty


def largest_iou(boxes_d4: FloatArray, people_n4: FloatArray) -> Tensor:
    """(d,) IoU of each box with the person that it overlaps most; 0 without people."""
    nowhere = torch.zeros(len(boxes_d4), 1)
    overlaps = box_iou(torch.from_numpy(boxes_d4), torch.from_numpy(people_n4))
    return torch.cat([overlaps, nowhere], dim=1).amax(dim=1)


def area_under_curve(score_N: Tensor, person_N: Tensor) -> float:
    """Area under the ROC curve: the probability that a positive example has a higher score than a negative one."""
    positive, negative = score_N[person_N].cpu().numpy(), score_N[~person_N].cpu().numpy()
    if not len(positive) or not len(negative):
        return float("nan")
    return float(mannwhitneyu(positive, negative).statistic) / (len(positive) * len(negative))


if __name__ == "__main__":
    raise SystemExit(main(VerifierTraining))
