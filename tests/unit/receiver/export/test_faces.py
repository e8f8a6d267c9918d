"""Faces that move, in the animations of a session: as blend shapes with weights over time."""

from pathlib import Path

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from receiver.export.animated_glb import encode_characters
from receiver.export.character import Character
from receiver.export.recorded_session import BodyAt
from receiver.export.rigging import LeftOut, posed, rig
from receiver.export.usd_scene import encode_usdz
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.gltf_validator import validation_issues
from tests.support.motion.expressive_people import expressive_body, write_bodies

EXPRESSIONS: tuple[dict[str, float], ...] = (
    {},
    {"jawOpen": 0.8},
    {"jawOpen": 0.2, "mouthSmileLeft": 1.0},
    {"eyeBlinkRight": 1.0},
)
JAW = FACIAL_ACTIONS.index("jawOpen")


@pytest.fixture(scope="module")
def character(tmp_path_factory: pytest.TempPathFactory) -> Character:
    """Somebody whose face moves, and is not seen in the first frame."""
    paths = write_bodies(tmp_path_factory.mktemp("bodies"), EXPRESSIONS)
    return rig(0, [BodyAt(0.1 * number, path) for number, path in enumerate(paths)], LeftOut())


def shown(character: Character, frame: int) -> FloatArray:
    """The mesh in the pose and with the expression of a frame, camera axes."""
    at = character.motion.resampled(character.motion.times_s[[frame]])
    return posed(Character(0, character.skeleton, character.offsets, character.mesh, at)).mesh.vertices


def test_character_has_the_expressions_of_its_frames(character: Character) -> None:
    assert character.motion.activations is not None
    assert character.motion.activations[:, JAW] == pytest.approx([0, 0.8, 0.2, 0])
    for frame, actions in enumerate(EXPRESSIONS):
        expected = expressive_body(actions, 0.2 * frame).mesh.vertices
        vertices = shown(character, frame)
        np.testing.assert_allclose(vertices - vertices[0], expected - expected[0], atol=2e-3)


def test_glb_animates_the_weights(character: Character) -> None:
    content = encode_characters([character], "session-1")
    glb = Glb(content)
    (mesh,), (animation,) = glb.document["meshes"], glb.document["animations"]
    assert tuple(mesh["extras"]["targetNames"]) == FACIAL_ACTIONS
    (channel,) = [each for each in animation["channels"] if each["target"]["path"] == "weights"]
    assert glb.document["nodes"][channel["target"]["node"]]["mesh"] == 0
    weights = glb.array(animation["samplers"][channel["sampler"]]["output"]).reshape(-1, len(FACIAL_ACTIONS))
    assert character.motion.activations is not None
    np.testing.assert_allclose(weights, character.motion.activations, atol=1e-6)
    assert set(mesh["primitives"][0]["targets"][JAW]) == {"POSITION", "NORMAL"}
    assert validation_issues(content) == []


def test_usd_animates_the_weights(character: Character, tmp_path: Path) -> None:
    pytest.importorskip("pxr.UsdSkel", reason="usd-core is not installed: pip install 'bodywire[usd]'")
    from pxr import Usd, UsdGeom, UsdSkel

    path = tmp_path / "session.usdz"
    path.write_bytes(encode_usdz([character]))
    stage = Usd.Stage.Open(str(path))
    root, mesh = UsdSkel.Root.Get(stage, "/session/person_0"), UsdGeom.Mesh.Get(stage, "/session/person_0/mesh")
    cache = UsdSkel.Cache()
    cache.Populate(root, Usd.TraverseInstanceProxies())
    skinning = cache.GetSkinningQuery(mesh.GetPrim())
    query = cache.GetSkelQuery(UsdSkel.Skeleton.Get(stage, "/session/person_0/skeleton")).GetAnimQuery()
    shapes = UsdSkel.BlendShapeQuery(UsdSkel.BindingAPI(mesh.GetPrim()))
    assert tuple(skinning.GetBlendShapeOrder()) == FACIAL_ACTIONS
    points = np.array(mesh.GetPointsAttr().Get())
    moved = {}
    for frame in (0, 1):
        weights = query.ComputeBlendShapeWeights(10.0 * 0.1 * frame)
        sub = shapes.ComputeSubShapeWeights(weights)
        deformed = mesh.GetPointsAttr().Get()
        offsets, indices = shapes.ComputeSubShapePointOffsets(), shapes.ComputeBlendShapePointIndices()
        assert shapes.ComputeDeformedPoints(*sub, indices, offsets, deformed)
        moved[frame] = np.linalg.norm(np.array(deformed) - points, axis=1).max()
    assert moved[0] == 0 and moved[1] == pytest.approx(0.8 * 0.0387, abs=0.003)
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core is too old for validators")
    errors = validation.ValidationContext(validation.ValidationRegistry().GetOrLoadAllValidators()).Validate(stage)
    assert [f"{error.GetName()}: {error.GetMessage()}" for error in errors] == []
