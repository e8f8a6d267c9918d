"""Batches of views to learn from what people wear: cut from crops of which everything else may change.

Photographs are few.  Beside light, blur and errors of the keypoints, their framing, colours and scenery are changed,
and patches cover them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from common.arrays import ByteArray, FloatArray, Image
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.wear_kinds import VALUES
from sender.attributes.kind_evidence import KindViews, limb_colours, part_pictures, part_transforms
from sender.attributes.kind_network import PHOTOGRAPH
from sender.train.photographs.frames import linear_part, warped
from sender.train.worn.people import WornPeople

# Standard deviation of the keypoints' errors: of all together, of their scale, and of each, in crop units.
_SHIFT, _SCALE, _EACH = 0.012, 0.06, 0.007
_ERASED_SHARE, _FEATURES_SHARE = 0.05, 0.6
# Standard deviation of a photograph's turn, radians, of its place, crop units, and of the logarithms of its size and
# of its proportions.
_TURN, _PLACE, _SIZE, _PROPORTIONS = 0.07, 0.035, 0.07, 0.05
# Share of the photographs whose hue and saturation change, which are noisy, and whose scenery is blurred or gone.
_TINTED, _NOISY, _BLURRED, _BARE = 0.35, 0.2, 0.085, 0.09
_PATCHES = 0.56


@dataclass(frozen=True, slots=True)
class WornBatch:
    """Views, their sources (B,) as `sender.attributes.kind_network.SOURCES`, and (B, L) 1 where a value is possible."""

    views: KindViews
    source: Tensor
    possible: Tensor


def batch_of(rows: Sequence[tuple[WornPeople, int, int]], rng: Generator | None = None) -> WornBatch:
    """Views of people (data, row, source); with `rng` changed at random."""
    parts, colours, features, kinds = [], [], [], []
    for people, row, source in rows:
        picture, mask, keypoints = (column[row].numpy() for column in (people.picture, people.mask, people.keypoints))
        places = keypoints[:, :2]
        feature = people.features[row].float()
        if rng is not None:
            if source == PHOTOGRAPH:
                picture, mask, places = restaged(rng, picture, mask, places)
            picture, mask, places = changed(rng, picture, mask, places)
            feature = feature if rng.random() < _FEATURES_SHARE else feature * torch.nan
        cut = part_pictures(picture, mask, part_transforms(places))
        if rng is not None:
            cut[rng.random(len(cut)) < _ERASED_SHARE] = 0
        parts.append(cut)
        colours.append(limb_colours(picture, mask, places))
        features.append(feature)
        kinds.append(people.kinds[row])
    pictures = torch.from_numpy(np.stack(parts)).float() / 255
    views = KindViews(pictures, torch.from_numpy(np.stack(colours)), torch.stack(features))
    return WornBatch(views, torch.tensor([source for *_, source in rows]), bits(torch.stack(kinds)))


def restaged(
    rng: Generator, picture: Image, mask: ByteArray, places: FloatArray
) -> tuple[Image, ByteArray, FloatArray]:
    """A photograph in another framing, colour and scenery, with patches over it."""
    picture, mask, places = reframed(rng, picture, mask, places)
    if rng.random() < _TINTED:
        picture = tinted(rng, picture)
    if rng.random() < _NOISY:
        noise = rng.normal(0, rng.uniform(2, 14), picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    picture = before_other_scenery(rng, picture, mask)
    size = len(picture)
    for _ in range(rng.poisson(_PATCHES)):
        (left, top), (right, bottom) = _patch(rng, size)
        picture[top:bottom, left:right] = rng.integers(0, 256, 3)
    return picture, mask, places


def reframed(
    rng: Generator, picture: Image, mask: ByteArray, places: FloatArray
) -> tuple[Image, ByteArray, FloatArray]:
    """The whole crop turned, moved, and of another size and other proportions."""
    turn, size, ratio = rng.normal(0, _TURN), np.exp(rng.normal(0, _SIZE)), np.exp(rng.normal(0, _PROPORTIONS))
    linear = linear_part(size, ratio, turn, mirrored=False)
    shift = 0.5 + rng.normal(0, _PLACE, 2) - linear @ [0.5, 0.5]
    picture, mask = (
        warped(image, np.column_stack([linear, len(image) * shift]), len(image), border=0) for image in (picture, mask)
    )
    return picture, mask, np.asarray(places @ linear.T + shift, np.float32)


def tinted(rng: Generator, picture: Image) -> Image:
    """The picture in other hues, and more or less colourful."""
    channels = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.int16)
    channels[..., 0] = (channels[..., 0] + int(rng.normal(0, 7))) % 180
    channels[..., 1] = np.clip(channels[..., 1] * np.exp(rng.normal(0, 0.2)), 0, 255)
    return np.asarray(cv2.cvtColor(channels.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def before_other_scenery(rng: Generator, picture: Image, mask: ByteArray) -> Image:
    """A copy whose scenery may be blurred or of one colour, so that it tells less about the clothes."""
    drawn = rng.random()
    if drawn >= _BLURRED + _BARE:
        return picture.copy()
    size = len(picture)
    share = cv2.resize(mask, (size, size)).astype(np.float32)[..., None] / 255
    other = np.full_like(picture, rng.integers(0, 256, 3))
    if drawn < _BLURRED:
        other = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(3, 12))), np.uint8)
    return np.asarray(share * picture + (1 - share) * other, np.uint8)


def changed(rng: Generator, picture: Image, mask: ByteArray, places: FloatArray) -> tuple[Image, ByteArray, FloatArray]:
    """A mirrored picture, in other light, blurred or compressed, with errors of the keypoints."""
    if rng.random() < 0.5:
        picture, mask = np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        places = (np.array([1, 0]) + np.array([-1, 1]) * places)[MIRRORED_KEYPOINTS]
    picture = relit(rng, picture)
    if rng.random() < 0.35:
        size, small = len(picture), int(len(picture) * rng.uniform(0.25, 0.8))
        reduced = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        picture = np.asarray(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.2:
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))])[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    centre = places.mean(axis=0)
    moved = centre + (places - centre) * np.exp(rng.normal(0, _SCALE))
    noise = rng.normal(0, _SHIFT, 2) + rng.normal(0, _EACH, places.shape)
    return picture, mask, np.asarray(moved + noise, np.float32)


def relit(rng: Generator, picture: Image) -> Image:
    """The picture with another gain, gamma and contrast of each channel, or without colour."""
    levels = np.arange(256) / 255
    gamma, gain = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.12, 3) + rng.normal(0, 0.15))
    table = np.clip(255 * gain * levels[:, None] ** gamma, 0, 255).astype(np.uint8)[:, None]
    picture = np.asarray(cv2.LUT(picture, np.ascontiguousarray(table.transpose(1, 0, 2))), np.uint8)
    if rng.random() < 0.1:
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return picture


def bits(kinds_NA: Tensor) -> Tensor:
    """(N, L) 1 where a value of the attributes is possible, of (N, A) bits."""
    columns = [
        (kinds_NA[:, row, None].int() >> torch.arange(len(values))) & 1 for row, values in enumerate(VALUES.values())
    ]
    return torch.cat(columns, dim=1).float()


def _patch(rng: Generator, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Left, top and right, bottom of a rectangle, pixels."""
    extent, centre = rng.uniform(0.03, 0.2, 2) * size, rng.uniform(0, size, 2)
    low, high = np.maximum(centre - extent / 2, 0).astype(int), (centre + extent / 2).astype(int)
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))
