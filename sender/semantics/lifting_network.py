"""The network that lifts over time, a conditional variational autoencoder, and the windows of frames that it is fed.

All frames of a window are expressed in the *window camera*: a square camera whose axis goes through the mean centre of
its frames' crops, and which is upright.  A keypoint goes from its own crop to its pixel, to the pixel's ray, and to the
window camera; a fitted body likewise.  So a crop that moves, turns or resizes moves nobody.

Lengths in a frame are in focal lengths of its camera: positions from the principal point, x to the right, y down.  A
crop off the axis looks larger than the window camera, at the same focal length, would show it, by cos θ ^ -1.5, where θ
is the angle of the ray through its centre; the focal length of the window camera is longer by that
(`sender.perception.crop`).

Equations (8) to (11) over windows of frames:

    X = tokens of a window ── transformer ── c_t of each frame ── p(z|X) = N(z; m(c_t), s(c_t)) ── z
    running: z = m(c_t);  (c_t, z) ── decoder ── own entries, corrections of the smoothed ones, trust between both = μ

What one frame shows is fitted before (`sender.semantics.refine`) and smoothed over time (`sender.semantics.smoothing`);
the decoder says the pose itself, and how far it trusts that.  z is of the window: it carries what stays, such as build
and which way joints bend.  With z known, its σ(c, z) is what remains open; the head's σ(c) is the whole error of μ at
z = m(c).  The posterior q(z|X,y) and the discriminator are of the training alone (`sender.train.lifting`).  The same
weights serve a live window and a whole clip: attention is masked, so that frames see those up to their own (`causal`),
or all; windows have 1 to 32 frames at any rate.

Shapes: … any leading axes, B windows (people), T frames, K = 17 keypoints, E = 80 entries in the window camera, F
columns of a token, C width of the transformer, Z of the latent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import BoolArray, Float64Array, FloatArray
from common.frames import Camera
from common.labels import ROTATION_SCALE, group_slices
from common.weights.transformer import Block
from sender.perception.crop import CropBox, crop_rotation, rolled_axes, to_frame
from sender.perception.heads import KEYPOINTS
from sender.semantics.bodies import CROSS, ENTRIES, PELVIS, Array, entries_of_pelvis, orientation, pelvis_in_crop

MAX_FRAMES = 32
"""Longest window."""
PAST_S = (0.06, 0.25)
"""Time constants of the past's means of keypoints."""

KEYPOINT_SCALE = 2.0
"""Keypoints are so many times their place from the centre of the window's crop."""
_OF_FRAME = 4 * KEYPOINTS
SEEN = _OF_FRAME + 10
"""Column of a token with whether the person was found; …"""
FITTED = slice(SEEN + 1 + 2 * len(PAST_S) * KEYPOINTS, SEEN + 1 + 2 * len(PAST_S) * KEYPOINTS + ENTRIES)
"""… the columns with the entries that are fitted to the frame, in the window camera."""
TOKEN: int = FITTED.stop + 2 * ENTRIES + 5 * KEYPOINTS + 1
"""F, the columns of a token."""
MOVED = slice(TOKEN - ENTRIES, TOKEN)
"""… the columns with how far smoothing moved these."""

_FARTHEST, _LARGEST_LOG = 4.0, 3.0
# Who walks leaves the window's crop.
_LARGEST_ENTRY = np.full(ENTRIES, 5.0, np.float32)
_LARGEST_ENTRY[PELVIS] = 40.0
# Of a ray in the window camera, so that its place stays finite.
_LEAST_DEPTH = 0.05
_LEAST_SIGMA = 1e-3
# Added to the σ of keypoints as they are weighed, crop widths.
_SURE = 0.01
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True, slots=True)
class Observations:
    """What T frames tell of a person; float32, crop units are 0…1 of each frame's own crop.

    Args:
        time_s: (…, T) on the source's clock.
        centre: (…, T, 2) of the crop, focal lengths from the principal point.
        side, roll: (…, T) of the crop, focal lengths; radians, as `CropBox.roll`.
        seen: (…, T) whether the person was found.  Of other frames time, crop and bodies count; these two are those of
            the nearest frame with the person.
        view: (…, T) 0 where the crop is seen as it is, 1 its mirror image, 0.5 both.
        keypoints, sigma, visible: (…, T, K, 2) and (…, T, K) crop units, their standard deviations, and the
            probabilities that they are visible.
        entries, log_sigma: (…, T, E) fitted to the frame in the crop (`sender.semantics.refine`), and the log of the
            standard deviations.
        smoothed: (…, T, E) the same smoothed over time (`sender.semantics.smoothing`), in the crop, too.
        joints_3d, joints_log_variance: (…, T, K, 3) metres from the pelvis in the crop's axes, and (…, T, K).
        joint_depth, depth_log_variance: (…, T, K) metres, and (…, T).
    """

    time_s: Float64Array
    centre: FloatArray
    side: FloatArray
    roll: FloatArray
    seen: BoolArray
    view: FloatArray
    keypoints: FloatArray
    sigma: FloatArray
    visible: FloatArray
    entries: FloatArray
    log_sigma: FloatArray
    smoothed: FloatArray
    joints_3d: FloatArray
    joints_log_variance: FloatArray
    joint_depth: FloatArray
    depth_log_variance: FloatArray

    @classmethod
    def joined(cls, frames: Sequence[Self]) -> Self:
        """Frames (…) of one person each → a window (…, T)."""
        axis = np.ndim(frames[0].time_s)
        return cls(*(np.stack([getattr(frame, item.name) for frame in frames], axis) for item in fields(cls)))

    def split(self) -> list[Self]:
        """Each of the first axis, as NumPy's zero-dimensional arrays where nothing is left of it."""
        columns = [np.asarray(getattr(self, item.name)) for item in fields(self)]
        return [type(self)(*(each[row, ...] for each in columns)) for row in range(len(columns[0]))]


def crop_in_focal_lengths(crop: CropBox, camera: Camera) -> tuple[FloatArray, float]:
    """`centre` (2,) and `side` of `Observations`."""
    centre = camera.rays(np.array(crop.centre))[:2]
    return centre.astype(np.float32), crop.side / camera.focal_px


@dataclass(frozen=True, slots=True)
class WindowCamera:
    """The camera that a window is expressed in.

    Args:
        rotation: (…, 3, 3) from its axes to those of the frame's camera.
        focal: (…,) its focal length in widths of its crop.
    """

    rotation: FloatArray
    focal: FloatArray

    @classmethod
    def through(cls, centre: FloatArray, side: FloatArray) -> Self:
        """Through the centre of a crop: `centre` (…, 2) and `side` (…,) as in `Observations`."""
        rotation = crop_rotation(centre, np.zeros_like(side))
        return cls(rotation, (rotation[..., 2, 2] ** -1.5 / side).astype(np.float32))

    @property
    def up(self) -> FloatArray:
        """(…, 3) the direction towards the picture's upper edge, in this camera's axes."""
        return -self.rotation[..., 1, :]

    def places(self, points: FloatArray) -> FloatArray:
        """(…, N, 2) places in the window's crop, 0…1, of pixels (…, N, 2) in focal lengths of the frame."""
        rays = np.concatenate([points, np.ones_like(points[..., :1])], -1) @ self.rotation
        places = 0.5 + self.focal[..., None, None] * rays[..., :2] / np.maximum(rays[..., 2:], _LEAST_DEPTH)
        return np.asarray(places, np.float32)

    def in_frame(self, entries: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Orientation (B, 3, 3) and pelvis (B, 3), metres, in the frame's camera; of entries (B, E) and B cameras."""
        pelvis = pelvis_in_crop(entries, self.focal[:, None])
        return self.rotation @ orientation(entries, CROSS), (self.rotation @ pelvis[..., None])[..., 0]

    def entries_of(self, turn: FloatArray, pelvis: FloatArray) -> FloatArray:
        """(B, 9) the entries of `root` of orientations (B, 3, 3) and pelvises (B, 3) in the frame's camera; the inverse
        of `in_frame`."""
        turn, pelvis = self.rotation.swapaxes(1, 2) @ turn, (pelvis[:, None] @ self.rotation)[:, 0]
        columns = turn[:, :, :2].swapaxes(1, 2).reshape(-1, 6) / ROTATION_SCALE
        return np.concatenate([columns, entries_of_pelvis(pelvis, self.focal[:, None])], 1)


def rolled(offsets: FloatArray, roll: FloatArray) -> FloatArray:
    """Offsets (…, N, 2) in axes that are rolled by (…,) radians → in the frame's."""
    turned: FloatArray = offsets @ rolled_axes(roll).swapaxes(-1, -2)
    return turned


def mean_crop(window: Observations, counted: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Centres (B, 2) and sides (B,), focal lengths, of the mean crops of frames (B, T) that are counted."""
    share = (counted / counted.sum(1, keepdims=True)).astype(np.float32)
    return (share[..., None] * window.centre).sum(1), np.exp((share * np.log(window.side)).sum(1))


def tokens(window: Observations, camera: WindowCamera, side: FloatArray) -> FloatArray:
    """What the network reads of B windows (B, T): tokens (B, T, F).

    Columns: keypoints, logs of their σ, visibility, crop (place, log of its size, roll), focal length, the picture's
    upward direction, view, whether seen, how far the past's means of the keypoints are from these; fitted entries in
    the window camera, logs of their σ, joints, depths and logs of their variances, and how far the smoothed entries
    are from the fitted ones.  All are of order one; what is not seen counts as 0, but for entries.

    Args:
        camera, side: the windows' cameras, and (B,) the sides of their crops, focal lengths.
    """
    frames = WindowCamera(camera.rotation[:, None], camera.focal[:, None])
    scale = (window.side / side[:, None])[..., None]
    turned = window.side[..., None, None] * rolled(window.keypoints - 0.5, window.roll)
    pixels = np.asarray(window.centre[..., None, :] + turned, np.float32)
    keypoints, place = frames.places(pixels), frames.places(window.centre[..., None, :])[..., 0, :]
    seen = window.seen[..., None]
    of_person = (
        _bounded(KEYPOINT_SCALE * (keypoints - 0.5).reshape(*seen.shape[:2], -1), _FARTHEST),
        _bounded(np.log(np.maximum(window.sigma * scale, _LEAST_SIGMA)) + 3, _LARGEST_LOG),
        window.visible,
    )
    whole = (*seen.shape[:2], 1)
    of_frame = (
        _bounded(KEYPOINT_SCALE * (place - 0.5), _FARTHEST),
        _bounded(np.log(scale), _LARGEST_LOG),
        np.stack([np.sin(window.roll), np.cos(window.roll)], -1),
        np.broadcast_to(np.log(camera.focal)[:, None, None], whole),
        np.broadcast_to(camera.up[:, None], (*whole[:2], 3)),
        (window.view[..., None] - 0.5) * seen,
        seen,
    )
    places, log_sigma, visible = (each * seen for each in of_person)
    weights = np.asarray(visible / (np.exp(2 * (log_sigma - 3)) + _SURE**2), np.float32).repeat(2, -1)
    past = (_mean_of_past(places, weights, window.time_s, constant) - places for constant in PAST_S)
    fitted, smoothed = (_turned(window, entries, frames) for entries in (window.entries, window.smoothed))
    said = _perceived(window, frames, scale) * seen
    columns = (places, log_sigma, visible, *of_frame, *past, fitted, said, smoothed - fitted)
    return np.concatenate(columns, -1).astype(np.float32)


def keypoints_of(tokens: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Places (…, K, 2) in the window's crop, 0…1, their standard deviations (…, K), and probabilities (…, K) that they
    are visible, of tokens (…, F)."""
    places = tokens[..., : 2 * KEYPOINTS].reshape(*tokens.shape[:-1], KEYPOINTS, 2) / KEYPOINT_SCALE + 0.5
    log_sigma, visible = tokens[..., 2 * KEYPOINTS : 3 * KEYPOINTS] - 3, tokens[..., 3 * KEYPOINTS : _OF_FRAME]
    return places, np.exp(log_sigma), visible


def _mean_of_past(values: FloatArray, weights: FloatArray, time_s: Float64Array, constant_s: float) -> FloatArray:
    """(B, T, D) means of values (B, T, D) up to each frame, by weights (B, T, D or 1) that fall with time."""
    ago = time_s[:, :, None] - time_s[:, None]
    kernel = np.where(ago >= 0, np.exp(-np.maximum(ago, 0) / constant_s), 0).astype(np.float32)
    return np.asarray((kernel @ (values * weights)) / np.maximum(kernel @ weights, _LEAST_WEIGHT), np.float32)


def _perceived(window: Observations, camera: WindowCamera, scale: FloatArray) -> FloatArray:
    """(B, T, E + 5 K + 1) logs of the fitted entries' σ, and perception's predictions, in the window camera; `scale`
    (B, T, 1) are sides of the crops, in sides of the window's."""
    shape = window.time_s.shape
    turn = crop_rotation(window.centre, window.roll)
    log_sigma = window.log_sigma.copy()
    log_sigma[..., PELVIS.start : PELVIS.stop - 1] += np.log(scale)
    columns = (
        log_sigma + 1,
        3 * (window.joints_3d @ (turn.swapaxes(-1, -2) @ camera.rotation)).reshape(*shape, -1),
        window.joints_log_variance * 0.5 + 2,
        window.joint_depth * 3,
        window.depth_log_variance[..., None] * 0.5 + 2,
    )
    return np.concatenate(columns, -1)


def _turned(window: Observations, entries: FloatArray, camera: WindowCamera) -> FloatArray:
    """(B, T, E) entries in the frames' crops → in the window camera."""
    shape, flat = window.time_s.shape, entries.reshape(-1, ENTRIES)
    turn = crop_rotation(window.centre, window.roll).reshape(-1, 3, 3)
    every = WindowCamera(
        np.broadcast_to(camera.rotation, (*shape, 3, 3)).reshape(-1, 3, 3), np.broadcast_to(camera.focal, shape).ravel()
    )
    pelvis = pelvis_in_crop(flat, 1 / window.side.reshape(-1, 1))
    root = every.entries_of(*to_frame(orientation(flat, CROSS), pelvis, turn)).reshape(*shape, -1)
    return _bounded(np.concatenate([root, entries[..., root.shape[-1] :]], -1), _LARGEST_ENTRY)


def _bounded(values: FloatArray | Float64Array, largest: float | FloatArray) -> FloatArray:
    return np.asarray(np.clip(values, -largest, largest), np.float32)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A diagonal Gaussian: mean (…, Z) and logarithm of the variance (…, Z)."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> Self:
        """From a network's output (…, 2 Z)."""
        mean, log_variance = parameters.chunk(2, dim=-1)
        return cls(mean, log_variance.clamp(-8, 4))

    def sample(self) -> Tensor:
        return self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)

    def kl_to(self, other: Self) -> Tensor:
        """(…,) Kullback-Leibler divergence KL(self ‖ other), nats."""
        ratio = (self.log_variance - other.log_variance).exp()
        distance = (self.mean - other.mean).square() / other.log_variance.exp()
        return 0.5 * (ratio + distance - 1 - self.log_variance + other.log_variance).sum(-1)


class ResidualMLP(nn.Module):
    """(…, inputs) → (…, outputs): linear layer, residual blocks of two linear layers each, linear layer."""

    def __init__(self, inputs: int, outputs: int, hidden: int, blocks: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden),
                nn.Linear(hidden, hidden),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, hidden),
            )
            for _ in range(blocks)
        )
        self.leave = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.enter(inputs)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        output: Tensor = self.leave(hidden)
        return output


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
        entries, sigma: (…, E) label entries in the window camera (`sender.semantics.bodies`), and their standard
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
