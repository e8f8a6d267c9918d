"""The measures of the texture bench."""

import numpy as np
import pytest
import trimesh

from common.frames import Camera
from receiver.mesh.mesh_texture import TextureCorners
from tests.bench.texture import Error
from tests.bench.texture_render import covering_triangles, render_textured

CAMERA = Camera(160, 120, 150.0)


def test_error_is_the_mean_difference() -> None:
    error = Error.of([np.full((4, 3), 90.0, np.float32)], [np.full((4, 3), 100.0, np.float32)])
    assert error.plain == pytest.approx(10) and error.relative == pytest.approx(0, abs=1e-3)


def test_relative_error_has_one_factor_for_all_views() -> None:
    found = [np.full((4, 3), 100.0, np.float32), np.full((4, 3), 100.0, np.float32)]
    truth = [np.full((4, 3), 50.0, np.float32), np.full((4, 3), 150.0, np.float32)]
    error = Error.of(found, truth)
    assert error.plain == pytest.approx(50) and error.relative == pytest.approx(50)


def test_rendering_shows_the_texture_of_the_nearest_triangle() -> None:
    near, far = (trimesh.creation.box(extents=[size, size, 0.1]) for size in (0.5, 1.5))
    shift = np.array([0, 0, 3.0])
    vertices = np.vstack([near.vertices + shift, far.vertices + shift + [0, 0, 1]]).astype(np.float32)
    faces = np.vstack([near.faces, far.faces + len(near.vertices)]).astype(np.int32)
    # The near box is red, on the left of the picture, the far one blue.
    atlas = np.zeros((64, 64, 3), np.uint8)
    atlas[:, :32], atlas[:, 32:] = (255, 0, 0), (0, 0, 255)
    u = np.where(np.arange(len(faces)) < len(near.faces), 0.25, 0.75)
    coordinates = np.repeat(np.stack([u, np.full(len(faces), 0.5)], axis=1)[:, None], 3, axis=1).astype(np.float32)
    image = render_textured(vertices, faces, TextureCorners.of(faces, coordinates), atlas, CAMERA)
    triangle = covering_triangles(vertices, faces, CAMERA)
    assert tuple(image[60, 80]) == (255, 0, 0) and triangle[60, 80] < len(near.faces)
    assert tuple(image[60, 100]) == (0, 0, 255) and tuple(image[5, 5]) == (255, 255, 255)
