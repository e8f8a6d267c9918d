"""What one view of a person shows of clothes and hair at each surface point of the bare body.

The labels pose the bare body; the network's depth, the mask and the picture show the dressed person.  Where they differ
there is cloth or hair: the visible surface is nearer than the skin, the mask covers places outside the body, and the
colour is not that of skin.

Shapes: N = 2048 surface points, F features, T = 128 tokens of 16 neighbouring points, Q = 3 places of a token.

Accumulates what the views of one person say of the clothes: the longer one looks, the better it gets.

A view gives a Gaussian posterior under the prior N(0, 1); its likelihood has precision 1/v − 1.  Views from one
direction repeat each other's errors, so they are averaged.  Views from different directions share a part of them: k of
them count as k / (1 + 0.35 (k − 1)) independent ones.

Shapes: E = 24 entries, D = 8 directions around the person.

The network that reads `surface` labels from one view: evidence at the surface points → mean and variance.

    evidence (2048 points) ─ 128 tokens of 16 points ───────── + ─ blocks ─┐
    picture, silhouette, relief ─ CropEncoder ─┬─ at the tokens' places    │
                                               └─ whole ─┐                 │
    features X of the person ────────────────────────────┴─ a token ───────┴─ pooled ─ mean and log-variance

Shapes: B people, E = 24 entries of `surface`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import FloatArray, Image
from common.body.anatomy import POINTS, REGION_INDEX, TOKENS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE
from common.frames import Camera
from common.labels import concatenate
from common.tensor_rows import TensorRows
from common.weights.devices import CPU, to_numpy
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import architecture_of, load_into, made
from common.weights.manifest import find_entry
from common.weights.threads import side_by_side
from common.weights.transformer import Block
from sender.attributes.kinds import MEMORY_VIEWS, Contradictions, independent_share, inside, nearest
from sender.people.reading_schedule import Turn
from sender.people.view import PeopleView, PersonView
from sender.perception.crop import CropBox
from sender.perception.heads import Residual, convolution
from sender.perception.perception_network import FEATURE_SIZE, PerceptionOutput
from sender.perception.track import Memory, ObservedPerson
from sender.semantics.semantics_stage import confidence_of_entries
from sender.texture.atlas import view_cosine

SURFACE_PX = 112
"""Side of the crop's picture."""
# Distances from the skin, along its normal, at which the mask is read, metres.
PROBES_M = (0.0, 0.025, 0.06, 0.12, 0.2)
# Visible (cosine), depth difference and its validity, the probes, colour, difference from the face's colour, normal.
FEATURES = 3 + len(PROBES_M) + 3 + 3 + 3
# Distances from the skin of a token's places, metres.
PLACES_M = (0.0, 0.05, 0.12)
# A larger difference of depths comes from another surface: background, an arm before the body.
_MAX_DEPTH_DIFFERENCE_M = 0.3
_DEPTH_UNIT_M = 0.05
_FACE = REGION_INDEX["face"]


@dataclass(frozen=True, slots=True)
class SurfaceViews(TensorRows):
    """B views, each of one person; `sender.attributes.surface` computes most of it.

    Args:
        evidence: (B, 2048, F) at the surface points.
        places: (B, 128, Q, 2) of the tokens, crop units.
        picture: (B, 3, P, P) of the crop, RGB 0…1, P = `SURFACE_PX`.
        maps: (B, 2, P/2, P/2) silhouette and relief.
        features: (B, FEATURE_SIZE) X of perception.
    """

    evidence: Tensor
    places: Tensor
    picture: Tensor
    maps: Tensor
    features: Tensor


def evidence(
    points: FloatArray,
    normals: FloatArray,
    root_depth_m: float,
    picture: FloatArray,
    output: PerceptionOutput,
    crop: CropBox,
    camera: Camera,
) -> FloatArray:
    """Features (N, F) of one person, of order one.

    Args:
        points: (N, 3) surface points of the posed bare body, the camera's space, metres.
        normals: (N, 3) outward unit normals.
        root_depth_m: camera z of the root joint.
        picture: (S, S, 3) the crop, RGB 0…1.
    """
    cosine = view_cosine(points, normals, camera)
    at = _in_crop(points, crop, camera)
    person = _sigmoid(output.mask_logits[0].float().numpy())
    depth = output.depth[0].float().numpy()
    mask = np.stack([nearest(person, _in_crop(points + reach * normals, crop, camera)) for reach in PROBES_M], axis=1)
    nearer = (points[:, 2] - root_depth_m) - nearest(depth, at)
    valid = (cosine > 0) & (mask[:, 0] > 0.5) & (np.abs(nearer) < _MAX_DEPTH_DIFFERENCE_M)
    shown = (valid & inside(at))[:, None]
    colour = nearest(picture, at) * shown
    face = output.region_colours[0, _FACE].float().numpy()
    columns = (
        cosine[:, None],
        np.where(valid, nearer / _DEPTH_UNIT_M, 0)[:, None],
        valid[:, None],
        mask,
        2 * colour,
        2 * (colour - face) * shown,
        np.concatenate([normals[:, :2] @ crop.axes, normals[:, 2:]], axis=1) if crop.roll else normals,
    )
    return np.concatenate(columns, axis=1, dtype=np.float32)


def token_positions(points: FloatArray, normals: FloatArray, crop: CropBox, camera: Camera) -> FloatArray:
    """(T, Q, 2) where the tokens are seen, at the skin and off it, in crop units; the arguments are `evidence`'s."""
    centres, directions = (values.reshape(TOKENS, -1, 3).mean(axis=1) for values in (points, normals))
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-6)
    places = [_in_crop(centres + reach * directions, crop, camera) for reach in PLACES_M]
    return np.clip(np.nan_to_num(np.stack(places, axis=1), nan=-1.0), -1, 2)


def silhouette_and_relief(output: PerceptionOutput, size: int) -> FloatArray:
    """(2, size, size) of a crop: the probability of the person, and there the depth from the pelvis, in 0.3 m."""
    person = _sigmoid(output.mask_logits[0].float().numpy())
    relief = person * np.clip(output.depth[0].float().numpy() / _MAX_DEPTH_DIFFERENCE_M, -3, 3)
    maps = (cv2.resize(np.asarray(values, np.float32), (size, size)) for values in (person, relief))
    return np.stack([np.asarray(values, np.float32) for values in maps])


def _in_crop(points: FloatArray, crop: CropBox, camera: Camera) -> FloatArray:
    """(N, 2) positions of the points' pixels in crop units, 0…1 inside the crop."""
    return crop.to_units(camera.project(points))


def _sigmoid(logits: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)


DIRECTIONS = 8
# Clothes have changed if so many views in a row contradict the memory: their squared distance over its expectation.
_CONTRADICTION, _CONTRADICTING_VIEWS = 4.0, 3
_MIN_VARIANCE = 0.01
# Share of the errors that is common to all directions, by the validation split.
_SHARED_ERROR = 0.35


@dataclass(slots=True)
class SurfaceMemory:
    """One person's `surface` labels.

    Args:
        precision: (D, E) mean precision of the likelihoods of each direction's views.
        weighted: (D, E) mean of precision times value.
        views: (D,) views that each mean covers.
        contradicting: views in a row that contradict the memory.
    """

    precision: FloatArray = field(default_factory=lambda: np.zeros((DIRECTIONS, SURFACE_SIZE), np.float32))
    weighted: FloatArray = field(default_factory=lambda: np.zeros((DIRECTIONS, SURFACE_SIZE), np.float32))
    views: FloatArray = field(default_factory=lambda: np.zeros(DIRECTIONS, np.float32))
    contradicting: Contradictions = field(default_factory=lambda: Contradictions(_CONTRADICTING_VIEWS))
    turn: Turn = field(default_factory=Turn)

    def add(self, mean: FloatArray, variance: FloatArray, heading: float) -> float:
        """Adds one view; returns how many its direction has now, at most 12.

        Args:
            mean: (E,) of the posterior.
            variance: (E,) of the posterior, at most 1.
            heading: angle between the person's front and the direction to the camera, radians.
        """
        variance = np.clip(variance, _MIN_VARIANCE, 0.999)
        if self._contradicts(mean, variance):
            self.precision[:], self.weighted[:], self.views[:] = 0, 0, 0
        precision = 1 / variance - 1
        direction = round(heading / (2 * math.pi / DIRECTIONS)) % DIRECTIONS
        self.views[direction] = min(self.views[direction] + 1, MEMORY_VIEWS)
        share = 1 / self.views[direction]
        self.precision[direction] += share * (precision - self.precision[direction])
        # mean / variance is the posterior's natural parameter, to which the prior N(0, 1) contributes nothing.
        self.weighted[direction] += share * (mean / variance - self.weighted[direction])
        return float(self.views[direction])

    @property
    def estimate(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (E,) of all views and the prior."""
        share = independent_share(int(np.count_nonzero(self.views)), _SHARED_ERROR)
        precision = 1 + share * self.precision.sum(axis=0)
        mean, sigma = share * self.weighted.sum(axis=0) / precision, precision**-0.5
        return mean.astype(np.float32), sigma.astype(np.float32)

    def _contradicts(self, mean: FloatArray, variance: FloatArray) -> bool:
        """Whether this view is the last of several that contradict the memory."""
        if not self.views.any():
            return False
        known, sigma = self.estimate
        distance = float(np.mean((mean - known) ** 2 / (variance + sigma**2)))
        return self.contradicting.add(distance > _CONTRADICTION)


FUSED = 64
# 0 is off the person, then the materials of `common.synthetic.assets.appearance`.
GARMENTS = 9
CHANNELS = FUSED + GARMENTS + 3 + 2
# Variances relative to the prior's, which is 1.
_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE = -6.0, 0.0


class CropEncoder(nn.Module):
    """A small convolutional network, trained with the true garment and normal of every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, 24, 2)
        self.quarter = nn.Sequential(convolution(26, 48, 2), convolution(48, 48))
        self.eighth = nn.Sequential(convolution(48, 96, 2), Residual(96))
        self.sixteenth = nn.Sequential(convolution(96, 128, 2), Residual(128), Residual(128))
        self.from_sixteenth = nn.Conv2d(128, 96, 1)
        self.refined_eighth = Residual(96)
        self.from_eighth = nn.Conv2d(96, FUSED, 1)
        self.from_quarter = nn.Conv2d(48, FUSED, 1)
        self.fused = convolution(FUSED, FUSED)
        self.leave = nn.Sequential(nn.Conv2d(FUSED, 4 * (GARMENTS + 3), 1), nn.PixelShuffle(2))

    def forward(self, picture: Tensor, maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of a picture (B, 3, P, P), RGB 0…1, and maps (B, 2, P/2, P/2).

        Returns:
            Features (B, C, P/4, P/4), which contain the garments and normals; features of the whole picture (B, 128);
            logits of the garments (B, M, P/2, P/2); and normals in the crop's camera (B, 3, P/2, P/2), not normalised.
        """
        quarter = self.quarter(torch.cat([self.stem(picture - 0.5), maps], dim=1))
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        eighth = self.refined_eighth(eighth + _enlarged(self.from_sixteenth(sixteenth)))
        fused = self.fused(self.from_quarter(quarter) + _enlarged(self.from_eighth(eighth)))
        logits, normals = self.leave(fused).float().split([GARMENTS, 3], dim=1)
        shown = torch.cat([logits.softmax(dim=1), normals, maps], dim=1)
        features = torch.cat([fused.float(), functional.avg_pool2d(shown, 2)], dim=1)
        return features, sixteenth.mean(dim=(2, 3)), logits, normals


def _enlarged(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


@dataclass(frozen=True, slots=True)
class SurfaceNetConfig:
    """Sizes of the network."""

    width: int = 128
    heads: int = 4
    depth: int = 3

    def __post_init__(self) -> None:
        if self.width % self.heads or self.depth < 1:
            raise ValueError(f"width {self.width} must be divisible by heads {self.heads}, depth at least 1")


@dataclass(frozen=True, slots=True)
class SurfaceEstimate:
    """What B views say.

    Args:
        mean: (B, E).
        log_variance: (B, E).
        garment_logits: (B, M, P/2, P/2) of the picture's pixels.
        normals: (B, 3, P/2, P/2) of the visible surface, in the crop's camera; not normalised.
    """

    mean: Tensor
    log_variance: Tensor
    garment_logits: Tensor
    normals: Tensor


class SurfaceNet(nn.Module):
    """q(surface | one view): Gaussian, independent entries."""

    mean_X: Tensor
    scale_X: Tensor

    def __init__(self, config: SurfaceNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("mean_X", torch.zeros(FEATURE_SIZE))
        self.register_buffer("scale_X", torch.ones(FEATURE_SIZE))
        self.encoder = CropEncoder()
        self.embed = nn.Linear(POINTS // TOKENS * FEATURES, width)
        self.embed_places = nn.Linear(len(PLACES_M) * CHANNELS, width)
        self.position = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.person = nn.Sequential(nn.Linear(FEATURE_SIZE + 128, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 4)
        self.leave = nn.Sequential(nn.Linear(5 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, 2 * SURFACE_SIZE))

    def forward(self, views: SurfaceViews) -> SurfaceEstimate:
        picture, whole, garment_logits, normals = self.encoder(views.picture, views.maps)
        # Places outside the crop get zeros.
        seen = functional.grid_sample(picture, 2 * views.places - 1, align_corners=False)
        tokens = self.embed(views.evidence.unflatten(1, (TOKENS, -1)).flatten(2)) + self.position
        tokens = tokens + self.embed_places(seen.permute(0, 2, 3, 1).flatten(2))
        features = (views.features - self.mean_X) / self.scale_X
        person = self.person(torch.cat([features, whole], dim=1)).unsqueeze(1)
        x = torch.cat([tokens, person], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        # Four attention pools over the tokens, and the token of the whole person.
        pools = self.score(x[:, :-1]).softmax(dim=1).transpose(1, 2) @ x[:, :-1]
        numbers = self.leave(torch.cat([pools.flatten(1), x[:, -1]], dim=-1)).float()
        mean, log_variance = numbers.chunk(2, dim=-1)
        return SurfaceEstimate(mean, log_variance.clamp(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE), garment_logits, normals)


WEIGHTS_NAME = "clothing"
GROUP = "surface"
# Seconds from one reading of a person to the next.  From a direction that has been seen so often, the next view tells
# little.
_OBSERVE_EVERY_S, _KNOWN_EVERY_S, _KNOWN_VIEWS = 0.15, 0.48, 4


# One view: the inputs of `_Reader`.
_EXAMPLE = (
    torch.zeros(1, POINTS, FEATURES),
    torch.zeros(1, TOKENS, len(PLACES_M), 2),
    torch.zeros(1, 3, SURFACE_PX, SURFACE_PX),
    torch.zeros(1, 2, SURFACE_PX // 2, SURFACE_PX // 2),
    torch.zeros(1, FEATURE_SIZE),
)


class _Reader(nn.Module):
    """The network as a function of tensors: what `SurfaceViews` has → mean and log-variance."""

    def __init__(self, network: SurfaceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        estimate: SurfaceEstimate = self.network(SurfaceViews(*views))
        return estimate.mean, estimate.log_variance


def _load() -> _Reader:
    config = SurfaceNetConfig()
    return _Reader(load_into(made(SurfaceNet, config), WEIGHTS_NAME, architecture_of(config)))


class SurfaceReader:
    """Reads the clothes of every tracked person.

    A person who appears is read at once; then at most one person is read per frame, and each six times a second at
    most, so that the cost does not grow with the number of people; whose side is known, twice.
    """

    part = "clothing"

    def __init__(self, network: SurfaceNet | NetworkInUse, space: LabelSpace, body: BodyModel) -> None:
        if isinstance(network, SurfaceNet):
            network = NetworkInUse(_Reader(network.eval().requires_grad_(False)), "float32", CPU)
        self._network = network
        self._space = space
        self._body = body
        self._wearers = Memory(SurfaceMemory)

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the shipped weights; raises WeightsError where they are missing or of another version."""
        entry = find_entry(WEIGHTS_NAME)
        reader = in_use(_load, _EXAMPLE, WEIGHTS_NAME, entry.precision, device, stored=entry)
        return cls(reader, LabelSpace.load(), BodyModel.load())

    def label(self, view: PeopleView) -> None:
        """Writes `surface` labels, with standard deviations and confidence."""
        known = [self._wearers.of(person.seen.person) for person in view.people]
        due = view.schedule.due_of([person.seen for person in view.people], known)
        list(side_by_side(self._read, [(view, view.people[row], known[row]) for row in due]))
        for person, wearer in zip(view.people, known, strict=True):
            mean, sigma = wearer.estimate
            person.write(GROUP, mean, float(confidence_of_entries(sigma)), sigma)

    def _read(self, view: PeopleView, person: PersonView, wearer: SurfaceMemory) -> None:
        seen, heading = self.view(view.image, view.camera, person.seen, person.labels)
        mean, variance = self.read(seen)
        views = wearer.add(to_numpy(mean[0]), to_numpy(variance[0]), heading)
        view.schedule.was_read(wearer.turn, _KNOWN_EVERY_S if views >= _KNOWN_VIEWS else _OBSERVE_EVERY_S)

    @torch.inference_mode()
    def view(
        self, image: Image, camera: Camera, person: ObservedPerson, labels: Mapping[str, FloatArray]
    ) -> tuple[SurfaceViews, float]:
        """What one view shows of one person, and the heading: the angle from the camera to the person's front."""
        parameters = self._space.decode(torch.from_numpy(concatenate(labels))[None])
        posed = self._body(parameters)
        points, normals = (values[0].numpy() for values in self._body.surface_points(posed.vertices))
        picture: FloatArray = np.divide(person.crop.cut(image, SURFACE_PX), 255, dtype=np.float32)
        root_depth_m = float(posed.joint_positions[0, 0, 2])
        of_points = evidence(points, normals, root_depth_m, picture, person.output, person.crop, camera)
        views = SurfaceViews(
            _batch(of_points),
            _batch(token_positions(points, normals, person.crop, camera)),
            _batch(picture.transpose(2, 0, 1)),
            _batch(silhouette_and_relief(person.output, SURFACE_PX // 2)),
            person.output.features().float(),
        )
        # At rest a person faces the camera, along −z.
        front = -parameters.rotations[0, 0, :, 2]
        return views, math.atan2(float(front[0]), -float(front[2]))

    @torch.inference_mode()
    def read(self, views: SurfaceViews) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, 24) of single views."""
        mean, log_variance = (
            output.cpu()
            for output in self._network(views.evidence, views.places, views.picture, views.maps, views.features)
        )
        return mean, log_variance.exp()


def _batch(values: FloatArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))[None]
