"""Cameras for crops: which part of a person a crop shows, from how far and through what lens."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.arrays import BoolArray, FloatArray, IntArray
from common.body.anatomy import REGION_INDEX, REGIONS
from common.synthetic.dataset.presets import WIDE, DatasetPreset

Generator = np.random.Generator

_NEAREST_M = 0.25
_UPPER = ("face", "scalp", "chest", "upper_arm.L", "upper_arm.R")
_ARMS = ("forearm.L", "forearm.R", "hand.L", "hand.R")
_FRAMES: tuple[tuple[float, tuple[str, ...]], ...] = (
    # Share, and the regions that a crop is fitted around; the rest may fall outside.
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
    """A batch of virtual cameras that look through the middle of their crops.

    Args:
        focal: (B,) focal lengths in crop widths.
        translation: (B, 3) where the root joints stand, metres.
        kind: (B,) `WHOLE`, or which cut (an index into the shares above).
        box: (B, 4) left, top, right, bottom of what the crop is fitted around, in crop units.
    """

    focal: FloatArray
    translation: FloatArray
    kind: IntArray
    box: FloatArray


def sample_focal(rng: Generator, count: int, preset: DatasetPreset = WIDE) -> FloatArray:
    """(count,) focal lengths in crop widths, from 0.9 (a webcam, close) to the preset's longest.

    `WIDE` has mostly 1.2–3 and ends at 8; 55 is a lens of 400 mm before a sensor 36 mm wide, cropped to a fifth.
    """
    median, spread, longest = preset.lenses
    return np.clip(np.exp(rng.normal(np.log(median), spread, count)), 0.9, longest).astype(np.float32)


def sample_tilt(rng: Generator, count: int) -> FloatArray:
    """(count, 3, 3) the camera's pitch (σ 11°, ±35° at most) and roll (σ 4°), as a turn of the scene."""
    pitch = np.radians(np.clip(rng.normal(4, 11, count), -35, 35))
    roll = np.radians(np.clip(rng.normal(0, 4, count), -15, 15))
    zero, one = np.zeros(count), np.ones(count)
    around_x = np.stack(
        [one, zero, zero, zero, np.cos(pitch), -np.sin(pitch), zero, np.sin(pitch), np.cos(pitch)], 1
    ).reshape(-1, 3, 3)
    around_z = np.stack(
        [np.cos(roll), -np.sin(roll), zero, np.sin(roll), np.cos(roll), zero, zero, zero, one], 1
    ).reshape(-1, 3, 3)
    return np.asarray(around_z @ around_x, np.float32)


def frame_people(rng: Generator, vertices: FloatArray, region: IntArray, preset: DatasetPreset = WIDE) -> Framing:
    """Choose a crop for each person: its box, enlarged by 1.1–1.5, off centre by up to 12 %.

    Args:
        rng: where all randomness comes from.
        vertices: (B, N, 3) some of the body's vertices, relative to the root joint, as the camera is turned.
        region: (N,) their regions.
        preset: how many crops show the whole person, how many hardly more than a face (the other cuts share the rest
            as ever), and through what lenses.
    """
    count = len(vertices)
    cuts = np.array([share for share, _ in _FRAMES[1:]])
    cuts *= (1 - preset.closeups) / cuts.sum()
    cuts[CLOSEUP - 1] = preset.closeups
    kind = rng.choice(len(_FRAMES), count, p=[preset.whole, *(cuts * (1 - preset.whole))])
    inside = np.stack([np.isin(region, [REGION_INDEX[name] for name in names]) for _, names in _FRAMES])[kind]
    focal = sample_focal(rng, count, preset)
    size = (1 / rng.uniform(1.1, 1.5, count)).astype(np.float32)
    jitter = (rng.uniform(-0.12, 0.12, (count, 2)) * np.where(kind == WHOLE, 0.6, 1.0)[:, None]).astype(np.float32)
    for _ in range(6):
        translation, box = _fit(vertices, inside, focal, size, jitter)
        near = (vertices[..., 2] + translation[:, None, 2]).min(1) < _NEAREST_M
        if not near.any():
            break
        focal = np.where(near, focal * 1.6, focal).astype(np.float32)
    return Framing(focal, translation, kind, box)


def _fit(
    vertices: FloatArray, inside: BoolArray, focal: FloatArray, size: FloatArray, jitter: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Move each body until the box of its chosen vertices has `size` and centre 0.5 + `jitter`."""
    low, high = _bounds(vertices, inside)
    translation = -(low + high) / 2
    translation[:, 2] = focal * (high - low)[:, :2].max(1) / size
    for _ in range(6):
        depth = np.maximum(vertices[..., 2] + translation[:, None, 2], 0.05)
        image = (vertices[..., :2] + translation[:, None, :2]) * (focal[:, None] / depth)[..., None].astype(np.float32)
        low, high = _bounds(image, inside)
        wrong = (low + high) / 2 - jitter
        scale = np.clip((high - low).max(1) / size, 0.5, 2.0)
        translation[:, :2] -= wrong * (translation[:, 2] / focal)[:, None]
        translation[:, 2] *= scale
    return translation.astype(np.float32), np.hstack([low, high]).astype(np.float32) + 0.5


def _bounds(points: npt.NDArray[np.floating], inside: BoolArray) -> tuple[FloatArray, FloatArray]:
    """(B, N, D) → least and greatest (B, D) of those inside."""
    far = np.float32(1e6)
    low = np.where(inside[..., None], points, far).min(1)
    high = np.where(inside[..., None], points, -far).max(1)
    return low.astype(np.float32), high.astype(np.float32)
