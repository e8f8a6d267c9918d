"""Trains the decode stage (paper §5.1): labels to the mixture latent z' and three levels of geometry features.

CPU recipe: 100,000 bodies of `python -m receiver.train.bodies` (ten minutes on one core), then an hour on one core.
--export also writes the averaged weights, with their scores on test bodies, when the training is over.

Examples:
  python -m receiver.train.decode --bodies bodies --out runs/decode --export
  python -m receiver.train.decode --bodies bodies --out runs/decode --resume --export
  python -m receiver.train.decode --bodies bodies --out runs/short --steps 200 --limit 20000
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.body.model import BodyModel
from common.training.recipe import Defaults, Progress, Recipe
from common.training.run import main
from common.weights.loader import architecture_of, load_into
from receiver.decode.geometry_image import LEVEL_SIZES, true_levels
from receiver.decode.network import DecodeConfig, DecodeNetwork
from receiver.decode.stage import WEIGHTS_NAME
from receiver.train.bodies import BodyTable, template_order
from receiver.train.decode_loss import LossWeights, balance_loss, diversity_loss, kl_to_arrived, level_error
from receiver.train.decode_scores import decode_scores
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels

LABEL_DROPOUT = LabelDropoutConfig()
_AXES_BODIES, _AXES_SEED = 8192, 1
# bf16 until here, where it is faster; float32 for the rest, for the last millimetre.
_HALF_PRECISION_SHARE = 0.95


class Bodies(NamedTuple):
    """Labels (B, LABEL_SIZE) as sent and as they arrive, which of them arrive, and targets (B, sum of axes)."""

    whole_y: Tensor
    arrived_y: Tensor
    arrived: Tensor
    target: Tensor


class DecodeTraining(Recipe[DecodeNetwork, Bodies]):
    """The loss (23) of the decode stage."""

    name = WEIGHTS_NAME
    defaults = Defaults(
        60.0, batch=512, rate=1.5e-3, warm_share=0.02, average_decay=0.99, average_every=5, evaluate_minutes=20.0
    )

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--bodies", type=Path, required=True, help="folder that receiver.train.bodies wrote")
        parser.add_argument("--sampled", type=int, default=64, help="people of a batch whose latent is sampled")
        parser.add_argument("--limit", type=int, help="bodies to use (default: all)")

    def prepare(self) -> DecodeNetwork:
        """Keeps labels and targets, the true levels in the principal axes of the network, beside the checkpoint."""
        options = self.options
        self._val = BodyTable.read(options.bodies, "val", LEVEL_SIZES[-1], limit=512)
        network = DecodeNetwork(DecodeConfig(), template_order(BodyModel.load()))
        if options.shipped:
            load_into(network, WEIGHTS_NAME, architecture_of(network.config))
        labels, targets = options.out / "labels.npy", options.out / "targets.npy"
        # A resumed training has the axes of its targets in the checkpoint.  Workers read what the first one wrote.
        if self.workers.first and not (self.recorded and labels.exists() and targets.exists()):
            table = BodyTable.read(options.bodies, "train", LEVEL_SIZES[-1], limit=options.limit)
            if not options.shipped:
                rows = np.random.default_rng(_AXES_SEED).permutation(len(table))[:_AXES_BODIES]
                network.decoder.fit_axes(true_levels(table.batch(rows)[1]))
            write_targets(labels, targets, network, table)
        self._labels, self._targets = (np.load(file, mmap_mode="r") for file in (labels, targets))
        self.facts = {"shipped": options.shipped}
        return network

    def optimisers(self, network: DecodeNetwork) -> Sequence[torch.optim.Optimizer]:
        weights, rate = network.parameters(), self.options.rate
        return [torch.optim.AdamW(weights, lr=rate, weight_decay=1e-3, betas=(0.9, 0.98), fused=True)]

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Bodies]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        while True:
            rows = rng.integers(len(self._labels), size=count)
            labels = torch.from_numpy(self._labels[rows])
            yield Bodies(labels, *drop_labels(labels, LABEL_DROPOUT, generator), torch.from_numpy(self._targets[rows]))

    def step(self, network: DecodeNetwork, batch: Bodies) -> tuple[Tensor, Mapping[str, Tensor]]:
        weights, sampled = LossWeights(), slice(self.options.sampled)
        y, y_arrived, present = (part[:, network.entries] for part in batch[:3])
        with self.autocast(wanted=self.share < _HALF_PRECISION_SHARE):
            whole = network.encoder(y[sampled], torch.ones_like(y[sampled]))
            prior = network.encoder(y_arrived[sampled], present[sampled])
            z_sampled = whole.sample()
            z_mode = network.encoder.mode(y_arrived, present)
            decoded = network.decoder.coefficients(torch.cat([z_sampled, z_mode]))
        truth = torch.cat([batch.target[sampled], batch.target]).split(network.config.axes, dim=-1)
        levels = zip(network.decoder.axes(), truth, decoded, strict=True)
        s = torch.stack([level_error(*level) for level in levels])
        kl, kl_arrived = whole.kl_to_standard_normal().mean(), kl_to_arrived(whole, prior, z_sampled)
        diversity, balance = diversity_loss(z_sampled), balance_loss(prior.logits_BK)
        divergence = weights.kl * kl + weights.kl_arrived * kl_arrived
        loss = s @ s.new_tensor(weights.levels) + divergence + weights.diversity * diversity + weights.balance * balance
        terms = {"kl": kl, "kl_arrived": kl_arrived, "diversity": diversity, "balance": balance}
        return loss, {**{f"s_{i + 1}": error for i, error in enumerate(s)}, **terms}

    def evaluate(self, network: DecodeNetwork) -> dict[str, float]:
        return decode_scores(network, self._val, LABEL_DROPOUT, seed=0)

    def final_scores(self, network: DecodeNetwork) -> dict[str, float]:
        """On test bodies if the network is exported."""
        if not self.options.export:
            return self.evaluate(network)
        test = BodyTable.read(self.options.bodies, "test", LEVEL_SIZES[-1], limit=1024)
        return decode_scores(network, test, LABEL_DROPOUT, seed=0)

    def manifest_recipe(self, progress: Progress) -> dict[str, Any]:
        dropout = {"loss": asdict(LossWeights()), "label_dropout": asdict(LABEL_DROPOUT)}
        return super().manifest_recipe(progress) | dropout


def write_targets(labels_file: Path, targets_file: Path, network: DecodeNetwork, table: BodyTable) -> None:
    """Writes the labels, and the true levels in the principal axes of the network."""
    chunks = (table.batch(slice(first, first + 4096))[1] for first in range(0, len(table), 4096))
    targets = torch.cat([network.decoder.project(true_levels(places)) for places in chunks])
    labels_file.parent.mkdir(parents=True, exist_ok=True)
    np.save(targets_file, targets.numpy())
    np.save(labels_file, table.labels)


if __name__ == "__main__":
    raise SystemExit(main(DecodeTraining))
