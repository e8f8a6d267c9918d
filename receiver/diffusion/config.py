"""Options of the displacement sampler."""

from dataclasses import dataclass
from typing import Literal, get_args

from common.io.options import option

SIGMA_MIN, SIGMA_MAX = 0.02, 8.0
"""Least and largest noise of the denoiser, standard deviations of the displacements."""

Sampler = Literal["ddim", "consistency_multistep", "heun", "paper"]


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """Settings of the displacement sampler."""

    sampler: Sampler = option("ddim", help="displacement sampler; paper: eq. 26, 27")
    steps: int = option(2, help="denoising steps for people whose clothes are not fully known")
    sigma_start: float = option(4.0, help="initial noise, in standard deviations of the displacements")

    def __post_init__(self) -> None:
        if self.sampler not in get_args(Sampler):
            raise ValueError(f"unknown sampler {self.sampler!r}; choose {', '.join(get_args(Sampler))}")
        if not 1 <= self.steps <= 100 or not 0.5 <= self.sigma_start <= SIGMA_MAX:
            raise ValueError(
                f"steps must lie in 1…100 and sigma-start in 0.5…{SIGMA_MAX:g}, got {self.steps} and {self.sigma_start}"
            )
