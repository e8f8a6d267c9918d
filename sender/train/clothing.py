"""Trains the clothing network, which reads `surface` labels from one view of a person (`sender.attributes`).

One pass of the trained perception and semantics over the shards gives what the network sees, which is kept in --out;
the truth gives the labels, garments and normals.  The loss is the Gaussian negative log-likelihood of the labels, plus
their squared error weighted by how far an entry moves the surface, plus the cross-entropy of the garments and the
cosine of the normals.  The crops are of the preset `dressed`, and ones that perception was not trained on.  CPU
recipe: an hour on one core after the pass (15 minutes for 37,000 crops).  --export also writes the weights when the
training is over.

Examples:
  python -m sender.train.clothing --data dressed160 --out runs/clothing --export
  python -m sender.train.clothing --data dressed160 more --out runs/clothing --resume --export
  python -m sender.train.clothing --data dressed160 --out runs/clothing --steps 300
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.frames import Camera
from common.synthetic.dataset import Split
from common.synthetic.render_shards import Batch, CropDataset
from common.tensor_rows import TensorRows
from common.training.recipe import Defaults, Recipe
from common.training.run import main
from sender.attributes.surface import (
    PROBES_M,
    SURFACE_PX,
    WEIGHTS_NAME,
    SurfaceEstimate,
    SurfaceNet,
    SurfaceNetConfig,
    SurfaceReader,
    SurfaceViews,
)
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.semantics_stage import SemanticsStage

_BATCH = 32
_FIELDS = ("image", "focal", "surface", "material", "normal")
_METRIC_WEIGHT, _GARMENT_WEIGHT, _NORMAL_WEIGHT = 1.0, 0.5, 0.5
# Share of the points whose evidence is hidden in training, in whole tokens, as occluders do.
_HIDDEN_SHARE = 0.15
# Colours are multiplied by up to 1 ± this in training, and a share of the pictures is grey.
_GAIN, _GREY_SHARE = 0.3, 0.15
_COLOURS = 3 + len(PROBES_M)
_MILLIMETRES = 1000.0
_BYTE, _MAP_UNIT = 255.0, 40.0


@dataclass(frozen=True, slots=True)
class StoredViews(TensorRows):
    """What the network sees of single views, and the truth; quantised, because a data set is as large as the memory.

    Args:
        evidence: (N, 2048, F) float16.
        places: (N, 128, Q, 2) float16.
        picture: (N, 3, P, P) uint8.
        maps: (N, 2, H, H) int8, in 1/40.
        features: (N, X) float32.
        entries: (N, E) float32.
        material: (N, H, H) uint8, 0 off the person.
        normal: (N, 3, H, H) int8, in 1/127.
    """

    evidence: Tensor
    places: Tensor
    picture: Tensor
    maps: Tensor
    features: Tensor
    entries: Tensor
    material: Tensor
    normal: Tensor

    @classmethod
    def from_views(cls, views: SurfaceViews, entries: Tensor, material: Tensor, normal: Tensor) -> Self:
        picture, maps = (views.picture * _BYTE).round().byte(), (views.maps * _MAP_UNIT).round().char()
        seen = views.evidence.half(), views.places.half(), picture, maps, views.features
        return cls(*seen, entries, material, normal)

    def views(self) -> SurfaceViews:
        """What the network sees, up to rounding."""
        picture, maps = self.picture.float() / _BYTE, self.maps.float() / _MAP_UNIT
        return SurfaceViews(self.evidence.float(), self.places.float(), picture, maps, self.features)


def observe(
    dataset: CropDataset, perception: Perception, semantics: SemanticsStage, stage: SurfaceReader
) -> StoredViews:
    """One pass of the sender's networks over a data set."""
    parts: list[StoredViews] = []
    for number, truth in enumerate(dataset.batches(_BATCH, _FIELDS)):
        output = perception.observe(list(truth["image"]))
        views = [_view(truth, row, output[row : row + 1], semantics, stage) for row in range(len(output))]
        parts.append(StoredViews.from_views(SurfaceViews.concatenate(views), *_truth(truth)))
        if number % 50 == 0:
            print(f"views {number * _BATCH}/{len(dataset)}", flush=True)
    return StoredViews.concatenate(parts)


def _view(
    truth: Batch, row: int, output: PerceptionOutput, semantics: SemanticsStage, stage: SurfaceReader
) -> SurfaceViews:
    image = np.asarray(truth["image"][row], np.uint8)
    size = len(image)
    camera = Camera(size, size, float(truth["focal"][row]) * size)
    person = ObservedPerson(TrackedPerson(0), 1.0, CropBox(0, 0, size), output)
    labels = semantics.label([person], camera)[0]
    return stage.view(image, camera, person, labels.labels)[0]


def _truth(crops: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Entries, and materials and normals at the size of the network's maps."""
    cells = crops["material"].shape[1]
    size = SURFACE_PX // 2
    at = torch.from_numpy((np.arange(size) + 0.5) * cells / size).long()
    material, normal = (torch.from_numpy(np.asarray(crops[name]))[:, at][:, :, at] for name in ("material", "normal"))
    entries = torch.from_numpy(np.asarray(crops["surface"], np.float32))
    return entries, material.contiguous(), normal.permute(0, 3, 1, 2).contiguous()


def cached_views(
    path: Path, data: Sequence[Path], split: Split, stage: SurfaceReader, device: torch.device
) -> StoredViews:
    """Views of a data set as perception sees them on a device, from `path` if they were computed before."""

    def observed() -> StoredViews:
        perception, semantics = Perception.load(device=device), SemanticsStage.load()
        return observe(CropDataset(data, split), perception, semantics, stage)

    return StoredViews.cached(path, observed)


class ClothingTraining(Recipe[SurfaceNet, StoredViews]):
    """Likelihood and displacement of the labels, garments and normals of single views."""

    name = WEIGHTS_NAME
    defaults = Defaults(60.0, batch=64, rate=8e-4, seed=4, weight_decay=0.05, evaluate_minutes=2.0)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")

    def prepare(self) -> SurfaceNet:
        network = SurfaceNet(SurfaceNetConfig())
        stage = SurfaceReader(network, LabelSpace.load(), BodyModel.load())
        out, data = self.options.out, self.options.data
        self._train = cached_views(out / "views-train.pt", data, "train", stage, self.device)
        self._val = cached_views(out / "views-val.pt", data, "val", stage, self.device)
        self._space = SurfaceSpace.load().to(self.device)
        unit = torch.eye(SURFACE_SIZE, device=self.device)
        moved = self._space.decode(unit) - self._space.decode(torch.zeros_like(unit[:1]))
        self._mm_E = _MILLIMETRES * moved.norm(dim=-1).mean(-1)
        self.facts = {"crops": len(self._train), "shipped": self.options.shipped}
        network = self.or_shipped(network.requires_grad_(True))
        # Also of the package's network, to which another perception may say the same otherwise.
        network.mean_X.copy_(self._train.features.mean(0))
        network.scale_X.copy_(self._train.features.std(0).clamp_min(1e-3))
        return network

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[StoredViews]:
        while True:
            yield self._train[torch.from_numpy(rng.integers(len(self._train), size=count))]

    def step(self, network: SurfaceNet, batch: StoredViews) -> tuple[Tensor, Mapping[str, Tensor]]:
        with self.autocast():
            estimate = network(augmented(batch.views()))
        likelihood, metric = entry_loss(estimate.mean, estimate.log_variance, batch.entries, self._mm_E)
        garments, normals = dense_loss(estimate, batch.material, batch.normal)
        loss = likelihood + _METRIC_WEIGHT * metric + _GARMENT_WEIGHT * garments + _NORMAL_WEIGHT * normals
        return loss, {"likelihood": likelihood, "metric": metric, "garments": garments, "normals": normals}

    def evaluate(self, network: SurfaceNet) -> dict[str, float]:
        """Mean displacement errors (mm) of single views against the linear space's own field, and calibration."""
        means, variances = [], []
        for index in torch.arange(len(self._val)).split(256):
            estimate = network(self._val[index].to(self.device).views())
            means.append(estimate.mean)
            variances.append(estimate.log_variance.exp())
        mean, variance = torch.cat(means), torch.cat(variances)
        entries = self._val.entries.to(self.device)
        true_fields = self._space.decode(entries)

        def error_mm(estimate: Tensor) -> float:
            return _MILLIMETRES * float((self._space.decode(estimate) - true_fields).norm(dim=-1).mean())

        squared = (mean - entries).square()
        return {
            "error_mm": error_mm(mean),
            "average_outfit_mm": error_mm(torch.zeros_like(mean)),
            "bare_mm": _MILLIMETRES * float(true_fields.norm(dim=-1).mean()),
            "shuffled_mm": error_mm(mean.roll(1, 0)),
            "squared_over_variance": float((squared / variance).mean()),
        }


def augmented(views: SurfaceViews) -> SurfaceViews:
    """The views in other light, and some without colour; without the evidence of some tokens."""
    people = len(views)
    device = views.picture.device
    gain = 1 + _GAIN * (2 * torch.rand(people, 3, device=device) - 1)
    grey = (torch.rand(people, 1, 1, device=device) < _GREY_SHARE).float()
    mixing = torch.diag_embed(gain) * (1 - grey) + grey / 3
    picture = torch.einsum("bij,bjhw->bihw", mixing, views.picture)
    evidence = views.evidence.clone()
    # The colour and its difference from the face's.
    for first in (_COLOURS, _COLOURS + 3):
        evidence[:, :, first : first + 3] = evidence[:, :, first : first + 3] @ mixing.mT
    return replace(views, picture=picture, evidence=hidden(evidence))


def hidden(evidence_BNF: Tensor) -> Tensor:
    """The evidence without some runs of 16 points, which are neighbours."""
    tokens = evidence_BNF.unflatten(1, (-1, 16))
    tokens_B128, people_B1 = tokens[:, :, 0, 0], tokens[:, :1, 0, 0]
    kept = torch.rand_like(tokens_B128) >= _HIDDEN_SHARE * torch.rand_like(people_B1)
    shown: Tensor = (tokens * kept[..., None, None]).flatten(1, 2)
    return shown


def dense_loss(estimate: SurfaceEstimate, material: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the garments, and 1 − cosine of the normals on the person; means over the pixels."""
    garments = functional.cross_entropy(estimate.garment_logits, material.long())
    person = material > 0
    cosine = functional.cosine_similarity(estimate.normals, normal.float(), dim=1)
    return garments, ((1 - cosine) * person).sum() / person.sum().clamp_min(1)


def entry_loss(mean: Tensor, log_variance: Tensor, entries: Tensor, mm_E: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood, and squared error weighted by the displacement of each entry; means over the batch."""
    squared = (mean - entries).square()
    likelihood = 0.5 * (log_variance + squared / log_variance.exp()).mean()
    weight = mm_E.square() / mm_E.square().mean()
    return likelihood, (weight * squared).mean()


if __name__ == "__main__":
    raise SystemExit(main(ClothingTraining))
