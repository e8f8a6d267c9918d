from pathlib import Path

import numpy as np
import pytest

from receiver.mesh.body_file import read_body, read_pose
from receiver.mesh.mesh_files import encode_mesh, to_y_up
from receiver.mesh.skinned_glb import encode_body
from tests.support.posed_body import box
from tests.support.recorded_motion import NAMES, OFFSETS, PARENTS, random_poses, rest_mesh, skeleton


@pytest.fixture
def content() -> bytes:
    return encode_body(random_poses(3)[2].body(), skeleton())


def test_body_is_read_as_it_was_written(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "000002.body.glb"
    path.write_bytes(content)
    pose, written = random_poses(3)[2], random_poses(3)[2].body()
    read = read_body(path)
    np.testing.assert_array_equal(read.mesh.vertices, to_y_up(written.mesh.vertices))
    np.testing.assert_array_equal(read.mesh.faces, rest_mesh().faces)
    np.testing.assert_array_equal(read.mesh.colours, rest_mesh().colours)
    np.testing.assert_array_equal(read.skeleton.vertex_joints, skeleton().vertex_joints)
    np.testing.assert_array_equal(read.skeleton.vertex_weights, skeleton().vertex_weights)
    assert (read.pose.names, read.pose.parents) == (NAMES, tuple(PARENTS))
    np.testing.assert_allclose(read.pose.translations[1:], OFFSETS[1:], atol=1e-6)
    np.testing.assert_allclose(read.pose.translations[0], pose.root, atol=1e-6)
    same = np.abs(np.sum(read.pose.rotations * pose.rotations, axis=1))
    np.testing.assert_allclose(same, 1.0, atol=1e-6)


def test_pose_alone_is_that_of_the_body(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "000002.body.glb"
    path.write_bytes(content)
    pose, body = read_pose(path), read_body(path)
    np.testing.assert_array_equal(pose.rotations, body.pose.rotations)
    np.testing.assert_array_equal(pose.translations, body.pose.translations)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.02, 0.5, 0.999])
def test_cut_file_is_refused(tmp_path: Path, content: bytes, share: float) -> None:
    path = tmp_path / "cut.glb"
    path.write_bytes(content[: int(share * len(content))])
    for read in (read_pose, read_body):
        with pytest.raises(ValueError, match="cannot read a skinned body"):
            read(path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.glb", tmp_path):
        for read in (read_pose, read_body):
            with pytest.raises(ValueError, match="cannot read a skinned body"):
                read(path)


@pytest.mark.parametrize("mesh_format", ["glb", "obj", "ply"])
def test_mesh_without_skeleton_is_refused(tmp_path: Path, mesh_format: str) -> None:
    path = tmp_path / "surface.glb"
    path.write_bytes(encode_mesh(box(colours=True), mesh_format))
    for read in (read_pose, read_body):
        with pytest.raises(ValueError, match="cannot read a skinned body"):
            read(path)


def test_changed_bytes_are_refused_or_read(tmp_path: Path, content: bytes) -> None:
    """No damage causes another exception than ValueError."""
    random = np.random.default_rng(3)
    path = tmp_path / "damaged.glb"
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        for position in random.integers(0, 6000, 3):
            damaged[position] = random.integers(256)
        path.write_bytes(damaged)
        try:
            read_body(path)
        except ValueError:
            refused += 1
    assert refused > 50
