"""The loss of the decode stage (paper eq. 23): L = Σ_i g_i ‖S_i − Ŝ_i‖² + g_KL · KL + g_reg · R(z').

The KL has two parts, both from the conditional VAE.  The posterior q(z'|y), given *all* labels y, is regularised
towards N(0, I).  The learned prior q(z'|y') is given only the *received* labels y'; KL(q(z'|y) ‖ q(z'|y')) makes it
cover every body that is consistent with them.  The reconstruction loss applies to a sample of q(z'|y) and to the mode
of q(z'|y').
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from receiver.decode.mixture import GaussianMixture
from receiver.decode.principal_axes import PrincipalAxes


@dataclass(frozen=True, slots=True)
class LossWeights:
    """g_i, g_KL and g_reg of (23), with separate weights for the two KL terms and the two terms of R.

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
