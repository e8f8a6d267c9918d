"""Garments: reading MakeHuman's files, packing, fitting to body shapes, posing and rendering."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from common.body.anatomy import REGION_INDEX
from common.body.model import BodyModel, BodyOutput, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.errors import SourceError
from common.synthetic.assets.appearance import sample_appearance, sample_light
from common.synthetic.assets.garment import Garment, PosedSkeleton
from common.synthetic.assets.garment_files import Kind, pack, read_pattern, unpack
from common.synthetic.assets.wardrobe import Wardrobe, bare_faces
from common.synthetic.dataset.presets import DRESSED
from common.synthetic.renderer.renderer import Figure, View, WornGarment
from common.synthetic.scene.scene import SceneMaker, scene_maker

MHCLO = """# a comment
basemesh hm08
name cap
obj_file cap.obj
x_scale 10 20 2.0
y_scale 30 40 3.0
z_scale 50 60 4.0
verts 0
material cap.mhmat
  1 2 3 0.5 0.25 0.25 0.1 0.2 0.3
  7
  4 5 6 1.2 -0.1 -0.1 0.0 -0.1 0.0
  8 9 10 0.3 0.3 0.4 0.0 0.0 0.1

delete_verts
3 5 - 7
9
"""
OBJ = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1 4/1\n"


@pytest.fixture
def cap(tmp_path: Path) -> Path:
    folder = tmp_path / "clothes" / "fedora_of_mine"
    folder.mkdir(parents=True)
    (folder / "cap.obj").write_text(OBJ)
    (folder / "cap.mhclo").write_text(MHCLO)
    return folder / "cap.mhclo"


def test_read_pattern(cap: Path) -> None:
    pattern = read_pattern(cap)
    assert (pattern.name, pattern.kind) == ("cap", Kind.HAT)
    np.testing.assert_array_equal(pattern.corners, [[1, 2, 3], [7, 7, 7], [4, 5, 6], [8, 9, 10]])
    np.testing.assert_allclose(pattern.barycentric[1], [1, 0, 0])
    np.testing.assert_allclose(pattern.offset[0], [0.1, -0.2, -0.3], err_msg="from MakeHuman's axes to a camera's")
    np.testing.assert_array_equal(pattern.scale_pairs, [[10, 20], [30, 40], [50, 60]])
    np.testing.assert_array_equal(pattern.faces, [[0, 1, 2], [0, 2, 3]])
    np.testing.assert_array_equal(pattern.hidden, [3, 5, 6, 7, 9])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("obj_file cap.obj", "obj_file hat.obj", "hat.obj"), ("  7\n", "", "binds 3"), ("verts 0", "words 0", "no bound")],
)
def test_read_pattern_of_a_malformed_file_is_an_error(cap: Path, old: str, new: str, message: str) -> None:
    cap.write_text(MHCLO.replace(old, new, 1))
    with pytest.raises(SourceError, match=message):
        read_pattern(cap)


def test_packing_is_accurate_to_a_tenth_of_a_millimetre(cap: Path, tmp_path: Path) -> None:
    pattern = read_pattern(cap)
    pack([pattern], tmp_path / "one.npz")
    (again,) = unpack(tmp_path / "one.npz")
    assert (again.name, again.kind) == (pattern.name, pattern.kind)
    for name in ("corners", "faces", "hidden", "scale_pairs", "scale_lengths"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pattern, name))
    np.testing.assert_allclose(again.offset, pattern.offset, atol=1e-3)
    np.testing.assert_allclose(again.barycentric.sum(1), 1, atol=1e-6)


@pytest.fixture(scope="module")
def dressed_scenes() -> SceneMaker:
    return scene_maker("train", np.random.default_rng(0), 4, DRESSED)


@pytest.fixture(scope="module")
def wardrobe(dressed_scenes: SceneMaker) -> Wardrobe:
    return Wardrobe.load(dressed_scenes.renderer.canvas)


def posed(model: BodyModel, parameters: BodyParameters) -> tuple[BodyOutput, PosedSkeleton]:
    with torch.no_grad():
        body, rest = model(parameters), model.rest_joints_of(parameters.shape)
    parts = (parameters.shape, rest, body.joint_positions, body.joint_rotations)
    return body, PosedSkeleton(*(part[0].numpy() for part in parts))


def test_garments_fit_bodies_of_different_shapes(dressed_scenes: SceneMaker, wardrobe: Wardrobe) -> None:
    model = dressed_scenes.model
    for row in (0, 500, 1500):
        parameters = replace(BodyParameters.rest(1), shape=model.shape_table[row : row + 1])
        body, skeleton = posed(model, parameters)
        skin = cKDTree(body.vertices[0].numpy())
        for garment in (item for items in wardrobe.garments.values() for item in items):
            distance, _ = skin.query(garment.posed_vertices(skeleton))
            assert np.median(distance) < 0.06, garment.name
            assert np.percentile(distance, 99) < 0.2, garment.name


def test_garment_rotates_with_its_body(dressed_scenes: SceneMaker, wardrobe: Wardrobe) -> None:
    model, garment = dressed_scenes.model, wardrobe.garments[Kind.SUIT][0]
    rng = np.random.default_rng(0)
    rotations = axis_angle_to_matrix(torch.from_numpy(rng.normal(0, 0.3, (1, 22, 3)).astype(np.float32)))
    pose = replace(BodyParameters.rest(1), rotations=rotations)
    _, skeleton = posed(model, pose)
    vertices = garment.posed_vertices(skeleton)
    turn = axis_angle_to_matrix(torch.tensor([[0.0, 1.0, 0.3]]))
    rotated = rotations.clone()
    rotated[:, 0] = turn @ rotations[:, 0]
    _, rotated_skeleton = posed(model, replace(pose, rotations=rotated))
    root = pose.translation[0].numpy()
    np.testing.assert_allclose(
        garment.posed_vertices(rotated_skeleton) - root, (vertices - root) @ turn[0].numpy().T, atol=1e-4
    )


def suit_and_people(wardrobe: Wardrobe, scenes: SceneMaker) -> tuple[Garment, Figure, Figure]:
    """A suit, a person without garments, and the same person in the suit, in red."""
    suit = next(item for item in wardrobe.garments[Kind.SUIT] if item.name == "male_casualsuit05")
    body, skeleton = posed(scenes.model, BodyParameters.rest(1, 3.0))
    painted = sample_appearance(np.random.default_rng(1))
    red = painted.base_colour.copy()
    grey = np.full_like(red, 0.5)
    red[:], grey[:, 3] = [0.9, 0.05, 0.05, 0], 0
    finish = np.zeros_like(painted.finish)
    paint = replace(painted, base_colour=red, second_colour=red, finish=finish)
    bare = Figure(body.vertices[0].numpy(), replace(painted, base_colour=grey, finish=finish))
    return suit, bare, replace(bare, worn=(WornGarment(suit, suit.posed_vertices(skeleton), paint),))


def test_garments_hide_the_body(dressed_scenes: SceneMaker, wardrobe: Wardrobe) -> None:
    suit, bare, clothed = suit_and_people(wardrobe, dressed_scenes)
    view, light = View(192, 192, 210.0), sample_light(np.random.default_rng(0))
    before = dressed_scenes.renderer.render([bare], view, light)
    after = dressed_scenes.renderer.render([clothed], view, light)
    again = dressed_scenes.renderer.render([bare], view, light)
    np.testing.assert_array_equal(before.colour, again.colour)
    assert (after.part > 0).sum() > 1.05 * (before.part > 0).sum(), "cloth is wider than the body"
    both = (before.part > 0) & (after.part > 0)
    chest = both & (before.part == 1 + REGION_INDEX["chest"])
    assert np.median(before.depth[chest] - after.depth[chest]) > 0.005, "cloth is in front of the skin"
    assert after.colour[chest][:, 0].mean() > 3 * after.colour[chest][:, 1].mean()
    assert bare_faces(dressed_scenes.renderer.canvas.faces, [suit], len(bare.vertices)).mean() < 0.8


def test_region_colours_include_garments(dressed_scenes: SceneMaker, wardrobe: Wardrobe) -> None:
    _, _, clothed = suit_and_people(wardrobe, dressed_scenes)
    colours = dressed_scenes.renderer.region_colours(clothed)
    np.testing.assert_allclose(colours[REGION_INDEX["chest"]], [0.9, 0.05, 0.05], atol=0.2)
    np.testing.assert_allclose(colours[REGION_INDEX["hand.L"]], [0.5, 0.5, 0.5], atol=0.15)
