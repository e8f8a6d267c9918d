"""Trains the diffusion of displacements (paper §5.2): the condition u_m and the denoiser.

The decode stage must be trained first: u_m is computed from its features.  The outfits are those of
`python -m common.synthetic.clothed.outfit_table`, each worn in another pose at every step.  CPU recipe: half an hour on
one core.  --export also writes the averaged weights, with their scores on test outfits, when the training is over.

Examples:
  python -m receiver.train.diffusion --outfits outfits --out runs/diffusion --export
  python -m receiver.train.diffusion --outfits outfits --out runs/diffusion --resume --export
  python -m receiver.train.diffusion --outfits outfits --out runs/without --shipped --steps 500 --without u_m
"""

import argparse
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.arrays import FloatArray, IntArray
from common.body.anatomy import TOKENS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.body.surface_space import SurfaceSpace
from common.body.template import BodyTemplate
from common.labels import group_slices
from common.synthetic.clothed.outfit_table import OutfitTable
from common.synthetic.dataset.split import SEED_RANGES, Split
from common.training.recipe import Defaults, Recipe
from common.training.run import main
from common.training.surface_points import halved, spread_offsets
from receiver.decode.clothing import Clothing
from receiver.decode.stage import load_network as load_decode
from receiver.diffusion.condition import DiffusionConfig, GeometryBias
from receiver.diffusion.config import SIGMA_MAX, SIGMA_MIN
from receiver.diffusion.denoiser import SIGMA_DATA
from receiver.diffusion.displacement_basis import COEFFICIENTS, DISPLACEMENT_TOKENS, DisplacementBasis
from receiver.diffusion.stage import WEIGHTS_NAME, DiffusionNetwork, architecture, load_network
from receiver.train.bodies import sample_people, template_order
from receiver.train.diffusion_scores import diffusion_scores
from receiver.train.label_dropout import LabelDropoutConfig, drop_labels

# A third of the people is known in part only: what is not known must be sampled, not averaged.
LABEL_DROPOUT = LabelDropoutConfig(whole=0.65, group_missing=0.4, group_cut=0.4, step_max=0.3)
_VALIDATION_OUTFITS = 128
_BASIS_OUTFITS = 2048
_POSES = {"train": 8192, "val": 512, "test": 512}


class Dressed(NamedTuple):
    """True fields (B, V, 3) of outfits, the labels (B, LABEL_SIZE) that arrive of the wearers, and 1 where they do."""

    field: Tensor
    labels: Tensor
    present: Tensor


class DiffusionTraining(Recipe[DiffusionNetwork, Dressed]):
    """Denoising of displacement coefficients, under the features of the frozen decode stage."""

    name = WEIGHTS_NAME
    defaults = Defaults(30.0, batch=32, rate=1e-3, seed=2, warm_share=0.02, average_decay=0.99, average_every=5)
    removals = ("u_m", "geometry-bias", "scale-weights")

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        outfits = "folder that common.synthetic.clothed.outfit_table wrote"
        parser.add_argument("--outfits", type=Path, required=True, help=outfits)
        parser.add_argument("--limit", type=int, default=8192, help="outfits to use; each takes 80 kB (%(default)s)")

    def prepare(self) -> DiffusionNetwork:
        options = self.options
        self._outfits = OutfitTable.read(options.outfits, "train", limit=options.limit)
        self._val = OutfitTable.read(options.outfits, "val", limit=_VALIDATION_OUTFITS)
        self._decode, self._space = load_decode().to(self.device), SurfaceSpace.load().to(self.device)
        self.facts = {"outfits": len(self._outfits), "shipped": options.shipped}
        network = load_network() if options.shipped else new_network(self._outfits)
        remove(network, options.without)
        return network

    def batches(self, count: int, rng: np.random.Generator) -> Iterator[Dressed]:
        return dressed_batches(self._outfits, pose_labels("train"), LABEL_DROPOUT, count, rng)

    def step(self, network: DiffusionNetwork, batch: Dressed) -> tuple[Tensor, Mapping[str, Tensor]]:
        with torch.no_grad():
            levels = self._decode(batch.labels, batch.present)
        clothing = Clothing.from_labels(batch.labels, batch.present)
        x_0, g = network.basis.encode(batch.field), network.basis.encode(self._space.decode(clothing.entries))
        sigma = noise_levels(x_0[:, 0, 0])
        x = x_0 + sigma[:, None, None] * torch.randn_like(x_0)
        with self.autocast():
            denoised = network.denoiser(x, sigma, g, network.condition(levels, clothing))
        return denoising_loss(network, denoised, x_0, sigma), {}

    def evaluate(self, network: DiffusionNetwork) -> dict[str, float]:
        return diffusion_scores(network, self._space, self._decode, self._val, pose_labels("val"))

    def final_scores(self, network: DiffusionNetwork) -> dict[str, float]:
        """On test outfits if the network is exported."""
        if not self.options.export:
            return self.evaluate(network)
        test = OutfitTable.read(self.options.outfits, "test", limit=_VALIDATION_OUTFITS)
        return diffusion_scores(network, self._space, self._decode, test, pose_labels("test"))

    def architecture(self, network: DiffusionNetwork) -> Mapping[str, Any]:
        return architecture(network)


# Least standard deviation of a coefficient: skin that no garment covers keeps still, and division stays finite.
_MIN_SCALE_M = 0.0005


# Shapes: n outfits, V vertices of the template, T = 256 tokens, M vertices of a token, K coefficients.


def token_members(rest_V3: FloatArray) -> IntArray:
    """(T, M) vertices of each token, padded with V: the template is halved along its longest side, and so on.

    Args:
        rest_V3: the template at rest with its limbs apart, metres.
    """
    leaves = halved(rest_V3.astype(np.float64), np.arange(len(rest_V3)), DISPLACEMENT_TOKENS)
    tokens = [np.sort(leaf) for leaf in leaves]
    width = max(len(token) for token in tokens)
    members = np.full((len(tokens), width), len(rest_V3), dtype=np.int64)
    for row, token in enumerate(tokens):
        members[row, : len(token)] = token
    return members


def covering_patch(rest_V3: FloatArray, members_TM: IntArray, patches_N3: FloatArray) -> IntArray:
    """(T,) the patch whose centre (N, 3) is nearest to the centre of each token."""
    padded = np.vstack([rest_V3, np.full((1, 3), np.nan, np.float32)])
    centres = np.nanmean(padded[members_TM], axis=1)
    return np.asarray(np.linalg.norm(centres[:, None] - patches_N3, axis=-1).argmin(axis=1), np.int64)


def fit_basis(fields_nV3: Tensor, members_TM: IntArray, patch_T: IntArray) -> DisplacementBasis:
    """Principal components of each token over n outfits.

    Args:
        fields_nV3: displacements, metres; n must be above K.
        members_TM: of `token_members`.
        patch_T: of `covering_patch`.

    Raises:
        ValueError: there are too few outfits.
    """
    if len(fields_nV3) <= COEFFICIENTS:
        raise ValueError(f"a basis of {COEFFICIENTS} coefficients needs more outfits than that, got {len(fields_nV3)}")
    members = torch.from_numpy(members_TM)
    mean = fields_nV3.mean(0)
    centred = torch.nn.functional.pad(fields_nV3 - mean, (0, 0, 0, 1))
    bases, scales = [], []
    for token in members:
        patches = centred[:, token].flatten(1).double()
        values, vectors = torch.linalg.eigh(patches.mT @ patches / len(patches))
        bases.append(vectors.flip(1)[:, :COEFFICIENTS].mT.float())
        scales.append(values.flip(0)[:COEFFICIENTS].clamp_min(0).sqrt().float())
    scale = torch.stack(scales).clamp_min(_MIN_SCALE_M)
    return DisplacementBasis(members, mean, torch.stack(bases), scale, torch.from_numpy(patch_T))


@torch.no_grad()
def remove(network: DiffusionNetwork, removals: Collection[str]) -> None:
    """Zeroes and freezes the weights through which a part acts: equal to zeroing the part, in use too."""
    frozen: list[Tensor] = []
    if "u_m" in removals:
        frozen += [network.denoiser.condition_norm.weight]
    if "geometry-bias" in removals:
        frozen += [module.weight for module in network.modules() if isinstance(module, GeometryBias)]
    if "scale-weights" in removals:
        frozen += network.conditioner.log_weights.parameters()
    for weight in frozen:
        weight.zero_()
        weight.requires_grad_(False)


def new_network(outfits: OutfitTable) -> DiffusionNetwork:
    """A network with a basis fitted to outfits."""
    body = BodyModel.load()
    points = body.surface_points(body.rest_vertices[:1])[0][0][template_order(body)]
    template = BodyTemplate.from_model(body)
    # Limbs apart, so that no token joins two of them.
    apart = template.rest + spread_offsets(body.rest_joints[0].numpy())[template.weights.argmax(1)]
    members = token_members(apart)
    patch = covering_patch(template.rest, members, points.unflatten(0, (TOKENS, -1)).mean(1).numpy())
    fields = outfits.displacements(np.arange(min(len(outfits), _BASIS_OUTFITS)))
    return DiffusionNetwork(DiffusionConfig(), fit_basis(fields, members, patch))


def pose_labels(split: Split) -> Tensor:
    """(n, LABEL_SIZE) labels of poses of a split."""
    return LabelSpace.load().encode(sample_people(split, SEED_RANGES[split].start, _POSES[split]))


def dressed_batches(
    outfits: OutfitTable, poses: Tensor, dropout: LabelDropoutConfig, count: int, rng: np.random.Generator
) -> Iterator[Dressed]:
    """Endless batches of outfits, each in a random pose (n, LABEL_SIZE), with the labels that arrive of them."""
    slices, generator = group_slices(), torch.Generator().manual_seed(int(rng.integers(2**62)))
    while True:
        rows = rng.integers(len(outfits), size=count)
        labels = poses[torch.from_numpy(rng.integers(len(poses), size=count))].clone()
        labels[:, slices["surface"]] = torch.from_numpy(outfits.surface[rows])
        labels[:, slices["shape"]] = torch.from_numpy(outfits.shape[rows])
        yield Dressed(outfits.displacements(rows), *drop_labels(labels, dropout, generator))


def noise_levels(people_B: Tensor) -> Tensor:
    """(B,) σ, log-uniform, on the device of `people_B`."""
    return SIGMA_MIN * torch.exp(math.log(SIGMA_MAX / SIGMA_MIN) * torch.rand_like(people_B))


def denoising_loss(network: DiffusionNetwork, denoised: Tensor, x_0: Tensor, sigma_B: Tensor) -> Tensor:
    """EDM's weighted loss, in which a coefficient counts as much as it moves the surface.

    Karras et al. 2022 weigh noise levels with 1/c_out², which makes the loss of every level equally large.
    """
    weight = (sigma_B.square() + SIGMA_DATA**2) / (sigma_B * SIGMA_DATA).square()
    variance = network.basis.scale.square()
    error = (denoised - x_0).square() * (variance / variance.mean())
    return (weight * error.flatten(1).mean(1)).mean()


if __name__ == "__main__":
    raise SystemExit(main(DiffusionTraining))
