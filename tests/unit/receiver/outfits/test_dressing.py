"""Cloth that hangs around a tube which narrows downwards."""

import numpy as np
import pytest

from common.arrays import FloatArray
from receiver.outfits.dressing import Tube

_ROWS, _AROUND = 41, 24
_TOP_M, _BOTTOM_M, _NARROWING = 0.10, 0.05, 0.04


def cone() -> tuple[FloatArray, FloatArray, FloatArray]:
    """(V', 3) places, (V', 3) normals and (V',) how far down of a limb without ends, in rows from the top."""
    down, angle = np.meshgrid(np.linspace(0, 1, _ROWS), np.arange(_AROUND) / _AROUND * 2 * np.pi, indexing="ij")
    unit = np.stack([np.cos(angle), np.zeros_like(angle), np.sin(angle)], -1)
    places = (_TOP_M + (_BOTTOM_M - _TOP_M) * down)[..., None] * unit
    places[..., 1] = 0.5 * down
    rest, normals = (each.reshape(-1, 3).astype(np.float32) for each in (places, unit))
    return rest, normals, down.ravel().astype(np.float32)


@pytest.fixture(scope="module")
def tube() -> Tube:
    rest, normals, along = cone()
    return Tube(rest, normals, np.ones(len(rest), np.bool_), along, _NARROWING)


def radii(places: FloatArray) -> FloatArray:
    """(rows, directions) distance from the axis."""
    return np.asarray(np.linalg.norm(places[:, [0, 2]], axis=1).reshape(_ROWS, _AROUND), np.float32)


def test_cloth_is_held_at_the_top_and_falls_from_there(tube: Tube) -> None:
    rest, _, along = cone()
    hung = radii(rest + tube.hung(rest, along >= 0, 1.0))
    assert np.abs(hung[0] - _TOP_M).max() < 0.002
    assert np.abs(hung[-1] - _TOP_M * (1 - _NARROWING)).max() < 0.004


def test_nothing_moves_inwards_or_along_the_limb(tube: Tube) -> None:
    rest, normals, along = cone()
    rough = rest + normals * np.random.default_rng(3).uniform(0, 0.02, (len(rest), 1)).astype(np.float32)
    moved = tube.hung(rough, along >= 0, 1.0)
    assert np.einsum("vd,vd->v", moved, normals).min() >= 0
    assert np.abs(moved[:, 1]).max() < 1e-6


def test_cloth_clings_as_the_amount_says(tube: Tube) -> None:
    rest, _, along = cone()
    freely, half, clinging = (tube.hung(rest, along >= 0, amount) for amount in (1.0, 0.5, 0.0))
    assert np.allclose(half, freely / 2) and not clinging.any() and np.linalg.norm(freely, axis=1).max() > 0.03


def test_skin_below_a_hem_stays(tube: Tube) -> None:
    rest, _, along = cone()
    cloth = along <= 0.5
    moved = tube.hung(rest, cloth, 1.0)
    assert moved[cloth].any() and not moved[~cloth].any()


def test_cloth_that_widens_downwards_stays(tube: Tube) -> None:
    rest, normals, along = cone()
    flared = rest + normals * (0.1 * along[:, None])
    assert np.linalg.norm(tube.hung(flared, along >= 0, 1.0), axis=1).max() < 0.004
