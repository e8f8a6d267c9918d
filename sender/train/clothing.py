"""Trains the clothing network, which reads `surface` labels from one view of a person (`sender.clothing`).

One pass of the trained perception and semantics over the shards gives what the network sees, which is kept in --out;
the truth gives the labels, garments and normals.  The loss is the Gaussian negative log-likelihood of the labels, plus
their squared error weighted by how far an entry moves the surface, plus the cross-entropy of the garments and the
cosine of the normals.  The crops must be of a preset with garments, and ones that perception was not trained on.  CPU
recipe: an hour on one core after the pass (15 minutes for 37,000 crops).  --export also writes the weights when the
training is over.

Examples:
  python -m sender.train.clothing --data wardrobe --out runs/clothing --export
  python -m sender.train.clothing --data wardrobe more --out runs/clothing --resume --export
  python -m sender.train.clothing --data wardrobe --out runs/clothing --steps 300
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.errors import exit_code_of
from common.frames import Camera
from common.io.atomic_write import atomic_replacement
from common.synthetic.dataset.shards import Batch, CropDataset
from common.synthetic.dataset.split import Split
from common.training.distributed import Workers
from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop
from common.weights.devices import fast_autocast
from common.weights.loader import architecture_of, save_weights
from sender.clothing.evidence import PROBES_M
from sender.clothing.network import ClothingConfig, ClothingEstimate, ClothingNet
from sender.clothing.stage import WEIGHTS_NAME, ClothingStage
from sender.clothing.view import PICTURE_PX, ClothingViews
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.output import PerceptionOutput
from sender.perception.stage import ObservedPerson
from sender.semantics.stage import SemanticsStage

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
class Truth:
    """Truth of single views: entries (N, E), materials (N, H, H) from 0 off the person, and normals (N, 3, H, H)."""

    entries: Tensor
    material: Tensor
    normal: Tensor


@dataclass(frozen=True, slots=True)
class StoredViews:
    """What the network sees of single views, and the truth; quantised, because a data set is as large as the memory.

    Args:
        evidence: (N, 2048, F) float16.
        places: (N, 128, Q, 2) float16.
        picture: (N, 3, P, P) uint8.
        maps: (N, 2, H, H) int8, in 1/40.
        features: (N, X) float32.
        entries: (N, E) float32.
        material: (N, H, H) uint8.
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

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def of(cls, views: ClothingViews, truth: Truth) -> Self:
        return cls(
            views.evidence.half(),
            views.places.half(),
            (views.picture * _BYTE).round().byte(),
            (views.maps * _MAP_UNIT).round().char(),
            views.features,
            truth.entries,
            truth.material,
            truth.normal,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        return cls(*(torch.cat([getattr(part, item.name) for part in parts]) for item in fields(cls)))

    def pick(self, index: Tensor) -> tuple[ClothingViews, Truth]:
        views = ClothingViews(
            self.evidence[index].float(),
            self.places[index].float(),
            self.picture[index].float() / _BYTE,
            self.maps[index].float() / _MAP_UNIT,
            self.features[index],
        )
        return views, Truth(self.entries[index], self.material[index].long(), self.normal[index].float() / 127)


def observe(
    dataset: CropDataset, perception: Perception, semantics: SemanticsStage, stage: ClothingStage
) -> StoredViews:
    """One pass of the sender's networks over a data set."""
    parts: list[StoredViews] = []
    for start in range(0, len(dataset), _BATCH):
        truth = dataset.batch(np.arange(start, min(start + _BATCH, len(dataset))), _FIELDS)
        output = perception.observe(list(truth["image"]))
        views = [_view(truth, row, output[row : row + 1], semantics, stage) for row in range(len(output))]
        parts.append(StoredViews.of(ClothingViews.concatenate(views), _truth(truth)))
        if start // _BATCH % 50 == 0:
            print(f"views {start}/{len(dataset)}", flush=True)
    return StoredViews.concatenate(parts)


def _view(
    truth: Batch, row: int, output: PerceptionOutput, semantics: SemanticsStage, stage: ClothingStage
) -> ClothingViews:
    image = np.asarray(truth["image"][row], np.uint8)
    size = len(image)
    camera = Camera(size, size, float(truth["focal"][row]) * size)
    person = ObservedPerson(0, 1.0, CropBox(0, 0, size), output)
    semantics.reset()
    labels = semantics.label([person], camera)[0]
    return stage.view(image, camera, person, labels)[0]


def _truth(crops: Batch) -> Truth:
    """At the size of the network's maps."""
    cells = crops["material"].shape[1]
    size = PICTURE_PX // 2
    at = torch.from_numpy((np.arange(size) + 0.5) * cells / size).long()
    material, normal = (torch.from_numpy(np.asarray(crops[name]))[:, at][:, :, at] for name in ("material", "normal"))
    entries = torch.from_numpy(np.asarray(crops["surface"], np.float32))
    return Truth(entries, material.contiguous(), normal.permute(0, 3, 1, 2).contiguous())


def cached_views(path: Path, data: Sequence[Path], split: Split, stage: ClothingStage) -> StoredViews:
    """Views of a data set, from `path` if they were computed before."""
    if not path.exists():
        perception, semantics = Perception.load(), SemanticsStage.load(calibrated=False)
        views = observe(CropDataset(data, split), perception, semantics, stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(path) as partial:
            torch.save([getattr(views, item.name) for item in fields(views)], partial)
    return StoredViews(*torch.load(path, mmap=True))


def random_batches(views: StoredViews, size: int) -> Iterator[tuple[ClothingViews, Truth]]:
    """Endless batches, drawn with replacement."""
    while True:
        yield views.pick(torch.randint(len(views), (size,)))


def augmented(views: ClothingViews) -> ClothingViews:
    """The views in other light, and some without colour; without the evidence of some tokens."""
    people = len(views)
    gain = 1 + _GAIN * (2 * torch.rand(people, 3) - 1)
    grey = (torch.rand(people, 1, 1) < _GREY_SHARE).float()
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
    kept = torch.rand(tokens.shape[:2]) >= _HIDDEN_SHARE * torch.rand(len(tokens), 1)
    shown: Tensor = (tokens * kept[..., None, None]).flatten(1, 2)
    return shown


def dense_loss(estimate: ClothingEstimate, truth: Truth) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the garments, and 1 − cosine of the normals on the person; means over the pixels."""
    garments = functional.cross_entropy(estimate.garment_logits, truth.material)
    person = truth.material > 0
    cosine = functional.cosine_similarity(estimate.normals, truth.normal, dim=1)
    return garments, ((1 - cosine) * person).sum() / person.sum().clamp_min(1)


def loss_of(mean: Tensor, log_variance: Tensor, entries: Tensor, mm_E: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood, and squared error weighted by the displacement of each entry; means over the batch."""
    squared = (mean - entries).square()
    likelihood = 0.5 * (log_variance + squared / log_variance.exp()).mean()
    weight = mm_E.square() / mm_E.square().mean()
    return likelihood, (weight * squared).mean()


@torch.no_grad()
def evaluate(network: ClothingNet, views: StoredViews, space: SurfaceSpace) -> dict[str, float]:
    """Mean displacement errors (mm) of single views against the linear space's own field, calibration, dense errors."""
    network.eval()
    means, variances, right, cosines, pixels = [], [], 0.0, 0.0, 0
    for index in torch.arange(len(views)).split(256):
        seen, truth = views.pick(index)
        estimate = network(seen)
        means.append(estimate.mean)
        variances.append(estimate.log_variance.exp())
        person = truth.material > 0
        right += float((estimate.garment_logits.argmax(1) == truth.material)[person].sum())
        cosines += float(functional.cosine_similarity(estimate.normals, truth.normal, dim=1)[person].sum())
        pixels += int(person.sum())
    network.train()
    mean, variance = torch.cat(means), torch.cat(variances)
    fields_true = space.decode(views.entries)

    def error_mm(entries: Tensor) -> float:
        return _MILLIMETRES * float((space.decode(entries) - fields_true).norm(dim=-1).mean())

    squared = (mean - views.entries).square()
    return {
        "error_mm": error_mm(mean),
        "average_outfit_mm": error_mm(torch.zeros_like(mean)),
        "bare_mm": _MILLIMETRES * float(fields_true.norm(dim=-1).mean()),
        "shuffled_mm": error_mm(mean.roll(1, 0)),
        "explained_first_4": 1 - float(squared[:, :4].mean() / views.entries[:, :4].var()),
        "explained": 1 - float(squared.mean() / views.entries.var()),
        "squared_over_variance": float((squared / variance).mean()),
        "garments_right": right / pixels,
        "normal_cosine": cosines / pixels,
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.clothing", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
    parser.add_argument("--out", type=Path, default=Path("runs/clothing"), help="views and checkpoint (%(default)s)")
    add_training_flags(parser, minutes=60.0, batch=64, seed=4, threads=1)
    add_steps_flag(parser)
    parser.add_argument("--rate", type=float, default=8e-4, help="peak learning rate (default: %(default)g)")
    add_result_flags(parser, export_help="also write the weights and their scores when done")
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    workers = Workers.join()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    label_space, body, space = LabelSpace.load(), BodyModel.load(), SurfaceSpace.load()
    network = ClothingNet(ClothingConfig())
    stage = ClothingStage(network, label_space, body)
    with workers.first_before_others():
        train_views, val = (
            cached_views(options.out / f"views-{split}.pt", options.data, split, stage) for split in ("train", "val")
        )
    network.requires_grad_(True).train()
    network.mean_X.copy_(train_views.features.mean(0))
    network.scale_X.copy_(train_views.features.std(0).clamp_min(1e-3))
    moved = space.decode(torch.eye(SURFACE_SIZE)) - space.decode(torch.zeros(1, SURFACE_SIZE))
    mm_E = _MILLIMETRES * moved.norm(dim=-1).mean(-1)
    checkpoint = options.out / "clothing.pt"
    loop = TrainingLoop(
        LoopConfig(options.minutes, options.steps, samples_per_step=options.batch, evaluate_every_s=120.0),
        network,
        torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=0.05, betas=(0.9, 0.98)),
        checkpoint,
        workers=workers,
        resume=options.resume and checkpoint.exists(),
        facts={"seed": options.seed, "crops": len(train_views)},
        evaluate=lambda average: evaluate(average, val, space),
    )
    if loop.step or workers.count > 1:
        torch.manual_seed(workers.seed(options.seed, loop.step))

    for views, truth in loop.steps(random_batches(train_views, workers.batch(options.batch))):
        with fast_autocast():
            estimate = network(augmented(views))
        likelihood, metric = loss_of(estimate.mean, estimate.log_variance, truth.entries, mm_E)
        garments, normals = dense_loss(estimate, truth)
        loss = likelihood + _METRIC_WEIGHT * metric + _GARMENT_WEIGHT * garments + _NORMAL_WEIGHT * normals

        loop.descend(loss)
        loop.log(loss=loss, likelihood=likelihood, metric=metric, garments=garments, normals=normals)

    if workers.first:
        scores = evaluate(loop.average, val, space)
        loop.write_scores(options.json or options.out / "scores.json", scores)
        if options.export:
            export(options, loop, scores)
    workers.leave()


def export(options: argparse.Namespace, loop: TrainingLoop[ClothingNet], scores: dict[str, float]) -> None:
    """Writes the averaged weights and their scores."""
    recipe = {"steps": loop.step, "minutes": loop.spent_s / 60, **loop.facts}
    kind = architecture_of(loop.network.config)
    entry = save_weights(WEIGHTS_NAME, loop.average.state_dict(), kind, recipe, scores, directory=options.weights)
    print(f"wrote {options.weights / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.clothing", lambda: train(parse())))
