"""Codes for meshes."""

import numpy as np
import pytest

from common.arrays import FloatArray, Int32Array
from tests.bench.rivals.meshes import (
    RangeDeltas,
    SentMeshes,
    ZstdDeltas,
    missing,
    through_deltas,
    through_draco,
    through_meshopt,
)

_SIDE = 24


@pytest.fixture
def sheets() -> tuple[FloatArray, Int32Array]:
    """Two curved sheets (2, V', 3) of a metre, and their triangles."""
    u, v = np.meshgrid(np.linspace(0, 1, _SIDE), np.linspace(0, 1, _SIDE))
    skins = [np.stack([u, v, np.sin(2 * u + shift) * v / 3], -1).reshape(-1, 3) for shift in (0.0, 0.02)]
    number = np.arange(_SIDE * _SIDE).reshape(_SIDE, _SIDE)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    faces = np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (b, d, c))])
    return np.stack(skins).astype(np.float32), faces.astype(np.int32)


def worst_m(sent: SentMeshes, skins: FloatArray) -> float:
    return float(np.abs(sent.skins - skins).max())


def test_deltas_are_exact_to_half_a_step(sheets: tuple[FloatArray, Int32Array]) -> None:
    skins, _ = sheets
    before = skins[[0, 0]]
    training = np.rint((skins[1:] - skins[:1]) / 0.001).astype(np.int64)
    for coder in (ZstdDeltas(), RangeDeltas(training, _SIDE * _SIDE)):
        sent = through_deltas(before, skins, 0.001, coder)
        assert worst_m(sent, skins) <= 0.00051
        assert sent.sizes[1] < sent.sizes[0] < 2 * skins[0].size


def test_large_changes_are_exact_too(sheets: tuple[FloatArray, Int32Array]) -> None:
    skins, _ = sheets
    coder = RangeDeltas(np.zeros((1, *skins[0].shape), np.int64), _SIDE * _SIDE)
    moved = skins + np.array([0.0, 2.0], np.float32)[:, None, None]
    assert worst_m(through_deltas(skins[[0, 0]], moved, 0.001, coder), moved) <= 0.00051


@pytest.mark.skipif(missing("DracoPy", "dracopy") is not None, reason="the extra bench is not installed")
def test_draco_comes_back_in_order(sheets: tuple[FloatArray, Int32Array]) -> None:
    coarse, fine = (through_draco(*sheets, bits) for bits in (9, 12))
    assert worst_m(fine, sheets[0]) < 0.6 / 2**12
    assert sum(coarse.sizes) < sum(fine.sizes)


@pytest.mark.skipif(missing("meshoptimizer", "meshoptimizer") is not None, reason="the extra bench is not installed")
def test_meshopt_comes_back_in_order(sheets: tuple[FloatArray, Int32Array]) -> None:
    coarse, fine = (through_meshopt(*sheets, bits) for bits in (8, 12))
    assert worst_m(fine, sheets[0]) < 0.6 / 2**12
    assert sum(coarse.sizes) < sum(fine.sizes)


def test_missing_package_says_what_to_install() -> None:
    assert "pip install" in str(missing("no_such_package", "no-such-package"))
