"""What one view shows of a person's hair and clothes: small pictures of the parts of the body, and colours along limbs.

The parts are squares placed by the keypoints that perception has found: upright along the spine, arms and legs along
their bones, those of the right side mirrored, so that one encoder reads both.  A fourth channel has the probability
that a pixel belongs to the person.

Shapes: P = 11 parts of Q = 48 pixels, K = 45 places whose colour is compared with the face's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from common.arrays import ByteArray, Float64Array, FloatArray, Image
from common.body.anatomy import KEYPOINT_INDEX
from common.tensor_rows import TensorRows
from sender.attributes.sampling import nearest
from sender.perception.crop import CropBox
from sender.perception.output import PerceptionOutput

PARTS = ("whole", "head", "bust", "torso", "hips", "left_arm", "right_arm", "left_leg", "right_leg", "left_foot",
         "right_foot")  # fmt: skip
PART_PX = 48
PARTS_PX = 256
"""Side of the crop that the parts are cut from."""
_HEAD, _FACE = ("nose", "left_ear", "right_ear"), ("nose", "left_eye", "right_eye")
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
    for limb in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
        for side in ("left", "right"):
            first, middle, last = (at[KEYPOINT_INDEX[f"{side}_{name}"]] for name in limb)
            length = max(float(np.linalg.norm(first - middle) + np.linalg.norm(middle - last)), 0.6 * scale)
            centre = (first + 2 * middle + last) / 4
            rows.append(_square(centre, 1.15 * length, _direction(last, first, spine), mirrored=side == "right"))
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
    colour = nearest(small, places) / 255
    inside = nearest(mask[..., None], places) / 255
    face = keypoints[[KEYPOINT_INDEX[name] for name in _FACE]].mean(axis=0, keepdims=True)
    skin = nearest(small, face.astype(np.float64)) / 255
    return np.concatenate([2 * colour - 1, 2 * (colour - skin), inside], axis=1).ravel().astype(np.float32)


def _places(at: Float64Array) -> Float64Array:
    """(K, 2) in crop units."""
    shoulders, hips = _middle(at, "shoulder"), _middle(at, "hip")
    steps = np.linspace(0.05, 1.95, _ALONG_LIMB)[:, None]
    rows = []
    for limb in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
        for side in ("left", "right"):
            first, middle, last = (at[KEYPOINT_INDEX[f"{side}_{name}"]] for name in limb)
            upper = first + steps * (middle - first)
            rows.append(np.where(steps < 1, upper, middle + (steps - 1) * (last - middle)))
    head = at[[KEYPOINT_INDEX[name] for name in _HEAD]].mean(axis=0)
    scale = _torso_length(at, shoulders, hips)
    up = _direction(shoulders, head, np.array([0.0, -1.0]))
    across = np.array([-up[1], up[0]])
    grid = [(0.12, 0), (0.2, 0), (0.28, 0), (0.1, 0.17), (0.1, -0.17), (-0.1, 0.17), (-0.1, -0.17), (-0.3, 0.17),
            (-0.3, -0.17)]  # fmt: skip
    rows.append(np.stack([head + scale * (a * up + b * across) for a, b in grid]))
    return np.concatenate(rows)


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
