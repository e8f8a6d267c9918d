"""Trains the verifier on what the detector finds: `python -m sender.train.verifier --data DIR`.

Frames are composed of rendered people and of things (`sender.train.detector_frames`); the detector searches them, down
to scores that it is nearly always wrong at, and perception looks twice into each box, as in service.  A crop counts as
a person if the box that perception then sees overlaps somebody's by half.  Perception must not have been trained on
these people, or it is surer of them than of any stranger: give a data set with a seed of its own.

CPU recipe (two cores): 1,000 frames and 200 held-out ones of 8,192 crops and 768, ten minutes, nearly all of it
looking; the training itself takes seconds.  What was seen is kept in `--out`.  `--export` writes the package's weights.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from torch.nn import functional

from common.arrays import ByteArray, FloatArray
from common.errors import exit_code_of
from common.io.atomic_write import atomic_replacement
from common.synthetic.dataset.shards import CropDataset
from common.synthetic.dataset.split import Split
from common.weights.loader import save_weights
from sender.perception.inference.detector import Detector, pairwise_iou
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import refine_boxes
from sender.perception.inference.verifier import (
    EVIDENCE,
    WEIGHTS_NAME,
    VerifierConfig,
    VerifierNet,
    architecture,
    evidence,
    log_odds,
)
from sender.train.detector_frames import FrameComposer

_LEAST_SCORE = 0.08
_MOST_BOXES = 10
# Overlap with somebody's box from which a crop shows them, and up to which it does not; between them nobody can say.
_SHOWN, _NOT_SHOWN = 0.5, 0.35
_EPOCHS, _BATCH = 60, 256


@dataclass(frozen=True, slots=True)
class Examples:
    """What perception was sure of, and whether there was a person.

    Args:
        evidence: (N, EVIDENCE).
        person: (N,) 0 or 1.
        score: (N,) the detector's.
    """

    evidence: Tensor
    person: Tensor
    score: Tensor


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sender.train.verifier", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="directories of rendered shards")
    parser.add_argument("--out", type=Path, default=Path("runs/verifier"), help="what was seen is kept here")
    parser.add_argument("--frames", type=int, default=1000, help="frames to train on; a fifth as many are held out")
    parser.add_argument("--size", type=int, default=416, help="side of the frames")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", action="store_true", help="write the package's weights")
    return parser.parse_args(arguments)


def gather(options: argparse.Namespace, split: Split, frames: int) -> Examples:
    """Examples from composed frames; from `--out` if they were gathered before."""
    kept = options.out / f"examples-{split}-{options.seed}-{frames}.npz"
    if not kept.exists():
        rng = np.random.default_rng([options.seed, split == "train"])
        composer = FrameComposer([CropDataset([directory], split) for directory in options.data], rng, options.size)
        detector, perception = Detector.load(), Perception.load()
        detector.threshold = _LEAST_SCORE
        rows = [torch.zeros(0, EVIDENCE + 2)]
        for number in range(frames):
            rows.append(_examples_of_frame(detector, perception, *composer.frame()))
            if number % 100 == 0:
                print(f"{split}: {number} frames, {sum(map(len, rows))} examples", flush=True)
        options.out.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(kept) as partial, open(partial, "wb") as file:
            np.savez(file, rows=torch.cat(rows).numpy())
    rows_NX = torch.from_numpy(np.load(kept)["rows"])
    return Examples(rows_NX[:, :EVIDENCE], *rows_NX[:, EVIDENCE:].unbind(1))


def _examples_of_frame(detector: Detector, perception: Perception, image: ByteArray, people: FloatArray) -> Tensor:
    """Rows of evidence, person, score."""
    found = detector.find(image)[:_MOST_BOXES]
    if not found:
        return torch.zeros(0, EVIDENCE + 2)
    seen = refine_boxes(perception, image, [detection.box for detection in found])
    boxes = torch.from_numpy(np.stack(seen.person_boxes()))
    shared = pairwise_iou(boxes, torch.from_numpy(people)).amax(dim=1) if len(people) else torch.zeros(len(boxes))
    scores = torch.tensor([detection.score for detection in found])
    columns = torch.stack([(shared >= _SHOWN).float(), scores], dim=1)
    clear = (shared >= _SHOWN) | (shared <= _NOT_SHOWN)
    return torch.cat([evidence(seen.output), columns], dim=1)[clear]


def fit(examples: Examples, seed: int) -> VerifierNet:
    """The network after `_EPOCHS` passes, trained on the cross-entropy of its verdicts on what the detector said."""
    torch.manual_seed(seed)
    net = VerifierNet(VerifierConfig())
    steps = _EPOCHS * (len(examples.person) // _BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=max(steps, 1))
    net.train()
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(examples.person)).split(_BATCH)[: len(examples.person) // _BATCH]:
            noisy = examples.evidence[rows] + 0.05 * torch.randn(len(rows), EVIDENCE)
            posterior = net(noisy) + log_odds(examples.score[rows])
            loss = functional.binary_cross_entropy_with_logits(posterior, examples.person[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def scores_of(net: VerifierNet, examples: Examples, frames: int) -> dict[str, float]:
    """Areas under the ROC curve, people kept and false ones a frame: of the verifier, and of the detector alone."""
    verdict = (net(examples.evidence) + log_odds(examples.score)).sigmoid()
    person = examples.person > 0.5
    kept = verdict >= 0.5
    sure = examples.score >= 0.35
    return {
        "auc": round(area_under_curve(verdict, person), 4),
        "auc_finder": round(area_under_curve(examples.score, person), 4),
        "kept": round(float((kept & person).sum() / person.sum()), 4),
        "kept_finder": round(float((sure & person).sum() / person.sum()), 4),
        "false_per_frame": round(float((kept & ~person).sum()) / frames, 4),
        "false_per_frame_finder": round(float((sure & ~person).sum()) / frames, 4),
    }


def area_under_curve(score_N: Tensor, person_N: Tensor) -> float:
    """The chance that a person's score is higher than that of something else."""
    people, others = score_N[person_N].numpy(), score_N[~person_N].numpy()
    if not len(people) or not len(others):
        return float("nan")
    return float(mannwhitneyu(people, others).statistic) / (len(people) * len(others))


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    held_out_frames = max(options.frames // 5, 1)
    examples = gather(options, "train", options.frames)
    held_out = gather(options, "val", held_out_frames)
    net = fit(examples, options.seed)
    scores = scores_of(net, held_out, held_out_frames)
    print(f"{len(examples.person)} examples, {float(examples.person.mean()):.0%} of them people: {scores}")
    if options.export:
        recipe = {
            "command": f"python -m sender.train.verifier --frames {options.frames} --size {options.size}",
            "examples": len(examples.person),
            "split": "val",
        }
        entry = save_weights(WEIGHTS_NAME, net.state_dict(), architecture(net.config), recipe, scores, half=False)
        print(f"wrote {entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.verifier", main))
