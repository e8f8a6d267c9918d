"""Calibrates the confidence of limbs: fits the logistic regression of `sender.semantics.confidence`.

The people are those of the validation split of photographs with keypoints: no network was trained on them.  Their boxes
are jittered as a detector's would be, `--views` times each.  Every second photograph is fitted on, the others give the
scores: expected calibration error and Brier score, and the reliability diagram as a table.  --export also writes the
weights.

Examples:
  python -m sender.train.confidence --photographs photographs --export
  python -m sender.train.confidence --photographs photographs --views 1
  python -m sender.train.confidence --photographs photographs --export --weights /tmp/weights
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.arrays import Box
from common.errors import exit_code_of
from common.frames import Camera
from common.imaging.focal_length import guessed_focal_px
from common.io.command_line import parser_of
from common.tensor_rows import TensorRows
from common.training.flags import add_export_flags
from common.training.run import write_json
from common.weights.loader import architecture_of, save_weights
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import predict_in_boxes
from sender.perception.inference.verifier import Verifier
from sender.perception.stage import TRACKED_PRIOR, ObservedPerson
from sender.semantics.confidence import (
    KIND,
    LIMBS,
    RIGHT_WITHIN,
    WEIGHTS_NAME,
    ConfidenceConfig,
    ConfidenceNet,
    evidence,
)
from sender.semantics.stage import SemanticsStage
from sender.train.photographs.crops import people_of
from sender.train.photographs.dataset import Photograph, PhotographDataset

# Least number of labelled keypoints of a person.
_LEAST_LABELLED = 3
# Standard deviation of a jittered box's position and log of its size, over its longer side.
_JITTER = 0.05
_STEPS, _RATE, _WEIGHT_DECAY = 500, 0.05, 1e-3
_BINS = 10


@dataclass(frozen=True, slots=True)
class Limbs(TensorRows):
    """Limbs of people with what is known of them; N of them, all kinds in turn.

    Args:
        evidence: (P, L, F).
        right: (P, L) number of labelled keypoints that are right.
        counted: (P, L) number of labelled keypoints.
        photograph: (P,) index of the photograph.
    """

    evidence: Tensor
    right: Tensor
    counted: Tensor
    photograph: Tensor


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.confidence", __doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of sender.train.photographs.dataset")
    parser.add_argument("--out", type=Path, default=Path("runs/confidence"), help="folder of scores (%(default)s)")
    parser.add_argument("--views", type=int, default=3, help="jittered boxes of each person (default: %(default)s)")
    add_export_flags(parser, "also write the weights and their scores")
    return parser.parse_args(arguments)


class Observer:
    """Perception, verifier and semantics on people in their annotated boxes."""

    def __init__(self) -> None:
        self._perception, self._verifier = Perception.load(), Verifier.load()
        self._semantics = SemanticsStage.load(calibrated=False)

    @torch.inference_mode()
    def limbs(self, item: Photograph, person: int, box: Box, index: int) -> Limbs:
        """The limbs of one person, seen in a box."""
        height, width = item.image.shape[:2]
        camera = Camera(width, height, guessed_focal_px(width, height))
        seen = predict_in_boxes(self._perception, item.image, [box])
        score = float(self._verifier.presence(seen.output.own, TRACKED_PRIOR)[0])
        observed = [ObservedPerson(0, score, seen.crops[0], seen.output)]
        bodies = self._semantics.alone(observed, camera)
        keypoints = bodies.keypoints[0]
        annotated = item.keypoints[person]
        labelled = annotated[:, 2] > 0
        side = float(np.ptp(annotated[labelled, :2], axis=0).max())
        right = labelled & (np.linalg.norm(keypoints - annotated[:, :2], axis=1) <= RIGHT_WITHIN * side)
        per_limb = [list(keypoints) for keypoints in LIMBS.values()]
        return Limbs(
            torch.from_numpy(evidence(observed, bodies.keypoints, bodies.sigma)),
            torch.tensor([[float(right[limb].sum()) for limb in per_limb]]),
            torch.tensor([[float(labelled[limb].sum()) for limb in per_limb]]),
            torch.tensor([index]),
        )


def gather(photographs: PhotographDataset, views: int) -> Limbs:
    """The limbs of everybody with enough labelled keypoints, in jittered boxes."""
    rng, observer, found = np.random.default_rng(0), Observer(), []
    for index, person in people_of(photographs, labelled=_LEAST_LABELLED):
        item = photographs[index]
        annotated = item.keypoints[person]
        if not np.ptp(annotated[annotated[:, 2] > 0, :2], axis=0).any():
            continue
        found += [observer.limbs(item, person, jittered(rng, item.boxes[person]), index) for _ in range(views)]
    return Limbs.concatenate(found)


def jittered(rng: np.random.Generator, box: Box) -> Box:
    """A box (4,) moved and scaled a little."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    centre = centre + rng.normal(0, _JITTER, 2) * 2 * half.max()
    half = half * np.exp(rng.normal(0, _JITTER, 2))
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def fit(limbs: Limbs) -> ConfidenceNet:
    """The regression of least cross-entropy over all labelled keypoints."""
    torch.manual_seed(0)
    net = ConfidenceNet(ConfidenceConfig())
    flat = limbs.evidence.flatten(0, 1)
    net.mean.copy_(flat.mean(dim=0))
    net.scale.copy_(flat.std(dim=0).clamp_min(1e-3))
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    share = limbs.right / limbs.counted.clamp_min(1)
    for _ in range(_STEPS):
        loss = functional.binary_cross_entropy_with_logits(net(limbs.evidence), share, weight=limbs.counted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return net.eval().requires_grad_(False)


def reliability(probability: Tensor, limbs: Limbs) -> list[dict[str, float]]:
    """For each tenth of the probability: keypoints, their mean probability, and the share that is right."""
    rows = []
    tenth = (probability * _BINS).long().clamp_max(_BINS - 1)
    for number in range(_BINS):
        counted = limbs.counted * (tenth == number)
        count = float(counted.sum())
        if count:
            mean, right = (probability * counted).sum() / count, (limbs.right * (tenth == number)).sum() / count
            rows.append({"keypoints": count, "probability": float(mean), "right": float(right)})
    return rows


def scores_of(probability: Tensor, limbs: Limbs) -> dict[str, float]:
    """Expected calibration error and Brier score, over labelled keypoints."""
    rows = reliability(probability, limbs)
    total = float(limbs.counted.sum())
    error = sum(row["keypoints"] * abs(row["probability"] - row["right"]) for row in rows) / total
    wrong = limbs.counted - limbs.right
    brier = (limbs.right * (1 - probability).square() + wrong * probability.square()).sum() / total
    return {"calibration_error": round(error, 4), "brier": round(float(brier), 4)}


def train(options: argparse.Namespace) -> None:
    """The whole calibration, top to bottom."""
    limbs = gather(PhotographDataset(options.photographs, "val"), options.views)
    fitted = limbs.photograph % 2 == 0
    net, test = fit(limbs[fitted]), limbs[~fitted]
    probability = net(test.evidence).sigmoid()
    scores = scores_of(probability, test)
    scores["people"] = float(len(test.counted))
    table = reliability(probability, test)
    for row in table:
        print(f"{row['keypoints']:6.0f} keypoints at {row['probability']:.2f}: {row['right']:.2f} right")
    print(scores)
    write_json(options.out / "scores.json", {"scores": scores, "reliability": table})
    if options.export:
        recipe = {"command": f"python -m sender.train.confidence --photographs photographs --views {options.views}"}
        kind = {"kind": KIND, **architecture_of(net.config)}
        tensors = net.state_dict()
        entry = save_weights(WEIGHTS_NAME, tensors, kind, recipe, scores, storage="float32", directory=options.weights)
        print(f"wrote {options.weights / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.confidence", lambda: train(parse())))
