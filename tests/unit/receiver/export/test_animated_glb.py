"""Animated GLB: nodes, channels, several people, and what Khronos' validator says."""

import dataclasses

import numpy as np
import pytest

from receiver.export.animated_glb import encode_characters
from receiver.export.character import Character
from receiver.export.recorded_session import read_session
from receiver.export.rigging import LeftOut, rig
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.gltf_validator import validation_issues
from tests.support.motion.recorded_motion import NAMES, Pose, publish_motion, random_poses


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> list[Character]:
    """Two people, the second from the third frame on."""
    out = tmp_path_factory.mktemp("out")
    late: list[Pose | None] = [None, None, *random_poses(6, seed=2)]
    publish_motion(out, [random_poses(8), late])
    session = read_session(out, 1)
    return [rig(person, session.people[person], LeftOut()) for person in (0, 1)]


def test_nodes_have_the_first_pose(characters: list[Character]) -> None:
    glb = Glb(encode_characters(characters, "session-1"))
    for person, seed in enumerate((7, 2)):
        expected = random_poses(1, seed)[0].vertices()
        np.testing.assert_allclose(glb.skinned_vertices(person), expected, atol=1e-4)


def test_people_share_one_animation_and_its_clock(characters: list[Character]) -> None:
    glb = Glb(encode_characters(characters, "session-1"))
    assert [animation["name"] for animation in glb.document["animations"]] == ["session-1"]
    np.testing.assert_allclose(glb.key_times_s(0), 0.05 * np.arange(8), atol=1e-6)
    np.testing.assert_allclose(glb.key_times_s(1), 0.05 * np.arange(2, 8), atol=1e-6)
    for key, pose in enumerate(random_poses(6, seed=2)):
        glb.show_key(key, person=1)
        np.testing.assert_allclose(glb.skinned_vertices(1), pose.vertices(), atol=1e-4)


def test_each_skeleton_has_a_parent_of_its_own(characters: list[Character]) -> None:
    """Blender makes one armature of the skeletons that have the same parent."""
    glb = Glb(encode_characters(characters, "session-1"))
    nodes = glb.document["nodes"]
    parents = {child: node["name"] for node in nodes for child in node.get("children", [])}
    assert [parents[skin["joints"][0]] for skin in glb.document["skins"]] == ["person-0", "person-1"]


def test_constant_channels_are_left_out(characters: list[Character]) -> None:
    moving = characters[0]
    rotations = moving.motion.rotations.copy()
    head = NAMES.index("head")
    rotations[:, head] = rotations[0, head]
    still = dataclasses.replace(moving, motion=dataclasses.replace(moving.motion, rotations=rotations))
    glb = Glb(encode_characters([still], "session-1"))
    targets = {
        (glb.document["nodes"][channel["target"]["node"]]["name"], channel["target"]["path"])
        for channel in glb.document["animations"][0]["channels"]
    }
    assert targets == {(name, "rotation") for name in NAMES if name != "head"} | {("root", "translation")}
    node = next(node for node in glb.document["nodes"] if node["name"] == "head")
    np.testing.assert_allclose(node["rotation"], rotations[0, head], atol=1e-7)


def test_single_frame_has_no_animation(characters: list[Character]) -> None:
    one = dataclasses.replace(characters[0], motion=characters[0].motion.resampled(np.array([0.1])))
    glb = Glb(encode_characters([one], "session-1"))
    assert "animations" not in glb.document
    np.testing.assert_allclose(glb.skinned_vertices(), random_poses(3)[2].vertices(), atol=1e-4)


def textured(character: Character, brightness: int) -> Character:
    """With a grey texture in which every triangle has a place of its own."""
    faces = character.mesh.faces
    places = np.random.default_rng(brightness).random((len(faces), 3, 2)).astype(np.float32)
    jpeg = encode_jpeg(np.full((64, 64, 3), brightness, np.uint8))
    return dataclasses.replace(character, texture=MeshTexture(TextureCorners.from_triangles(faces, places), jpeg))


def test_everybody_has_a_texture_of_their_own(characters: list[Character]) -> None:
    people = [textured(characters[0], 50), textured(characters[1], 200), characters[0]]
    content = encode_characters(people, "session-1")
    glb = Glb(content)
    primitives = [mesh["primitives"][0] for mesh in glb.document["meshes"]]
    surfaces = [each["pbrMetallicRoughness"] for each in glb.document["materials"]]
    assert [each["baseColorTexture"]["index"] for each in surfaces] == [0, 1]
    assert [one.get("material") for one in primitives] == [0, 1, None]
    assert [texture["source"] for texture in glb.document["textures"]] == [0, 1]
    assert ["COLOR_0" in one["attributes"] for one in primitives] == [False, False, True]
    assert validation_issues(content) == []


def test_validator_has_nothing_to_say(characters: list[Character]) -> None:
    assert validation_issues(encode_characters(characters, "session-1")) == []


def test_who_is_away_is_a_point(characters: list[Character]) -> None:
    always, comes_and_goes = characters
    people = [always, dataclasses.replace(comes_and_goes, present=[(0.1, 0.2), (0.25, 0.3), (5.0, 6.0)])]
    content = encode_characters(people, "session-1")
    glb = Glb(content)
    (animation,) = glb.document["animations"]
    (channel,) = (each for each in animation["channels"] if each["target"]["path"] == "scale")
    assert glb.document["nodes"][channel["target"]["node"]]["name"] == "person-1"
    sampler = animation["samplers"][channel["sampler"]]
    assert sampler["interpolation"] == "STEP"
    np.testing.assert_allclose(glb.array(sampler["input"])[:, 0], [0, 0.1, 0.2, 0.25, 0.3], atol=1e-6)
    np.testing.assert_array_equal(glb.array(sampler["output"]), np.outer([0, 1, 0, 1, 0], [1, 1, 1]))
    assert validation_issues(content) == []
