"""Trains perception on rendered people: `python -m sender.train.perception --data DIR`.

CPU recipe (two cores): render 86,016 crops at 128² (`python -m common.synthetic.render_shards`), then 110 minutes as
one process a core, which sees 80 crops a second in bf16:
`OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m sender.train.perception --threads 1 --compile --data DIR`.
The training is given minutes, or `--images` to compare trainings whatever else the machine does; it may be stopped and
resumed with `--resume`, and picks up shards that are still being rendered.  Some of the crops are replaced by pictures
of nobody (`--negative`), so that perception learns not to see a person in everything.  At the end, `scores.json` beside
the checkpoint tells the scores on the hold split.  `--shipped` begins with the package's weights; `--export` turns the
checkpoint into them, and with `--blend 0.5` into the mean of both: a network that learns new kinds of pictures from its
old weights forgets some of the old ones, and the mean forgets less (Wortsman et al., "Robust fine-tuning of zero-shot
models", 2022).
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.arrays import BoolArray
from common.body.model import BodyModel, KeypointKinematics
from common.errors import UsageError, exit_code_of
from common.synthetic.dataset.shards import CropDataset
from common.training.averaging import AveragedNetwork, blend
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.distributed import Workers
from common.training.read_ahead import read_ahead
from common.training.schedule import warm_cosine
from common.weights.devices import fast_autocast
from common.weights.loader import load_weights, read_manifest, save_weights
from sender.perception.inference.flip_augmentation import FlipAugmentation
from sender.perception.inference.predictor import WEIGHTS_NAME, architecture, as_images
from sender.perception.network.network import NETWORKS, TASKS, PerceptionConfig, PerceptionNet
from sender.train import pretrained
from sender.train.augmentation import augment
from sender.train.calibration import best_border, move_border
from sender.train.crops import CropBatch, crop_batch, emptied
from sender.train.detector_frames import FrameComposer
from sender.train.multi_task_loss import LossWeights, MultiTaskLoss
from sender.train.scores import evaluate

_SHARE_OF_DATA = 16_384  # crops drawn before the shards are listed again


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sender.train.perception", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="directories of rendered shards")
    parser.add_argument("--out", type=Path, default=Path("runs/perception"), help="checkpoint goes here")
    parser.add_argument("--minutes", type=float, default=60.0, help="training time, evaluation not counted")
    parser.add_argument("--images", type=int, help="crops to see, however many minutes it takes")
    parser.add_argument("--batch", type=int, default=32, help="crops a step, over all workers")
    parser.add_argument("--network", choices=NETWORKS, default="cpu", help="how large (default: %(default)s)")
    parser.add_argument("--size", type=int, help="side of the crops, as rendered (default: the network's own)")
    parser.add_argument("--rate", type=float, default=8e-4, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--negative", type=float, default=0.08, help="share of crops that show nobody, 0…1")
    parser.add_argument("--without", choices=TASKS, help="ablation: leave this head's loss out")
    parser.add_argument(
        "--pretrained",
        nargs="?",
        const=pretrained.DEFAULT,
        metavar="NAME",
        help="start the trunk from timm's weights (needs a network; default: %(const)s)",
    )
    parser.add_argument("--shipped", action="store_true", help="begin with the package's weights")
    parser.add_argument(
        "--evaluate-minutes", type=float, default=6.0, help="time between evaluations on the hold split"
    )
    parser.add_argument("--compile", action="store_true", help="faster steps after some minutes of compiling")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--export", action="store_true", help="score the checkpoint and write the package's weights")
    parser.add_argument(
        "--blend",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="with --export, after --shipped: write so much of the checkpoint, the rest of the package's weights; 0…1",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.negative < 1:
        parser.error("--negative is a share from 0 to less than 1")
    return options


def training_batches(data: Sequence[Path], size: int, seed: int, negative: float, side: int) -> Iterator[CropBatch]:
    """Augmented batches without end; new shards join as they are finished.

    Args:
        data: directories of shards.
        size: crops in a batch.
        seed: of their order, of augmentation and of what shows nobody.
        nobody: share of the crops that are replaced by pictures of nobody.
        side: pixels of a crop.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    composer = FrameComposer([], rng, side)
    while True:
        dataset = CropDataset(data, "train")
        order = rng.permutation(len(dataset))[:_SHARE_OF_DATA]
        for start in range(0, len(order) - size + 1, size):
            crops = crop_batch(dataset.batch(np.sort(order[start : start + size])))
            yield augment(_with_negatives(crops, rng.random(len(crops)) < negative, composer), generator)


def _with_negatives(batch: CropBatch, which: BoolArray, composer: FrameComposer) -> CropBatch:
    pictures = batch.image.clone()
    if which.any():
        pictures[torch.from_numpy(which)] = as_images(np.stack([composer.negative() for _ in range(which.sum())]))
    return emptied(batch, torch.from_numpy(which), pictures)


def held_out_batches(data: Sequence[Path], size: int = 64, limit: int = 1024) -> Iterator[CropBatch]:
    dataset = CropDataset(data, "val")
    for start in range(0, min(len(dataset), limit), size):
        yield crop_batch(dataset.batch(np.arange(start, min(start + size, len(dataset)))))


def optimiser_of(net: PerceptionNet, rate: float) -> torch.optim.AdamW:
    """AdamW; vectors (norms, biases, encodings) do not decay."""
    matrices = [p for p in net.parameters() if p.ndim >= 2 and p.shape[0] > 1]
    vectors = [p for p in net.parameters() if p.ndim < 2 or p.shape[0] <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.03}, {"params": vectors, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    config = NETWORKS[options.network]
    config = replace(config, size=options.size or config.size)
    net = PerceptionNet(config).to(workers.device).to(memory_format=torch.channels_last)
    checkpoint = options.out / "checkpoint.pt"
    resumed = options.resume and checkpoint.exists()
    spent_s, step, images, before = 0.0, 0, 0, 0
    if options.shipped and not resumed:
        net.load_state_dict(load_weights(WEIGHTS_NAME, architecture(config)))
        before = int(read_manifest()[WEIGHTS_NAME].recipe["images_seen"])
    elif options.pretrained and not resumed:
        pretrained.transplant(pretrained.fetch(options.pretrained), net)
    average = AveragedNetwork(net)
    optimiser = optimiser_of(net, options.rate)
    kinematics = KeypointKinematics(BodyModel.load()).to(workers.device)
    weights = LossWeights().without(options.without) if options.without else LossWeights()
    loss_of = MultiTaskLoss(kinematics, weights)

    if resumed:
        state = load_checkpoint(checkpoint)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        spent_s, step, images, before = state["spent_s"], state["step"], state["images"], state.get("before", 0)
    saved_s = evaluated_s = spent_s
    if options.compile:
        net.compile()
    shared = workers.wrap(net)
    seed = options.seed + step + 1_000_003 * workers.rank

    def save() -> None:
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
        counters = {"spent_s": spent_s, "step": step, "images": images, "before": before, "minutes": options.minutes}
        save_checkpoint(checkpoint, {**state, **counters, "config": asdict(config), "without": options.without})

    def progress() -> float:
        return float(images / options.images if options.images else spent_s / (60.0 * options.minutes))

    recent: dict[str, float] = {}
    batches = training_batches(options.data, options.batch // workers.count, seed, options.negative, config.size)
    for crops in read_ahead(batches):
        started = time.monotonic()
        batch = crops.to(workers.device)
        for group in optimiser.param_groups:
            group["lr"] = options.rate * warm_cosine(progress())
        net.train()
        with fast_autocast(workers.device.type):
            output = shared(batch.image)
        loss, terms = loss_of(output, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        if torch.isfinite(norm):
            optimiser.step()
            if workers.first:
                average.update(net)
        step, images = step + 1, images + len(batch) * workers.count
        for name, value in {"loss": loss.item(), "norm": float(norm), **terms}.items():
            recent[name] = recent.get(name, value) * 0.95 + value * 0.05
        spent_s = workers.agree(spent_s + time.monotonic() - started)

        if step % 25 == 0 and workers.first:
            told = " ".join(f"{name} {value:.3f}" for name, value in recent.items())
            print(f"{spent_s / 60:6.2f} min step {step} images {images} {images / spent_s:.0f}/s {told}", flush=True)
        if workers.first and spent_s - evaluated_s > 60.0 * options.evaluate_minutes:
            evaluated_s = spent_s
            scores = evaluate(average.network, held_out_batches(options.data, limit=512), kinematics)
            print(f"{spent_s / 60:6.2f} min HOLD {scores}", flush=True)
        if workers.first and spent_s - saved_s > 180.0:
            saved_s = spent_s
            save()
        if progress() >= 1.0:
            break
    if workers.first:
        save()
        scores = evaluate(average.network, held_out_batches(options.data), kinematics)
        report = {"scores": scores, "images": images, "without": options.without}
        (options.out / "scores.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(f"done: {scores}", flush=True)
    workers.leave()


def export(options: argparse.Namespace) -> None:
    """Scores the averaged network on the hold split and writes it into the package."""
    torch.set_num_threads(options.threads)
    state = load_checkpoint(options.out / "checkpoint.pt")
    config = PerceptionConfig(**state["config"])
    average = AveragedNetwork(PerceptionNet(config))
    average.load_state_dict(state["average"])
    if options.blend != 1.0:
        if not state.get("before") or not 0.0 < options.blend < 1.0:
            raise UsageError("--blend takes a share between 0 and 1 of a training that began with --shipped")
        blend(average.network, load_weights(WEIGHTS_NAME, architecture(config)), 1.0 - options.blend)
    in_service = FlipAugmentation(average.network)
    border = best_border(in_service, held_out_batches(options.data))
    move_border(average.network, border)
    scores = evaluate(in_service, held_out_batches(options.data), KeypointKinematics(BodyModel.load()))
    flags = " --shipped" if state.get("before") else ""
    flags += f" --blend {options.blend:g}" if options.blend != 1.0 else ""
    recipe: dict[str, Any] = {
        "command": f"python -m sender.train.perception --minutes {state['minutes']:g} --size {config.size}{flags}",
        "images_seen": state.get("before", 0) + state["images"],
        "crops": len(CropDataset(options.data, "train")),
        "split": "val",
        "mask_border": round(border, 3),
    }
    entry = save_weights("perception", average.network.state_dict(), architecture(config), recipe, scores)
    print(f"wrote {entry.file}: {scores}")


def main() -> None:
    options = parse()
    if options.export:
        export(options)
    else:
        train(options)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.perception", main))
