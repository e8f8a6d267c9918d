"""Scores of the diffusion stage on validation or test outfits: steps, samplers, prefixes, and what removals cost.

Errors are mean distances between true and sampled positions of the template's vertices at rest, in millimetres.
"""

import torch
from torch import Tensor

from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.labels import group_slices
from common.synthetic.clothed.outfit_table import OutfitTable
from common.weights.devices import device_of
from receiver.decode.clothing import Clothing
from receiver.decode.network import DecodeNetwork
from receiver.diffusion.config import SamplingConfig
from receiver.diffusion.stage import DiffusionNetwork, sample_coefficients, unknown_share
from receiver.train.decode import MILLIMETRES

_BATCH = 32


class Scorer:
    """Samples the same outfits under different conditions.

    Args:
        labels: (n, LABEL_SIZE) of dressed people in poses.
        truth: (n, V, 3) their displacements, metres.
    """

    def __init__(
        self, network: DiffusionNetwork, space: SurfaceSpace, labels: Tensor, decode: DecodeNetwork, truth: Tensor
    ) -> None:
        self.network, self.space, self.labels, self.decode, self.truth = network, space, labels, decode, truth

    def sample(
        self, config: SamplingConfig, entries: int = SURFACE_SIZE, *, seed: int = 0, shuffle: bool = False
    ) -> Tensor:
        """Displacements (n, V, 3) behind the first `entries` entries of `surface`.

        Args:
            entries: length of the prefix that arrives.
            seed: of the noise, the same for all people.
            shuffle: give everyone the u_m of the next person.
        """
        present = torch.ones_like(self.labels)
        surface = group_slices()["surface"]
        present[:, surface.start + entries : surface.stop] = 0
        shape = (1, *self.network.basis.scale.shape)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.labels.device)
        fields = []
        for labels, arrived in zip(self.labels.split(_BATCH), present.split(_BATCH), strict=True):
            clothing = Clothing.from_labels(labels, arrived)
            condition = self.network.condition(self.decode(labels * arrived, arrived), clothing)
            if shuffle:
                condition = condition[torch.arange(len(labels)).roll(1)]
            g = self.network.basis.encode(self.space.decode(clothing.entries))
            scaled = noise * unknown_share(self.space, clothing)[:, None, None]
            sample = sample_coefficients(self.network.denoiser, condition, g, scaled, config)
            fields.append(self.network.basis.decode(sample))
        return torch.cat(fields)

    def error_mm(self, field: Tensor) -> float:
        """Mean distance of the vertices from their true positions."""
        return MILLIMETRES * float((field - self.truth).norm(dim=-1).mean())

    def diversity_mm(self, config: SamplingConfig, entries: int) -> float:
        """Mean distance between the vertices of two samples with different noise."""
        one, other = (self.sample(config, entries, seed=seed) for seed in (0, 1))
        return MILLIMETRES * float((one - other).norm(dim=-1).mean())


@torch.no_grad()
def diffusion_scores(
    network: DiffusionNetwork, space: SurfaceSpace, decode: DecodeNetwork, outfits: OutfitTable, poses: Tensor
) -> dict[str, float]:
    """Errors and diversities in millimetres; `steps_n` have all labels, `prefix_n` the first n entries of `surface`."""
    rows, slices = torch.arange(len(outfits)), group_slices()
    labels = poses[rows % len(poses)].clone()
    entries = torch.from_numpy(outfits.surface)
    labels[:, slices["surface"]], labels[:, slices["shape"]] = entries, torch.from_numpy(outfits.shape)
    device = device_of(network)
    labels, entries, truth = labels.to(device), entries.to(device), outfits.displacements(rows).to(device)
    scorer, default = Scorer(network, space, labels, decode, truth), SamplingConfig()

    def error(config: SamplingConfig, entries: int = SURFACE_SIZE) -> float:
        return scorer.error_mm(scorer.sample(config, entries))

    return {
        "bare_mm": scorer.error_mm(torch.zeros_like(truth)),
        "average_outfit_mm": scorer.error_mm(space.decode(torch.zeros_like(entries[:1])).expand_as(truth)),
        "linear_mm": scorer.error_mm(space.decode(entries)),
        "basis_mm": scorer.error_mm(network.basis.decode(network.basis.encode(truth))),
        **{f"steps_{n}_mm": error(SamplingConfig(steps=n)) for n in (1, 2, 4, 8)},
        **{f"prefix_{n}_mm": error(default, n) for n in (0, 4, 8, 16)},
        "shuffled_u_m_mm": scorer.error_mm(scorer.sample(default, shuffle=True)),
        "heun_mm": error(SamplingConfig(sampler="heun", steps=4)),
        "diversity_known_mm": scorer.diversity_mm(default, SURFACE_SIZE),
        "diversity_unknown_mm": scorer.diversity_mm(default, 0),
    }
