"""Trains the clothing network, which reads `surface` labels from one view of a person (`sender.clothing`).

One pass of the trained perception and semantics over the shards gives the evidence, which is kept in --out; the truth
gives the labels.  The loss is the Gaussian negative log-likelihood of the labels, plus their squared error weighted by
how far an entry moves the surface.  The crops must be of a preset with garments, and ones that perception was not
trained on.  CPU recipe: ten minutes on one core after the evidence (6 minutes for 12,000 crops).  --export also writes
the weights when the training is over.

Examples:
  python -m sender.train.clothing --data dressed --out runs/clothing --export
  python -m sender.train.clothing --data dressed more --out runs/clothing --resume --export
  python -m sender.train.clothing --data dressed --out runs/clothing --steps 300
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.errors import exit_code_of
from common.frames import Camera
from common.io.atomic_write import atomic_replacement
from common.synthetic.dataset.shards import Batch, CropDataset
from common.synthetic.dataset.split import Split
from common.training.flags import add_result_flags, add_steps_flag, add_training_flags, parser_of
from common.training.loop import LoopConfig, TrainingLoop
from common.weights.devices import fast_autocast
from common.weights.loader import architecture_of, save_weights
from sender.clothing.network import ClothingConfig, ClothingNet
from sender.clothing.stage import WEIGHTS_NAME, ClothingStage
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.output import PerceptionOutput
from sender.perception.stage import ObservedPerson
from sender.semantics.stage import SemanticsStage

_BATCH = 32
_FIELDS = ("image", "focal", "surface")
_METRIC_WEIGHT = 1.0
# Share of the points whose evidence is hidden in training, in whole tokens, as occluders do.
_HIDDEN_SHARE = 0.15
_MILLIMETRES = 1000.0


@dataclass(frozen=True, slots=True)
class Views:
    """Single views: evidence (N, 2048, F) float16, features (N, X) and true entries (N, E)."""

    evidence: Tensor
    features: Tensor
    entries: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def pick(self, index: Tensor) -> Self:
        return type(self)(self.evidence[index].float(), self.features[index], self.entries[index])


def observe(dataset: CropDataset, perception: Perception, semantics: SemanticsStage, stage: ClothingStage) -> Views:
    """One pass of the sender's networks over a data set."""
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(dataset), _BATCH):
        truth = dataset.batch(np.arange(start, min(start + _BATCH, len(dataset))), _FIELDS)
        output = perception.observe(list(truth["image"]))
        views = [_view(truth, row, output[row : row + 1], semantics, stage) for row in range(len(output))]
        entries = torch.from_numpy(np.asarray(truth["surface"], np.float32))
        parts.append((torch.stack(views).half(), output.features().float(), entries))
        if start // _BATCH % 50 == 0:
            print(f"evidence {start}/{len(dataset)}", flush=True)
    return Views(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _view(truth: Batch, row: int, output: PerceptionOutput, semantics: SemanticsStage, stage: ClothingStage) -> Tensor:
    image = np.asarray(truth["image"][row], np.uint8)
    size = len(image)
    camera = Camera(size, size, float(truth["focal"][row]) * size)
    person = ObservedPerson(0, 1.0, CropBox(0, 0, size), output)
    semantics.reset()
    labels = semantics.label([person], camera)[0]
    return stage.view(image, camera, person, labels)[0]


def cached_views(path: Path, data: Sequence[Path], split: Split, stage: ClothingStage) -> Views:
    """Views of a data set, from `path` if they were computed before."""
    if not path.exists():
        perception, semantics = Perception.load(), SemanticsStage.load(calibrated=False)
        views = observe(CropDataset(data, split), perception, semantics, stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(path) as partial:
            torch.save([views.evidence, views.features, views.entries], partial)
    return Views(*torch.load(path, mmap=True))


def random_batches(views: Views, size: int) -> Iterator[Views]:
    """Endless batches, drawn with replacement."""
    while True:
        yield views.pick(torch.randint(len(views), (size,)))


def hidden(evidence_BNF: Tensor) -> Tensor:
    """The evidence without some runs of 16 points, which are neighbours."""
    tokens = evidence_BNF.unflatten(1, (-1, 16))
    kept = torch.rand(tokens.shape[:2]) >= _HIDDEN_SHARE * torch.rand(len(tokens), 1)
    shown: Tensor = (tokens * kept[..., None, None]).flatten(1, 2)
    return shown


def loss_of(mean: Tensor, log_variance: Tensor, entries: Tensor, mm_E: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood, and squared error weighted by the displacement of each entry; means over the batch."""
    squared = (mean - entries).square()
    likelihood = 0.5 * (log_variance + squared / log_variance.exp()).mean()
    weight = mm_E.square() / mm_E.square().mean()
    return likelihood, (weight * squared).mean()


@torch.no_grad()
def evaluate(network: ClothingNet, views: Views, space: SurfaceSpace) -> dict[str, float]:
    """Mean displacement errors (mm) of single views against the linear space's own field, and calibration."""
    network.eval()
    parts = [network(*_inputs(views, index)) for index in torch.arange(len(views)).split(256)]
    network.train()
    mean, log_variance = (torch.cat(column) for column in zip(*parts, strict=True))
    truth = space.decode(views.entries)

    def error_mm(entries: Tensor) -> float:
        return _MILLIMETRES * float((space.decode(entries) - truth).norm(dim=-1).mean())

    squared = (mean - views.entries).square()
    return {
        "error_mm": error_mm(mean),
        "average_outfit_mm": error_mm(torch.zeros_like(mean)),
        "bare_mm": _MILLIMETRES * float(truth.norm(dim=-1).mean()),
        "shuffled_mm": error_mm(mean.roll(1, 0)),
        "explained_first_4": 1 - float(squared[:, :4].mean() / views.entries[:, :4].var()),
        "explained": 1 - float(squared.mean() / views.entries.var()),
        "squared_over_variance": float((squared / log_variance.exp()).mean()),
    }


def _inputs(views: Views, index: Tensor) -> tuple[Tensor, Tensor]:
    picked = views.pick(index)
    return picked.evidence, picked.features


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.clothing", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered shards")
    parser.add_argument("--out", type=Path, default=Path("runs/clothing"), help="evidence and checkpoint (%(default)s)")
    add_training_flags(parser, minutes=10.0, batch=64, seed=4, threads=1)
    add_steps_flag(parser)
    parser.add_argument("--rate", type=float, default=8e-4, help="peak learning rate (default: %(default)g)")
    add_result_flags(parser, export_help="also write the weights and their scores when done")
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> None:
    """The whole training, top to bottom."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    label_space, body, space = LabelSpace.load(), BodyModel.load(), SurfaceSpace.load()
    network = ClothingNet(ClothingConfig())
    stage = ClothingStage(network, label_space, body)
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
        resume=options.resume and checkpoint.exists(),
        facts={"seed": options.seed, "crops": len(train_views)},
        evaluate=lambda average: evaluate(average, val, space),
    )
    if loop.step:
        torch.manual_seed(options.seed + loop.step)

    for views in loop.steps(random_batches(train_views, options.batch)):
        with fast_autocast():
            mean, log_variance = network(hidden(views.evidence), views.features)
        likelihood, metric = loss_of(mean, log_variance, views.entries, mm_E)
        loss = likelihood + _METRIC_WEIGHT * metric

        loop.descend(loss)
        loop.log(loss=loss, likelihood=likelihood, metric=metric)

    scores = evaluate(loop.average, val, space)
    loop.write_scores(options.json or options.out / "scores.json", scores)
    if options.export:
        recipe = {"steps": loop.step, "minutes": loop.spent_s / 60, **loop.facts}
        kind = architecture_of(network.config)
        entry = save_weights(WEIGHTS_NAME, loop.average.state_dict(), kind, recipe, scores, directory=options.weights)
        print(f"wrote {options.weights / entry.file}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.clothing", lambda: train(parse())))
