"""Against exact depth: what is said to be seen is seen, and most of what is seen is said to be."""

import numpy as np
import pytest
import torch

from common.body.anatomy import REGION_INDEX
from common.body.model import BodyModel
from common.body.rotations import axis_angle_to_matrix
from common.frames import Camera
from common.synthetic.assets.appearance import Appearance
from common.synthetic.motion.poses import PoseSampler
from common.synthetic.renderer.renderer import Renderer
from sender.texture.point_visibility import view_cosine
from tests.support.synthetic_observation import CAMERA, Pictured, pictured


@pytest.fixture(scope="module")
def poses(renderer: Renderer, model: BodyModel, appearance: Appearance) -> list[Pictured]:
    sampled = axis_angle_to_matrix(torch.from_numpy(PoseSampler("test", 20_000_001).sample(6).rotation_vectors))
    yaws = np.linspace(0, 2 * np.pi, len(sampled), endpoint=False)
    return [pictured(renderer, model, appearance, yaw, pose=pose) for yaw, pose in zip(yaws, sampled, strict=True)]


def test_agrees_with_exact_depth(poses: list[Pictured]) -> None:
    said = np.stack([view_cosine(one.points, one.normals, CAMERA) > 0.35 for one in poses])
    true = np.stack([one.truly_visible() for one in poses])
    assert (said & true).sum() > 0.95 * said.sum()
    assert (said & true).sum() > 0.85 * true.sum()


def test_the_back_of_who_faces_the_camera_is_not_seen(
    renderer: Renderer, model: BodyModel, appearance: Appearance
) -> None:
    front = pictured(renderer, model, appearance)
    seen = view_cosine(front.points, front.normals, CAMERA) > 0
    assert not (seen & (front.normals[:, 2] > 0)).any()
    assert seen.mean() > 0.35


def test_the_far_arm_is_hidden_behind_the_trunk(renderer: Renderer, model: BodyModel, appearance: Appearance) -> None:
    pose = torch.eye(3).expand(22, 3, 3).clone()
    side = pictured(renderer, model, appearance, np.pi / 2, pose=pose)
    seen = view_cosine(side.points, side.normals, CAMERA) > 0
    region = model.point_regions().numpy()
    shares = sorted(float(seen[region == REGION_INDEX[f"upper_arm.{name}"]].mean()) for name in "LR")
    assert shares[0] < 0.1 and shares[1] > 0.3


def test_cosine_is_that_of_the_way_to_the_camera() -> None:
    points = np.array([[1.0, 0, 1.0]], np.float32)
    normals = np.array([[0, 0, -1.0]], np.float32)
    assert view_cosine(points, normals, Camera(640, 480, 200.0))[0] == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("place", [[0, 0, -2.0], [0, 0, 0.0], [3.0, 0, 2.0]], ids=["behind", "at", "outside"])
def test_out_of_the_picture(place: list[float]) -> None:
    points, normals = np.array([place], np.float32), np.array([[0, 0, -1.0]], np.float32)
    assert not view_cosine(points, normals, CAMERA).any()


def test_a_hand_before_the_face_hides_it() -> None:
    grid = np.stack(np.meshgrid(np.arange(-10, 11), np.arange(-10, 11)), -1).reshape(-1, 2) * 0.02
    face = np.column_stack([grid, np.full(len(grid), 2.0)])
    hand = np.column_stack([0.3 * grid, np.full(len(grid), 1.8)])
    points = np.concatenate([face, hand]).astype(np.float32)
    normals = np.tile(np.array([0, 0, -1.0], np.float32), (len(points), 1))
    seen = view_cosine(points, normals, CAMERA) > 0
    assert seen[len(face) :].all()
    covered = (np.abs(grid) < 0.05).all(axis=1)
    assert not seen[: len(face)][covered].any() and seen[: len(face)][(np.abs(grid) > 0.12).any(axis=1)].all()
