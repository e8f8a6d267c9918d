"""Calibrates the confidence of limbs: fits the logistic regression of `sender.semantics.confidence`.

The people are those of the validation split of photographs with keypoints: no network was trained on them.  Their boxes
are jittered as a detector's would be, `--views` times each.  Every second photograph is fitted on, the others give the
scores: expected calibration error and Brier score, and the reliability diagram as a table.  --export also writes the
weights.

Examples:
  python -m sender.train.confidence --photographs photographs --export
  python -m sender.train.confidence --photographs photographs --export --weights weights
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.errors import exit_code_of
from common.frames import Camera
from common.imaging.pictures import guessed_focal_px
from common.tensor_rows import TensorRows
from common.training.run import fitted, parser_of_fit, save_fit
from common.weights.loader import architecture_of
from sender.config import SmoothingConfig
from sender.perception.perception_stage import TRACKED_PRIOR
from sender.perception.predictor import Perception
from sender.perception.read import Verifier, predict_in_boxes
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.confidence import (
    KIND,
    LIMBS,
    RIGHT_WITHIN,
    WEIGHTS_NAME,
    ConfidenceConfig,
    ConfidenceNet,
    evidence,
)
from sender.semantics.semantics_stage import BodyEstimator
from sender.train.crops import people_in_boxes
from sender.train.photographs.dataset import PhotographDataset

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
    parser = parser_of_fit("sender.train.confidence", __doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of sender.train.photographs.dataset")
    parser.add_argument("--views", type=int, default=3, help="jittered boxes of each person (default: %(default)s)")
    return parser.parse_args(arguments)


@torch.inference_mode()
def gather(photographs: PhotographDataset, views: int) -> Limbs:
    """The limbs of everybody with enough labelled keypoints, as they are seen in jittered boxes."""
    perception, verifier, estimator = Perception.load(), Verifier.load(), BodyEstimator.load(SmoothingConfig(0.0))
    parts = []
    for item, person, box, index in people_in_boxes(photographs, views):
        height, width = item.image.shape[:2]
        camera = Camera(width, height, guessed_focal_px(width, height))
        seen = predict_in_boxes(perception, item.image, [box])
        score = float(verifier.presence(seen.output.own, TRACKED_PRIOR)[0])
        observed = [ObservedPerson(TrackedPerson(0), score, seen.crops[0], seen.output)]
        bodies, annotated = estimator.alone(observed, camera), item.keypoints[person]
        labelled = annotated[:, 2] > 0
        side = float(np.ptp(annotated[labelled, :2], axis=0).max())
        right = labelled & (np.linalg.norm(bodies.keypoints[0] - annotated[:, :2], axis=1) <= RIGHT_WITHIN * side)
        of_limbs, counted = (
            torch.tensor([[float(each[list(limb)].sum()) for limb in LIMBS.values()]]) for each in (right, labelled)
        )
        known = torch.from_numpy(evidence(observed, bodies.keypoints, bodies.sigma))
        parts.append(Limbs(known, of_limbs, counted, torch.tensor([index])))
    return Limbs.concatenate(parts)


def fit(limbs: Limbs) -> ConfidenceNet:
    """The regression of least cross-entropy over all labelled keypoints."""
    torch.manual_seed(0)
    net = ConfidenceNet(ConfidenceConfig())
    flat = limbs.evidence.flatten(0, 1)
    net.mean.copy_(flat.mean(dim=0))
    net.scale.copy_(flat.std(dim=0).clamp_min(1e-3))
    share = limbs.right / limbs.counted.clamp_min(1)

    def loss() -> Tensor:
        return functional.binary_cross_entropy_with_logits(net(limbs.evidence), share, weight=limbs.counted)

    return fitted(net, loss, _STEPS, _RATE, _WEIGHT_DECAY)


def reliability(probability: Tensor, limbs: Limbs) -> list[dict[str, float]]:
    """For each tenth of the probability: keypoints, their mean probability, and the share that is right."""
    rows, tenth = [], (probability * _BINS).long().clamp_max(_BINS - 1)
    for number in range(_BINS):
        counted, within = limbs.counted * (tenth == number), tenth == number
        if count := float(counted.sum()):
            mean, right = (probability * counted).sum() / count, (limbs.right * within).sum() / count
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
    even = limbs.photograph % 2 == 0
    net, test = fit(limbs[even]), limbs[~even]
    probability = net(test.evidence).sigmoid()
    for row in reliability(probability, test):
        print(f"{row['keypoints']:6.0f} keypoints at {row['probability']:.2f}: {row['right']:.2f} right")
    scores = scores_of(probability, test) | {"people": float(len(test.counted))}
    architecture = {"kind": KIND, **architecture_of(net.config)}
    save_fit(options, WEIGHTS_NAME, net.state_dict(), architecture, {"views": options.views}, scores)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.confidence", lambda: train(parse())))
