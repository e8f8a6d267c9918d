import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from receiver.mesh.body_file import read_body, read_pose
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.skinned_glb import encode_body
from tests.support.motion.recorded_motion import NAMES, OFFSETS, PARENTS, random_poses, rest_mesh, skeleton


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


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.02, 0.5, 0.999])
def test_cut_file_is_refused(tmp_path: Path, content: bytes, share: float) -> None:
    path = tmp_path / "cut.glb"
    path.write_bytes(content[: int(share * len(content))])
    for read in (read_pose, read_body):
        with pytest.raises(ValueError, match="cannot read a skinned body"):
            read(path)


def test_what_is_no_regular_file_of_a_body_is_refused(tmp_path: Path, content: bytes) -> None:
    linked, pipe, large = (tmp_path / f"{name}.glb" for name in ("linked", "pipe", "large"))
    (tmp_path / "body").write_bytes(content)
    linked.symlink_to(tmp_path / "body")
    os.mkfifo(pipe)
    large.write_bytes(struct.pack("<4sIIII", b"glTF", 2, 2**32 - 1, 2**32 - 21, 0x4E4F534A))
    os.truncate(large, 2**32 - 1)
    for path in (tmp_path / "missing.glb", linked, pipe, large, tmp_path):
        for read in (read_pose, read_body):
            with pytest.raises(ValueError, match="cannot read a skinned body"):
                read(path)


def with_document(content: bytes, change: Callable[[Any], object]) -> bytes:
    (length,) = struct.unpack_from("<I", content, 12)
    document = json.loads(content[20 : 20 + length])
    change(document)
    text, rest = json.dumps(document).encode(), content[20 + length :]
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def array_bytes(content: bytes, attribute: str) -> slice:
    (length,) = struct.unpack_from("<I", content, 12)
    document = json.loads(content[20 : 20 + length])
    accessor = document["meshes"][0]["primitives"][0]["attributes"][attribute]
    view = document["bufferViews"][document["accessors"][accessor]["bufferView"]]
    first = 28 + length + view["byteOffset"]
    return slice(first, first + view["byteLength"])


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["nodes"][document["skins"][0]["joints"][2]].update(translation=[3e38, 0, 0]),
        lambda document: [node.update(name=7) for node in document["nodes"]],
        lambda document: [node.update(name="x" * 1000) for node in document["nodes"]],
        lambda document: document.update(padding="x" * 2_000_000),
        lambda document: document["skins"][0].update(joints=[]),
    ],
)
def test_poses_that_no_tool_could_show_are_refused(
    tmp_path: Path, content: bytes, change: Callable[[Any], object]
) -> None:
    path = tmp_path / "hostile.glb"
    path.write_bytes(with_document(content, change))
    with pytest.raises(ValueError, match="cannot read a skinned body"):
        read_pose(path)


@pytest.mark.parametrize("attribute", ["POSITION", "WEIGHTS_0"])
def test_meshes_that_no_tool_could_show_are_refused(tmp_path: Path, content: bytes, attribute: str) -> None:
    path, hostile, part = tmp_path / "hostile.glb", bytearray(content), array_bytes(content, attribute)
    wrong = struct.pack("<4f", 3e38, 3e38, -3e38, 3e38) if attribute == "POSITION" else bytes(16)
    hostile[part.start : part.start + 16] = wrong
    path.write_bytes(hostile)
    with pytest.raises(ValueError, match="numbers that are not finite, or too large, or vertices"):
        read_body(path)


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
