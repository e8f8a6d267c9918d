"""Trains perception (paper §3.1) on rendered crops of people and on photographs: keypoints, pose, depth and mask.

With --photographs (a folder of `sender.train.photographs`) half of each batch are photographs, which teach keypoints,
visibility and, by reprojection, 3D joints and pose; the rendered half keeps depth, mask and parts from being forgotten.

Shards that are still being rendered are picked up as they are finished.  CPU recipe: 86,016 crops at 128², then 110
minutes on two cores with one process a core, which sees 80 crops a second in bf16.  On GPUs, one process a GPU.

--export does not train: it scores the checkpoint on the validation split, as it is used (with flip augmentation), and
writes the package's weights.  With --blend 0.5 it writes the mean of the checkpoint and the weights it started from:
fine-tuning on new kinds of pictures forgets some of the old ones, and the mean forgets less (Wortsman et al., "Robust
fine-tuning of zero-shot models", 2022).

Examples:
  OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m sender.train.perception --threads 1 --compile --data everyday
  python -m sender.train.perception --data candid everyday --photographs photographs --out runs/mixed --shipped
  python -m sender.train.perception --data candid everyday --out runs/candid --export --blend 0.5
"""

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.arrays import BoolArray
from common.body.model import BodyModel, KeypointKinematics
from common.errors import UsageError, exit_code_of
from common.synthetic.dataset.shards import CropDataset
from common.training.checkpoint import AveragedNetwork, blend, load_checkpoint
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop, read_ahead, write_json
from common.weights.devices import device_of, fast_autocast
from common.weights.loader import load_weights, save_weights
from common.weights.manifest import read_manifest
from sender.perception.inference.flip_augmentation import FlipAugmentation
from sender.perception.inference.predictor import WEIGHTS_NAME, architecture, as_images
from sender.perception.network.network import NETWORKS, TASKS, PerceptionConfig, PerceptionNet
from sender.train import pretrained
from sender.train.augmentation import augment
from sender.train.calibration import best_mask_threshold, shift_mask_threshold
from sender.train.crops import CropBatch, crop_batch, with_negatives
from sender.train.detector_frames import FrameComposer
from sender.train.keypoint_loss import keypoint_terms
from sender.train.keypoint_scores import keypoint_scores
from sender.train.multi_task_loss import LossWeights, MultiTaskLoss
from sender.train.photograph_crops import PhotographCrops, PhotographCropSampler, crops_in_boxes
from sender.train.photograph_frames import PanoramaFrames, before_place
from sender.train.photographs import PhotographDataset
from sender.train.scores import evaluate

# Crops drawn before the shards are listed again.
_CROPS_PER_LISTING = 16_384
# Share of photographs in a batch of a training on both.
_PHOTOGRAPH_SHARE = 0.5
# Share of its rendered people who are placed before a view of a panorama.
_PLACED_SHARE = 0.4


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.perception", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/perception"), help="folder of the checkpoint (default: %(default)s)"
    )
    parser.add_argument(
        "--photographs", type=Path, metavar="DIR", help="also train on this folder of sender.train.photographs"
    )
    add_training_flags(parser, minutes=60.0, batch=32, seed=0, threads=2)
    parser.add_argument(
        "--images", type=int, help="train on this many crops instead of for --minutes; 0 only evaluates"
    )
    parser.add_argument("--network", choices=NETWORKS, default="cpu", help="size of the network (default: %(default)s)")
    parser.add_argument("--size", type=int, help="side of the crops; rendered ones are resampled (the network's)")
    parser.add_argument("--start", type=Path, metavar="DIR", help="start from the averaged weights of this training")
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


def training_batches(
    data: Sequence[Path], size: int, seed: int, negative: float, side: int, photographs: Path | None = None
) -> Iterator[CropBatch]:
    """Endless augmented batches; new shards are used as soon as they are finished.

    Args:
        data: folders of shards.
        size: crops in a batch.
        seed: of their order, of the augmentation and of the negative crops.
        negative: share of the crops that are replaced by negative ones, which show no person.
        side: pixels of a crop.
        photographs: folder with panoramas, before which some of the people are placed.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    composer = FrameComposer([], rng, side)
    dataset = CropDataset(data, "train")
    view = PanoramaFrames(PhotographDataset(photographs, "train"), rng, dataset.side).view if photographs else None
    while True:
        order = rng.permutation(len(dataset))[:_CROPS_PER_LISTING]
        for start in range(0, len(order) - size + 1, size):
            arrays = dataset.batch(np.sort(order[start : start + size]))
            if view:
                for row in np.flatnonzero(rng.random(size) < _PLACED_SHARE):
                    arrays["image"][row] = before_place(arrays["image"][row], arrays["mask"][row], view())
            crops = crop_batch(arrays).resized(side)
            yield augment(_with_negatives(crops, rng.random(len(crops)) < negative, composer), generator)
        dataset = CropDataset(data, "train")


def _with_negatives(batch: CropBatch, negative: BoolArray, composer: FrameComposer) -> CropBatch:
    images = batch.image.clone()
    if negative.any():
        images[torch.from_numpy(negative)] = as_images(np.stack([composer.negative() for _ in range(negative.sum())]))
    return with_negatives(batch, torch.from_numpy(negative), images)


def validation_batches(data: Sequence[Path], side: int, size: int = 64, limit: int = 1024) -> Iterator[CropBatch]:
    """The first `limit` crops of the validation split, resampled to `side` pixels."""
    dataset = CropDataset(data, "val")
    for start in range(0, min(len(dataset), limit), size):
        yield crop_batch(dataset.batch(np.arange(start, min(start + size, len(dataset))))).resized(side)


def photograph_batches(
    directory: Path | None, size: int, seed: int, side: int
) -> Iterable[PhotographCrops] | Iterable[None]:
    """Endless batches of `size` crops of photographs of `side` pixels; of nothing without a folder of photographs."""
    if directory is None:
        return repeat(None)
    return PhotographCropSampler(PhotographDataset(directory, "train"), np.random.default_rng(seed), side).batches(size)


class MixedLoss:
    """The loss of one forward pass over rendered crops and photographs.

    Args:
        rendered: the loss of the rendered crops.
    """

    def __init__(self, rendered: MultiTaskLoss) -> None:
        self._rendered = rendered

    def __call__(
        self, net: torch.nn.Module, crops: CropBatch, people: PhotographCrops | None
    ) -> tuple[Tensor, dict[str, float]]:
        """The sum, weighted by the shares of the batch, and its terms for the log."""
        images = crops.image if people is None else torch.cat([crops.image, people.image])
        with fast_autocast(images.device.type):
            output = net(images.contiguous(memory_format=torch.channels_last))
        loss, terms = self._rendered(output[: len(crops)], crops)
        if people is None:
            return loss, terms
        real = keypoint_terms(output[len(crops) :], people, self._rendered.kinematics)
        weights = self._rendered.weights
        weighted = [term * (weights.pose if name == "skeleton" else weights.keypoints) for name, term in real.items()]
        share = len(people) / len(images)
        total = 2 * ((1 - share) * loss + share * torch.stack(weighted).sum())
        return total, terms | {f"photographs.{name}": term.item() for name, term in real.items()}


def scores_of(options: argparse.Namespace, net: torch.nn.Module, side: int, limit: int) -> dict[str, float]:
    """Scores of the validation splits: `limit` rendered crops, and photographs if there are any."""
    kinematics = KeypointKinematics(BodyModel.load()).to(device_of(net))
    scores = evaluate(net, validation_batches(options.data, side, limit=limit), kinematics)
    if options.photographs:
        scores |= keypoint_scores(net, crops_in_boxes(PhotographDataset(options.photographs, "val"), side))
    return scores


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


def initial_network(
    options: argparse.Namespace, device: torch.device, earlier: Mapping[str, Any] | None = None
) -> PerceptionNet:
    """From scratch, the checkpoint `earlier` of another training, the package's weights, or with a pretrained trunk."""
    config = NETWORKS[options.network]
    config = replace(config, size=options.size or config.size)
    net = PerceptionNet(config).to(device).to(memory_format=torch.channels_last)
    if earlier:
        average = AveragedNetwork(net)
        average.load_state_dict(earlier["average"])
        net.load_state_dict(average.network.state_dict())
    elif options.shipped:
        net.load_state_dict(load_weights(WEIGHTS_NAME))
    elif options.pretrained:
        pretrained.transplant(pretrained.fetch(options.pretrained), net)
    return net


def origin(options: argparse.Namespace, earlier: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where the starting weights come from.

    Returns:
        `before`: number of crops that they were trained on; `shipped`: whether they go back to the package's weights.
    """
    if earlier:
        return {"before": earlier["facts"]["before"] + earlier["samples"], "shipped": earlier["facts"]["shipped"]}
    seen = read_manifest()[WEIGHTS_NAME].recipe["images_seen"] if options.shipped else 0
    return {"before": int(seen), "shipped": options.shipped}


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    earlier = load_checkpoint(options.start / "checkpoint.pt") if options.start else None
    net = initial_network(options, workers.device, earlier)
    kinematics = KeypointKinematics(BodyModel.load()).to(workers.device)
    weights = LossWeights().without(options.without) if options.without else LossWeights()
    loss_of = MixedLoss(MultiTaskLoss(kinematics, weights))
    own_batch = workers.batch(options.batch)
    own_photographs = round(own_batch * _PHOTOGRAPH_SHARE) if options.photographs else 0
    checkpoint = options.out / "checkpoint.pt"
    loop = TrainingLoop(
        LoopConfig(
            options.minutes,
            steps=math.ceil(options.images / options.batch) if options.images is not None else None,
            samples_per_step=options.batch,
            evaluate_every_s=60.0 * options.evaluate_minutes,
            save_every_s=180.0,
        ),
        net,
        optimiser_of(net, options.rate),
        checkpoint,
        workers=workers,
        resume=options.resume and checkpoint.exists(),
        facts={"config": asdict(net.config), **origin(options, earlier)},
        without=[options.without] if options.without else [],
        evaluate=lambda average: scores_of(options, average, net.config.size, limit=512),
    )
    if options.compile:
        net.compile()
    seed = workers.seed(options.seed, loop.step)
    side = net.config.size
    rendered = training_batches(
        options.data, own_batch - own_photographs, seed, options.negative, side, options.photographs
    )
    photographs = photograph_batches(options.photographs, own_photographs, seed, side)

    for crops, people in loop.steps(read_ahead(zip(rendered, photographs, strict=False))):
        loss, terms = loss_of(net, crops.to(workers.device), people and people.to(workers.device))
        loop.descend(loss, max_norm=2.0)
        loop.log(loss=loss, **terms)

    if workers.first:
        scores = scores_of(options, FlipAugmentation(loop.average), side, limit=1024)
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
        if not facts["shipped"] or not 0.0 < options.blend < 1.0:
            raise UsageError("--blend takes a share between 0 and 1 of a training that began with --shipped")
        blend(average.network, load_weights(WEIGHTS_NAME), 1.0 - options.blend)
    in_service = FlipAugmentation(average.network)
    threshold = best_mask_threshold(in_service, validation_batches(options.data, config.size))
    shift_mask_threshold(average.network, threshold)
    scores = scores_of(options, in_service, config.size, limit=1024)
    flags = " --shipped" if facts["shipped"] else ""
    flags += " --photographs photographs" if options.photographs else ""
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
