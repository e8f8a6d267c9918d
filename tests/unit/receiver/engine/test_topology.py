"""The topology of bodies stays at the replicas, and the front puts it back."""

import pickle
from dataclasses import replace

import numpy as np

from receiver.engine.engine import ReconstructionResult
from receiver.engine.topology import BodyTopology
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from tests.support.fake_reconstructor import TETRAHEDRON, TOPOLOGY, label_frame, tetrahedron_of


def textured(topology: BodyTopology) -> ReconstructionResult:
    """Two people, one of them with a texture."""
    first, second = map(tetrahedron_of, label_frame(0, 1, 2).people)
    body = replace(second.body, texture=MeshTexture(topology.corners, b"picture"))
    return ReconstructionResult((first, replace(second, body=body)), {"surface": 2.0})


def test_answer_without_topology_is_small_and_restored_in_another_process() -> None:
    faces = np.arange(30_000, dtype=np.int32).reshape(-1, 3)
    corners = TextureCorners(np.arange(9_000), np.zeros((9_000, 2), np.float32), faces)
    topology = BodyTopology(faces, corners)
    answer = textured(topology)
    people = tuple(
        replace(one, body=replace(one.body, mesh=replace(TETRAHEDRON, faces=faces))) for one in answer.people
    )
    people = (people[0], replace(people[1], body=replace(people[1].body, texture=answer.people[1].body.texture)))
    answer = replace(answer, people=people)
    data = pickle.dumps(topology.removed_from(answer), protocol=5)
    assert len(data) < 8_000 < 200_000 < len(pickle.dumps(answer, protocol=5))

    there: BodyTopology = pickle.loads(pickle.dumps(topology))
    restored = there.restored_to(pickle.loads(data))
    assert restored.stages_ms == {"surface": 2.0}
    for found, sent in zip(restored.people, answer.people, strict=True):
        assert found.body.mesh.faces is there.faces
        np.testing.assert_array_equal(found.body.mesh.vertices, sent.body.mesh.vertices)
        np.testing.assert_array_equal(found.surface.faces, sent.surface.faces)
    texture = restored.people[1].body.texture
    assert texture is not None and texture.corners is there.corners and texture.jpeg == b"picture"
    assert restored.people[0].body.texture is None


def test_body_with_another_topology_keeps_it() -> None:
    other = BodyTopology(TETRAHEDRON.faces.copy(), TOPOLOGY.corners)
    answer = textured(other)
    kept = other.removed_from(answer)
    np.testing.assert_array_equal(kept.people[0].body.mesh.faces, TETRAHEDRON.faces)
    restored = other.restored_to(kept)
    np.testing.assert_array_equal(restored.people[0].body.mesh.faces, TETRAHEDRON.faces)
