import numpy as np
import pytest
import torch

from common.body.surface_space import SURFACE_SIZE, TENSORS, SurfaceSpace
from common.training.fit_surface_space import fit, residuals_mm

MIRROR = np.arange(120).reshape(60, 2)[:, ::-1].ravel()


def test_fit_orders_directions_and_standardises_entries() -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(40, 120, 3)) * np.geomspace(0.02, 0.0002, 40)[:, None, None]
    fields = (0.01 + np.einsum("nk,kvd->nvd", rng.normal(size=(300, 40)), directions)).astype(np.float32)
    areas = rng.uniform(0.5, 1.5, 120).astype(np.float32)
    areas = ((areas + areas[MIRROR]) / 2).astype(np.float32)
    tensors = fit(fields.copy(), areas, MIRROR)
    space = SurfaceSpace(*(tensors[name].float() for name in TENSORS))
    fields = np.concatenate([fields, fields[:, MIRROR] * np.array([-1, 1, 1], np.float32)])
    entries = space.encode(torch.from_numpy(fields)).numpy()
    np.testing.assert_allclose(entries.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(entries.std(0), 1, atol=0.03)
    residuals = list(residuals_mm(space, fields, areas).values())
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 0.4 * residuals[0]
    assert set(tensors["mirror_signs"].tolist()) == {-1.0, 1.0}
    assert len(tensors["basis"]) == SURFACE_SIZE


def test_area_weighs_the_error() -> None:
    rng = np.random.default_rng(1)
    fields = rng.normal(0, 0.01, (200, 60, 3)).astype(np.float32)
    areas = np.ones(60, np.float32)
    areas[:8] = 1000
    tensors = fit(fields.copy(), areas, np.arange(60))
    space = SurfaceSpace(*(tensors[name].float() for name in TENSORS))
    truth = torch.from_numpy(fields)
    error = (space.decode(space.encode(truth)) - truth).norm(dim=-1).mean(0)
    assert error[:8].mean() == pytest.approx(0, abs=2e-4)
    assert error[8:].mean() > 0.01
