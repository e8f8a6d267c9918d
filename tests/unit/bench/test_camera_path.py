"""Cameras that move: what they see of points and of the wall, and the way back."""

import numpy as np
import pytest

from common.frames import Camera
from tests.bench.camera_path import HOLDS, CameraPath, Hold

CAMERA, AROUND = Camera(640, 480, 768.0), np.array([0.2, 0.4, 3.0])


def path_of(hold: Hold) -> CameraPath:
    return CameraPath.drawn(np.random.default_rng(3), hold, AROUND, np.arange(60) / 30)


@pytest.mark.parametrize("hold", HOLDS)
def test_points_come_back_to_the_world(hold: Hold) -> None:
    points, path = np.random.default_rng(0).normal([0, 0, 3.0], 1.0, (60, 9, 3)), path_of(hold)
    assert np.allclose(path.in_the_world(path.seen(points)), points)
    assert np.allclose(path.seen(points), points) == (hold == "fixed")


def test_the_wall_moves_as_its_points_do() -> None:
    path, wall = path_of("carried"), np.array([[0.5, -0.3, 5.0], [-1.0, 0.8, 5.0]])
    moved = np.einsum("tab,nb->tna", path.homographies(CAMERA, 3.0), np.c_[CAMERA.project(wall), [1, 1]])
    seen = np.stack([CAMERA.project(each) for each in path.seen(np.tile(wall, (60, 1, 1)))])
    assert np.allclose(moved[..., :2] / moved[..., 2:], seen, atol=1e-2)


def test_who_carries_a_camera_round_a_person_looks_at_them() -> None:
    path = path_of("carried")
    seen = path.seen(np.tile(AROUND * [1, 0, 1], (60, 1, 1)))[:, 0]
    assert np.abs(seen[:, 2] - seen[0, 2]).max() < 0.2
    assert 0.5 < np.linalg.norm(path.positions[-1] - path.positions[0]) < 1.3
