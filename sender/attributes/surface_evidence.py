"""What one view of a person shows of clothes and hair at each surface point of the bare body.

The labels pose the bare body; the network's depth, the mask and the picture show the dressed person.  Where they differ
there is cloth or hair: the visible surface is nearer than the skin, the mask covers places outside the body, and the
colour is not that of skin.

Shapes: N = 2048 surface points, F features, T = 128 tokens of 16 neighbouring points, Q = 3 places of a token.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX, TOKENS
from common.frames import Camera
from common.tensor_rows import TensorRows
from sender.attributes.sampling import inside, nearest
from sender.perception.crop import CropBox
from sender.perception.output import PerceptionOutput
from sender.texture.point_visibility import view_cosine

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
    """B views, each of one person; `sender.attributes.surface_evidence` computes most of it.

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
