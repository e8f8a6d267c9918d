"""Clothed avatars: their files, their alignment, and how far they reach."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.arrays import Float64Array, IntArray
from common.errors import SourceError
from receiver.train.avatars import Avatar, aligned_head, aligned_shoe, has_eyes, reach, read_avatars

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
_SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
_BOX: IntArray = np.array([corners for a, b, c, d in _SIDES for corners in ((a, b, c), (a, c, d))])


def box(half_m: Float64Array | float, middle: tuple[float, float, float] = (0, 0, 0)) -> Float64Array:
    """(12, 3, 3) the triangles of a box."""
    return np.asarray((_CORNERS * half_m + middle)[_BOX])


def avatar(bone: str, points: Float64Array, joints: dict[str, list[float]]) -> Avatar:
    places = {name: np.array(joint, np.float64) for name, joint in joints.items()}
    faces = np.arange(len(points)).reshape(-1, 3)
    return Avatar("somebody", {"hair": "short"}, points, faces, np.full(len(points), bone), places)


def test_rays_go_to_where_they_leave_for_the_last_time() -> None:
    triangles = np.concatenate([box(0.5), box(0.1, (2.0, 0.013, 0.017))])
    directions = np.array([[1.0, 0.01, 0.015], [-1.0, 0.1, 0.2], [2.0, 0.02, 0.03]])
    assert np.allclose(reach(np.zeros((3, 3)), directions, triangles), [2.1, 0.5, 1.05])
    assert not reach(np.array([[5.0, 0.0, 0.0]]), np.array([[1.0, 0.01, 0.02]]), triangles).any()


def test_heads_are_aligned_by_eyes_and_nose() -> None:
    eyes = {"Bip01 LEye": [0.03, -1.6, -0.08], "Bip01 REye": [-0.03, -1.6, -0.08]}
    nose = box(0.01, (0.0, -1.56, -0.11))
    head = np.concatenate([box(0.1, (0, -1.6, 0)), nose]).reshape(-1, 3)
    somebody = avatar("Bip01 Head", head, {"Bip01 Head": [0, -1.5, 0], **eyes})
    assert has_eyes(somebody) and not has_eyes(avatar("Bip01 Head", head, {"Bip01 Head": [0, -1.5, 0]}))
    aligned = aligned_head(somebody, np.array([0.0, -0.7, 0.5]), 0.3)
    assert np.isclose(aligned[..., 2].min(), 0.3)
    assert np.isclose(aligned[..., 1].mean(), head[:, 1].mean() - -1.6 - 0.7)


def test_shoes_point_where_the_foot_does_and_are_longer() -> None:
    foot = np.random.default_rng(1).uniform([-0.04, -0.06, -0.13], [0.04, 0.0, 0.13], (400, 3))
    turn = np.array([[np.cos(0.5), 0, np.sin(0.5)], [0, 1, 0], [-np.sin(0.5), 0, np.cos(0.5)]])
    shoe = aligned_shoe(avatar("Bip01 L Foot", (foot @ turn)[:399], {"Bip01 L Foot": [0, 0, 0]}), foot)
    assert 1.08 < np.ptp(shoe[:, 2]) / np.ptp(foot[:, 2]) < 1.16
    assert np.ptp(shoe[:, 0]) < 0.6 * np.ptp(shoe[:, 2])
    assert np.isclose(shoe[:, 1].max(), foot[:, 1].max() + 0.012)


def test_avatars_are_read_into_camera_axes(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder of avatars"):
        list(read_avatars(tmp_path))
    entry = {"name": "one", "file": "one.npz", "attributes": {"hair": "short"}}
    (tmp_path / "index.json").write_text(json.dumps({"avatars": [entry]}), encoding="utf-8")
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, :3, 3] = 0, 1.5, 0.1
    np.savez(
        tmp_path / "one.npz",
        vertices=np.array([[0.0, 1.0, 0.2], [0.1, 1.6, 0.0], [0.2, 1.6, 0.1]]),
        faces=np.array([[0, 1, 2]]),
        bone_names=np.array(["Bip01", "Bip01 Head"]),
        bone_rest=poses,
        skin_index=np.array([[0, 1], [1, 0], [0, 1]]),
        skin_weight=np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]),
    )
    read = next(read_avatars(tmp_path))
    assert read.bone.tolist() == ["Bip01", "Bip01 Head", "Bip01 Head"]
    assert np.allclose(read.points[0], [0, -1.0, -0.2]) and np.allclose(read.joints["Bip01 Head"], [0, -1.5, -0.1])
    assert len(read.triangles("Bip01", "Bip01 Head")) == 1 and len(read.triangles("Bip01 Head")) == 0
