"""Kinds of clothes and hair: what one view shows of them, the network that reads it, and what views say together.

    parts ─ PartEncoder ─ 11 tokens ─┐
    colours along the limbs ─ token ─┼─ two layers ─ + ─ logits of each attribute's values ─ memory ─ what is said
    perception's features ─── token ─┤              │
                                     └──────────────┘

The parts are squares placed by the keypoints that perception has found: upright along the spine, arms and legs along
their bones, those of the right side mirrored, so that one encoder reads both; it begins with the layers of perception's
stem.  A fourth channel has the probability that a pixel belongs to the person.

The views of a clip repeat each other's errors: n of them count as n / (1 + 0.8 (n − 1)) independent ones, at most 1.25.
A view whose posterior is spread out shows little of an attribute and counts little.

What is said of a posterior: of each attribute the smallest set of values that is right often enough, or nothing.  The
probability that a set must have is chosen on people whom the network has not seen, so that nine of ten sets hold the
truth.  Of people who are read as most people are, and of whom all that is usual remains possible, the most frequent
value is right as often as what is read: their sets are not sent.

Shapes: B people, P = 11 parts of Q = 48 pixels, K = 45 places whose colour is compared with the face's, A = 8
attributes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, Image
from common.body.anatomy import KEYPOINT_INDEX
from common.tensor_rows import TensorRows
from common.wear_kinds import VALUES
from common.wears import USUAL, Wears
from sender.perception.crop import CropBox
from sender.perception.heads import Residual, convolution
from sender.perception.perception_network import FEATURE_SIZE, PerceptionOutput

COVERAGE = 0.9
"""Share of the sets that hold the truth."""


def said(posterior: Mapping[str, FloatArray], mass: Mapping[str, float]) -> Wears:
    """The sets, each with the posterior over its values.

    Args:
        mass: attribute → probability that its values have together at least; what is not in it is never said.
    """
    sets = {name: smallest_set(posterior[name], least) for name, least in mass.items()}
    kept = {
        name: np.where(held, posterior[name], 0) for name, held in sets.items() if tells(name, posterior[name], held)
    }
    return Wears({name: np.asarray(shares / shares.sum(), np.float32) for name, shares in kept.items()})


def smallest_set(shares: FloatArray, mass: float) -> BoolArray:
    """(…, V) whether each value is among the likeliest that together have this probability."""
    order = np.argsort(-shares, axis=-1, kind="stable")
    ranked = np.take_along_axis(shares, order, axis=-1)
    before = np.cumsum(ranked, axis=-1) - ranked
    held = np.zeros(shares.shape, bool)
    np.put_along_axis(held, order, before < mass, axis=-1)
    return held


def tells(name: str, shares: FloatArray, held: BoolArray) -> BoolArray:
    """(…) whether a set (…, V) of an attribute, of these probabilities, tells more than what is usual."""
    usual = smallest_set(USUAL[name], COVERAGE)
    told: BoolArray = (shares.argmax(axis=-1) != USUAL[name].argmax()) | (usual & ~held).any(axis=-1)
    return told


PARTS = ("whole", "head", "bust", "torso", "hips", "left_arm", "right_arm", "left_leg", "right_leg", "left_foot",
         "right_foot")  # fmt: skip
PART_PX = 48
PARTS_PX = 256
"""Side of the crop that the parts are cut from."""
_HEAD, _FACE = ("nose", "left_ear", "right_ear"), ("nose", "left_eye", "right_eye")
_LIMBS = [
    [KEYPOINT_INDEX[f"{side}_{joint}"] for joint in joints]
    for joints in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
    for side in ("left", "right")
]
_ALONG_LIMB = 9
_ON_HEAD = 9
PLACES = 4 * _ALONG_LIMB + _ON_HEAD
COLOUR_FEATURES = PLACES * 7
# Sides of the parts over the length of the torso.
_SIDES = {"head": 0.85, "bust": 1.5, "torso": 1.75, "hips": 1.6, "left_foot": 0.7, "right_foot": 0.7}
# Shortest torso over the longest side of the box around all keypoints, for people seen from above or folded.
_LEAST_TORSO = 0.22


@dataclass(frozen=True, slots=True)
class KindViews(TensorRows):
    """B views, each of one person.

    Args:
        parts: (B, P, 4, Q, Q) RGB and the mask, 0…1.
        colours: (B, 7 K).
        features: (B, X) of perception.
    """

    parts: Tensor
    colours: Tensor
    features: Tensor


def views_of(image: Image, crop: CropBox, output: PerceptionOutput) -> KindViews:
    """What one frame (H, W, 3) RGB shows of one person, of whom perception has seen a crop."""
    picture = crop.cut(image, PARTS_PX)
    mask = (255 * output.mask_logits[0].float().sigmoid()).round().byte().numpy()
    places = output.keypoints_2d[0].float().numpy()
    parts = torch.from_numpy(part_pictures(picture, mask, part_transforms(places))).float()[None] / 255
    colours = torch.from_numpy(limb_colours(picture, mask, places))[None]
    return KindViews(parts, colours, output.features().float())


def part_transforms(keypoints: FloatArray) -> Float64Array:
    """(P, 2, 3) from crop units to units of each part, 0…1 inside.

    Args:
        keypoints: (17, 2) in crop units.
    """
    at = keypoints.astype(np.float64)
    shoulders, hips, knees = (_middle(at, joint) for joint in ("shoulder", "hip", "knee"))
    head = at[[KEYPOINT_INDEX[name] for name in _HEAD]].mean(axis=0)
    spine, scale = _direction(hips, shoulders, np.array([0.0, -1.0])), _torso_length(at, shoulders, hips)
    neck = _direction(shoulders, head, spine)
    rows = [_square(np.array([0.5, 0.5]), 1.0, np.array([0.0, -1.0]))]
    rows.append(_square(head + 0.08 * scale * neck, _SIDES["head"] * scale, neck))
    rows.append(_square(0.6 * shoulders + 0.4 * head, _SIDES["bust"] * scale, neck))
    rows.append(_square((shoulders + hips) / 2, _SIDES["torso"] * scale, spine))
    rows.append(_square(0.65 * hips + 0.35 * knees, _SIDES["hips"] * scale, _direction(knees, hips, spine)))
    for (first, middle, last), right in zip(at[_LIMBS], (False, True) * 2, strict=True):
        length = max(float(np.linalg.norm(first - middle) + np.linalg.norm(middle - last)), 0.6 * scale)
        centre = (first + 2 * middle + last) / 4
        rows.append(_square(centre, 1.15 * length, _direction(last, first, spine), mirrored=right))
    for side in ("left", "right"):
        knee, ankle = at[KEYPOINT_INDEX[f"{side}_knee"]], at[KEYPOINT_INDEX[f"{side}_ankle"]]
        along = _direction(ankle, knee, spine)
        rows.append(_square(ankle - 0.08 * scale * along, 0.7 * scale, along, mirrored=side == "right"))
    return np.stack(rows)


def part_pictures(picture: Image, mask: ByteArray, transforms: Float64Array) -> ByteArray:
    """(P, 4, Q, Q) uint8 of a crop (S, S, 3) and its mask (M, M), by the transforms (P, 2, 3) of parts."""
    pictures, masks = _pyramid(picture), _pyramid(mask)
    parts = np.zeros((len(transforms), 4, PART_PX, PART_PX), np.uint8)
    for row, transform in enumerate(transforms):
        parts[row, :3] = _cut(pictures, transform).transpose(2, 0, 1)
        parts[row, 3] = _cut(masks, transform)
    return parts


def limb_colours(picture: Image, mask: ByteArray, keypoints: FloatArray) -> FloatArray:
    """(7 K,) at places along the limbs and on the head: colour, its difference from the face's, and the mask."""
    places = _places(keypoints.astype(np.float64))
    small = np.asarray(cv2.blur(picture, (3, 3)), np.uint8)
    colour = _nearest(small, places) / 255
    inside = _nearest(mask[..., None], places) / 255
    face = keypoints[[KEYPOINT_INDEX[name] for name in _FACE]].mean(axis=0, keepdims=True)
    skin = _nearest(small, face.astype(np.float64)) / 255
    return np.concatenate([2 * colour - 1, 2 * (colour - skin), inside], axis=1).ravel().astype(np.float32)


def _nearest(image: ByteArray, positions: Float64Array) -> FloatArray:
    """(N, C) nearest pixels of (S, S, C) at (N, 2) positions, 0 outside; not a number is outside."""
    size = len(image)
    cells = np.clip(np.floor(np.nan_to_num(positions) * size), 0, size - 1).astype(np.int64)
    # Much faster than `all` along the short axis.
    across, down = ((positions >= 0) & (positions < 1)).T
    return np.asarray(np.where((across & down)[:, None], image[cells[:, 1], cells[:, 0]], 0), np.float32)


def _places(at: Float64Array) -> Float64Array:
    """(K, 2) in crop units."""
    shoulders, hips = _middle(at, "shoulder"), _middle(at, "hip")
    steps = np.linspace(0.05, 1.95, _ALONG_LIMB)[:, None]
    rows = [
        np.where(steps < 1, first + steps * (middle - first), middle + (steps - 1) * (last - middle))
        for first, middle, last in at[_LIMBS]
    ]
    head = at[[KEYPOINT_INDEX[name] for name in _HEAD]].mean(axis=0)
    scale = _torso_length(at, shoulders, hips)
    up = _direction(shoulders, head, np.array([0.0, -1.0]))
    across = np.array([-up[1], up[0]])
    grid = [(0.12, 0), (0.2, 0), (0.28, 0), (0.1, 0.17), (0.1, -0.17), (-0.1, 0.17), (-0.1, -0.17), (-0.3, 0.17),
            (-0.3, -0.17)]  # fmt: skip
    return np.concatenate([*rows, np.stack([head + scale * (a * up + b * across) for a, b in grid])])


def _middle(at: Float64Array, joint: str) -> Float64Array:
    return np.asarray((at[KEYPOINT_INDEX[f"left_{joint}"]] + at[KEYPOINT_INDEX[f"right_{joint}"]]) / 2)


def _torso_length(at: Float64Array, shoulders: Float64Array, hips: Float64Array) -> float:
    """Length of the torso as it would be if it were not foreshortened, crop units."""
    width = float(np.linalg.norm(at[KEYPOINT_INDEX["left_shoulder"]] - at[KEYPOINT_INDEX["right_shoulder"]]))
    spread = float((at.max(axis=0) - at.min(axis=0)).max())
    longest = max(float(np.linalg.norm(shoulders - hips)), 1.2 * width, _LEAST_TORSO * spread)
    return min(max(longest, 0.05), 2.0)


def _direction(start: Float64Array, end: Float64Array, otherwise: Float64Array) -> Float64Array:
    length = float(np.linalg.norm(end - start))
    return (end - start) / length if length > 1e-3 else otherwise


def _square(centre: Float64Array, side: float, up: Float64Array, *, mirrored: bool = False) -> Float64Array:
    """(2, 3) from crop units to those of a square, whose upper side is in the direction `up`."""
    right = np.array([-up[1], up[0]]) * (-1.0 if mirrored else 1.0)
    linear = np.stack([right, -up]) / side
    return np.concatenate([linear, (0.5 - linear @ centre)[:, None]], axis=1)


def _pyramid(image: ByteArray) -> Sequence[ByteArray]:
    """The image, then each half as large as the one before."""
    levels = [image]
    while len(levels[-1]) >= 2 * PART_PX:
        half = len(levels[-1]) // 2
        levels.append(np.asarray(cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA), np.uint8))
    return levels


def _cut(levels: Sequence[ByteArray], transform: Float64Array) -> ByteArray:
    """One part, from the level with about as many pixels as the part."""
    covered = 1 / float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    level = next((item for item in levels if len(item) * covered <= 1.5 * PART_PX), levels[-1])
    # Centres of pixels are at half units.
    size = len(level)
    matrix = np.concatenate([transform[:, :2] * PART_PX / size, transform[:, 2:] * PART_PX], axis=1)
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return np.asarray(cv2.warpAffine(level, matrix, (PART_PX, PART_PX), flags=cv2.INTER_LINEAR), np.uint8)


# Views that a mean covers, because clothes change.
_MEMORY_VIEWS = 12.0
# Share of the errors that is common to all views.
_SHARED_ERROR = 0.8
# Weight of a view that shows nothing, over that of one that is sure.
_LEAST_WEIGHT = 0.05
_LEAST_SHARE = 1e-3
# An attribute has changed if so many views in a row contradict the memory: both would be right with less than this
# probability.
_CONTRADICTION, _CONTRADICTING_VIEWS = 0.08, 4


@dataclass(slots=True)
class _Attribute:
    """What is known of one attribute.

    Args:
        mean: (V,) weighted mean of the logarithms of the posteriors.
        weight: sum of the weights in it.
        views: number of views that it covers.
        contradicting: views in a row that contradict it.
    """

    mean: FloatArray
    weight: float = 0.0
    views: float = 0.0
    contradicting: int = 0

    def add(self, shares: FloatArray) -> None:
        contradicts = bool(self.views) and float(self.posterior @ shares) < _CONTRADICTION
        self.contradicting = self.contradicting + 1 if contradicts else 0
        if self.contradicting >= _CONTRADICTING_VIEWS:
            self.weight, self.views, self.contradicting = 0.0, 0.0, 0
        elif contradicts:
            return
        logs = np.log(np.maximum(shares, _LEAST_SHARE))
        certainty = 1 + float((shares * logs).sum()) / np.log(len(shares))
        added = _LEAST_WEIGHT + (1 - _LEAST_WEIGHT) * max(certainty, 0.0)
        if self.views >= _MEMORY_VIEWS:
            self.weight *= (_MEMORY_VIEWS - 1) / _MEMORY_VIEWS
        self.views = min(self.views + 1, _MEMORY_VIEWS)
        self.weight += added
        self.mean = self.mean + np.float32(added / self.weight) * (logs.astype(np.float32) - self.mean)

    @property
    def posterior(self) -> FloatArray:
        """(V,) of all views."""
        independent = self.views / (1 + _SHARED_ERROR * max(self.views - 1, 0))
        scores = np.exp(independent * (self.mean - self.mean.max()))
        return np.asarray(scores / scores.sum(), np.float32)


@dataclass(slots=True)
class KindMemory:
    """What one person wears."""

    attributes: dict[str, _Attribute] = field(
        default_factory=lambda: {name: _Attribute(np.zeros(len(each), np.float32)) for name, each in VALUES.items()}
    )

    def add(self, posterior: Mapping[str, FloatArray]) -> None:
        """Adds the posterior of one view.

        A view that contradicts what is known of an attribute is left out, unless it is the last of several in a row.
        """
        for name, known in self.attributes.items():
            known.add(posterior[name])

    @property
    def settled(self) -> bool:
        """Whether each attribute has as many views as count, and the last one contradicted none."""
        return all(known.views >= _MEMORY_VIEWS and not known.contradicting for known in self.attributes.values())

    @property
    def posterior(self) -> dict[str, FloatArray]:
        """Attribute → the posterior of all views; uniform before the first."""
        return {name: known.posterior for name, known in self.attributes.items()}


LOGITS = sum(len(values) for values in VALUES.values())
PHOTOGRAPH, RENDERED = SOURCES = range(2)
"""Where a view comes from in training, which sets how frequent each value is."""


@dataclass(frozen=True, slots=True)
class KindNetConfig:
    """Sizes of the network."""

    token: int = 96
    hidden: int = 256
    dropout: float = 0.25


class PartEncoder(nn.Module):
    """Parts (N, 4, Q, Q) → (N, 2 · 128): mean and maximum of features at stride 16."""

    def __init__(self) -> None:
        super().__init__()
        self.quarter = nn.Sequential(convolution(3, 24, 2), convolution(24, 48, 2), convolution(48, 48))
        self.mask = nn.Conv2d(1, 48, 4, 4)
        self.part = nn.Embedding(len(PARTS), 48)
        self.eighth = nn.Sequential(convolution(48, 96, 2), Residual(96))
        self.sixteenth = nn.Sequential(convolution(96, 128, 2), Residual(128))
        nn.init.zeros_(self.mask.weight)
        nn.init.zeros_(self.mask.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.part.weight)

    def forward(self, parts: Tensor, number: Tensor) -> Tensor:
        quarter = self.quarter(4 * parts[:, :3] - 2) + self.mask(parts[:, 3:]) + self.part(number)[..., None, None]
        features = self.sixteenth(self.eighth(quarter))
        return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)


class KindNet(nn.Module):
    """q(kinds | one view): independent attributes."""

    mean_X: Tensor
    scale_X: Tensor
    numbers: Tensor
    mass: Tensor
    """(A,) of `kind_sets.said`, chosen on people who were left out; 0: the attribute is never said."""

    def __init__(self, config: KindNetConfig) -> None:
        super().__init__()
        self.config = config
        width, joined = config.token, config.token * (len(PARTS) + 2)
        self.register_buffer("mean_X", torch.zeros(FEATURE_SIZE))
        self.register_buffer("scale_X", torch.ones(FEATURE_SIZE))
        self.register_buffer("numbers", torch.arange(len(PARTS)), persistent=False)
        self.register_buffer("mass", torch.ones(len(VALUES)))
        self.encoder = PartEncoder()
        self.embed = nn.Linear(256, width)
        self.colours = nn.Sequential(nn.Linear(COLOUR_FEATURES, width), nn.GELU(), nn.Linear(width, width))
        self.person = nn.Sequential(nn.Dropout(0.3), nn.Linear(FEATURE_SIZE, width), nn.GELU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(config.dropout)
        self.mix = nn.Sequential(nn.Linear(joined, config.hidden), nn.GELU(), nn.Dropout(config.dropout))
        self.leave = nn.Linear(joined + config.hidden, LOGITS)
        self.frequency = nn.Embedding(len(SOURCES), LOGITS)
        nn.init.zeros_(self.frequency.weight)

    def forward(self, views: KindViews, source: Tensor) -> Tensor:
        """(B, L) logits over the values of all attributes, in the order of `VALUES`.

        Args:
            source: (B,) of `SOURCES`.
        """
        people, parts = views.parts.shape[:2]
        encoded = self.encoder(views.parts.flatten(0, 1), self.numbers.repeat(people))
        seen = self.embed(encoded.unflatten(0, (people, parts)))
        features = ((views.features - self.mean_X) / self.scale_X).clamp(-4, 4)
        # Rendered people have no features.
        features = torch.where(features.isnan(), torch.zeros_like(features), features)
        more = torch.stack([self.colours(views.colours), self.person(features)], dim=1)
        x = self.drop(self.norm(torch.cat([seen, more], dim=1)).flatten(1))
        logits: Tensor = self.leave(torch.cat([x, self.mix(x)], dim=1)) + self.frequency(source)
        return logits.float()


def by_attribute(logits: Tensor) -> tuple[Tensor, ...]:
    """(…, L) → of each attribute (…, V)."""
    return tuple(torch.split(logits, [len(values) for values in VALUES.values()], dim=-1))
