"""The latent z' as a mixture of Gaussians with full covariances (paper §5.1, eq. 19–21).

Shapes: B people, K components, D latent dimensions, T = D(D+1)/2 entries of a lower triangle.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

DIAGONAL_FLOOR = 0.01
OFF_DIAGONAL_SCALE = 0.1


def cholesky_from_raw(raw: Tensor, dimensions: int) -> Tensor:
    """Unconstrained numbers (…, T) → Cholesky factor (…, D, D) with a positive diagonal, from the first D numbers.

    L = diag(d)·U with U unit lower triangular, so the other numbers set the correlations independently of the scale d.
    """
    diagonal = functional.softplus(raw[..., :dimensions]) + DIAGONAL_FLOOR
    rows, columns = torch.tril_indices(dimensions, dimensions, offset=-1, device=raw.device)
    unit = torch.eye(dimensions, dtype=raw.dtype, device=raw.device).repeat(*raw.shape[:-1], 1, 1)
    unit[..., rows, columns] = raw[..., dimensions:] * OFF_DIAGONAL_SCALE
    return diagonal.unsqueeze(-1) * unit


@dataclass(frozen=True, slots=True)
class GaussianMixture:
    """q(z'|y') = Σ_k π_k N(μ_k, Σ_k) (19, 20), with Σ_k = L_k L_kᵀ.

    Args:
        logits_BK: log π up to an additive constant.
        means_BKD: μ_k.
        cholesky_BKDD: L_k, lower triangular with a positive diagonal.
    """

    logits_BK: Tensor
    means_BKD: Tensor
    cholesky_BKDD: Tensor

    def log_prob(self, z_BD: Tensor) -> Tensor:
        """log q(z'|y') of one z' per person, (B,) nats."""
        offset_BKD1 = (z_BD.unsqueeze(1) - self.means_BKD).unsqueeze(-1)
        whitened_BKD = torch.linalg.solve_triangular(self.cholesky_BKDD, offset_BKD1, upper=False).squeeze(-1)
        log_det_BK = self.cholesky_BKDD.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * z_BD.shape[-1] * math.log(2 * math.pi)
        log_normal_BK = -0.5 * whitened_BKD.square().sum(-1) - log_det_BK - constant
        return torch.logsumexp(self.logits_BK.log_softmax(-1) + log_normal_BK, dim=-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """z' = μ_k + L_k ε with k ~ π (21), (B, D); differentiable in μ_k and L_k."""
        batch, _, dimensions = self.means_BKD.shape
        weights = self.logits_BK.detach().softmax(-1)
        component = torch.multinomial(weights, 1, generator=generator).squeeze(-1)
        people = torch.arange(batch, device=component.device)
        noise = torch.randn(batch, dimensions, 1, generator=generator, device=weights.device)
        return self.means_BKD[people, component] + (self.cholesky_BKDD[people, component] @ noise).squeeze(-1)

    def mode(self) -> Tensor:
        """The mean of the component with the largest weight, (B, D)."""
        return heaviest_mean(self.logits_BK, self.means_BKD)

    def kl_to_standard_normal(self) -> Tensor:
        """Upper bound of KL(q ‖ N(0, I)), (B,) nats: Σ_k π_k KL(N_k ‖ N(0, I)), by convexity; exact for K = 1."""
        dimensions = self.means_BKD.shape[-1]
        log_det_BK = 2 * self.cholesky_BKDD.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        trace_BK = self.cholesky_BKDD.square().sum((-2, -1))
        kl_BK = 0.5 * (trace_BK + self.means_BKD.square().sum(-1) - dimensions - log_det_BK)
        return (self.logits_BK.softmax(-1) * kl_BK).sum(-1)


def heaviest_mean(logits_BK: Tensor, means_BKD: Tensor) -> Tensor:
    """μ_k of the k with the largest π_k, (B, D)."""
    return means_BKD[torch.arange(len(means_BKD), device=means_BKD.device), logits_BK.argmax(-1)]
