"""The network that lifts 2D over time: the conditional variational autoencoder of (8) to (11) over windows of frames.

    X = tokens of a window ── transformer ── c_t of each frame ── p(z|X) = N(z; m(c_t), s(c_t)) ── z
    running: z = m(c_t);  (c_t, z) ── decoder ── μ, the label entries of frame t in the window camera
    heads: σ of the entries, contact, up, and keypoints, to which `sender.semantics.lifting.projection` moves the body

What depth a picture leaves open, z tells: with z known, the decoder's σ(c, z) is what remains open; the heads' σ(c) is
the whole error of μ at z = m(c).  The posterior q(z|X,y) and the discriminator are of the training alone
(`sender.train.lifting`).  The same weights serve a live window, a whole clip and a photograph: attention is masked, so
that frames see those up to their own (`causal`), or all; windows have 1 to 32 frames at any rate.

Shapes: B windows, T frames, F columns of a token (`sender.semantics.lifting.window`), C width of the transformer, Z of
the latent, E = 80 entries, K = 17 keypoints.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.weights.transformer import Block
from sender.perception.network.keypoints import KEYPOINTS
from sender.semantics.crop_labels import ENTRIES
from sender.semantics.lifting.layers import Gaussian, ResidualMLP
from sender.semantics.lifting.window import KEYPOINT_SCALE, KEYPOINTS_2D, TOKEN

NAME = "lifting"
KIND = "lifting-1"
CONTACTS = 4
_LOG_SIGMA = (-4.0, 1.0)
# Of the network's keypoints, crop widths.
_LOG_KEYPOINT_SIGMA = (-6.0, 0.0)
_HEADS = (ENTRIES, CONTACTS, 3, 2 * KEYPOINTS, KEYPOINTS)


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
    width: int = 192
    layers: int = 4
    heads: int = 6
    latent: int = 32
    hidden: int = 256


class Lifted(NamedTuple):
    """What the network says of frames; every tensor begins with (B, T).

    Args:
        entries, sigma: (…, E) label entries in the window camera (`sender.semantics.crop_labels`), and their standard
            deviations.
        free: (…, E) standard deviations for the sake of the keypoints (`sender.semantics.lifting.projection`).
        contact: (…, 4) logits that left heel, left toe, right heel and right toe stand on the floor.
        up: (…, 3) the direction away from the ground, in the window camera's axes; not of unit length.
        keypoints, keypoints_sigma: (…, K, 2) and (…, K) where the keypoints are in the window's crop, 0…1, by what all
            frames showed, and their standard deviations.
    """

    entries: Tensor
    sigma: Tensor
    free: Tensor
    contact: Tensor
    up: Tensor
    keypoints: Tensor
    keypoints_sigma: Tensor


class LiftingNetwork(nn.Module):
    """The prior and the decoder on the context that a transformer makes of a window."""

    def __init__(self, config: LiftingConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.embed = nn.Sequential(nn.Linear(config.tokens, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.prior_net = ResidualMLP(width, 2 * config.latent, width, blocks=1)
        self.decoder = ResidualMLP(width + config.latent, 2 * ENTRIES, config.hidden, blocks=2)
        # What is linear in a frame's own token needs no detour.
        self.direct = nn.Linear(config.tokens, ENTRIES + 2 * KEYPOINTS, bias=False)
        self.heads = ResidualMLP(width, sum(_HEADS), width, blocks=1)
        nn.init.zeros_(self.direct.weight)
        # Of each entry, the log of its share of σ that keypoints may move it by.
        self.trust = nn.Parameter(torch.full((ENTRIES,), -0.7))

    def context(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) of tokens (B, T, F); `mask` as by `attention_mask`."""
        context = self.embed(tokens)
        for block in self.blocks:
            context = block(context, mask)
        normed: Tensor = self.norm(context)
        return normed

    def prior(self, context: Tensor) -> Gaussian:
        """p(z|X) (…, Z) of contexts (…, C)."""
        return Gaussian.of(self.prior_net(context))

    def decode(self, context: Tensor, tokens: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (…, E) of the entries with z (…, Z) known, of contexts (…, C), tokens (…, F)."""
        mean, log_sigma = self.decoder(torch.cat([context, z], -1)).float().chunk(2, -1)
        direct = nn.functional.linear(tokens, self.direct.weight[:ENTRIES])
        return mean + direct.float(), log_sigma.clamp(*_LOG_SIGMA).exp()

    def read(self, context: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`sigma`, `free`, `contact`, `up`, `keypoints` and `keypoints_sigma` of `Lifted`."""
        log_sigma, contact, up, moved, log_keypoint = self.heads(context).float().split(_HEADS, -1)
        direct = nn.functional.linear(tokens, self.direct.weight[ENTRIES:]).float()
        keypoints = (tokens[..., KEYPOINTS_2D].float() + direct + moved) / KEYPOINT_SCALE + 0.5
        sigma, of_keypoints = log_sigma.clamp(*_LOG_SIGMA).exp(), (log_keypoint - 3).clamp(*_LOG_KEYPOINT_SIGMA).exp()
        free = sigma.detach() * self.trust.exp()
        return sigma, free, contact, up, keypoints.unflatten(-1, (-1, 2)), of_keypoints

    def forward(self, tokens: Tensor, mask: Tensor) -> Lifted:
        """At the prior's mean: tokens (B, T, F) and `attention_mask` (B, 1, T, T)."""
        context = self.context(tokens, mask)
        entries, _ = self.decode(context, tokens, self.prior(context).mean)
        return Lifted(entries, *self.read(context, tokens))


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
