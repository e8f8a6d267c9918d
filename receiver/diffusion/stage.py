"""The diffusion stage: what the labels say of clothes and hair → displacements of each person's template."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from common.body.surface_space import SurfaceSpace
from common.errors import WeightsError
from common.weights.devices import CPU, device_of
from common.weights.loader import architecture_of, load_into
from common.weights.manifest import find_entry
from receiver.decode.clothing import Clothing
from receiver.decode.stage import DecodedBody
from receiver.diffusion.condition import Condition, Conditioner, DiffusionConfig
from receiver.diffusion.config import SIGMA_MIN, SamplingConfig
from receiver.diffusion.denoiser import Denoiser
from receiver.diffusion.displacement_basis import COEFFICIENTS, DISPLACEMENT_TOKENS, DisplacementBasis
from receiver.diffusion.samplers import (
    paper_forward,
    paper_reverse,
    sample_consistency_multistep,
    sample_ddim,
    sample_heun,
    sigma_schedule,
)

WEIGHTS_NAME = "diffusion"

# The paper gives no schedule. These ten steps leave about a tenth of the variance to u_m ⊙ ε.
PAPER_C: tuple[float, ...] = (0.99,) * 10
# People whose noise is kept; drawing it takes a tenth of a millisecond.
_REMEMBERED_NOISE = 64


class DiffusionNetwork(nn.Module):
    """The conditioner (24, 25) and the denoiser, trained together, and the basis of the displacements."""

    def __init__(self, config: DiffusionConfig, basis: DisplacementBasis) -> None:
        super().__init__()
        self.config = config
        self.basis = basis
        self.conditioner = Conditioner(config)
        self.denoiser = Denoiser(config)

    def condition(self, levels: tuple[Tensor, Tensor, Tensor], clothing: Clothing) -> Condition:
        """The denoiser's condition, for the tokens of the basis."""
        condition: Condition = self.conditioner(levels, clothing)
        return condition.at(self.basis.patch)


def sample_coefficients(
    denoiser: Denoiser, condition: Condition, g: Tensor, noise: Tensor, config: SamplingConfig
) -> Tensor:
    """Linear reconstruction g and standard normal noise, both (B, T, K) → a sample (B, T, K)."""
    if config.sampler == "paper":
        generator = torch.Generator().manual_seed(0)
        return paper_reverse(paper_forward(noise, g, PAPER_C, generator), g, PAPER_C)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        out: Tensor = denoiser(x, x.new_full((len(x),), sigma), g, condition)
        return out

    sigmas = sigma_schedule(config.steps, config.sigma_start, SIGMA_MIN)
    x = g + sigmas[0] * noise
    if config.sampler == "consistency_multistep":
        return sample_consistency_multistep(denoise, x, sigmas, noise)
    return (sample_ddim if config.sampler == "ddim" else sample_heun)(denoise, x, sigmas)


def architecture(network: DiffusionNetwork) -> dict[str, Any]:
    """The network as the manifest records it: its config, and the sizes of its basis."""
    vertices, members = len(network.basis.mean), network.basis.members.shape[1]
    return {**architecture_of(network.config), "vertices": vertices, "token_vertices": members}


def load_network() -> DiffusionNetwork:
    """The network with the package's weights. Raises WeightsError if they are missing or of another version."""
    recorded = find_entry(WEIGHTS_NAME).architecture
    try:
        basis = DisplacementBasis.empty(recorded["vertices"], recorded["token_vertices"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"weights {WEIGHTS_NAME!r} are of another version: reinstall bodywire") from error
    network = DiffusionNetwork(DiffusionConfig(), basis)
    return load_into(network, WEIGHTS_NAME, architecture(network))


class DiffusionStage:
    """Samples displacements; keeps no state between frames."""

    def __init__(self, network: DiffusionNetwork, space: SurfaceSpace, sampling: SamplingConfig | None = None) -> None:
        self.network = network.eval()
        self.space = space
        self.sampling = sampling or SamplingConfig()

    @classmethod
    def load(cls, sampling: SamplingConfig | None = None, device: torch.device = CPU) -> Self:
        """With the package's weights, on `device`. Raises WeightsError if they are missing or of another version."""
        return cls(load_network().to(device), SurfaceSpace.load().to(device), sampling)

    @torch.inference_mode()
    def displacements(self, decoded: DecodedBody, identities: Sequence[int]) -> Tensor:
        """Samples the people of a frame in one batch: (B, V, 3) displacements of the template at rest, metres.

        Args:
            identities: of the people.  A person's noise is that of the identity, so it is the same in every frame and
                does not depend on the other people.

        Raises:
            ValueError: the number of identities is not the number of people.
        """
        if len(identities) != len(decoded):
            raise ValueError(f"got {len(identities)} identities for {len(decoded)} people")
        clothing = decoded.clothing
        noise = torch.stack([_noise_of(identity) for identity in identities]).to(device_of(self.network))
        noise = noise * unknown_share(self.space, clothing)[:, None, None]
        condition = self.network.condition(decoded.s_levels, clothing)
        g = self.network.basis.encode(self.space.decode(clothing.entries))
        sample = torch.empty_like(g)
        # Without noise, further steps would change nothing.
        for known, sampling in ((True, replace(self.sampling, steps=1)), (False, self.sampling)):
            rows = [row for row, person_known in enumerate(decoded.clothes_known) if person_known == known]
            if rows:
                args = condition[rows], g[rows], noise[rows]
                sample[rows] = sample_coefficients(self.network.denoiser, *args, sampling)
        return self.network.basis.decode(sample)


def unknown_share(space: SurfaceSpace, clothing: Clothing) -> Tensor:
    """(B,) share of the variance of displacements that the received entries leave open, 0…1.

    The noise is scaled by it.  With all labels the sampler then gives the most likely displacements, not one of those
    that the labels allow, and its error does not grow with the number of steps.  With none it gives random clothes.
    """
    variance = space.basis.square().sum((1, 2))
    return 1 - clothing.present @ (variance / variance.sum())


@functools.lru_cache(_REMEMBERED_NOISE)
def _noise_of(identity: int) -> Tensor:
    """(T, K) drawn on the CPU, so that every device starts from the same noise."""
    return torch.randn(DISPLACEMENT_TOKENS, COEFFICIENTS, generator=torch.Generator().manual_seed(identity))
