"""Trains the decode stage (paper §5.1): labels to the mixture latent z' and three levels of geometry features.

CPU recipe: 100,000 bodies of `python -m receiver.train.bodies` (ten minutes on one core), then an hour on one core.
--export also writes the averaged weights, with their scores on test bodies, when the training is over.

Examples:
  python -m receiver.train.decode --bodies bodies --out runs/decode --export
  python -m receiver.train.decode --bodies bodies --out runs/decode --resume --export
  python -m receiver.train.decode --bodies bodies --out runs/short --steps 200 --limit 20000
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.body.model import BodyModel
from common.labels import group_slices
from common.training.recipe import Defaults, Progress, Recipe
from common.training.run import main, on_device
from common.weights.devices import device_of
from common.weights.loader import architecture_of, load_into
from receiver.decode.geometry_image import LEVEL_SIZES, true_levels
from receiver.decode.mixture import GaussianMixture
from receiver.decode.network import GEOMETRY_GROUPS, DecodeConfig, DecodeNetwork, PrincipalAxes
from receiver.decode.stage import WEIGHTS_NAME
from receiver.train.bodies import BodyTable, template_order
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


@dataclass(frozen=True, slots=True)
class LossWeights:
    """L = Σ_i g_i ‖S_i − Ŝ_i‖² + g_KL · KL + g_reg · R(z') (23), with separate weights for the terms of KL and of R.

    The posterior q(z'|y), given *all* labels y, is regularised towards N(0, I).  The learned prior q(z'|y') is given
    only the *received* labels y'; KL(q(z'|y) ‖ q(z'|y')) makes it cover every body that is consistent with them.  The
    reconstruction loss applies to a sample of q(z'|y) and to the mode of q(z'|y').

    Args:
        levels: g_1, g_2, g_3.
        kl: of KL(q(z'|y) ‖ N(0, I)).
        kl_arrived: of KL(q(z'|y) ‖ q(z'|y')), which trains the learned prior.
        diversity: of `diversity_loss`.
        balance: of `balance_loss`.
    """

    levels: tuple[float, float, float] = (0.25, 0.5, 1.0)
    kl: float = 2e-5
    kl_arrived: float = 1e-4
    diversity: float = 1e-4
    balance: float = 3e-3

    def __post_init__(self) -> None:
        if min(*self.levels, self.kl, self.kl_arrived, self.diversity, self.balance) < 0:
            raise ValueError("loss weights must not be negative")


def level_error(level: PrincipalAxes, truth_BM: Tensor, decoded_BM: Tensor) -> Tensor:
    """‖S_i − Ŝ_i‖² as a mean over people, patches and channels, in units of (0.1 m)².

    Both arguments are coefficients in the level's orthonormal principal axes, so their distance is that of the patches
    themselves, apart from the component outside the span of the axes.
    """
    squared = ((truth_BM - decoded_BM.float()) * level.deviation).square().sum(-1)
    return squared.mean() / len(level.mean)


def diversity_loss(z_BD: Tensor) -> Tensor:
    """R(z'): log of the mean Gaussian potential between latents (B, D) of different bodies; lower is more diverse."""
    batch, dimensions = z_BD.shape
    norms = z_BD.square().sum(-1)
    squared = (norms.unsqueeze(0) + norms.unsqueeze(1) - 2 * z_BD @ z_BD.mT) / (2 * dimensions)
    pairs = ~torch.eye(batch, dtype=torch.bool, device=z_BD.device)
    return torch.logsumexp(-squared[pairs], dim=0) - torch.log(pairs.sum())


def balance_loss(logits_BK: Tensor) -> Tensor:
    """Second term of R: KL(mean component weights ‖ uniform), nats.  Without it one component takes all bodies."""
    shares = logits_BK.softmax(-1).mean(0)
    return (shares * shares.clamp_min(1e-9).log()).sum() + math.log(len(shares))


def kl_to_arrived(whole: GaussianMixture, arrived: GaussianMixture, z_BD: Tensor) -> Tensor:
    """One-sample estimate of KL(q(z'|y) ‖ q(z'|y')) at z' ~ q(z'|y), mean in nats; gradients reach only `arrived`."""
    z_BD = z_BD.detach()
    return (whole.log_prob(z_BD).detach() - arrived.log_prob(z_BD)).mean()


MILLIMETRES = 1000.0


def place_error_mm(truth: Tensor, decoded: Tensor) -> float:
    """Mean distance between the positions of the places, millimetres."""
    return MILLIMETRES * float((truth[..., :3] - decoded[..., :3]).norm(dim=-1).mean())


def shuffled_group(labels_BL: Tensor, name: str) -> Tensor:
    """Labels in which everyone has one group of the next person."""
    where = group_slices()[name]
    shuffled = labels_BL.clone()
    shuffled[:, where] = labels_BL.roll(1, 0)[:, where]
    return shuffled


def mixture_scores(network: DecodeNetwork, truth: Tensor, arrived: Tensor, present: Tensor) -> dict[str, float]:
    """Under label dropout: components in use, and the error of the best component in hindsight."""
    mixture: GaussianMixture = network.encoder(arrived[:, network.entries], present[:, network.entries])
    error_KB = torch.stack(
        [(truth - network.decoder(z)[2])[..., :3].norm(dim=-1).mean(-1) for z in mixture.means_BKD.unbind(1)]
    )
    plausible_KB = mixture.logits_BK.softmax(-1).mT > 0.02
    best = torch.where(plausible_KB, error_KB, torch.inf).min(dim=0).values
    return {
        "components_used": float((mixture.logits_BK.softmax(-1).mean(0) > 0.02).sum()),
        "s_3_arrived_best_component_mm": MILLIMETRES * float(best.mean()),
    }


@torch.no_grad()
def decode_scores(network: DecodeNetwork, table: BodyTable, dropout: LabelDropoutConfig, seed: int) -> dict[str, float]:
    """Errors in millimetres: of each level on clean labels; of s_3 under dropout, with a group or z' shuffled."""
    labels, places = table.batch(slice(None))
    arrived, arrived_present = drop_labels(labels, dropout, torch.Generator().manual_seed(seed))
    everything = labels, places, arrived, arrived_present
    labels, places, arrived, arrived_present = on_device(everything, device_of(network))
    truth, present = true_levels(places), torch.ones_like(labels)

    clean = network(labels, present)
    scores = {f"s_{i + 1}_mm": place_error_mm(s, s_hat) for i, (s, s_hat) in enumerate(zip(truth, clean, strict=True))}
    cosine = torch.nn.functional.cosine_similarity(truth[2][..., 3:], clean[2][..., 3:], dim=-1).clamp(-1, 1)
    scores["s_3_normal_degrees"] = float(torch.rad2deg(cosine.acos()).mean())
    scores["s_3_arrived_mm"] = place_error_mm(truth[2], network(arrived, arrived_present)[2])
    scores["s_3_mean_body_mm"] = place_error_mm(truth[2], places.mean(0, keepdim=True))
    rounded = (labels / 0.25).round() * 0.25
    scores["s_3_step_0.25_mm"] = place_error_mm(truth[2], network(rounded, present)[2])

    scores |= mixture_scores(network, truth[2], arrived, arrived_present)
    y, entries_present = labels[:, network.entries], present[:, network.entries]
    mixture = network.encoder(y, entries_present)
    scores["s_3_sampled_mm"] = place_error_mm(truth[2], network.decoder(mixture.sample())[2])
    scores["s_3_shuffled_z_mm"] = place_error_mm(truth[2], network.decoder(mixture.mode().roll(1, 0))[2])
    for name in GEOMETRY_GROUPS:
        scores[f"s_3_shuffled_{name}_mm"] = place_error_mm(truth[2], network(shuffled_group(labels, name), present)[2])
        absent = present.clone()
        absent[:, group_slices()[name]] = 0
        scores[f"s_3_without_{name}_mm"] = place_error_mm(truth[2], network(labels * absent, absent)[2])
    return scores


def write_targets(labels_file: Path, targets_file: Path, network: DecodeNetwork, table: BodyTable) -> None:
    """Writes the labels, and the true levels in the principal axes of the network."""
    chunks = (table.batch(slice(first, first + 4096))[1] for first in range(0, len(table), 4096))
    targets = torch.cat([network.decoder.project(true_levels(places)) for places in chunks])
    labels_file.parent.mkdir(parents=True, exist_ok=True)
    np.save(targets_file, targets.numpy())
    np.save(labels_file, table.labels)


if __name__ == "__main__":
    raise SystemExit(main(DecodeTraining))
