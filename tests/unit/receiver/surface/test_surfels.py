"""Samples of large triangles."""

import numpy as np
import pytest
import trimesh

from receiver.surface.stage import Surfels, sampled
from tests.support.meshes.shapes import solved

TRIANGLES = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
# Two small triangles' width, and eight times as long.
STRIP = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.8, 0], [0.1, 0.8, 0]], np.float32)
UP = np.tile(np.array([[0, 0, 1]], np.float32), (4, 1))


def strip(areas: tuple[float, ...] = (0.04 / 3, 0.08 / 3, 0.08 / 3, 0.04 / 3)) -> Surfels:
    return Surfels(STRIP, UP, np.array(areas, np.float32))


def test_area_moves_from_the_corners_to_the_samples() -> None:
    left, samples = sampled(strip(), TRIANGLES, 0.2)
    assert len(samples.surfels) == 2 * 4**2
    assert left.areas.sum() + samples.surfels.areas.sum() == pytest.approx(0.08, rel=1e-5)
    assert samples.surfels.areas.sum() == pytest.approx(0.08, rel=1e-5)
    np.testing.assert_allclose(samples.surfels.normals, np.tile([0, 0, 1], (32, 1)), atol=1e-6)
    np.testing.assert_allclose(samples.surfels.points.mean(axis=0), [0.05, 0.4, 0], atol=1e-6)
    # Each of eight slices of the strip has its share.
    assert np.bincount((samples.surfels.points[:, 1] / 0.1).astype(int)).min() >= 2


def test_short_edges_and_corners_without_area_are_left_alone() -> None:
    for surfels, longest_m in ((strip(), 1.0), (strip((0.0, 0.02, 0.02, 0.0)), 0.2)):
        left, samples = sampled(surfels, TRIANGLES, longest_m)
        assert not len(samples.surfels)
        np.testing.assert_array_equal(left.areas, surfels.areas)


@pytest.mark.parametrize("turn", range(3))
def test_any_edge_may_be_the_long_one(turn: int) -> None:
    _, samples = sampled(strip(), np.roll(TRIANGLES, turn, axis=1), 0.803)  # the diagonal only
    assert samples.surfels.areas.sum() == pytest.approx(0.08, rel=1e-5)


def test_samples_have_colours_between_those_of_the_corners() -> None:
    _, samples = sampled(strip(), TRIANGLES, 0.2)
    colours = np.array([[0, 10, 0], [0, 10, 0], [240, 10, 0], [240, 10, 0]], np.uint8)
    found = samples.interpolated(colours)
    np.testing.assert_allclose(found[:, 0], samples.surfels.points[:, 1] / 0.8 * 240, atol=1)
    assert (found[:, 1:] == [10, 0]).all()


def test_a_surface_closes_between_distant_vertices() -> None:
    # A cylinder whose vertices lie at the rims and on the axis only.
    tube = trimesh.creation.cylinder(radius=0.15, height=1.2, sections=96)
    vertices = np.asarray(tube.vertices + np.array([0, 0, 3]), np.float32)
    areas = np.bincount(tube.faces.ravel(), np.repeat(tube.area_faces / 3, 3)).astype(np.float32)
    normals = np.asarray(tube.vertex_normals, np.float32)
    mesh = solved(vertices, normals, areas, faces=tube.faces.astype(np.int32))
    found = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert found.is_watertight and found.volume == pytest.approx(tube.volume, rel=0.1)
    waist = np.abs(found.vertices[:, 2] - 3) < 0.3
    np.testing.assert_allclose(np.linalg.norm(found.vertices[waist, :2], axis=1), 0.15, atol=0.03)
