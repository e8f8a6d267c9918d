import numpy as np
import pytest

from common.frames import NEAR_M, Camera

CAMERA = Camera(480, 640, 800.0)


def test_project_maps_the_optical_axis_to_the_centre() -> None:
    pixels = CAMERA.project(np.array([[0, 0, 2.0], [1, -1, 2.0]], np.float32))
    np.testing.assert_allclose(pixels, [[240, 320], [640, -80]])


@pytest.mark.parametrize("depth_m", [-2.0, 0.0, NEAR_M / 2], ids=["behind", "at", "near"])
def test_project_clamps_depth_to_the_near_plane(depth_m: float) -> None:
    pixels = CAMERA.project(np.array([[0.1, 0.2, depth_m], [0.1, 0.2, NEAR_M]], np.float32))
    np.testing.assert_array_equal(pixels[0], pixels[1])
