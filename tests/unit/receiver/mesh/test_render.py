import numpy as np
import pytest

from common.frames import Camera
from receiver.mesh.render import depth_map, render
from receiver.mesh.triangle_mesh import SurfaceMesh
from tests.support.meshes.posed_body import box
from tests.support.meshes.shapes import solved, sphere

CAMERA = Camera(200, 160, 240.0)


def test_silhouette_of_a_sphere_is_a_disc() -> None:
    mesh = solved(*sphere())
    covered = depth_map(mesh, CAMERA) > 0
    # The image of a sphere of radius r at distance d has the radius f · r / √(d² − r²).
    radius = 240.0 * 0.5 / np.sqrt(3.0**2 - 0.5**2)
    rows, columns = np.mgrid[0:160, 0:200] + 0.5
    disc = np.hypot(columns - 100.0, rows - 80.0) < radius
    assert (covered & disc).sum() / (covered | disc).sum() > 0.96


def test_render_is_brighter_towards_the_light() -> None:
    mesh = solved(*sphere())
    image = render(mesh, CAMERA)
    assert image[60, 85].mean() > 1.5 * image[100, 115].mean(), "the light comes from above, on the left"


def test_near_mesh_occludes_far_mesh() -> None:
    near, far = box(), box()
    vertices = np.concatenate([near.vertices - np.array([0.0, 0.0, 1.0], np.float32), far.vertices])
    faces = np.concatenate([near.faces, far.faces + len(near.vertices)]).astype(np.int32)
    red, blue = np.full((len(near.vertices), 3), [255, 0, 0]), np.full((len(far.vertices), 3), [0, 0, 255])
    mesh = SurfaceMesh(vertices, faces, np.concatenate([red, blue]).astype(np.uint8))
    image = render(mesh, CAMERA)
    red, green, blue = image[80, 105].tolist()
    assert red > 100 and green == blue == 0


def test_render_omits_a_mesh_behind_the_camera() -> None:
    behind = box()
    image = render(SurfaceMesh(behind.vertices - np.array([0.0, 0.0, 6.0], np.float32), behind.faces), CAMERA)
    assert (image == 255).all()


def test_render_onto_an_image_keeps_the_input_and_uncovered_pixels() -> None:
    background = np.random.default_rng(0).integers(0, 256, (160, 200, 3)).astype(np.uint8)
    copy = background.copy()
    image = render(box(), CAMERA, onto=background)
    outside = depth_map(box(), CAMERA) == 0
    np.testing.assert_array_equal(background, copy)
    np.testing.assert_array_equal(image[outside], background[outside])
    assert (image[~outside] != background[~outside]).any()


def test_depth_map_of_a_sphere() -> None:
    depth = depth_map(solved(*sphere()), CAMERA)
    assert depth[80, 100] == pytest.approx(2.5, abs=0.01)
    # Off the axis, where a ray meets a sphere of radius 0.5 m at 3 m.
    x = (130.5 - 100.0) / 240.0
    across = (3.0 - np.sqrt(9.0 - (1 + x**2) * (9.0 - 0.25))) / (1 + x**2)
    assert depth[80, 130] == pytest.approx(across, abs=0.02)
