import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from receiver.body.skinning import BodySkin
from receiver.mesh.mesh_files import publish_file, read_mesh, to_y_up
from receiver.mesh.skinned_glb import encode_body, skeleton_from_dense
from receiver.mesh.triangle_mesh import is_watertight
from tests.support.posed_body import posed_box

Array = npt.NDArray[Any]
_TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_SIZES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A file read by the letter of the specification, apart from the writer."""

    def __init__(self, content: bytes) -> None:
        magic, version, length = struct.unpack_from("<4sII", content)
        assert (magic, version, length) == (b"glTF", 2, len(content))
        json_length, json_type = struct.unpack_from("<I4s", content, 12)
        assert json_type == b"JSON" and json_length % 4 == 0
        self.document: dict[str, Any] = json.loads(content[20 : 20 + json_length])
        binary_length, binary_type = struct.unpack_from("<I4s", content, 20 + json_length)
        assert binary_type == b"BIN\0"
        self.binary = content[28 + json_length :]
        assert len(self.binary) == binary_length == self.document["buffers"][0]["byteLength"]

    def array(self, index: int) -> Array:
        accessor = self.document["accessors"][index]
        view = self.document["bufferViews"][accessor["bufferView"]]
        size = _SIZES[accessor["type"]]
        kind = _TYPES[accessor["componentType"]]
        values = np.frombuffer(self.binary, kind, accessor["count"] * size, view["byteOffset"])
        assert view["byteOffset"] % 4 == 0 and view["byteLength"] == values.nbytes
        return values.reshape(accessor["count"], size)

    def joint_matrices(self) -> dict[int, Array]:
        """Node → its transform in the world, by walking down from the scene's roots."""
        matrices: dict[int, Array] = {}

        def descend(node: int, parent: Array) -> None:
            described = self.document["nodes"][node]
            local = np.eye(4)
            local[:3, :3] = Rotation.from_quat(described.get("rotation", [0, 0, 0, 1])).as_matrix()
            local[:3, 3] = described.get("translation", [0, 0, 0])
            matrices[node] = parent @ local
            for child in described.get("children", []):
                descend(child, matrices[node])

        for root in self.document["scenes"][0]["nodes"]:
            descend(root, np.eye(4))
        return matrices

    def skinned_vertices(self) -> Array:
        """What a reader that skins shows."""
        attributes = self.document["meshes"][0]["primitives"][0]["attributes"]
        skin, world = self.document["skins"][0], self.joint_matrices()
        inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        moves = np.stack([world[node] @ inverse[j] for j, node in enumerate(skin["joints"])])
        vertices = self.array(attributes["POSITION"])
        joints, weights = self.array(attributes["JOINTS_0"]), self.array(attributes["WEIGHTS_0"])
        blended = np.einsum("vk,vkab->vab", weights, moves[joints])
        homogeneous = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
        return np.asarray(np.einsum("vab,vb->va", blended, homogeneous)[:, :3])


def test_encode_body_shows_the_pose_with_and_without_skinning() -> None:
    body, skeleton = posed_box()
    glb = Glb(encode_body(body, skeleton))
    expected = to_y_up(body.mesh.vertices)
    position = glb.document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    np.testing.assert_allclose(glb.array(position), expected, atol=1e-6)
    np.testing.assert_allclose(glb.skinned_vertices(), expected, atol=1e-5)


def test_encode_body_places_each_joint_in_the_y_up_world() -> None:
    body, skeleton = posed_box()
    glb = Glb(encode_body(body, skeleton))
    world = glb.joint_matrices()
    for joint, node in enumerate(glb.document["skins"][0]["joints"]):
        np.testing.assert_allclose(world[node][:3, 3], to_y_up(body.joint_positions[joint : joint + 1])[0], atol=1e-6)
        assert glb.document["nodes"][node]["name"] == skeleton.names[joint]


def test_encode_body_turning_a_joint_moves_what_hangs_on_it() -> None:
    body, skeleton = posed_box()
    glb = Glb(encode_body(body, skeleton))
    before = glb.skinned_vertices()
    head = glb.document["nodes"][2]
    turn = Rotation.from_quat(head["rotation"]) * Rotation.from_euler("z", 30, degrees=True)
    head["rotation"] = turn.as_quat().tolist()
    moved = np.linalg.norm(glb.skinned_vertices() - before, axis=1)
    upper = body.mesh.vertices[:, 1] < 0.0
    assert moved[upper].max() > 0.05
    np.testing.assert_allclose(moved[~upper], 0.0, atol=1e-6)


def test_encode_body_colours_are_linear() -> None:
    body, skeleton = posed_box()
    glb = Glb(encode_body(body, skeleton))
    stored = glb.array(glb.document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"])[:, :3] / 65535.0
    assert body.mesh.colours is not None
    srgb = np.where(stored <= 0.0031308, stored * 12.92, 1.055 * stored ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(srgb * 255.0, body.mesh.colours, atol=0.2)


def test_encode_body_refuses_another_body_s_skeleton() -> None:
    body, _ = posed_box()
    other = skeleton_from_dense(("root",), np.array([-1]), np.ones((len(body.mesh.vertices), 1), np.float32))
    with pytest.raises(ValueError, match="does not belong"):
        encode_body(body, other)


def test_skeleton_from_dense_keeps_the_four_strongest() -> None:
    weights = np.array([[0.3, 0.05, 0.25, 0.2, 0.2, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]], np.float32)
    skeleton = skeleton_from_dense(tuple("abcdef"), np.array([-1, 0, 1, 2, 3, 4]), weights)
    assert skeleton.vertex_joints.tolist() == [[0, 2, 3, 4], [1, 0, 0, 0]]
    np.testing.assert_allclose(skeleton.vertex_weights.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("parents", "weights", "message"),
    [
        ([-1, 2, 0], np.ones((1, 3)), "after their parents"),
        ([-1, 0], np.ones((1, 3)), "do not fit"),
        ([-1, 0, 1], np.zeros((1, 3)), "hangs on no joint"),
    ],
)
def test_skeleton_from_dense_refuses(parents: list[int], weights: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        skeleton_from_dense(("a", "b", "c"), np.array(parents), weights.astype(np.float32))


def test_body_skin_of_the_real_body(tmp_path: Path) -> None:
    model, generator = BodyModel.load(), torch.Generator().manual_seed(0)
    rotations = axis_angle_to_matrix(0.4 * torch.randn(2, 22, 3, generator=generator))
    place = torch.tensor([[0.0, 0.0, 3.0], [0.5, 0.2, 4.0]])
    with torch.no_grad():
        output = model(BodyParameters(rotations, torch.full((2, 4), 0.3), torch.zeros(2, 10), place))
    skin = BodySkin.of(model)
    colours = np.linspace(0.0, 1.0, 3 * (int(model.vertex_region.max()) + 1), dtype=np.float32).reshape(-1, 3)
    body = skin.pose(output, 1, colours)
    content = encode_body(body, skin.skeleton)
    publish_file(tmp_path / "000000.body.glb", content)
    read = read_mesh(tmp_path / "000000.body.glb")
    assert is_watertight(read.faces, len(read.vertices))
    np.testing.assert_allclose(read.vertices, body.mesh.vertices, atol=1e-5)
    np.testing.assert_allclose(Glb(content).skinned_vertices(), to_y_up(body.mesh.vertices), atol=2e-4)
    checked = trimesh.Trimesh(read.vertices, read.faces, process=False)
    assert checked.body_count == 1 and checked.volume > 0.0
    assert 0.4 < np.ptp(read.vertices, axis=0).max() < 2.6


def test_body_skin_takes_the_colours_of_the_points_about_each_vertex() -> None:
    model = BodyModel.load()
    with torch.no_grad():
        output = model(BodyParameters.rest(1))
    skin = BodySkin.of(model)
    points = model.surface_points(output.vertices)[0][0].numpy()
    low, high = points.min(axis=0), points.max(axis=0)
    body = skin.pose(output, 0, np.zeros((16, 3), np.float32), (points - low) / (high - low))
    expected = 255 * (body.mesh.vertices - low) / (high - low)
    assert body.mesh.colours is not None
    off = np.abs(body.mesh.colours - expected)
    # A few hundredths of a body's height, and within the mouth and the ears more.
    assert off.mean() < 4 and np.percentile(off, 99) < 25
