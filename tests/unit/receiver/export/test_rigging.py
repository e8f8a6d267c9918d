"""A character of published bodies: its rest mesh, its shape and its motion."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.labels import LIMBS
from receiver.body.skinning import BodySkin
from receiver.export.animated_glb import encode_characters
from receiver.export.character import continuous
from receiver.export.recorded_session import BodyAt, read_session
from receiver.export.rigging import LeftOut, posed, rig, rig_one, unposed
from receiver.mesh.body_file import parse_body, read_body
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from receiver.mesh.skinned_glb import PosedBody, encode_body
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_templates import pose, templates
from tests.support.motion.recorded_motion import OFFSETS, publish_motion, random_poses, rest_mesh, skeleton


def bodies_of(out: Path) -> list[BodyAt]:
    return list(read_session(out, None).people[0])


def bound_in_its_pose(at: BodyAt, body: PosedBody) -> BodyAt:
    """Another body in a frame, as receivers wrote them before bodies shared files."""
    path = at.path.with_suffix(".glb")
    path.write_bytes(encode_body(body, skeleton()))
    return dataclasses.replace(at, path=path)


def test_rotations_stay_on_the_hemisphere_where_they_began() -> None:
    half_turns = np.linspace(0, 3 * np.pi, 20)[:, None]
    turning = np.stack([np.sin(half_turns), 0 * half_turns, 0 * half_turns, np.cos(half_turns)], axis=2)
    signs = np.where(np.arange(20) % 5 < 3, -1, 1)[:, None, None]
    np.testing.assert_array_equal(continuous(turning * signs), -turning)


def test_unposed_mesh_is_the_rest_mesh(tmp_path: Path) -> None:
    publish_motion(tmp_path, [random_poses(8)])
    for body in bodies_of(tmp_path):
        read = read_body(body.path)
        rest = unposed(read.mesh.vertices, read.pose, read.skeleton)
        np.testing.assert_allclose(rest, rest_mesh().vertices, atol=2e-5)


def test_one_body_is_posed_as_it_was() -> None:
    content = encode_body(random_poses(2)[1].body(), skeleton())
    character = rig_one(7, parse_body(content), {"hair": "long"})
    body = posed(character)
    np.testing.assert_allclose(to_y_up(body.mesh.vertices), parse_body(content).mesh.vertices, atol=2e-5)
    assert (character.identity, character.kinds) == (7, {"hair": "long"})
    again = parse_body(encode_body(body, character.skeleton)).pose
    np.testing.assert_allclose(again.translations, parse_body(content).pose.translations, atol=1e-5)
    with pytest.raises(ValueError, match="no skinned body"):
        parse_body(content[:500])


def test_character_has_skeleton_and_mesh_above_the_floor(tmp_path: Path) -> None:
    publish_motion(tmp_path, [random_poses(5)])
    character = rig(0, bodies_of(tmp_path), LeftOut())
    np.testing.assert_allclose(character.offsets[1:], OFFSETS[1:], atol=1e-6)
    assert character.mesh.vertices[:, 1].min() == pytest.approx(0.0, abs=1e-6)
    shift = character.mesh.vertices - rest_mesh().vertices
    np.testing.assert_allclose(shift, np.tile(character.offsets[0], (len(shift), 1)), atol=2e-5)
    colours = rest_mesh().colours
    assert character.mesh.colours is not None and colours is not None
    # Levels of linear light are 13 levels of sRGB apart in the dark.
    np.testing.assert_allclose(character.mesh.colours.astype(int), colours.astype(int), atol=7)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_animation_reproduces_every_published_body(tmp_path: Path, seed: int) -> None:
    poses = random_poses(9, seed, bend_degrees=120.0)
    publish_motion(tmp_path, [poses])
    bodies = bodies_of(tmp_path)
    glb = Glb(encode_characters([rig(0, bodies, LeftOut())], "session-1"))
    np.testing.assert_allclose(glb.key_times_s(), [body.time_s for body in bodies], atol=1e-6)
    for key, body in enumerate(bodies):
        glb.show_key(key)
        np.testing.assert_allclose(glb.skinned_vertices(), read_body(body.path).mesh.vertices, atol=1e-4)


def test_shape_is_that_of_most_frames_and_the_motion_of_all(tmp_path: Path) -> None:
    """The first frames of a session have a shape that is refined later; what is smaller than it was is nearer."""
    poses = random_poses(10)
    publish_motion(tmp_path, [poses], scales=(1.3, 1.2, 1.1))
    character = rig(0, bodies_of(tmp_path), LeftOut())
    np.testing.assert_allclose(character.offsets[1:], OFFSETS[1:], atol=1e-6)
    assert len(character.motion) == 10
    glb = Glb(encode_characters([character], "session-1"))
    glb.show_key(0)
    nearer = dataclasses.replace(poses[0], root=poses[0].root / 1.3)
    np.testing.assert_allclose(glb.skinned_vertices(), nearer.vertices(), atol=1e-4)


def test_straightest_of_the_frames_with_the_same_shape_gives_the_mesh(tmp_path: Path) -> None:
    """Bent by half a turn, a blend of rotations has no inverse; another frame is chosen."""
    bent = random_poses(6, bend_degrees=179.9)
    publish_motion(tmp_path, [[*bent, random_poses(1, bend_degrees=1.0)[0]]])
    character = rig(0, bodies_of(tmp_path), LeftOut())
    np.testing.assert_allclose(
        character.mesh.vertices - character.offsets[0].astype(np.float32), rest_mesh().vertices, atol=2e-5
    )


def test_colours_are_those_of_the_last_frame(tmp_path: Path) -> None:
    publish_motion(tmp_path, [random_poses(4)])
    bodies = bodies_of(tmp_path)
    last = random_poses(4)[3].body()
    assert last.mesh.colours is not None
    last.mesh.colours[:] = 200
    bodies[3] = bound_in_its_pose(bodies[3], last)
    colours = rig(0, bodies, LeftOut()).mesh.colours
    assert colours is not None and (colours == 200).all()


def test_files_say_which_limbs_were_seen_at_any_time(tmp_path: Path) -> None:
    publish_motion(tmp_path, [random_poses(3)])
    bodies = bodies_of(tmp_path)
    for number, unseen in enumerate(({"left_leg"}, {"left_leg", "left_arm"}, {"left_leg", "head"})):
        bodies[number] = bound_in_its_pose(
            bodies[number], dataclasses.replace(random_poses(3)[number].body(), unseen_limbs=unseen)
        )
    character = rig(0, bodies, LeftOut())
    assert character.unseen_limbs == {"left_leg"}
    seen = {limb: limb != "left_leg" for limb in LIMBS}
    for content in (encode_characters([character], "motion"), encode_body(posed(character), character.skeleton)):
        assert Glb(content).document["nodes"][0]["extras"]["seen"] == seen


def test_texture_is_that_of_the_last_frame_that_has_one(tmp_path: Path) -> None:
    publish_motion(tmp_path, [random_poses(3)])
    bodies = bodies_of(tmp_path)
    assert rig(0, bodies, LeftOut()).texture is None
    places = np.random.default_rng(0).random((len(rest_mesh().faces), 3, 2)).astype(np.float32)
    corners = TextureCorners.from_triangles(rest_mesh().faces, places)
    for number, brightness in ((1, 40), (2, 160)):
        texture = MeshTexture(corners, encode_jpeg(np.full((32, 32, 3), brightness, np.uint8)), brightness / 200)
        body = dataclasses.replace(random_poses(3)[number].body(), texture=texture)
        bodies[number] = bound_in_its_pose(bodies[number], body)
    character = rig(0, bodies, LeftOut())
    assert character.texture is not None and character.texture.jpeg == texture.jpeg
    assert character.texture.unseen_share == 0.8
    np.testing.assert_array_equal(character.texture.corners.vertex, corners.vertex)
    np.testing.assert_array_equal(character.texture.corners.faces, corners.faces)
    np.testing.assert_allclose(character.texture.corners.coordinates, corners.coordinates)


def test_body_model_is_posed_with_all_its_weights(tmp_path: Path) -> None:
    """Files of before kept four weights of each vertex; the character reproduces the body model within 0.1 mm."""
    model = BodyModel.load()
    skin = BodySkin.from_model(model)
    generator = torch.Generator().manual_seed(7)
    axes = torch.randn(3, 22, 3, generator=generator) * 0.5
    curl = torch.rand(3, 4, generator=generator)
    shape = torch.randn(1, 10, generator=generator).expand(3, 10)
    translation = torch.tensor([[0.0, 0.1, 3.0], [0.1, 0.1, 3.0], [0.2, 0.0, 3.2]])
    output = templates(skin, BodyParameters(axis_angle_to_matrix(axes), curl, shape, translation))
    bodies = []
    for number in range(3):
        path = tmp_path / f"{number:06d}.body.glb"
        path.write_bytes(encode_body(pose(skin, output, number), skin.skeleton_with(4)))
        bodies.append(BodyAt(0.1 * number, path))
    glb = Glb(encode_characters([rig(0, bodies, LeftOut())], "session-1"))
    for number in range(3):
        glb.show_key(number)
        expected = to_y_up(pose(skin, output, number).mesh.vertices)
        assert np.linalg.norm(glb.skinned_vertices() - expected, axis=1).max() < 1e-4
