import numpy as np

from receiver.surface.stage import Neighbourhood, Surfels, refined
from tests.support.meshes.shapes import sphere

CENTRE = np.array([0.0, 0.0, 3.0], np.float32)


def _sphere_surfels(count: int = 2048) -> Surfels:
    points, normals = sphere(count)
    return Surfels(points, normals, np.full(count, np.pi / count, np.float32))


def test_refined_moves_vertices_onto_a_sphere() -> None:
    vertices, normals = sphere(500, 0.49)
    surfels = _sphere_surfels()
    moved = refined(vertices, Neighbourhood.from_surfels(vertices, normals, surfels), surfels, limit_m=0.02)
    radii = np.linalg.norm(moved - CENTRE, axis=1)
    # Neither the tangent planes (0.2 mm outside) nor the points' chords (0.2 mm inside) bias the result.
    assert np.abs(radii - 0.5).mean() < 1e-4


def test_refined_leaves_distant_vertices() -> None:
    vertices, normals = sphere(500, 0.45)
    surfels = _sphere_surfels()
    moved = refined(vertices, Neighbourhood.from_surfels(vertices, normals, surfels), surfels, limit_m=0.02)
    np.testing.assert_allclose(moved, vertices, atol=1e-6)


def test_refined_leaves_vertices_that_face_the_other_way() -> None:
    vertices, normals = sphere(500, 0.495)
    surfels = _sphere_surfels()
    moved = refined(vertices, Neighbourhood.from_surfels(vertices, -normals, surfels), surfels, limit_m=0.02)
    np.testing.assert_allclose(moved, vertices, atol=1e-6)


def test_blended_colours_are_a_convex_mixture_and_reach_vertices_without_weights() -> None:
    vertices, normals = sphere(500)
    surfels = _sphere_surfels()
    colours = np.random.default_rng(0).integers(40, 200, (2048, 3), dtype=np.uint8)
    for sign in (1, -1):
        blended = Neighbourhood.from_surfels(vertices, np.asarray(sign * normals, np.float32), surfels).blended(colours)
        assert blended.dtype == np.uint8 and blended.min() >= 40 and blended.max() < 200
