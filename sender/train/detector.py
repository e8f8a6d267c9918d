"""Trains the detector on composed frames: people cut out of rendered crops and pasted over backgrounds.

CPU recipe: twelve minutes on two cores, with one process a core, on the crops that perception is trained on.
--export does not train: it scores the checkpoint on the validation split and writes the package's weights.

Examples:
  OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m sender.train.detector --threads 1 --data close dressed everyday
  python -m sender.train.detector --data close dressed everyday --shipped --minutes 30 --resume
  python -m sender.train.detector --data close dressed everyday --export
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from common.errors import exit_code_of
from common.synthetic.dataset.shards import CropDataset
from common.training.checkpoint import AveragedNetwork, load_checkpoint
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop, read_ahead, write_json
from common.weights.devices import fast_autocast
from common.weights.loader import load_weights, read_manifest, save_weights
from sender.perception.inference.detector import (
    WEIGHTS_NAME,
    DetectorConfig,
    DetectorNet,
    architecture,
    pairwise_iou,
    peaks,
)
from sender.train.detector_frames import FrameBatch, frame_batches


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.detector", __doc__)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of rendered shards, each drawn equally often"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/detector"), help="folder of the checkpoint (default: %(default)s)"
    )
    add_training_flags(parser, minutes=12.0, batch=32, seed=0, threads=2)
    add_steps_flag(parser)
    parser.add_argument("--size", type=int, default=256, help="side of the frames (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate (default: %(default)g)")
    parser.add_argument("--compile", action="store_true", help="faster steps after some minutes of compilation")
    add_result_flags(parser, export_help="score the checkpoint and write the weights, without training")
    return parser.parse_args(arguments)


def loss_terms(heat_BHH: Tensor, boxes_B4HH: Tensor, truth: FrameBatch) -> dict[str, Tensor]:
    """Focal loss on the heat map (Zhou et al. 2019, CenterNet), L1 and 1 − IoU on the boxes around each centre."""
    probability = heat_BHH.sigmoid()
    peak = truth.heat == 1.0
    people = peak.sum().clamp_min(1)
    positive = peak * (1 - probability).square() * functional.logsigmoid(heat_BHH)
    negative = ~peak * (1 - truth.heat).pow(4) * probability.square() * functional.logsigmoid(-heat_BHH)
    total_weight = truth.weight.sum().clamp_min(1.0)
    distance = (boxes_B4HH - truth.boxes).abs().mean(dim=1)
    iou = _cellwise_iou(boxes_B4HH, truth.boxes)
    return {
        "heat": -(positive + negative).sum() / people,
        "boxes": 10.0 * (distance * truth.weight).sum() / total_weight,
        "overlap": ((1 - iou) * truth.weight).sum() / total_weight,
    }


def _cellwise_iou(first_B4HH: Tensor, second_B4HH: Tensor) -> Tensor:
    """IoU of two maps of boxes in each cell, (B, H, H)."""
    low = torch.maximum(first_B4HH[:, :2], second_B4HH[:, :2])
    high = torch.minimum(first_B4HH[:, 2:], second_B4HH[:, 2:])
    both = (high - low).clamp_min(0).prod(dim=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(dim=1) for boxes in (first_B4HH, second_B4HH)]
    return both / (areas[0] + areas[1] - both).clamp_min(1e-6)


@torch.no_grad()
def evaluate(
    net: torch.nn.Module, batches: Iterator[FrameBatch], count: int, threshold: float = 0.35
) -> dict[str, float]:
    """Recall at IoU 0.5, false detections a frame and mean IoU of the people found, over `count` batches."""
    net.eval()
    people = found = false = frames = 0
    overlap = 0.0
    for truth, _ in zip(batches, range(count), strict=False):
        with fast_autocast():
            heat, boxes = net(truth.image)
        for row in range(len(heat)):
            detected, _scores = peaks(heat[row].sigmoid(), boxes[row], threshold)
            true = torch.unique(truth.boxes[row][:, truth.heat[row] == 1.0].T, dim=0)
            pairs = pairwise_iou(true, detected)
            best = pairs.amax(dim=1) if len(detected) else torch.zeros(len(true))
            hits = int((best >= 0.5).sum())
            people, found, frames = people + len(true), found + hits, frames + 1
            false += max(0, len(detected) - hits)
            overlap += float(best[best >= 0.5].sum())
    return {
        "found": round(found / max(people, 1), 4),
        "false_per_frame": round(false / max(frames, 1), 4),
        "iou": round(overlap / max(found, 1), 4),
    }


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    for directory in options.data:  # A folder without a validation split is refused now, not at the end.
        CropDataset([directory], "val")
    config = DetectorConfig(size=options.size)
    net = DetectorNet(config).to(memory_format=torch.channels_last)
    checkpoint = options.out / "checkpoint.pt"
    before = 0
    if options.shipped:
        net.load_state_dict(load_weights(WEIGHTS_NAME, architecture(config)))
        before = int(read_manifest()[WEIGHTS_NAME].recipe["images_seen"])
    loop = TrainingLoop(
        LoopConfig(options.minutes, options.steps, samples_per_step=options.batch, average_decay=0.99),
        net,
        torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=0.02, fused=True),
        checkpoint,
        workers=workers,
        resume=options.resume and checkpoint.exists(),
        facts={"size": options.size, "before": before},
    )
    if options.compile:
        net.compile()
    shared = workers.wrap(net)
    seed = options.seed + loop.step + 1_000_003 * workers.rank
    batches = frame_batches(options.data, "train", options.batch // workers.count, options.size, seed)

    for batch in loop.steps(read_ahead(batches)):
        with fast_autocast():
            heat, boxes = shared(batch.image)
        terms = loss_terms(heat, boxes, batch)
        loop.descend(torch.stack(list(terms.values())).sum(), max_norm=5.0)
        loop.log(**terms)

    if workers.first:
        val = frame_batches(options.data, "val", options.batch, options.size, seed=1)
        scores = evaluate(loop.average, val, count=8)
        loop.write_scores(options.json or options.out / "scores.json", scores)
    workers.leave()


def export(options: argparse.Namespace) -> None:
    """Scores the averaged network on frames of the validation split and writes its weights.

    Raises:
        UsageError: there is no checkpoint.
    """
    torch.set_num_threads(options.threads)
    state = load_checkpoint(options.out / "checkpoint.pt")
    facts = state["facts"]
    config = DetectorConfig(size=facts["size"])
    average = AveragedNetwork(DetectorNet(config))
    average.load_state_dict(state["average"])
    val = frame_batches(options.data, "val", options.batch, config.size, seed=1)
    scores = evaluate(average.network, val, count=16)
    recipe = {
        "command": f"python -m sender.train.detector --minutes {state['spent_s'] / 60:.3g} --size {config.size}",
        "images_seen": facts["before"] + state["samples"],
        "split": "val",
    }
    tensors = average.network.state_dict()
    entry = save_weights(WEIGHTS_NAME, tensors, architecture(config), recipe, scores, directory=options.weights)
    write_json(options.json or options.out / "scores.json", {"scores": scores, **recipe})
    print(f"wrote {options.weights / entry.file}: {scores}")


def main() -> None:
    options = parse()
    if options.export:
        export(options)
    else:
        train(options)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.detector", main))
