"""The diffusion stage: geometry features s_1…s_3 and a starting cloud → oriented points of each person's surface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray
from common.body.anatomy import POINTS
from common.body.model import BodyModel, BodyParameters
from common.io.configuration import option
from common.weights.loader import architecture_of, load_into, save_weights
from receiver.decode.geometry_image import CHANNELS, inverse_order
from receiver.decode.stage import DecodedBody
from receiver.diffusion.cloud import PointCloud
from receiver.diffusion.condition import Condition, Conditioner, DiffusionConfig
from receiver.diffusion.denoiser import Denoiser, from_state, to_state
from receiver.diffusion.samplers import (
    paper_forward,
    paper_reverse,
    sample_consistency_multistep,
    sample_ddim,
    sample_heun,
    sigma_schedule,
)

WEIGHTS_NAME = "diffusion"
Sampler = Literal["consistency_multistep", "ddim", "heun", "paper"]

# The paper gives no schedule: ten steps that leave about a tenth of the variance to u_m ⊙ ε.
PAPER_C: tuple[float, ...] = (0.99,) * 10


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How a cloud is sampled.

    Args:
        sampler: `consistency_multistep`, `ddim` or `heun` with the trained denoiser; `paper` is eq. 26 and 27, for
        comparison. steps: denoising steps.
        sigma_start_m: noise put on the starting cloud, metres.
    """

    sampler: Sampler = option(
        "consistency_multistep", help="how points are sampled: consistency_multistep, ddim, heun, or paper (eq. 26, 27)"
    )
    steps: int = option(2, help="denoising steps")
    sigma_start_m: float = option(0.25, help="noise on the starting cloud, metres")

    def __post_init__(self) -> None:
        if self.sampler not in get_args(Sampler):
            raise ValueError(f"unknown sampler {self.sampler!r}; choose {', '.join(get_args(Sampler))}")
        if self.steps < 1 or not 0.04 <= self.sigma_start_m <= 0.5:
            raise ValueError("sampling takes at least one step and a starting noise between 0.04 m and 0.5 m")


class DiffusionNetwork(nn.Module):
    """The condition (24, 25) and the denoiser, trained together."""

    point_order: Tensor

    def __init__(self, config: DiffusionConfig, point_order: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("point_order", point_order)
        self.conditioner = Conditioner(config)
        self.denoiser = Denoiser(config)


def sample_state(denoiser: Denoiser, condition: Condition, start: Tensor, noise: Tensor, how: SamplingConfig) -> Tensor:
    """A starting state (B, P, 6) and standard normal noise (broadcast to it) → a clean state (B, P, 6)."""
    if how.sampler == "paper":
        u_m = denoiser.centre(condition)
        generator = torch.Generator().manual_seed(0)
        return paper_reverse(paper_forward(start, u_m, PAPER_C, generator), u_m, PAPER_C)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        out: Tensor = denoiser(x, x.new_full((len(x),), sigma), condition)
        return out

    sigmas = sigma_schedule(how.steps, how.sigma_start_m)
    noisy = start + how.sigma_start_m * noise
    if how.sampler == "consistency_multistep":
        return sample_consistency_multistep(denoise, noisy, sigmas, noise)
    return sample_heun(denoise, noisy, sigmas) if how.sampler == "heun" else sample_ddim(denoise, noisy, sigmas)


def save_network(network: DiffusionNetwork, recipe: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    """Exports trained weights into the package."""
    save_weights(WEIGHTS_NAME, network.state_dict(), architecture_of(network.config), recipe, scores)


def load_network() -> DiffusionNetwork:
    """The network that ships with the package.

    Raises:
        WeightsError: the weights are missing or of another version.
    """
    config = DiffusionConfig()
    return load_into(DiffusionNetwork(config, torch.arange(POINTS)), WEIGHTS_NAME, architecture_of(config))


class DiffusionStage:
    """`DecodedBody` in, one `PointCloud` a person out, in the root frame (`PointCloud.placed` leads out of it).

    Args:
        network: trained.
        body: skins the starting cloud of a person who has no cloud yet, and says which region a point belongs to.
        sampling: sampler, steps, starting noise.
    """

    def __init__(self, network: DiffusionNetwork, body: BodyModel, sampling: SamplingConfig | None = None) -> None:
        self.network = network.eval()
        self.body = body
        self.sampling = sampling or SamplingConfig()
        self._to_template = inverse_order(network.point_order)
        self._point_region = body.point_regions()

    @classmethod
    def load(cls, sampling: SamplingConfig | None = None, body: BodyModel | None = None) -> "DiffusionStage":
        """With the weights that ship with the package.

        Raises:
            WeightsError: they are missing or of another version.
        """
        return cls(load_network(), body or BodyModel.load(), sampling)

    @torch.inference_mode()
    def reconstruct(
        self, decoded: DecodedBody, previous: Sequence[PointCloud | None] | None = None, seed: int = 0
    ) -> tuple[PointCloud, ...]:
        """Samples the people of a frame in one batch.

        Args:
            decoded: from the decode stage.
            previous: each person's cloud of the last frame, in the root frame, or None to start from the skinned body.
            seed: of the noise.  Everyone gets the same noise in every frame, so a person's cloud depends neither on
                who else is there nor flickers.

        Raises:
            ValueError: `previous` is not as long as there are people.
        """
        start = self.starting_state(decoded, previous or [None] * len(decoded))
        noise = torch.randn(1, POINTS, CHANNELS, generator=torch.Generator().manual_seed(seed))
        condition = self.network.conditioner(decoded.s_levels)
        state = sample_state(self.network.denoiser, condition, start, noise, self.sampling)
        points, normals = (side.numpy() for side in from_state(state[:, self._to_template]))
        return tuple(PointCloud(points[i], normals[i], self._colours(decoded, i)) for i in range(len(decoded)))

    def starting_state(self, decoded: DecodedBody, previous: Sequence[PointCloud | None]) -> Tensor:
        """(B, 2048, 6) along the curve: last frame's cloud, or the skinned body of who has none."""
        if len(previous) != len(decoded):
            raise ValueError(f"{len(previous)} starting clouds for {len(decoded)} people")
        state = torch.empty(len(decoded), POINTS, CHANNELS)
        new = torch.tensor([cloud is None for cloud in previous])
        if new.any():
            upright = in_root_frame(decoded.parameters)[new]
            state[new] = to_state(*self.body.surface_points(self.body(upright).vertices))
        for row, cloud in enumerate(previous):
            if cloud is not None:
                state[row] = to_state(torch.from_numpy(cloud.points), torch.from_numpy(cloud.normals))
        return state[:, self.network.point_order]

    def _colours(self, decoded: DecodedBody, row: int) -> FloatArray | None:
        if not bool(decoded.coloured[row]):
            return None
        return np.asarray(decoded.colours[row, self._point_region].numpy(), dtype=np.float32)


def in_root_frame(parameters: BodyParameters) -> BodyParameters:
    """The same bodies upright with the pelvis at the origin."""
    rotations = parameters.rotations.clone()
    rotations[:, 0] = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return replace(parameters, rotations=rotations, translation=torch.zeros_like(parameters.translation))
