"""The diffusion stage: geometry features s_1…s_3 and an initial cloud → oriented points of each person's surface."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import FloatArray
from common.body.anatomy import POINTS
from common.body.model import BodyModel, BodyParameters
from common.io.configuration import option
from common.weights.devices import device_of, to_numpy
from common.weights.loader import architecture_of, load_into
from receiver.decode.geometry_image import CHANNELS, inverse_order
from receiver.decode.stage import DecodedBody
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

# The paper gives no schedule. These ten steps leave about a tenth of the variance to u_m ⊙ ε.
PAPER_C: tuple[float, ...] = (0.99,) * 10


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """Settings of the point sampler.

    Args:
        sampler: `consistency_multistep`, `ddim` or `heun` with the trained denoiser; `paper` is eq. 26 and 27, for
            comparison.
        steps: denoising steps.
        sigma_start_m: standard deviation of the noise on the initial cloud, metres.
    """

    sampler: Sampler = option(
        "consistency_multistep", help="point sampler: consistency_multistep, ddim, heun, or paper (eq. 26, 27)"
    )
    steps: int = option(2, help="denoising steps")
    sigma_start_m: float = option(0.25, help="noise on the initial cloud, metres")

    def __post_init__(self) -> None:
        if self.sampler not in get_args(Sampler):
            raise ValueError(f"unknown sampler {self.sampler!r}; choose {', '.join(get_args(Sampler))}")
        if self.steps < 1 or not 0.04 <= self.sigma_start_m <= 0.5:
            raise ValueError(
                "steps must be at least 1 and sigma-start-m must lie in 0.04…0.5, "
                f"got {self.steps} and {self.sigma_start_m}"
            )


@dataclass(frozen=True, slots=True)
class PointCloud:
    """Oriented points of one person's surface.

    Args:
        points: (2048, 3) metres; row i is the same point of the body template in every cloud.
        normals: (2048, 3) outward unit normals.
        colours: (2048, 3) in 0…1, or None if no `appearance` label was received.
    """

    points: FloatArray
    normals: FloatArray
    colours: FloatArray | None = None

    def placed(self, orientation: FloatArray, translation: FloatArray) -> Self:
        """Transforms from the person's root frame into camera space: rotation (3, 3), then translation (3,), metres."""
        rotation = np.asarray(orientation, dtype=np.float32)
        points = self.points @ rotation.T + np.asarray(translation, dtype=np.float32)
        return replace(self, points=points, normals=self.normals @ rotation.T)


class DiffusionNetwork(nn.Module):
    """The conditioner (24, 25) and the denoiser, trained together."""

    point_order: Tensor

    def __init__(self, config: DiffusionConfig, point_order: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("point_order", point_order)
        self.conditioner = Conditioner(config)
        self.denoiser = Denoiser(config)


def sample_state(
    denoiser: Denoiser, condition: Condition, start: Tensor, noise: Tensor, config: SamplingConfig
) -> Tensor:
    """Initial state (B, P, 6) and standard normal noise (broadcast to it) → denoised state (B, P, 6)."""
    if config.sampler == "paper":
        u_m = denoiser.centre(condition)
        generator = torch.Generator().manual_seed(0)
        return paper_reverse(paper_forward(start, u_m, PAPER_C, generator), u_m, PAPER_C)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        out: Tensor = denoiser(x, x.new_full((len(x),), sigma), condition)
        return out

    sigmas = sigma_schedule(config.steps, config.sigma_start_m)
    noisy = start + config.sigma_start_m * noise
    if config.sampler == "consistency_multistep":
        return sample_consistency_multistep(denoise, noisy, sigmas, noise)
    return sample_heun(denoise, noisy, sigmas) if config.sampler == "heun" else sample_ddim(denoise, noisy, sigmas)


def load_network() -> DiffusionNetwork:
    """Loads the network with the weights that ship with the package.

    Raises:
        WeightsError: the weights are missing or of another version.
    """
    config = DiffusionConfig()
    return load_into(DiffusionNetwork(config, torch.arange(POINTS)), WEIGHTS_NAME, architecture_of(config))


class DiffusionStage:
    """Samples one `PointCloud` per person of a `DecodedBody`, in the root frame (see `PointCloud.placed`).

    Args:
        network: trained.
        body: skins the initial cloud of a person without a previous cloud, and maps points to body regions.
        sampling: sampler, steps, initial noise.
    """

    def __init__(self, network: DiffusionNetwork, body: BodyModel, sampling: SamplingConfig | None = None) -> None:
        self.network = network.eval()
        self.body = body
        self.sampling = sampling or SamplingConfig()
        self._to_template = inverse_order(network.point_order)
        self._point_region = body.point_regions()

    @classmethod
    def load(cls, sampling: SamplingConfig | None = None, body: BodyModel | None = None) -> Self:
        """Loads the stage with the weights that ship with the package, on the device of `body`.

        Raises:
            WeightsError: the weights are missing or of another version.
        """
        body = body or BodyModel.load()
        return cls(load_network().to(device_of(body)), body, sampling)

    @torch.inference_mode()
    def reconstruct(
        self, decoded: DecodedBody, previous: Sequence[PointCloud | None] | None = None, seed: int = 0
    ) -> tuple[PointCloud, ...]:
        """Samples the people of a frame in one batch.

        Args:
            decoded: from the decode stage.
            previous: each person's cloud of the last frame, in the root frame, or None to start from the skinned body.
            seed: of the noise.  All people share the same noise in every frame, so a person's cloud does not depend
                on the other people and does not flicker.

        Raises:
            ValueError: the length of `previous` is not the number of people.
        """
        start = self.starting_state(decoded, previous or [None] * len(decoded))
        # Drawn on the CPU, so that every device starts from the same noise.
        noise = torch.randn(1, POINTS, CHANNELS, generator=torch.Generator().manual_seed(seed)).to(start.device)
        condition = self.network.conditioner(decoded.s_levels)
        state = sample_state(self.network.denoiser, condition, start, noise, self.sampling)
        points, normals = (to_numpy(side) for side in from_state(state[:, self._to_template]))
        colours, coloured = to_numpy(decoded.colours[:, self._point_region]), to_numpy(decoded.coloured)
        return tuple(
            PointCloud(points[row], normals[row], colours[row] if coloured[row] else None)
            for row in range(len(decoded))
        )

    def starting_state(self, decoded: DecodedBody, previous: Sequence[PointCloud | None]) -> Tensor:
        """(B, 2048, 6) in curve order: last frame's cloud, or the skinned body for people without one."""
        if len(previous) != len(decoded):
            raise ValueError(f"got {len(previous)} initial clouds for {len(decoded)} people")
        skinned = iter(self._skinned_states(decoded, [row for row, cloud in enumerate(previous) if cloud is None]))
        states = [next(skinned) if cloud is None else self._state_of(cloud) for cloud in previous]
        return torch.stack(states)[:, self.network.point_order]

    def _skinned_states(self, decoded: DecodedBody, rows: Sequence[int]) -> Sequence[Tensor]:
        """(2048, 6) states of the skinned bodies of some people, in the root frame and in template order."""
        if not rows:
            return ()
        upright = in_root_frame(decoded.parameters)
        chosen = BodyParameters.concatenate([upright[row : row + 1] for row in rows])
        return to_state(*self.body.surface_points(self.body(chosen).vertices)).unbind()

    def _state_of(self, cloud: PointCloud) -> Tensor:
        state = to_state(torch.from_numpy(cloud.points), torch.from_numpy(cloud.normals))
        return state.to(device_of(self.body))


def in_root_frame(parameters: BodyParameters) -> BodyParameters:
    """The bodies upright with the pelvis at the origin."""
    rotations = parameters.rotations.clone()
    rotations[:, 0] = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return replace(parameters, rotations=rotations, translation=torch.zeros_like(parameters.translation))
