import dataclasses
from pathlib import Path

import numpy as np
import pytest

from common.body.anatomy import FACIAL_ACTIONS
from receiver.export.rigging import load_body_skin
from receiver.mesh.body_file import GlbReader, read_body, read_mesh, read_pose
from receiver.mesh.glb import GlbWriter, static_mesh_glb
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from receiver.mesh.skinned_glb import encode_body, skeleton_from_dense
from receiver.mesh.triangle_mesh import SurfaceMesh, is_watertight, vertex_normals
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.gltf_validator import validation_issues
from tests.support.meshes.posed_body import box, posed_box
from tests.support.meshes.shapes import solved, sphere
from tests.support.motion.expressive_people import expressive_body, write_bodies


def test_encoded_body_has_the_pose_with_and_without_skinning() -> None:
    body, skeleton = posed_box()
    glb = Glb(encode_body(body, skeleton))
    expected = to_y_up(body.mesh.vertices)
    position = glb.document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    np.testing.assert_allclose(glb.array(position), expected, atol=1e-6)
    np.testing.assert_allclose(glb.skinned_vertices(), expected, atol=1e-5)


def test_encode_body_rejects_the_skeleton_of_another_body() -> None:
    body, _ = posed_box()
    other = skeleton_from_dense(("root",), np.array([-1]), np.ones((len(body.mesh.vertices), 1), np.float32))
    with pytest.raises(ValueError, match="do not match"):
        encode_body(body, other)


def test_skeleton_from_dense_keeps_the_four_largest_weights() -> None:
    weights = np.array([[0.3, 0.05, 0.25, 0.2, 0.2, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]], np.float32)
    skeleton = skeleton_from_dense(tuple("abcdef"), np.array([-1, 0, 1, 2, 3, 4]), weights, 4)
    assert skeleton.vertex_joints.tolist() == [[0, 2, 3, 4], [1, 0, 0, 0]]
    np.testing.assert_allclose(skeleton.vertex_weights.sum(axis=1), 1.0, rtol=1e-6)


ACTIONS = {"jawOpen": 0.7, "eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0, "browInnerUp": 0.5}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Bodies with an expression and without one, in one pose."""
    folder = tmp_path_factory.mktemp("bodies")
    (expressive,) = write_bodies(folder, [ACTIONS])
    neutral = folder / "neutral.body.glb"
    neutral.write_bytes(encode_body(expressive_body({}, 0.0), load_body_skin()[1].skeleton))
    return [expressive, neutral]


def test_file_has_a_shape_for_each_action_and_the_expression_as_weights(paths: list[Path]) -> None:
    document = Glb(paths[0].read_bytes()).document
    (mesh,) = document["meshes"]
    assert tuple(mesh["extras"]["targetNames"]) == FACIAL_ACTIONS
    assert len(mesh["primitives"][0]["targets"]) == len(FACIAL_ACTIONS)
    shown = {name: weight for name, weight in zip(FACIAL_ACTIONS, mesh["weights"], strict=True) if weight}
    assert shown == pytest.approx(ACTIONS)
    assert "weights" not in Glb(paths[1].read_bytes()).document["meshes"][0]


def test_shapes_by_their_weights_give_the_body_that_was_published(paths: list[Path]) -> None:
    body = expressive_body(ACTIONS, 0.0)
    read = read_mesh(paths[0])
    np.testing.assert_allclose(read.vertices, body.mesh.vertices, atol=1e-5)
    assert is_watertight(read.faces, len(read.vertices))
    activations = read_pose(paths[0]).activations
    assert activations is not None and body.activations is not None
    np.testing.assert_allclose(activations, body.activations, atol=1e-4)


def test_without_weights_the_face_is_neutral(paths: list[Path]) -> None:
    _, skin = load_body_skin()
    neutral, expressive = (to_y_up(read_body(path).mesh.vertices) for path in paths[::-1])
    moved = np.linalg.norm(neutral - expressive, axis=1)
    # Behind closed lips are teeth.
    assert moved[skin.template.outside].max() < 5e-4 and 0.003 < moved.max() < 0.02
    assert np.linalg.norm(expressive_body(ACTIONS, 0.0).mesh.vertices - expressive, axis=1).max() > 0.02


def test_normals_are_those_of_the_expression(paths: list[Path]) -> None:
    glb, shown = Glb(paths[0].read_bytes()), expressive_body(ACTIONS, 0.0).mesh
    normals = glb.array(glb.document["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    np.testing.assert_allclose(normals, vertex_normals(to_y_up(shown.vertices), shown.faces), atol=1e-5)


def test_validator_has_nothing_to_say(paths: list[Path]) -> None:
    assert validation_issues(paths[0].read_bytes()) == []


def test_coloured_files_say_that_the_face_is_invented() -> None:
    mesh = box(colours=True)
    extras = Glb(static_mesh_glb(mesh)).document["asset"]["extras"]
    assert "no likeness" in extras["invented"] and "no camera has seen" in extras["invented"]
    assert "unseen_share" not in extras
    assert "extras" not in Glb(static_mesh_glb(dataclasses.replace(mesh, colours=None))).document["asset"]


def textured(unseen_share: float | None) -> tuple[SurfaceMesh, MeshTexture]:
    mesh = box()
    corners = TextureCorners.from_triangles(mesh.faces, np.zeros((len(mesh.faces), 3, 2), np.float32))
    return mesh, MeshTexture(corners, encode_jpeg(np.full((8, 8, 3), 90, np.uint8)), unseen_share)


def test_textured_files_say_how_much_was_not_seen() -> None:
    assert Glb(static_mesh_glb(*textured(0.4321987))).document["asset"]["extras"]["unseen_share"] == 0.4322
    assert "unseen_share" not in Glb(static_mesh_glb(*textured(None))).document["asset"]["extras"]


def test_largest_unseen_share_of_several_counts() -> None:
    writer = GlbWriter()
    for share in (0.2, 0.6, None, 0.4):
        primitive = writer.add_triangles(*textured(share))
    content = writer.to_bytes({"meshes": [{"primitives": [primitive]}]})
    assert (texture := GlbReader(content).mesh()[1]) is not None and texture.unseen_share == 0.6


@pytest.mark.parametrize("said", ["much", None, -0.1, 1.5, float("nan"), [0.5]])
def test_what_is_no_share_is_not_read(said: object) -> None:
    reader = GlbReader(static_mesh_glb(*textured(0.5)))
    for extras in ({"extras": {"unseen_share": said}}, {}):
        reader.document["asset"] = extras
        assert (texture := reader.mesh()[1]) is not None and texture.unseen_share is None


@pytest.mark.parametrize("colours", [False, True])
def test_quantised_mesh_has_twenty_four_bytes_a_vertex_and_keeps_its_normals(colours: bool) -> None:
    sphere_mesh = solved(*sphere())
    levels = np.full(sphere_mesh.vertices.shape, 90, np.uint8)
    mesh = dataclasses.replace(sphere_mesh, colours=levels if colours else None)
    content = static_mesh_glb(mesh, quantised=True)
    assert len(content) < 24 * len(mesh.vertices) + 1600
    reader = GlbReader(content)
    normals = reader.array(reader.attributes["NORMAL"]).reshape(-1, 3) / 127
    np.testing.assert_allclose(normals, vertex_normals(mesh.vertices, mesh.faces), atol=0.005)
    read = reader.mesh()[0]
    assert np.abs(read.vertices - mesh.vertices).max() < 0.51 * np.ptp(mesh.vertices, axis=0).max() / 65_535 + 1e-6
    np.testing.assert_array_equal(read.faces, mesh.faces)
    assert (read.colours is not None) == colours


def test_quantised_mesh_that_is_not_finite_is_refused() -> None:
    mesh = box()
    mesh.vertices[3, 1] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        static_mesh_glb(mesh, quantised=True)
