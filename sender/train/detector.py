"""Trains the detector on photographs, and on composed frames: people cut out of rendered crops and pasted elsewhere.

A quarter of the frames are composed.  The scores are of photographs that are held back.  --export also writes the
package's weights.

Examples:
  python -m sender.train.detector --data dressed --photographs photographs --shipped --size 320
  python -m sender.train.detector --data close dressed everyday --photographs photographs --export
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.training.recipe import Defaults, Progress, Recipe
from common.training.run import main
from common.weights.loader import load_weights
from common.weights.manifest import read_manifest
from sender.perception.inference.detector import KIND, WEIGHTS_NAME, Detector, DetectorConfig, DetectorNet
from sender.perception.inference.predictor import unit
from sender.train.frames.composed import FrameBatch, FrameSource, composed_frames, frame_batches
from sender.train.frames.scores import in_evaluation, photograph_scores
from sender.train.photographs.dataset import PhotographDataset
from sender.train.photographs.frames import PanoramaFrames, PhotographFrames

# Of composed frames, of those from `people` and `openimages`, and of panoramas.
_SHARES = (0.25, 0.25, 0.42, 0.08)


class DetectorTraining(Recipe[DetectorNet, FrameBatch]):
    """Heat map of people's centres, and boxes around them."""

    name, kind, precision = WEIGHTS_NAME, KIND, "bf16"
    defaults = Defaults(12.0, batch=32, rate=1.5e-3, seed=0, threads=2, largest_norm=5.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--data", type=Path, nargs="+", required=True, help="folders of rendered shards, each drawn equally often")
        add("--size", type=int, default=256, help="side of the frames (default: %(default)s)")
        add("--photographs", type=Path, required=True, help="folder of sender.train.photographs.dataset")

    def prepare(self) -> DetectorNet:
        config = replace(Detector.load().net.config, size=self.options.size)
        if self.recorded:
            config = DetectorConfig(**self.recorded["config"])
        before = int(read_manifest()[WEIGHTS_NAME].recipe["images_seen"]) if self.options.shipped else 0
        self.facts = {"config": asdict(config), "before": before}
        net = DetectorNet(config).to(memory_format=torch.channels_last)
        if self.options.shipped:
            net.load_state_dict(load_weights(WEIGHTS_NAME))
        return net

    def optimisers(self, network: DetectorNet) -> Sequence[torch.optim.Optimizer]:
        return [torch.optim.AdamW(network.parameters(), lr=self.options.rate, weight_decay=0.02, fused=True)]

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[FrameBatch]:
        return frame_batches(self._frames(rng), count, self._size)

    @property
    def _size(self) -> int:
        return int(self.facts["config"]["size"])

    def _frames(self, rng: np.random.Generator) -> FrameSource:
        """Composed frames, and three times as many of photographs."""
        data, size = self.options.data, self._size
        photographs = PhotographDataset(self.options.photographs, "train")
        panoramas = PanoramaFrames(photographs, rng, size)
        sources: list[FrameSource] = [
            composed_frames(data, "train", size, rng, panoramas.view),
            PhotographFrames(photographs, "people", rng, size),
            PhotographFrames(photographs, "openimages", rng, size),
            panoramas,
        ]
        return lambda: sources[rng.choice(len(sources), p=_SHARES)]()

    def step(self, network: DetectorNet, batch: FrameBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        with self.autocast():
            heat, boxes = network(unit(batch.image).contiguous(memory_format=torch.channels_last))
        terms = loss_terms(heat, boxes, batch)
        return torch.stack(list(terms.values())).sum(), terms

    def evaluate(self, network: DetectorNet) -> dict[str, float]:
        """Scores of the photographs that are held back."""
        photographs = PhotographDataset(self.options.photographs, "val")
        return photograph_scores(in_evaluation(network), photographs, self._size)

    def manifest_recipe(self, progress: Progress) -> dict[str, Any]:
        return super().manifest_recipe(progress) | {"images_seen": self.facts["before"] + progress.samples}


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


if __name__ == "__main__":
    raise SystemExit(main(DetectorTraining))
