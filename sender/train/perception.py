"""Trains perception (paper §3.1) on rendered crops of people: keypoints, pose, depth and mask.

Shards that are still being rendered are picked up as they are finished.  CPU recipe: 86,016 crops at 128², then 110
minutes on two cores with one process a core, which sees 80 crops a second in bf16.  On GPUs, one process a GPU.

--export does not train: it scores the checkpoint on the validation split, as it is used (with flip augmentation), and
writes the package's weights.  With --blend 0.5 it writes the mean of the checkpoint and the weights it started from:
fine-tuning on new kinds of pictures forgets some of the old ones, and the mean forgets less (Wortsman et al., "Robust
fine-tuning of zero-shot models", 2022).

Examples:
  OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m sender.train.perception --threads 1 --compile --data everyday
  python -m sender.train.perception --data candid everyday --out runs/candid --shipped --minutes 100 --resume
  python -m sender.train.perception --data candid everyday --out runs/candid --export --blend 0.5
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from common.arrays import BoolArray
from common.body.model import BodyModel, KeypointKinematics
from common.errors import UsageError, exit_code_of
from common.synthetic.dataset.shards import CropDataset
from common.training.checkpoint import AveragedNetwork, blend, load_checkpoint
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop, read_ahead, write_json
from common.weights.devices import fast_autocast
from common.weights.loader import load_weights, read_manifest, save_weights
from sender.perception.inference.flip_augmentation import FlipAugmentation
from sender.perception.inference.predictor import WEIGHTS_NAME, architecture, as_images
from sender.perception.network.network import NETWORKS, TASKS, PerceptionConfig, PerceptionNet
from sender.train import pretrained
from sender.train.augmentation import augment
from sender.train.calibration import best_mask_threshold, shift_mask_threshold
from sender.train.crops import CropBatch, crop_batch, with_negatives
from sender.train.detector_frames import FrameComposer
from sender.train.multi_task_loss import LossWeights, MultiTaskLoss
from sender.train.scores import evaluate

# Crops drawn before the shards are listed again.
_CROPS_PER_LISTING = 16_384


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.perception", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/perception"), help="folder of the checkpoint (default: %(default)s)"
    )
    add_training_flags(parser, minutes=60.0, batch=32, seed=0, threads=2)
    parser.add_argument(
        "--images", type=int, help="train on this many crops instead of for --minutes; 0 only evaluates"
    )
    parser.add_argument("--network", choices=NETWORKS, default="cpu", help="size of the network (default: %(default)s)")
    parser.add_argument("--size", type=int, help="side of the crops, as rendered (default: the network's own)")
    parser.add_argument("--rate", type=float, default=8e-4, help="peak learning rate (default: %(default)g)")
    parser.add_argument(
        "--negative", type=float, default=0.08, help="share of negative crops, which show no person (%(default)g)"
    )
    parser.add_argument("--without", choices=TASKS, help="ablation: leave this head's loss out")
    parser.add_argument(
        "--pretrained",
        nargs="?",
        const=pretrained.DEFAULT,
        metavar="NAME",
        help="start the trunk from timm's weights (needs a network; default: %(const)s)",
    )
    parser.add_argument(
        "--evaluate-minutes", type=float, default=6.0, help="training time between evaluations (default: %(default)g)"
    )
    parser.add_argument("--compile", action="store_true", help="faster steps after some minutes of compilation")
    add_result_flags(parser, export_help="score the checkpoint and write the weights, without training")
    parser.add_argument(
        "--blend",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="with --export after --shipped: share of the checkpoint, the rest is the package's weights; 0…1",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.negative < 1:
        parser.error("--negative is a share from 0 to less than 1")
    return options


def training_batches(data: Sequence[Path], size: int, seed: int, negative: float, side: int) -> Iterator[CropBatch]:
    """Endless augmented batches; new shards are used as soon as they are finished.

    Args:
        data: folders of shards.
        size: crops in a batch.
        seed: of their order, of the augmentation and of the negative crops.
        negative: share of the crops that are replaced by negative ones, which show no person.
        side: pixels of a crop.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    composer = FrameComposer([], rng, side)
    while True:
        dataset = CropDataset(data, "train")
        order = rng.permutation(len(dataset))[:_CROPS_PER_LISTING]
        for start in range(0, len(order) - size + 1, size):
            crops = crop_batch(dataset.batch(np.sort(order[start : start + size])))
            yield augment(_with_negatives(crops, rng.random(len(crops)) < negative, composer), generator)


def _with_negatives(batch: CropBatch, negative: BoolArray, composer: FrameComposer) -> CropBatch:
    images = batch.image.clone()
    if negative.any():
        images[torch.from_numpy(negative)] = as_images(np.stack([composer.negative() for _ in range(negative.sum())]))
    return with_negatives(batch, torch.from_numpy(negative), images)


def validation_batches(data: Sequence[Path], size: int = 64, limit: int = 1024) -> Iterator[CropBatch]:
    """The first `limit` crops of the validation split."""
    dataset = CropDataset(data, "val")
    for start in range(0, min(len(dataset), limit), size):
        yield crop_batch(dataset.batch(np.arange(start, min(start + size, len(dataset)))))


def optimiser_of(net: PerceptionNet, rate: float) -> torch.optim.AdamW:
    """AdamW without weight decay on vectors (norms, biases, encodings)."""
    matrices = [p for p in net.parameters() if p.ndim >= 2 and p.shape[0] > 1]
    vectors = [p for p in net.parameters() if p.ndim < 2 or p.shape[0] <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.03}, {"params": vectors, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def initial_network(options: argparse.Namespace, device: torch.device) -> PerceptionNet:
    """From scratch, from the package's weights, or with a pretrained trunk."""
    config = NETWORKS[options.network]
    config = replace(config, size=options.size or config.size)
    net = PerceptionNet(config).to(device).to(memory_format=torch.channels_last)
    if options.shipped:
        net.load_state_dict(load_weights(WEIGHTS_NAME, architecture(config)))
    elif options.pretrained:
        pretrained.transplant(pretrained.fetch(options.pretrained), net)
    return net


def images_before(shipped: bool) -> int:
    """Number of crops that the starting weights were trained on."""
    return int(read_manifest()[WEIGHTS_NAME].recipe["images_seen"]) if shipped else 0


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    net = initial_network(options, workers.device)
    kinematics = KeypointKinematics(BodyModel.load()).to(workers.device)
    weights = LossWeights().without(options.without) if options.without else LossWeights()
    loss_of = MultiTaskLoss(kinematics, weights)
    own_batch = options.batch // workers.count
    batch_size = own_batch * workers.count
    checkpoint = options.out / "checkpoint.pt"
    loop = TrainingLoop(
        LoopConfig(
            options.minutes,
            steps=math.ceil(options.images / batch_size) if options.images is not None else None,
            samples_per_step=batch_size,
            evaluate_every_s=60.0 * options.evaluate_minutes,
            save_every_s=180.0,
        ),
        net,
        optimiser_of(net, options.rate),
        checkpoint,
        workers=workers,
        resume=options.resume and checkpoint.exists(),
        facts={"config": asdict(net.config), "before": images_before(options.shipped)},
        without=[options.without] if options.without else [],
        evaluate=lambda average: evaluate(average, validation_batches(options.data, limit=512), kinematics),
    )
    if options.compile:
        net.compile()
    shared = workers.wrap(net)
    seed = options.seed + loop.step + 1_000_003 * workers.rank
    batches = training_batches(options.data, own_batch, seed, options.negative, net.config.size)

    for crops in loop.steps(read_ahead(batches)):
        batch = crops.to(workers.device)
        with fast_autocast(workers.device.type):
            output = shared(batch.image)
        loss, terms = loss_of(output, batch)
        loop.descend(loss, max_norm=2.0)
        loop.log(loss=loss, **terms)

    if workers.first:
        scores = evaluate(FlipAugmentation(loop.average), validation_batches(options.data), kinematics)
        loop.write_scores(options.json or options.out / "scores.json", scores)
    workers.leave()


def export(options: argparse.Namespace) -> None:
    """Scores the averaged network on the validation split and writes its weights.

    Raises:
        UsageError: there is no checkpoint, or `--blend` does not fit it.
    """
    torch.set_num_threads(options.threads)
    state = load_checkpoint(options.out / "checkpoint.pt")
    facts, minutes = state["facts"], state["spent_s"] / 60
    config = PerceptionConfig(**facts["config"])
    average = AveragedNetwork(PerceptionNet(config))
    average.load_state_dict(state["average"])
    if options.blend != 1.0:
        if not facts["before"] or not 0.0 < options.blend < 1.0:
            raise UsageError("--blend takes a share between 0 and 1 of a training that began with --shipped")
        blend(average.network, load_weights(WEIGHTS_NAME, architecture(config)), 1.0 - options.blend)
    in_service = FlipAugmentation(average.network)
    threshold = best_mask_threshold(in_service, validation_batches(options.data))
    shift_mask_threshold(average.network, threshold)
    scores = evaluate(in_service, validation_batches(options.data), KeypointKinematics(BodyModel.load()))
    flags = " --shipped" if facts["before"] else ""
    flags += f" --blend {options.blend:g}" if options.blend != 1.0 else ""
    recipe = {
        "command": f"python -m sender.train.perception --minutes {minutes:.3g} --size {config.size}{flags}",
        "images_seen": facts["before"] + state["samples"],
        "crops": len(CropDataset(options.data, "train")),
        "split": "val",
        "mask_border": round(threshold, 3),
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
    raise SystemExit(exit_code_of("python -m sender.train.perception", main))
