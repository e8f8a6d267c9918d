"""The networks of the decode stage: labels → mixture latent z' → three levels of geometry features (paper §5.1).

    received labels y' ─ trunk ─ mixture (19, 20) ─ z' (21) ─┬─ f_1 ─ s_1 ─┐
                                                             ├─ f_2 ─ s_2 ─┤ h_i = GRU(h_{i−1}, s_i) (22)
                                                             └─ f_3 ─ s_3 ─┘

Shapes: B people, E label entries, K components, D latent dimensions, H recurrent state, N patches, C = 6 channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.labels import GROUPS, group_slices
from receiver.decode.geometry_image import CHANNELS, LEVEL_SIZES
from receiver.decode.mixture import GaussianMixture, cholesky_from_raw, heaviest_mean

# `root` is a rigid transform, `appearance` are colours, and `surface` displaces the skin in the diffusion stage.
_OUTSIDE = ("root", "appearance", "surface")
GEOMETRY_GROUPS: tuple[str, ...] = tuple(group.name for group in GROUPS if group.name not in _OUTSIDE)

# One unit of the loss (23) and of the metric of the axes: 0.1 m of position, 0.5 of a component of the normal.
POSITION_UNIT_M = 0.1
NORMAL_UNIT = 0.5


def channel_units(like: Tensor) -> Tensor:
    """(6,) size of one unit of the loss in each channel, with the dtype and device of `like`."""
    return like.new_tensor([POSITION_UNIT_M] * 3 + [NORMAL_UNIT] * 3)


class PrincipalAxes(nn.Module):
    """s = mean + axes · (deviation ⊙ coefficients), at a loss of 2 mm: fitted to the training bodies, then fixed."""

    mean: Tensor
    axes: Tensor
    deviation: Tensor

    def __init__(self, patches: int, axes: int) -> None:
        super().__init__()
        self.patches = patches
        self.register_buffer("mean", torch.zeros(patches * CHANNELS))
        self.register_buffer("axes", torch.zeros(axes, patches * CHANNELS))
        self.register_buffer("deviation", torch.ones(axes))

    def fit(self, s_BNC: Tensor) -> None:
        """Fits mean, axes and deviations to bodies (B, N, 6); B must be well above M."""
        flat = (s_BNC / channel_units(s_BNC)).flatten(1)
        self.mean.copy_(flat.mean(0))
        centred = flat - self.mean
        values, vectors = torch.linalg.eigh(centred.mT @ centred / len(flat))
        count = len(self.deviation)
        self.axes.copy_(vectors.flip(1)[:, :count].mT)
        self.deviation.copy_(values.flip(0)[:count].clamp_min(1e-8).sqrt())

    def project(self, s_BNC: Tensor) -> Tensor:
        """(B, N, 6) → coefficients (B, M) of unit variance."""
        flat = (s_BNC / channel_units(s_BNC)).flatten(1)
        coefficients: Tensor = (flat - self.mean) @ self.axes.mT / self.deviation
        return coefficients

    def forward(self, coefficients_BM: Tensor) -> Tensor:
        """Coefficients (B, M) → (B, N, 6), metres and mean normals."""
        flat = self.mean + (coefficients_BM.float() * self.deviation) @ self.axes
        s: Tensor = flat.unflatten(-1, (self.patches, CHANNELS)) * channel_units(flat)
        return s


def geometry_entries() -> Tensor:
    """Indices (E,) int64 of the label vector's entries that determine the body's geometry in its root frame."""
    slices = group_slices()
    return torch.cat([torch.arange(slices[name].start, slices[name].stop) for name in GEOMETRY_GROUPS])


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """Sizes of the decode networks.

    Args:
        latent: D.
        components: K.
        state: H.
        encoder_width, encoder_depth: of the encoder's trunk.
        covariance_rank: width of the covariance head's bottleneck.
        widths, depths: of f_1, f_2, f_3.
        axes: numbers of principal axes that f_1, f_2, f_3 predict coefficients for.
    """

    latent: int = 64
    components: int = 4
    state: int = 256
    encoder_width: int = 512
    encoder_depth: int = 1
    covariance_rank: int = 32
    widths: tuple[int, int, int] = (256, 384, 640)
    depths: tuple[int, int, int] = (1, 1, 3)
    axes: tuple[int, int, int] = (64, 128, 320)

    def __post_init__(self) -> None:
        if min(self.latent, self.components, self.state, self.encoder_width, self.covariance_rank, *self.widths) < 1:
            raise ValueError("all sizes of the decode networks must be at least 1")


class GatedBlock(nn.Module):
    """x + W(a ⊙ silu(b)): a gated unit computes products of features, as chained rotations require."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.expand(self.norm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.project(value * nn.functional.silu(gate))
        return out


def trunk(inputs: int, width: int, depth: int) -> nn.Sequential:
    """Linear → `depth` gated blocks → LayerNorm: (…, inputs) → (…, width)."""
    return nn.Sequential(nn.Linear(inputs, width), *(GatedBlock(width) for _ in range(depth)), nn.LayerNorm(width))


class LabelEncoder(nn.Module):
    """Labels y' and their presence mask → q(z'|y') (19, 20)."""

    def __init__(self, entries: int, config: DecodeConfig) -> None:
        super().__init__()
        self.config = config
        triangle = config.latent * (config.latent + 1) // 2
        self.body = trunk(2 * entries, config.encoder_width, config.encoder_depth)
        self.logits = nn.Linear(config.encoder_width, config.components)
        self.means = nn.Linear(config.encoder_width + 2 * entries, config.components * config.latent)
        # Start with small, uncorrelated variances, so that the decoder learns before sampling noise matters.
        last = nn.Linear(config.covariance_rank, config.components * triangle)
        nn.init.normal_(last.weight, std=0.01)
        with torch.no_grad():
            last.bias.zero_().view(config.components, triangle)[:, : config.latent] = -2.0
        self.covariance = nn.Sequential(nn.Linear(config.encoder_width, config.covariance_rank), nn.SiLU(), last)

    def hidden(self, y_BE: Tensor, present_BE: Tensor) -> tuple[Tensor, Tensor]:
        """(inputs, trunk features) of the heads; absent entries are zeroed."""
        inputs = torch.cat([y_BE * present_BE, present_BE], dim=-1)
        return inputs, self.body(inputs)

    def logits_and_means(self, y_BE: Tensor, present_BE: Tensor) -> tuple[Tensor, Tensor]:
        """log π (B, K) and μ (B, K, D); skips the covariances, which the mode does not need."""
        inputs, features = self.hidden(y_BE, present_BE)
        means = self.means(torch.cat([features, inputs], dim=-1))
        return self.logits(features), means.unflatten(-1, (self.config.components, self.config.latent))

    def mode(self, y_BE: Tensor, present_BE: Tensor) -> Tensor:
        """The mean of the component with the largest weight, (B, D)."""
        return heaviest_mean(*self.logits_and_means(y_BE, present_BE))

    def forward(self, y_BE: Tensor, present_BE: Tensor) -> GaussianMixture:
        inputs, features = self.hidden(y_BE, present_BE)
        means = self.means(torch.cat([features, inputs], dim=-1))
        raw = self.covariance(features).unflatten(-1, (self.config.components, -1)).float()
        means_BKD = means.unflatten(-1, (self.config.components, self.config.latent)).float()
        factor = cholesky_from_raw(raw, self.config.latent)
        return GaussianMixture(self.logits(features).float(), means_BKD, factor)


class RecurrentDecoder(nn.Module):
    """z' → s_1, s_2, s_3 (22): s_i = f_i(h_{i−1}, z'), h_i = GRU(h_{i−1}, s_i).

    Each f_i predicts coefficients in the principal axes of its level (`PrincipalAxes`), which costs 2 mm and saves most
    of the computation.  The recurrent cell reads s_i as the same coefficients.
    """

    def __init__(self, config: DecodeConfig) -> None:
        super().__init__()
        self.start = nn.Linear(config.latent, config.state)
        inputs = config.state + config.latent
        triples = zip(config.widths, config.depths, config.axes, strict=True)
        self.features = nn.ModuleList(
            nn.Sequential(trunk(inputs, width, depth), nn.Linear(width, axes)) for width, depth, axes in triples
        )
        self.levels = nn.ModuleList(
            PrincipalAxes(patches, axes) for patches, axes in zip(LEVEL_SIZES, config.axes, strict=True)
        )
        self.reads = nn.ModuleList(nn.Linear(axes, config.state) for axes in config.axes[:-1])
        self.cell = nn.GRUCell(config.state, config.state)

    @torch.no_grad()
    def fit_axes(self, levels: tuple[Tensor, Tensor, Tensor]) -> None:
        """Fits the principal axes of each level to training bodies (B, N, 6), before training."""
        for level, s in zip(self.axes(), levels, strict=True):
            level.fit(s)

    @torch.no_grad()
    def project(self, levels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Ground-truth levels → concatenated coefficients of all three, (B, sum of axes): the training target."""
        return torch.cat([level.project(s) for level, s in zip(self.axes(), levels, strict=True)], dim=-1)

    def axes(self) -> list[PrincipalAxes]:
        """The principal axes of the three levels."""
        return [level for level in self.levels if isinstance(level, PrincipalAxes)]

    def coefficients(self, z_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """s_1, s_2, s_3 as coefficients (B, axes_i) in the principal axes, in units of the axes' deviations."""
        h = torch.tanh(self.start(z_BD))
        coefficients: list[Tensor] = []
        for i, feature in enumerate(self.features):
            coefficients.append(feature(torch.cat([h, z_BD], dim=-1)))
            if i < len(self.reads):
                h = self.cell(self.reads[i](coefficients[-1]), h)
        s_1, s_2, s_3 = coefficients
        return s_1, s_2, s_3

    def forward(self, z_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, D) → s_1 (B, 32, 6), s_2 (B, 128, 6), s_3 (B, 512, 6): metres and mean normals, in the root frame."""
        s_1, s_2, s_3 = (level(c) for level, c in zip(self.levels, self.coefficients(z_BD), strict=True))
        return s_1, s_2, s_3


class DecodeNetwork(nn.Module):
    """Encoder and decoder together.

    Args:
        point_order: (2048,) curve order of the template's points (`geometry_image.curve_order`); stored with the
            weights, because it defines the patches of the features.
    """

    point_order: Tensor
    entries: Tensor

    def __init__(self, config: DecodeConfig, point_order: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("entries", geometry_entries())
        self.register_buffer("point_order", point_order)
        self.encoder = LabelEncoder(len(self.entries), config)
        self.decoder = RecurrentDecoder(config)

    def forward(self, labels_BL: Tensor, present_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Label vectors (B, 104) and mask of received entries (B, 104) → the three levels at the mode of z'."""
        z_BD = self.encoder.mode(labels_BL[:, self.entries], present_BL[:, self.entries])
        levels: tuple[Tensor, Tensor, Tensor] = self.decoder(z_BD)
        return levels
