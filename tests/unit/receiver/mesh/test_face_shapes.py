"""Bodies whose faces move: in files, as blend shapes of a neutral face."""

from pathlib import Path

import numpy as np
import pytest

from common.body.anatomy import FACIAL_ACTIONS
from receiver.export.rigging import load_body_skin
from receiver.mesh.body_file import read_body, read_mesh, read_pose
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.skinned_glb import encode_body
from receiver.mesh.triangle_mesh import is_watertight, vertex_normals
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.gltf_validator import validation_issues
from tests.support.motion.expressive_people import expressive_body, write_bodies

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
