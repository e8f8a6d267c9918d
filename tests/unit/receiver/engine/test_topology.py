"""What all people have in common stays at the replicas, and the front puts it back."""

import pickle
from dataclasses import replace

import numpy as np

from receiver.engine.engine import ReconstructionResult
from receiver.engine.topology import PeopleTopology
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from tests.support.fake_reconstructor import TETRAHEDRON, TOPOLOGY, label_frame, tetrahedron_of


def textured(topology: PeopleTopology) -> ReconstructionResult:
    """Two people, one of them with a texture."""
    first, second = map(tetrahedron_of, label_frame(0, 1, 2).people)
    body = replace(second.body, texture=MeshTexture(topology.corners, b"picture"))
    second = replace(second, body=body, surface_corners=topology.surface_corners)
    return ReconstructionResult((first, second), {"surface": 2.0})


def test_answer_without_topology_is_small_and_restored_in_another_process() -> None:
    faces = np.arange(30_000, dtype=np.int32).reshape(-1, 3)
    corners = TextureCorners(np.arange(9_000), np.zeros((9_000, 2), np.float32), faces)
    topology = PeopleTopology(faces, corners, TETRAHEDRON.faces, replace(corners))
    answer = textured(topology)
    people = tuple(
        replace(one, body=replace(one.body, mesh=replace(TETRAHEDRON, faces=faces))) for one in answer.people
    )
    people = (people[0], replace(people[1], body=replace(people[1].body, texture=answer.people[1].body.texture)))
    answer = replace(answer, people=people)
    data = pickle.dumps(topology.removed_from(answer), protocol=5)
    assert len(data) < 8_000 < 200_000 < len(pickle.dumps(answer, protocol=5))

    there: PeopleTopology = pickle.loads(pickle.dumps(topology))
    restored = there.restored_to(pickle.loads(data))
    assert restored.stages_ms == {"surface": 2.0}
    for found, sent in zip(restored.people, answer.people, strict=True):
        assert found.body.mesh.faces is there.faces
        np.testing.assert_array_equal(found.body.mesh.vertices, sent.body.mesh.vertices)
        np.testing.assert_array_equal(found.surface.faces, sent.surface.faces)
    texture = restored.people[1].body.texture
    assert texture is not None and texture.corners is there.corners and texture.jpeg == b"picture"
    assert restored.people[0].body.texture is None and restored.people[0].surface_texture is None
    surface = restored.people[1].surface_texture
    assert surface is not None and surface.corners is there.surface_corners and surface.jpeg == b"picture"


def test_surface_of_other_triangles_has_no_texture() -> None:
    kept = TOPOLOGY.removed_from(textured(TOPOLOGY))
    front = replace(TOPOLOGY, surface_faces=TETRAHEDRON.faces[::-1])
    assert front.restored_to(kept).people[1].surface_texture is None


def test_body_with_another_topology_keeps_it() -> None:
    other = replace(TOPOLOGY, faces=TETRAHEDRON.faces.copy())
    answer = textured(other)
    kept = other.removed_from(answer)
    np.testing.assert_array_equal(kept.people[0].body.mesh.faces, TETRAHEDRON.faces)
    restored = other.restored_to(kept)
    np.testing.assert_array_equal(restored.people[0].body.mesh.faces, TETRAHEDRON.faces)
