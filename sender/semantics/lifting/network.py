"""The network that lifts over time: the conditional variational autoencoder of (8) to (11) over windows of frames.

    X = tokens of a window ── transformer ── c_t of each frame ── p(z|X) = N(z; m(c_t), s(c_t)) ── z
    running: z = m(c_t);  (c_t, z) ── decoder ── own entries, corrections of the smoothed ones, trust between both = μ

What one frame shows is fitted before (`sender.semantics.fitting`) and smoothed over time
(`sender.semantics.over_time`), in the window camera here; the decoder says the pose itself, and how far it trusts that.
z is of the window: it carries what stays, such as build and which way joints bend.  With z known,
its σ(c, z) is what remains open; the head's σ(c) is the whole error of μ at z = m(c).  The posterior q(z|X,y) and the
discriminator are of the training alone (`sender.train.lifting`).  The same weights serve a live window and a whole
clip: attention is masked, so that frames see those up to their own (`causal`), or all; windows have 1 to 32 frames at
any rate.

Shapes: B windows, T frames, F columns of a token (`sender.semantics.lifting.window`), C width of the transformer, Z of
the latent, E = 80 entries.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from common.labels import group_slices
from common.weights.transformer import Block
from sender.semantics.crop_labels import ENTRIES, PELVIS
from sender.semantics.lifting.layers import Gaussian, ResidualMLP
from sender.semantics.lifting.window import FITTED, MAX_FRAMES, MOVED, TOKEN
from sender.semantics.namespace import Array

NAME = "lifting"
KIND = "lifting-4"
_LOG_SIGMA = (-4.0, 1.0)
# Where somebody is and how they are built is left as it was smoothed: corrections move people off their paths.
_CORRECTED = np.ones(ENTRIES, bool)
_CORRECTED[PELVIS] = _CORRECTED[group_slices()["shape"]] = False
# 1/s by which the weights of the transformer's heads fall with time before they are learned, in turn.
_OF_HEADS = (0.3, 1.0, 3.0, 10.0)
# Logit of the trust in the decoder's own entries before it is learned.
_TRUST = -3.0
# Share of what the layers around the transformer are trained without.
_DROPPED = 0.2
# Frames that a layer sees before and after each: a frame more or less at a window's end is no matter to the other end.
_REACH = 4
# Added to the logit of a frame that is not seen; finite, so that a window without any has a mean.
_HIDDEN = -1e4


@dataclass(frozen=True, slots=True)
class LiftingConfig:
    """Sizes, as the manifest records them.

    Args:
        tokens: F.
        width, layers, heads: of the transformer.
        latent: Z.
        hidden: width of the decoder.
    """

    tokens: int = TOKEN
    width: int = 128
    layers: int = 4
    heads: int = 4
    latent: int = 16
    hidden: int = 192


class Lifted(NamedTuple):
    """What the network says of frames; every tensor begins with (B, T).

    Args:
        entries, sigma: (…, E) label entries in the window camera (`sender.semantics.crop_labels`), and their standard
            deviations.
    """

    entries: Tensor
    sigma: Tensor


class LiftingNetwork(nn.Module):
    """The prior and the decoder on the context that a transformer makes of a window."""

    far: Tensor
    corrected: Tensor

    def __init__(self, config: LiftingConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.embed = nn.Sequential(
            nn.Linear(config.tokens, width), nn.GELU(), nn.Dropout(_DROPPED), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.prior_net = ResidualMLP(width, 2 * config.latent, width, blocks=1)
        # To later frames and to earlier ones.
        of_heads = torch.tensor(_OF_HEADS).repeat(config.heads)[: config.heads]
        self.fading = nn.Parameter(of_heads.log().expand(config.layers, 2, -1).clone())
        self.decoder = ResidualMLP(width + config.latent, 4 * ENTRIES, config.hidden, blocks=2, dropout=_DROPPED)
        self.errors = ResidualMLP(width, ENTRIES, width, blocks=1)
        far = (torch.arange(MAX_FRAMES)[:, None] - torch.arange(MAX_FRAMES)).abs() > _REACH
        self.register_buffer("far", far * _HIDDEN, persistent=False)
        self.register_buffer("corrected", torch.from_numpy(_CORRECTED).float(), persistent=False)
        # At first, nothing is corrected, and hardly anything trusted.
        of_means = self.decoder.leave[-1]
        assert isinstance(of_means, nn.Linear)
        for parameter in of_means.parameters():
            nn.init.zeros_(parameter[:ENTRIES])
            nn.init.zeros_(parameter[2 * ENTRIES :])
        nn.init.constant_(of_means.bias[3 * ENTRIES :], _TRUST)

    def context(self, tokens: Tensor, lags: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) of tokens (B, T, F).

        Args:
            lags: (B, T, T) by how much each frame (last axis) is later than another, seconds.
            mask: as by `attention_mask`.
        """
        context, frames = self.embed(tokens), tokens.shape[1]
        mask = mask + self.far[:frames, :frames]
        for block, rates in zip(self.blocks, self.fading, strict=True):
            context = block(context, _faded(lags, rates, mask).to(context.dtype))
        normed: Tensor = self.norm(context)
        return normed

    def prior(self, context: Tensor) -> Gaussian:
        """p(z|X) (…, Z) of contexts (…, C)."""
        return Gaussian.of(self.prior_net(context))

    def decode(self, context: Tensor, smoothed: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (…, E) of the entries with z (…, Z) known, of the frame or of its window; of
        contexts (…, C) and smoothed entries (…, E)."""
        z = z.expand(*context.shape[:-1], -1)
        corrections, log_sigma, own, trust = self.decoder(torch.cat([context, z], -1)).chunk(4, -1)
        corrections = corrections + trust.sigmoid() * (own - smoothed - corrections)
        return smoothed + corrections * self.corrected, log_sigma.clamp(*_LOG_SIGMA).exp()

    def sigma(self, context: Tensor) -> Tensor:
        """That of `Lifted`."""
        sigma: Tensor = self.errors(context).clamp(*_LOG_SIGMA).exp()
        return sigma

    def forward(self, tokens: Tensor, lags: Tensor, mask: Tensor) -> Lifted:
        """At the prior's mean; arguments as of `context`."""
        context = self.context(tokens, lags, mask)
        entries, _ = self.decode(context, smoothed_entries(tokens), self.prior(context).mean)
        return Lifted(entries, self.sigma(context))


def smoothed_entries(tokens: Array) -> Array:
    """(…, E) in the window camera, of tokens (…, F)."""
    return tokens[..., FITTED] + tokens[..., MOVED]


def lags_of(time_s: Tensor) -> Tensor:
    """(B, T, T) the lags of frames at (B, T), seconds."""
    return (time_s[:, None] - time_s[:, :, None]).float()


def _faded(lags: Tensor, rates: Tensor, mask: Tensor) -> Tensor:
    """(B, N, T, T) what is added to the logits of N heads; `rates` (2, N) logs of 1/s, to later and earlier frames."""
    later, earlier = rates.exp()[:, None, :, None, None]
    lags = lags[:, None]
    faded: Tensor = mask.clamp_min(_HIDDEN) - later * lags.clamp_min(0) - earlier * (-lags).clamp_min(0)
    return faded


def attention_mask(present: Tensor, *, causal: bool = False) -> Tensor:
    """(B, 1, T, T) of which frames see which: 0, or -∞ where they do not.

    Args:
        present: (B, T) whether there is such a frame; windows of fewer frames than others are filled up.
        causal: whether a frame does not see later ones.
    """
    frames = present.shape[1]
    sees = present[:, None, None].expand(-1, 1, frames, frames)
    if causal:
        sees = sees & torch.ones(frames, frames, dtype=torch.bool, device=present.device).tril()
    # Frames that are not there see themselves, so that nothing is undefined.
    sees = sees | torch.eye(frames, dtype=torch.bool, device=present.device)
    return torch.zeros(sees.shape, device=present.device).masked_fill(~sees, float("-inf"))
