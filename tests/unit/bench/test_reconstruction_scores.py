"""Mask and depth scores of a mesh against a crop's truth."""

from dataclasses import replace

import numpy as np
import pytest

from common.arrays import FloatArray
from common.frames import Camera, PersonLabels
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.stage import SurfaceStage
from tests.bench.crops import TruePerson, coarse_mask
from tests.bench.measures import Surface
from tests.bench.reconstruction_scores import image_figures, visible_surface
from tests.support.shapes import sphere

_CAMERA = Camera(64, 64, 128.0)
_CENTRE_M = 3.0


def _ball() -> SurfaceMesh:
    return SurfaceStage().reconstruct(*sphere())


def _moved(mesh: SurfaceMesh, by: tuple[float, float, float]) -> SurfaceMesh:
    return replace(mesh, vertices=(mesh.vertices + by).astype(np.float32))


def _rays() -> tuple[FloatArray, FloatArray]:
    """x / z and y / z at the pixel centres of half resolution."""
    y, x = (np.mgrid[0:32, 0:32] + 0.5 - 16.0) / 64.0
    return x.astype(np.float32), y.astype(np.float32)


def _truth() -> TruePerson:
    """A person who is the sphere of radius 0.5 m, its centre the root joint."""
    x, y = _rays()
    squared = 1.0 + x**2 + y**2
    discriminant = _CENTRE_M**2 - squared * (_CENTRE_M**2 - 0.25)
    mask = discriminant > 0
    depth = np.where(mask, (_CENTRE_M - np.sqrt(np.maximum(discriminant, 0.0))) / squared - _CENTRE_M, 0.0)
    mesh = _ball()
    person = PersonLabels(0, 1.0, {})
    keypoints = np.zeros((17, 3), np.float32)
    surface = Surface(mesh.vertices, mesh.faces)
    return TruePerson(person, keypoints, mesh, surface, surface, mesh, _CAMERA, mask, depth.astype(np.float32), True)


def test_image_figures_of_the_true_surface() -> None:
    found = image_figures(_ball(), _CENTRE_M, _truth())
    assert found["mask_iou"] > 0.96
    assert found["depth_mm"] < 10


def test_image_figures_when_surface_is_nearer_than_its_root() -> None:
    assert image_figures(_ball(), _CENTRE_M + 0.1, _truth())["depth_mm"] == pytest.approx(100, abs=10)


def test_image_figures_ignore_distance_of_root() -> None:
    """A body moved along the optical axis keeps its depth error; only its silhouette grows."""
    near = image_figures(_moved(_ball(), (0.0, 0.0, -0.2)), _CENTRE_M - 0.2, _truth())
    assert near["depth_mm"] < 50
    assert near["mask_iou"] < 0.93


def test_image_figures_without_overlap() -> None:
    found = image_figures(_moved(_ball(), (5.0, 0.0, 0.0)), _CENTRE_M, _truth())
    assert found["mask_iou"] == 0.0
    assert np.isnan(found["depth_mm"])


def test_visible_surface_has_half_the_resolution() -> None:
    mask, depth = visible_surface(_ball(), _CAMERA)
    assert mask.shape == depth.shape == (32, 32)
    assert depth[16, 16] == pytest.approx(2.5, abs=0.02)
    assert not mask[0].any()


def test_coarse_mask_takes_pixels_that_are_more_than_half_covered() -> None:
    mask = np.zeros((1, 4, 4), np.uint8)
    mask[0, :2, :2] = [[255, 255], [255, 0]]
    mask[0, 2:, 2:] = [[255, 255], [0, 0]]
    assert coarse_mask(mask)[0].tolist() == [[True, False], [False, False]]
