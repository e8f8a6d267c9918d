"""Trains the detector on photographs, and on composed frames: people cut out of rendered crops and pasted elsewhere.

--photographs names a folder of `sender.train.photographs`; a quarter of the frames stay composed, so that what they
teach is kept.  CPU recipe: two cores, with one process a core, on the crops that perception is trained on.
--export does not train: it scores the checkpoint on the validation split and writes the package's weights.

Examples:
  OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m sender.train.detector --threads 1 --data close dressed everyday
  python -m sender.train.detector --data dressed --photographs photographs --shipped --refinements 4 --size 320
  python -m sender.train.detector --data close dressed everyday --export
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.errors import UsageError, exit_code_of
from common.synthetic.dataset.shards import CropDataset
from common.training.checkpoint import AveragedNetwork, load_checkpoint
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop, read_ahead, write_json
from common.weights.devices import fast_autocast
from common.weights.loader import load_weights, save_weights
from common.weights.manifest import read_manifest
from sender.perception.inference.detector import WEIGHTS_NAME, Detector, DetectorConfig, DetectorNet, architecture
from sender.train.detector_frames import FrameBatch, FrameSource, composed_frames, frame_batches, mixture
from sender.train.detector_scores import composed_scores, photograph_scores
from sender.train.photograph_frames import PanoramaFrames, PhotographFrames
from sender.train.photographs import PhotographDataset

# Shares of the frames in a training on photographs.
_COMPOSED, _PEOPLE, _OPENIMAGES, _PANORAMAS = 0.25, 0.25, 0.42, 0.08
# Batches of composed frames that are scored.
_SCORED_BATCHES = 8


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
    parser.add_argument(
        "--photographs", type=Path, metavar="DIR", help="also train on this folder of sender.train.photographs"
    )
    parser.add_argument(
        "--refinements", type=int, default=0, help="residual blocks added to each coarse scale (default: %(default)s)"
    )
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate (default: %(default)g)")
    parser.add_argument(
        "--evaluate-minutes", type=float, default=10.0, help="training time between evaluations (default: %(default)g)"
    )
    parser.add_argument("--compile", action="store_true", help="faster steps after some minutes of compilation")
    add_result_flags(parser, export_help="score the checkpoint and write the weights, without training")
    return parser.parse_args(arguments)


def loss_terms(heat_BHH: Tensor, boxes_B4HH: Tensor, truth: FrameBatch) -> dict[str, Tensor]:
    """Focal loss on the heat map (Zhou et al. 2019, CenterNet), L1 and 1 − IoU on the boxes around each centre.

    Background in which the network sees a person with more than the frame's tolerance is left out of the focal loss.
    """
    probability = heat_BHH.sigmoid()
    peak = truth.heat == 1.0
    people = peak.sum().clamp_min(1)
    positive = peak * (1 - probability).square() * functional.logsigmoid(heat_BHH)
    background = ~peak & (probability.detach() <= truth.tolerance)
    negative = background * (1 - truth.heat).pow(4) * probability.square() * functional.logsigmoid(-heat_BHH)
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


def initial_network(options: argparse.Namespace) -> DetectorNet:
    """From scratch, or from the package's weights, to which `--refinements` may add blocks.

    Raises:
        UsageError: the package's weights have more such blocks.
    """
    config = DetectorConfig(size=options.size, refinements=options.refinements)
    net = DetectorNet(config).to(memory_format=torch.channels_last)
    if options.shipped:
        recorded = Detector.load().net.config
        if recorded.refinements > config.refinements:
            raise UsageError(f"--refinements {config.refinements}: the package's weights have {recorded.refinements}")
        net.load_state_dict({**net.state_dict(), **load_weights(WEIGHTS_NAME, architecture(recorded))})
    return net


def frame_source(options: argparse.Namespace, seed: int) -> FrameSource:
    """Composed frames, and with `--photographs` three times as many of photographs."""
    rng = np.random.default_rng(seed)
    if options.photographs is None:
        return composed_frames(options.data, "train", options.size, rng)
    photographs = PhotographDataset(options.photographs, "train")
    places = PanoramaFrames(photographs, rng, options.size)
    sources: list[tuple[float, FrameSource]] = [
        (_COMPOSED, composed_frames(options.data, "train", options.size, rng, places.view)),
        (_PEOPLE, PhotographFrames(photographs, "people", rng, options.size)),
        (_OPENIMAGES, PhotographFrames(photographs, "openimages", rng, options.size)),
        (_PANORAMAS, places),
    ]
    return mixture(sources, rng)


def evaluate(options: argparse.Namespace, net: torch.nn.Module) -> dict[str, float]:
    """Scores of the validation splits: composed frames, and photographs if there are any."""
    composed = composed_frames(options.data, "val", options.size, np.random.default_rng(1))
    scores = composed_scores(net, frame_batches(composed, options.batch, options.size), _SCORED_BATCHES)
    if options.photographs:
        scores |= photograph_scores(net, PhotographDataset(options.photographs, "val"), options.size)
    return scores


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    for directory in options.data:  # A folder without a validation split is refused now, not at the end.
        CropDataset([directory], "val")
    net = initial_network(options)
    checkpoint = options.out / "checkpoint.pt"
    loop = TrainingLoop(
        LoopConfig(
            options.minutes,
            options.steps,
            samples_per_step=options.batch,
            evaluate_every_s=60.0 * options.evaluate_minutes,
        ),
        net,
        torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=0.02, fused=True),
        checkpoint,
        workers=workers,
        resume=options.resume and checkpoint.exists(),
        facts={"config": asdict(net.config), "before": images_before(options.shipped)},
        evaluate=lambda average: evaluate(options, average),
    )
    if options.compile:
        net.compile()
    source = frame_source(options, workers.seed(options.seed, loop.step))
    batches = frame_batches(source, workers.batch(options.batch), options.size)

    for batch in loop.steps(read_ahead(batches)):
        with fast_autocast():
            heat, boxes = net(batch.image)
        terms = loss_terms(heat, boxes, batch)
        loop.descend(torch.stack(list(terms.values())).sum(), max_norm=5.0)
        loop.log(**terms)

    if workers.first:
        loop.write_scores(options.json or options.out / "scores.json", evaluate(options, loop.average))
    workers.leave()


def images_before(shipped: bool) -> int:
    """Number of frames that the starting weights were trained on."""
    return int(read_manifest()[WEIGHTS_NAME].recipe["images_seen"]) if shipped else 0


def export(options: argparse.Namespace) -> None:
    """Scores the averaged network on the validation splits and writes its weights.

    Raises:
        UsageError: there is no checkpoint.
    """
    torch.set_num_threads(options.threads)
    state = load_checkpoint(options.out / "checkpoint.pt")
    facts = state["facts"]
    config = DetectorConfig(**facts["config"])
    average = AveragedNetwork(DetectorNet(config))
    average.load_state_dict(state["average"])
    scores = evaluate(options, average.network)
    flags = f" --refinements {config.refinements}" if config.refinements else ""
    flags += (" --shipped" if facts["before"] else "") + (" --photographs photographs" if options.photographs else "")
    recipe = {
        "command": f"python -m sender.train.detector --steps {state['step']} --size {config.size}{flags}",
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
