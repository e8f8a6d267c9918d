"""The light is estimated from what body regions have in common."""

import numpy as np
import pytest

from sender.texture.light import LightEstimate, harmonics


def observation(direction: tuple[float, float, float], strength: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Albedo, shaded colours, normals and regions of a person with 8 regions of different colours."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(4000, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals[:, 2] = -np.abs(normals[:, 2])
    region = rng.integers(0, 8, 4000)
    albedo = rng.uniform(40, 200, (8, 3))[region] * rng.normal(1, 0.08, (4000, 1))
    towards = np.array(direction) / np.linalg.norm(direction)
    shading = (1 - strength) + strength * np.maximum(normals @ towards, 0)
    return albedo.astype(np.float32), (albedo * shading[:, None]).astype(np.float32), normals, region


def spread(colours: np.ndarray, albedo: np.ndarray) -> float:
    """Mean relative error of brightness, whatever the brightness of the light."""
    ratio = colours.mean(axis=1) / albedo.mean(axis=1)
    return float(np.abs(ratio / np.median(ratio) - 1).mean())


@pytest.mark.parametrize("direction", [(1.0, -0.5, -0.5), (-0.3, -1.0, -0.2), (0.0, 0.0, -1.0)])
def test_shading_is_divided_out(direction: tuple[float, float, float]) -> None:
    albedo, colours, normals, region = observation(direction, 0.6)
    light = LightEstimate()
    light.observe(colours, normals, region, np.ones(len(colours), np.float32))
    unlit = colours / light.shading(normals)[:, None]
    assert spread(unlit, albedo) < 0.5 * spread(colours, albedo)


def test_even_light_changes_little() -> None:
    _, colours, normals, region = observation((1.0, 0.0, 0.0), 0.0)
    light = LightEstimate()
    light.observe(colours, normals, region, np.ones(len(colours), np.float32))
    shading = light.shading(normals)
    assert np.abs(shading / shading.mean() - 1).mean() < 0.02


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.6])
def test_people_are_a_little_brighter_than_their_pictures(strength: float) -> None:
    """Whatever the light: its brightness cannot be told from theirs."""
    _, colours, normals, region = observation((1.0, -0.5, -0.5), strength)
    light = LightEstimate()
    light.observe(colours, normals, region, np.ones(len(colours), np.float32))
    unlit = colours / light.shading(normals)[:, None]
    assert 1.03 < unlit.mean() / colours.mean() < 1.2


def test_without_observations_light_is_even() -> None:
    normals = np.eye(3, dtype=np.float32)
    light = LightEstimate()
    nothing = np.zeros((0, 3), np.float32)
    light.observe(nothing, nothing, np.zeros(0, np.int64), np.zeros(0, np.float32))
    assert np.ptp(light.shading(normals)) == 0


def test_harmonics_are_orthogonal_on_the_sphere() -> None:
    normals = np.random.default_rng(0).normal(size=(200_000, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    basis = harmonics(normals)
    gram = basis.T @ basis / len(basis)
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 0.01
