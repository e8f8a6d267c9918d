"""Virtual cameras of the crops: the part of the person that is shown, the distance and the focal length."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, FloatArray, IntArray
from common.body.anatomy import REGION_INDEX, REGIONS
from common.synthetic.dataset.presets import WIDE, DatasetPreset

_MIN_DISTANCE_M = 0.25
_UPPER = ("face", "scalp", "chest", "upper_arm.L", "upper_arm.R")
_ARMS = ("forearm.L", "forearm.R", "hand.L", "hand.R")
_CROP_KINDS: tuple[tuple[float, tuple[str, ...]], ...] = (
    # Share, and the regions that the crop is fitted to; other regions may be outside.
    (0.62, REGIONS),
    (0.06, ("face", "scalp", "chest")),
    (0.1, _UPPER),
    (0.12, (*_UPPER, *_ARMS, "hips")),
    (0.1, (*_UPPER, *_ARMS, "hips", "thigh.L", "thigh.R")),
    (0.0, ("face", "scalp")),
)
WHOLE, CLOSEUP = 0, 5


@dataclass(frozen=True)
class Framing:
    """A batch of virtual cameras whose principal points are the centres of the crops.

    Args:
        focal: (B,) focal lengths in crop widths.
        translation: (B, 3) positions of the root joints, metres.
        kind: (B,) index into `_CROP_KINDS`: `WHOLE`, `CLOSEUP` or another truncating crop.
        box: (B, 4) left, top, right, bottom of the regions that the crop is fitted to, in crop units.
    """

    focal: FloatArray
    translation: FloatArray
    kind: IntArray
    box: FloatArray


def sample_focal(rng: Generator, count: int, preset: DatasetPreset = WIDE) -> FloatArray:
    """(count,) focal lengths in crop widths, from 0.9 (a close webcam) to the preset's longest.

    `WIDE` has mostly 1.2–3 and at most 8; 55 is a 400 mm lens on a sensor 36 mm wide, cropped to a fifth.
    """
    median, spread, longest = preset.lenses
    return np.clip(np.exp(rng.normal(np.log(median), spread, count)), 0.9, longest).astype(np.float32)


def sample_tilt(rng: Generator, count: int) -> FloatArray:
    """(count, 3, 3) rotations of the scene for the camera's pitch (σ 11°, at most ±35°) and roll (σ 4°, ±15°)."""
    pitch, roll = np.clip(rng.normal(4, 11, count), -35, 35), np.clip(rng.normal(0, 4, count), -15, 15)
    turns = Rotation.from_euler("xz", np.stack([pitch, roll], axis=1), degrees=True)
    return np.asarray(turns.as_matrix(), np.float32)


def frame_people(rng: Generator, vertices: FloatArray, region: IntArray, preset: DatasetPreset = WIDE) -> Framing:
    """Samples a crop for each person: the box of its regions, enlarged by 1.1–1.5, off centre by up to 12 %.

    Args:
        vertices: (B, N, 3) a subset of the body's vertices, relative to the root joint, in the camera's orientation.
        region: (N,) regions of the vertices.
        preset: shares of whole persons and close-ups, and the focal lengths; the other kinds of crops share the rest
            in fixed proportions.
    """
    count = len(vertices)
    cuts = np.array([share for share, _ in _CROP_KINDS[1:]])
    cuts *= (1 - preset.closeups) / cuts.sum()
    cuts[CLOSEUP - 1] = preset.closeups
    kind = rng.choice(len(_CROP_KINDS), count, p=[preset.whole, *(cuts * (1 - preset.whole))])
    inside = np.stack([np.isin(region, [REGION_INDEX[name] for name in names]) for _, names in _CROP_KINDS])[kind]
    focal = sample_focal(rng, count, preset)
    size = (1 / rng.uniform(1.1, 1.5, count)).astype(np.float32)
    jitter = (rng.uniform(-0.12, 0.12, (count, 2)) * np.where(kind == WHOLE, 0.6, 1.0)[:, None]).astype(np.float32)
    for _ in range(6):
        translation, box = _fit(vertices, inside, focal, size, jitter)
        near = (vertices[..., 2] + translation[:, None, 2]).min(1) < _MIN_DISTANCE_M
        if not near.any():
            break
        focal = np.where(near, focal * 1.6, focal).astype(np.float32)
    return Framing(focal, translation, kind, box)


def _fit(
    vertices: FloatArray, inside: BoolArray, focal: FloatArray, size: FloatArray, jitter: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Moves each body iteratively until the box of its `inside` vertices has `size` and the centre 0.5 + `jitter`."""
    low, high = _bounds(vertices, inside)
    translation = -(low + high) / 2
    translation[:, 2] = focal * (high - low)[:, :2].max(1) / size
    for _ in range(6):
        depth = np.maximum(vertices[..., 2] + translation[:, None, 2], 0.05)
        image = (vertices[..., :2] + translation[:, None, :2]) * (focal[:, None] / depth)[..., None].astype(np.float32)
        low, high = _bounds(image, inside)
        centre_error = (low + high) / 2 - jitter
        scale = np.clip((high - low).max(1) / size, 0.5, 2.0)
        translation[:, :2] -= centre_error * (translation[:, 2] / focal)[:, None]
        translation[:, 2] *= scale
    return translation.astype(np.float32), np.hstack([low, high]).astype(np.float32) + 0.5


def _bounds(points: npt.NDArray[np.floating], inside: BoolArray) -> tuple[FloatArray, FloatArray]:
    """(B, N, D) → minimum and maximum (B, D) of the points inside."""
    far = np.float32(1e6)
    low = np.where(inside[..., None], points, far).min(1)
    high = np.where(inside[..., None], points, -far).max(1)
    return low.astype(np.float32), high.astype(np.float32)
