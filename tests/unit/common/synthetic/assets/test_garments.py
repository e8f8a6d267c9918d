from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from common.body.anatomy import REGION_INDEX
from common.body.model import BodyModel, BodyOutput, BodyParameters, axis_angle_to_matrix
from common.synthetic.assets.appearance import sample_appearance, sample_light
from common.synthetic.assets.garments import Garment, Kind, PosedSkeleton, Tailoring, tailor
from common.synthetic.assets.wardrobe import Wardrobe, bare_faces
from common.synthetic.dataset import DRESSED
from common.synthetic.renderer import Figure, View, WornGarment
from common.synthetic.scene.scene import SceneMaker, scene_maker
from tests.bench.people.shells import ShellMaker


@pytest.fixture(scope="module")
def dressed_scenes() -> SceneMaker:
    return scene_maker("train", np.random.default_rng(0), 4, DRESSED)


@pytest.fixture(scope="module")
def wardrobe(dressed_scenes: SceneMaker) -> Wardrobe:
    return Wardrobe.load(dressed_scenes.renderer.canvas)


@pytest.fixture(scope="module")
def suit(wardrobe: Wardrobe) -> Garment:
    return next(item for item in wardrobe.garments[Kind.SUIT] if item.name == "male_casualsuit03")


def area(garment: Garment) -> float:
    a, b, c = (garment.rest[garment.faces[:, corner]] for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_rest_is_the_mean_body_after_alteration_and_the_default_changes_nothing(
    wardrobe: Wardrobe, suit: Garment
) -> None:
    assert tailor(suit, wardrobe.canvas, Tailoring()) is suit
    altered = tailor(suit, wardrobe.canvas, Tailoring(loose_m=0.02, sleeve_end=0.6, hem=0.1))
    np.testing.assert_allclose(altered.rest_vertices(np.zeros(10, np.float32)), altered.rest, atol=1e-5)


def test_made_suit_hides_the_skin_beneath_and_no_other(wardrobe: Wardrobe) -> None:
    regions = np.unique(wardrobe.canvas.region[wardrobe.suit.covered])
    assert not {REGION_INDEX[name] for name in ("face", "hand.L", "foot.R")} & set(regions)
    assert {REGION_INDEX[name] for name in ("chest", "hips", "thigh.L", "forearm.R")} <= set(regions)


def test_loose_garment_is_larger(wardrobe: Wardrobe, suit: Garment) -> None:
    loose = tailor(suit, wardrobe.canvas, Tailoring(loose_m=0.02))
    assert area(loose) > 1.05 * area(suit)
    assert np.median(np.linalg.norm(loose.rest - suit.rest, axis=1)) == pytest.approx(0.02, abs=1e-3)


def test_cut_garment_ends_at_the_cut_with_the_original_vertices_first(wardrobe: Wardrobe, suit: Garment) -> None:
    short = tailor(suit, wardrobe.canvas, Tailoring(sleeve_end=0.6, leg_end=0.8))
    assert short.limb[np.unique(short.faces), :2].max(axis=0) == pytest.approx([0.6, 0.8], abs=1e-4)
    assert set(short.covered) < set(suit.covered), "skin beyond the cut is bare"
    np.testing.assert_array_equal(short.rest[: len(suit.rest)], suit.rest)
    assert short.faces.max() < len(short.rest) == len(short.weights) == len(short.limb) == len(short.region)


def test_top_and_bottom_make_up_the_suit(wardrobe: Wardrobe, suit: Garment) -> None:
    top = tailor(suit, wardrobe.canvas, Tailoring(hem=0.2))
    bottom = tailor(suit, wardrobe.canvas, Tailoring(waist=0.2))
    assert area(top) + area(bottom) == pytest.approx(area(suit), rel=0.01)
    assert min(area(top), area(bottom)) > 0.2 * area(suit)


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


def test_garments_hide_the_body(dressed_scenes: SceneMaker, wardrobe: Wardrobe) -> None:
    suit = next(item for item in wardrobe.garments[Kind.SUIT] if item.name == "male_casualsuit05")
    body, skeleton = posed(dressed_scenes.model, BodyParameters.rest(1, 3.0))
    painted = sample_appearance(np.random.default_rng(1))
    red = painted.base_colour.copy()
    grey = np.full_like(red, 0.5)
    red[:], grey[:, 3] = [0.9, 0.05, 0.05, 0], 0
    finish = np.zeros_like(painted.finish)
    paint = replace(painted, base_colour=red, second_colour=red, finish=finish)
    bare = Figure(body.vertices[0].numpy(), replace(painted, base_colour=grey, finish=finish))
    clothed = replace(bare, worn=(WornGarment(suit, suit.posed_vertices(skeleton), paint),))
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
    colours = ShellMaker(dressed_scenes.renderer).region_colours(clothed)
    np.testing.assert_allclose(colours[REGION_INDEX["chest"]], [0.9, 0.05, 0.05], atol=0.2)
    np.testing.assert_allclose(colours[REGION_INDEX["hand.L"]], [0.5, 0.5, 0.5], atol=0.15)
