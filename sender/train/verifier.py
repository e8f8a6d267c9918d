"""Trains the verifier: whether a crop that the detector proposes shows a person.

Frames are composed of rendered people and distractors (`sender.train.detector_frames`), and with --photographs also
pictures with person boxes (`openimages`; validation has those of `people` too).  The detector proposes boxes from a low
score on, and perception refines each box, as in use.  A crop shows a person if the refined box has an IoU of at least
0.5 with a person's.

The people must be new to perception, which is more certain of people it was trained on: render a data set with a seed
of its own.  CPU recipe: 1,000 training and 200 validation frames of 8,192 and 768 crops take ten minutes on two cores,
nearly all of it for detector and perception, whose outputs are kept in --out.  --export also writes the weights.

Examples:
  python -m sender.train.verifier --data unseen --frames 500 --photographs photographs --export
  python -m sender.train.verifier --data unseen --out runs/verifier --frames 100
  python -m sender.train.verifier --data unseen --seed 1 --export --weights /tmp/weights
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from common.arrays import FloatArray
from common.errors import exit_code_of
from common.io.atomic_write import atomic_replacement
from common.synthetic.dataset.split import Split
from common.training.flags import add_result_flags, parser_of
from common.training.loop import write_json
from common.weights.loader import save_weights
from sender.perception.inference.detector import Detector
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
from sender.train.detector_frames import Frame, composed_frames
from sender.train.detector_scores import in_crowd
from sender.train.photographs import PhotographDataset
from sender.train.verifier_frames import photograph_frames

# Below this score the detector is nearly always wrong.
_MIN_PROPOSAL_SCORE = 0.08
_MAX_PROPOSALS = 10
# The verifier's scores compare it with the detector alone at this score.
_DETECTOR_SCORE = 0.35
# A crop is positive from the first IoU with a person on and negative up to the second; those between are left out.
_POSITIVE_IOU, _NEGATIVE_IOU = 0.5, 0.35
_EPOCHS, _BATCH = 60, 256


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


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.verifier", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/verifier"), help="folder of the examples (default: %(default)s)"
    )
    parser.add_argument(
        "--frames", type=int, default=1000, help="training frames; a fifth as many for validation (%(default)s)"
    )
    parser.add_argument("--photographs", type=Path, metavar="DIR", help="also this folder of sender.train.photographs")
    parser.add_argument("--pictures", type=int, help="train on so many of the photographs (default: all)")
    parser.add_argument(
        "--no-summary", action="store_true", help="read perception's uncertainties only, not its trunk's statistics"
    )
    parser.add_argument("--size", type=int, default=416, help="side of composed frames (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default: %(default)s)")
    add_result_flags(parser, export_help="also write the weights and their scores")
    return parser.parse_args(arguments)


def frames_of(options: argparse.Namespace, split: Split, count: int) -> Iterator[Frame]:
    """`count` composed frames, and all photographs of the split that perception was not trained on."""
    rng = np.random.default_rng([options.seed, split == "train"])
    composed = composed_frames(options.data, split, options.size, rng)
    yield from (composed() for _ in range(count))
    if options.photographs:
        photographs = PhotographDataset(options.photographs, "train" if split == "train" else "val")
        count = len(photographs) if options.pictures is None else options.pictures
        pictures = photograph_frames(photographs, "openimages", rng)
        yield from islice(pictures, count if split == "train" else max(count // 5, 1))
        if split != "train":
            yield from photograph_frames(photographs, "people", rng)


def gather(options: argparse.Namespace, split: Split, frames: int) -> Examples:
    """Examples from `frames_of`, or from `--out` if they were gathered before."""
    kind = f"-photographs-{options.pictures or 'all'}" if options.photographs else ""
    file = options.out / f"examples-{split}-{options.seed}-{frames}{kind}.npz"
    if not file.exists():
        detector, perception = Detector.load(), Perception.load()
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


def fit(examples: Examples, seed: int, config: VerifierConfig | None = None) -> VerifierNet:
    """The network after `_EPOCHS` epochs of cross-entropy on its posterior, whose prior is the detector's score."""
    torch.manual_seed(seed)
    net = VerifierNet(config or VerifierConfig())
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
def scores_of(net: VerifierNet, examples: Examples) -> dict[str, float]:
    """ROC AUC, share of people kept and false positives a frame: of the verifier, and of the detector alone."""
    posterior = (net(examples.evidence) + log_odds(examples.score)).sigmoid()
    person = examples.person > 0.5
    kept = posterior >= 0.5
    kept_by_detector = examples.score >= _DETECTOR_SCORE
    return {
        "auc": round(area_under_curve(posterior, person), 4),
        "auc_detector": round(area_under_curve(examples.score, person), 4),
        "kept": round(float((kept & person).sum() / person.sum()), 4),
        "kept_detector": round(float((kept_by_detector & person).sum() / person.sum()), 4),
        "false_per_frame": round(float((kept & ~person).sum()) / examples.frames, 4),
        "false_per_frame_detector": round(float((kept_by_detector & ~person).sum()) / examples.frames, 4),
    }


def area_under_curve(score_N: Tensor, person_N: Tensor) -> float:
    """Area under the ROC curve: the probability that a positive example has a higher score than a negative one."""
    positive, negative = score_N[person_N].numpy(), score_N[~person_N].numpy()
    if not len(positive) or not len(negative):
        return float("nan")
    return float(mannwhitneyu(positive, negative).statistic) / (len(positive) * len(negative))


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    torch.set_num_threads(options.threads)
    val_frames = max(options.frames // 5, 1)
    examples = gather(options, "train", options.frames)
    val = gather(options, "val", val_frames)
    net = fit(examples, options.seed, VerifierConfig(summary=bool(options.photographs) and not options.no_summary))
    scores = scores_of(net, val)
    print(f"{len(examples.person)} examples, {float(examples.person.mean()):.0%} of them people: {scores}")
    write_json(options.json or options.out / "scores.json", {"scores": scores, "examples": len(examples.person)})
    if options.export:
        flags = " --photographs photographs" if options.photographs else ""
        flags += f" --pictures {options.pictures}" if options.pictures is not None else ""
        recipe = {
            "command": f"python -m sender.train.verifier --frames {options.frames} --size {options.size}{flags}",
            "examples": len(examples.person),
            "split": "val",
        }
        kind = architecture(net.config)
        tensors = net.state_dict()
        entry = save_weights(WEIGHTS_NAME, tensors, kind, recipe, scores, storage="float32", directory=options.weights)
        print(f"wrote {options.weights / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.verifier", lambda: train(parse())))
