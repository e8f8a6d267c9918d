"""Trains the detector on pasted people: `python -m sender.train.detector --data DIR`.

CPU recipe (two cores): twelve minutes on the crops that perception is trained on, as one process a core:
`OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m sender.train.detector --threads 1 --data DIR`.  `--resume` goes on
from the checkpoint, or with `--shipped` from the package's weights where there is none; `--export` writes the package's
weights.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from common.errors import exit_code_of
from common.synthetic.dataset.shards import CropDataset
from common.training.averaging import AveragedNetwork
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.distributed import Workers
from common.training.read_ahead import read_ahead
from common.training.schedule import warm_cosine
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
    parser = argparse.ArgumentParser(prog="sender.train.detector", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="directories of rendered shards, each drawn equally often"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/detector"), help="checkpoint goes here")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=256, help="side of the frames")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="faster steps after some minutes of compiling")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--shipped", action="store_true", help="begin with the package's weights")
    parser.add_argument("--export", action="store_true", help="score the checkpoint and write the package's weights")
    return parser.parse_args(arguments)


def loss_terms(heat_BHH: Tensor, boxes_B4HH: Tensor, truth: FrameBatch) -> dict[str, Tensor]:
    """Focal loss on the heat map (CenterNet), L1 and 1 − IoU on the boxes of the cells around each middle."""
    chance = heat_BHH.sigmoid()
    peak = truth.heat == 1.0
    people = peak.sum().clamp_min(1)
    hit = peak * (1 - chance).square() * functional.logsigmoid(heat_BHH)
    quiet = ~peak * (1 - truth.heat).pow(4) * chance.square() * functional.logsigmoid(-heat_BHH)
    counted = truth.weight.sum().clamp_min(1.0)
    apart = (boxes_B4HH - truth.boxes).abs().mean(dim=1)
    shared = _same_cell_overlap(boxes_B4HH, truth.boxes)
    return {
        "heat": -(hit + quiet).sum() / people,
        "boxes": 10.0 * (apart * truth.weight).sum() / counted,
        "overlap": ((1 - shared) * truth.weight).sum() / counted,
    }


def _same_cell_overlap(first_B4HH: Tensor, second_B4HH: Tensor) -> Tensor:
    """IoU of two maps of boxes, cell by cell, (B, H, H)."""
    low = torch.maximum(first_B4HH[:, :2], second_B4HH[:, :2])
    high = torch.minimum(first_B4HH[:, 2:], second_B4HH[:, 2:])
    both = (high - low).clamp_min(0).prod(dim=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(dim=1) for boxes in (first_B4HH, second_B4HH)]
    return both / (areas[0] + areas[1] - both).clamp_min(1e-6)


@torch.no_grad()
def evaluate(
    net: torch.nn.Module, batches: Iterator[FrameBatch], count: int, threshold: float = 0.35
) -> dict[str, float]:
    """Share of people found (IoU ≥ 0.5), false people a frame, and mean IoU of those found, over `count` batches."""
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
    for directory in options.data:  # a folder without held-out people is refused now, not at the end
        CropDataset([directory], "val")
    config = DetectorConfig(size=options.size)
    net = DetectorNet(config).to(memory_format=torch.channels_last)
    images = 0
    if options.shipped:
        net.load_state_dict(load_weights(WEIGHTS_NAME, architecture(config)))
        images = int(read_manifest()[WEIGHTS_NAME].recipe["images_seen"])
    average = AveragedNetwork(net, decay=0.99)
    optimiser = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=0.02, fused=True)
    spent_s, step = 0.0, 0
    checkpoint = options.out / "checkpoint.pt"
    if options.resume and checkpoint.exists():
        state = load_checkpoint(checkpoint)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        spent_s, step, images = state["spent_s"], state["step"], state["images"]
    saved_s = spent_s
    if options.compile:
        net.compile()
    shared = workers.wrap(net)
    seed = options.seed + step + 1_000_003 * workers.rank

    def save() -> None:
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
        counters = {"spent_s": spent_s, "step": step, "images": images, "minutes": options.minutes}
        save_checkpoint(checkpoint, {**state, **counters, "size": options.size})

    recent: dict[str, float] = {}
    last = time.monotonic()
    for batch in read_ahead(frame_batches(options.data, "train", options.batch // workers.count, options.size, seed)):
        for group in optimiser.param_groups:
            group["lr"] = options.rate * warm_cosine(spent_s / (60.0 * options.minutes))
        net.train()
        with fast_autocast():
            heat, boxes = shared(batch.image)
        terms = loss_terms(heat, boxes, batch)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        if torch.isfinite(norm):
            optimiser.step()
            if workers.first:
                average.update(net)
        step, images = step + 1, images + options.batch
        for name, term in terms.items():
            recent[name] = recent.get(name, term.item()) * 0.95 + term.item() * 0.05
        now = time.monotonic()
        spent_s, last = workers.agree(spent_s + now - last), now
        if step % 25 == 0 and workers.first:
            told = " ".join(f"{name} {value:.3f}" for name, value in recent.items())
            print(f"{spent_s / 60:6.2f} min step {step} {step * options.batch / spent_s:.0f}/s {told}", flush=True)
        if workers.first and spent_s - saved_s > 120.0:
            saved_s = spent_s
            save()
        if spent_s >= 60.0 * options.minutes:
            break
    if workers.first:
        save()
        held_out = frame_batches(options.data, "val", options.batch, options.size, seed=1)
        print(f"done: {evaluate(average.network, held_out, count=8)}", flush=True)
    workers.leave()


def export(options: argparse.Namespace) -> None:
    """Scores the averaged network on frames of held-out people and writes it into the package."""
    torch.set_num_threads(options.threads)
    state = load_checkpoint(options.out / "checkpoint.pt")
    config = DetectorConfig(size=state["size"])
    average = AveragedNetwork(DetectorNet(config))
    average.load_state_dict(state["average"])
    held_out = frame_batches(options.data, "val", options.batch, config.size, seed=1)
    scores = evaluate(average.network, held_out, count=16)
    recipe = {
        "command": f"python -m sender.train.detector --minutes {state['minutes']:g} --size {config.size}",
        "images_seen": state["images"],
        "split": "val",
    }
    entry = save_weights(WEIGHTS_NAME, average.network.state_dict(), architecture(config), recipe, scores)
    print(f"wrote {entry.file}: {scores}")


def main() -> None:
    options = parse()
    if options.export:
        export(options)
    else:
        train(options)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.detector", main))
