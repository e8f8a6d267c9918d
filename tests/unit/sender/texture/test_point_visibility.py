import numpy as np
import pytest
import torch

from common.body.model import BodyModel, axis_angle_to_matrix
from common.frames import Camera
from common.synthetic.assets.appearance import Appearance
from common.synthetic.motion.poses import PoseSampler
from common.synthetic.renderer import Renderer
from sender.texture.atlas import view_cosine
from tests.support.pictures.synthetic_observation import CAMERA, RenderedPerson, render_person


@pytest.fixture(scope="module")
def poses(renderer: Renderer, model: BodyModel, appearance: Appearance) -> list[RenderedPerson]:
    sampled = axis_angle_to_matrix(torch.from_numpy(PoseSampler("test", 20_000_001).sample(6).rotation_vectors))
    yaws = np.linspace(0, 2 * np.pi, len(sampled), endpoint=False)
    return [render_person(renderer, model, appearance, yaw, pose=pose) for yaw, pose in zip(yaws, sampled, strict=True)]


def test_agrees_with_exact_depth(poses: list[RenderedPerson]) -> None:
    predicted = np.stack([view_cosine(person.points, person.normals, CAMERA) > 0.35 for person in poses])
    true = np.stack([person.truly_visible() for person in poses])
    assert (predicted & true).sum() > 0.95 * predicted.sum()
    assert (predicted & true).sum() > 0.85 * true.sum()


def test_cosine_is_to_the_direction_of_the_camera() -> None:
    points = np.array([[1.0, 0, 1.0]], np.float32)
    normals = np.array([[0, 0, -1.0]], np.float32)
    assert view_cosine(points, normals, Camera(640, 480, 200.0))[0] == pytest.approx(np.sqrt(0.5))


def test_point_outside_image_is_not_visible() -> None:
    normal = np.array([[0, 0, -1.0]], np.float32)
    for position in ([0, 0, -2.0], [0, 0, 0.0], [3.0, 0, 2.0]):
        assert not view_cosine(np.array([position], np.float32), normal, CAMERA).any()


def test_hand_occludes_face() -> None:
    grid = np.stack(np.meshgrid(np.arange(-10, 11), np.arange(-10, 11)), -1).reshape(-1, 2) * 0.02
    face = np.column_stack([grid, np.full(len(grid), 2.0)])
    hand = np.column_stack([0.3 * grid, np.full(len(grid), 1.8)])
    points = np.concatenate([face, hand]).astype(np.float32)
    normals = np.tile(np.array([0, 0, -1.0], np.float32), (len(points), 1))
    visible = view_cosine(points, normals, CAMERA) > 0
    assert visible[len(face) :].all()
    covered = (np.abs(grid) < 0.05).all(axis=1)
    assert not visible[: len(face)][covered].any() and visible[: len(face)][(np.abs(grid) > 0.12).any(axis=1)].all()
