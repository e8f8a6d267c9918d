"""Trains perception (paper §3.1) on rendered crops of people and on photographs: keypoints, pose, depth and mask.

Half of each batch are photographs (of `sender.train.photographs.dataset`), which teach keypoints, visibility and, by
reprojection, 3D joints and pose; the rendered half teaches depth, mask and parts too.

Shards that are still being rendered are picked up as they are finished.

--export also scores the network on the validation split, as it is used (with flip augmentation), and writes the
package's weights.

Examples:
  python -m sender.train.perception --data dressed everyday --photographs photographs --out runs/mixed --shipped
  python -m sender.train.perception --data dressed everyday --photographs photographs --out runs/mixed --resume --export
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from common.body.model import BodyModel, KeypointKinematics
from common.synthetic.render_shards import Batch, CropDataset
from common.synthetic.scene.backgrounds import expose
from common.training.recipe import Defaults, Progress, Recipe
from common.training.run import main
from common.weights.devices import device_of, fast_autocast
from common.weights.loader import load_recorded
from common.weights.manifest import read_manifest
from common.weights.transformer import DropPath
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import KIND, WEIGHTS_NAME, Mirror, as_bytes, mean, with_peaks
from sender.train.augment import FrameComposer, before_place, cover, covered, patch
from sender.train.crops import (
    CropBatch,
    Terms,
    crop_batch,
    evaluate,
    intersection_over_union,
    keypoint_scores,
    keypoint_terms,
    multi_task_loss,
    outputs,
    randomly_mirrored,
    with_negatives,
)
from sender.train.photographs.crops import (
    PhotographCrops,
    PhotographCropSampler,
    crops_in_boxes,
    panorama_view,
)
from sender.train.photographs.dataset import PhotographDataset

# Crops drawn before the shards are listed again.
_CROPS_PER_LISTING = 16_384
# Share of negative crops, which show no person.
_NEGATIVE_SHARE = 0.08
# Share of photographs in a batch.
_PHOTOGRAPH_SHARE = 0.5
# Shares of its rendered people who are placed before a view of a panorama, and who are hidden in part.
_PLACED_SHARE, _OCCLUDED_SHARE = 0.4, 0.3

Crops = tuple[CropBatch, PhotographCrops]


class FlipAugmentation(nn.Module):
    """Crops (B, 3, S, S), 0…1 RGB → `PerceptionOutput` of B crops, from 2 B passes of the network."""

    def __init__(self, net: PerceptionNet) -> None:
        super().__init__()
        self.net, self.mirror = net, Mirror().to(device_of(net))

    def forward(self, image_B3SS: Tensor) -> PerceptionOutput:
        both = mean([self.net(image_B3SS), self.mirror(self.net(image_B3SS.flip(-1)))])
        return with_peaks(both, self.net.keypoints.sharpness)


class PerceptionTraining(Recipe[PerceptionNet, Crops]):
    """The losses of all heads, on rendered crops and photographs."""

    name, kind, precision = WEIGHTS_NAME, KIND, "bf16"
    defaults = Defaults(60.0, batch=32, rate=8e-4, seed=0, threads=2, largest_norm=2.0, evaluate_minutes=6.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
        add("--photographs", type=Path, required=True, help="folder of sender.train.photographs.dataset")
        sides = "sides of the crops, one for each batch: of streams, and of photographs (the network's)"
        add("--size", type=int, nargs="+", help=sides)
        add("--drop-path", type=float, default=0.0, help="probability that a block is left out (%(default)g)")

    def prepare(self) -> PerceptionNet:
        options = self.options
        shipped = load_recorded(WEIGHTS_NAME, KIND, PerceptionConfig, PerceptionNet) if options.shipped else None
        config = shipped.config if shipped else PerceptionConfig()
        sizes = options.size or [config.size, *([config.still_size] if config.still_size else [])]
        config = replace(config, size=sizes[0], still_size=sizes[1] if len(sizes) > 1 else 0)
        if self.recorded:
            config = PerceptionConfig(**self.recorded["config"])
        seen = int(read_manifest()[WEIGHTS_NAME].recipe["images_seen"]) if shipped else 0
        self.facts = {"config": asdict(config), "sizes": sizes, "before": seen, "shipped": options.shipped}
        self.facts["crops"] = len(CropDataset(options.data, "train"))
        self._kinematics = KeypointKinematics(BodyModel.load()).to(self.device)
        net = PerceptionNet(config)
        if shipped:
            net.load_state_dict(shipped.state_dict())
        for block in net.blocks:
            for place in ("drop_path1", "drop_path2"):
                setattr(block, place, DropPath(options.drop_path))
        return net.to(memory_format=torch.channels_last)

    @property
    def _size(self) -> int:
        return int(self.facts["config"]["size"])

    def optimisers(self, network: PerceptionNet) -> Sequence[torch.optim.Optimizer]:
        """AdamW without weight decay on vectors (norms, biases, encodings)."""
        matrices = [p for p in network.parameters() if p.ndim >= 2 and p.shape[0] > 1]
        vectors = [p for p in network.parameters() if p.ndim < 2 or p.shape[0] <= 1]
        groups = [{"params": matrices, "weight_decay": 0.03}, {"params": vectors, "weight_decay": 0.0}]
        return [torch.optim.AdamW(groups, lr=self.options.rate, betas=(0.9, 0.98), fused=True)]

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Crops]:
        sizes = self.facts["sizes"]
        sources = [self._batches(count, rng, size) for size in sizes]
        while True:
            yield next(sources[rng.integers(len(sources))])

    def _batches(self, count: int, rng: np.random.Generator, size: int) -> Iterator[Crops]:
        photographed, photographs = (
            round(count * _PHOTOGRAPH_SHARE),
            PhotographDataset(self.options.photographs, "train"),
        )
        rendered = training_batches(self.options.data, count - photographed, rng, size, photographs)
        return zip(rendered, PhotographCropSampler(photographs, rng, size).batches(photographed), strict=False)

    def step(self, network: PerceptionNet, batch: Crops) -> tuple[Tensor, Mapping[str, Tensor]]:
        crops, people = batch
        return mixed_loss(self._kinematics, network, randomly_mirrored(crops.ready()), people.ready())

    def evaluate(self, network: PerceptionNet) -> dict[str, float]:
        return self._scores(network, limit=512)

    def final_scores(self, network: PerceptionNet) -> dict[str, float]:
        """As it is used, with flip augmentation."""
        return self._scores(FlipAugmentation(network), limit=1024)

    def _scores(self, net: nn.Module, limit: int) -> dict[str, float]:
        """Of the validation splits: `limit` rendered crops, and photographs."""
        scores = evaluate(net, validation_batches(self.options.data, self._size, limit=limit), self._kinematics)
        photographs = PhotographDataset(self.options.photographs, "val")
        seen = outputs(net, crops_in_boxes(photographs, self._size))
        return scores | keypoint_scores((output.keypoints_2d, truth) for output, truth in seen)

    def finish(self, network: PerceptionNet) -> None:
        """Calibrates the exported network's mask."""
        if self.options.export:
            validation = validation_batches(self.options.data, self._size)
            threshold = best_mask_threshold(FlipAugmentation(network), validation)
            shift_mask_threshold(network, threshold)
            self.facts["mask_border"] = round(threshold, 3)

    def manifest_recipe(self, progress: Progress) -> dict[str, Any]:
        return super().manifest_recipe(progress) | {"images_seen": self.facts["before"] + progress.samples}


def training_batches(
    data: Sequence[Path], size: int, rng: np.random.Generator, side: int, photographs: PhotographDataset
) -> Iterator[CropBatch]:
    """Endless batches, not `ready`; new shards are used as soon as they are finished.

    Args:
        rng: of their order, of the changes of their pictures and of the negative crops.
        side: pixels of a crop.
        photographs: with panoramas, before which some of the people are placed.
    """
    composer = FrameComposer([], rng, side)
    dataset = CropDataset(data, "train")
    while True:
        order = rng.permutation(len(dataset))[:_CROPS_PER_LISTING]
        for start in range(0, len(order) - size + 1, size):
            arrays = dataset.batch(np.sort(order[start : start + size]))
            for row in np.flatnonzero(rng.random(size) < _PLACED_SHARE).tolist():
                view = panorama_view(rng, photographs, dataset.side)
                arrays["image"][row] = before_place(arrays["image"][row], arrays["mask"][row], view)
            for row in range(size):
                arrays["image"][row] = np.clip(expose(rng, arrays["image"][row]), 0, 255)
                if rng.random() < _OCCLUDED_SHARE:
                    occlude(rng, arrays, row)
            crops, negative = crop_batch(arrays).resized(side), rng.random(size) < _NEGATIVE_SHARE
            images = crops.image.clone()
            if negative.any():
                images[negative] = as_bytes(np.stack([composer.negative() for _ in range(negative.sum())]))
            yield with_negatives(crops, torch.from_numpy(negative), images)
        dataset = CropDataset(data, "train")


def occlude(rng: Generator, arrays: Batch, row: int) -> None:
    """Covers a rectangle of a rendered crop with one colour, in place, and what is known of it."""
    corners = patch(rng, 0.12, 0.45)
    cover(arrays["image"][row], *corners, rng.uniform(0, 255, 3))
    for name in ("mask", "depth", "part"):
        cover(arrays[name][row], *corners, 0)
    arrays["visible"][row] *= ~covered(arrays["keypoints_2d"][row], *corners)


def validation_batches(data: Sequence[Path], side: int, size: int = 64, limit: int = 1024) -> Iterator[CropBatch]:
    """The first `limit` crops of the validation split, a multiple of `size`, resampled to `side` pixels, `ready`."""
    for arrays in islice(CropDataset(data, "val").batches(size), limit // size):
        yield crop_batch(arrays).resized(side).ready()


def mixed_loss(
    kinematics: KeypointKinematics, net: nn.Module, crops: CropBatch, people: PhotographCrops
) -> tuple[Tensor, Terms]:
    """The loss of one forward pass over rendered crops and photographs, weighted by their shares, and its terms."""
    images = torch.cat([crops.image, people.image])
    with fast_autocast(images.device.type):
        output = net(images.contiguous(memory_format=torch.channels_last))
    loss, terms = multi_task_loss(output[: len(crops)], crops, kinematics)
    real = keypoint_terms(output[len(crops) :], people, kinematics)
    share = len(people) / len(images)
    total = 2 * ((1 - share) * loss + share * torch.stack(list(real.values())).sum())
    return total, terms | {f"photographs.{name}": term for name, term in real.items()}


_CANDIDATES = torch.linspace(-1.5, 1.5, 25)


@torch.no_grad()
def best_mask_threshold(net: nn.Module, batches: Iterable[CropBatch]) -> float:
    """The mask logit from which a cell is the person that gives the largest mean IoU.

    A mask head trained on overlap draws uncertain masks too large.

    Args:
        net: returns a `PerceptionOutput`.
        batches: crops that it was not trained on.
    """
    total = torch.zeros(len(_CANDIDATES), device=device_of(net))
    for output, truth in outputs(net, batches):
        person, logits = truth.mask > 0.5, output.mask_logits
        total += torch.stack([intersection_over_union(logits > threshold, person).sum() for threshold in _CANDIDATES])
    return float(_CANDIDATES[total.argmax()])


@torch.no_grad()
def shift_mask_threshold(net: PerceptionNet, threshold: float) -> None:
    """Subtracts `threshold` from the mask logits, in place; the part logits stay."""
    bias = net.mask.read.bias
    assert bias is not None
    # The first output of the sub-pixel convolution is four channels wide.
    bias[:4] -= threshold


if __name__ == "__main__":
    raise SystemExit(main(PerceptionTraining))
