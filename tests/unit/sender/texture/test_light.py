"""The light is estimated from what body regions, and mirror points, have in common."""

import numpy as np
import pytest

from common.arrays import FloatArray, Int32Array, IntArray
from sender.texture.atlas import LightEstimate

_COUNT = 4000
_MIRROR = np.arange(_COUNT, dtype=np.int32) ^ 1
_NO_MIRROR = np.full(_COUNT, -1, np.int32)


def sphere(seed: int = 0) -> FloatArray:
    """Unit normals (N, 3), of which each second one mirrors the one before it; all face the camera."""
    normals = np.random.default_rng(seed).normal(size=(_COUNT // 2, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals[:, 2] = -np.abs(normals[:, 2])
    return np.stack([normals, normals * [-1, 1, 1]], axis=1).reshape(-1, 3).astype(np.float32)


def shaded(
    albedo: FloatArray, normals: FloatArray, direction: tuple[float, float, float], strength: float
) -> FloatArray:
    """Colours (N, 3) under even light and a lamp."""
    towards = np.array(direction) / np.linalg.norm(direction)
    shading = (1 - strength) + strength * np.maximum(normals @ towards, 0)
    return np.asarray(albedo * shading[:, None], np.float32)


def observation(
    direction: tuple[float, float, float], strength: float
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Albedo, shaded colours and normals of a person with 8 regions of different colours, and the regions."""
    rng, normals = np.random.default_rng(0), sphere()
    region = rng.integers(0, 8, _COUNT)
    albedo = (rng.uniform(40, 200, (8, 3))[region] * rng.normal(1, 0.08, (_COUNT, 1))).astype(np.float32)
    return albedo, shaded(albedo, normals, direction, strength), normals, region


def observed(colours: FloatArray, normals: FloatArray, region: IntArray, mirror: Int32Array) -> LightEstimate:
    """The light after one observation of all texels."""
    light = LightEstimate(region, mirror)
    light.observe(np.arange(_COUNT), colours, normals, np.ones(_COUNT, np.float32))
    return light


def spread(colours: FloatArray, albedo: FloatArray) -> float:
    """Mean relative error of brightness, whatever the brightness of the light."""
    ratio = colours.mean(axis=1) / albedo.mean(axis=1)
    return float(np.abs(ratio / np.median(ratio) - 1).mean())


@pytest.mark.parametrize("direction", [(1.0, -0.5, -0.5), (-0.3, -1.0, -0.2), (0.0, 0.0, -1.0)])
def test_shading_is_divided_out(direction: tuple[float, float, float]) -> None:
    albedo, colours, normals, region = observation(direction, 0.6)
    light = observed(colours, normals, region, _NO_MIRROR)
    unlit = colours / light.shading(normals)[:, None]
    assert spread(unlit, albedo) < 0.35 * spread(colours, albedo)


def test_mirror_points_tell_light_from_colour() -> None:
    """Dark patches that are seen on one side only are no light: where both sides are seen, they are alike."""
    normals = sphere()
    dark = np.repeat(np.random.default_rng(1).random(_COUNT // 2) < 0.4, 2)
    colours = np.where(dark[:, None], 100, np.full((_COUNT, 3), 150, np.float32)).astype(np.float32)
    seen = np.flatnonzero(~dark | (normals[:, 0] < 0))
    uneven = []
    for mirror in (_NO_MIRROR, _MIRROR):
        light = LightEstimate(np.zeros(_COUNT, np.int64), mirror)
        light.observe(seen, colours[seen], normals[seen], np.ones(len(seen), np.float32))
        uneven.append(np.ptp(light.shading(np.array([[-1, 0, 0], [1, 0, 0]], np.float32))))
    assert uneven[1] < 0.4 * uneven[0]


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.6])
def test_people_are_a_little_brighter_than_their_pictures(strength: float) -> None:
    """Whatever the light: its brightness cannot be told from theirs."""
    _, colours, normals, region = observation((1.0, -0.5, -0.5), strength)
    unlit = colours / observed(colours, normals, region, _NO_MIRROR).shading(normals)[:, None]
    assert 1.03 < unlit.mean() / colours.mean() < 1.2


def test_shading_is_limited() -> None:
    albedo = np.full((_COUNT, 3), 200, np.float32)
    normals, region = sphere(), np.zeros(_COUNT, np.int64)
    shading = observed(shaded(albedo, normals, (1.0, 0.0, 0.0), 1.0), normals, region, _MIRROR).shading(normals)
    assert shading.max() / shading.min() <= 4.001
