"""Other kinds of clothes on a recorded person: what changes, what stays, its colours, and where the floor is."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import REGIONS, SKELETON
from common.texture.atlas import sample
from receiver.export.animated_glb import encode_characters
from receiver.export.character import Character
from receiver.export.dressing import bare_skin, dressed, worn_parts
from receiver.export.editing import Edits
from receiver.export.rigging import full_weights, load_body_skin
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.mesh_texture import MeshTexture, decode_jpeg, encode_jpeg
from receiver.outfits.dressing import PARTS, Dresser, Shells
from receiver.outfits.guidance import OutfitDiffusion
from receiver.outfits.mixture import PLAIN, decode_outfit, draw
from receiver.texture.painting import template_corners
from tests.support.meshes.gltf_validator import validation_issues
from tests.support.motion.recorded_person import recorded_person

TEMPLATE = load_body_skin()[1].template
REGION = np.array([name.split(".")[0] for name in REGIONS])[TEMPLATE.region]
KINDS = {
    **{"hair": "short", "headwear": "none", "sleeve": "long", "layer": "top", "bottom": "trousers"},
    **{"top_fit": "regular", "bottom_fit": "regular", "shoes": "shoes"},
}
IDENTITY = 0
SKIN, CLOTH = (200, 150, 120), (30, 90, 40)


@pytest.fixture(scope="module")
def character(tmp_path_factory: pytest.TempPathFactory) -> Character:
    """Somebody of random shape in an outfit of `KINDS`, two millimetres wider than it is sampled, in two colours."""
    drawn = draw(PLAIN.as_known(KINDS), IDENTITY)
    x = OutfitDiffusion.load().sample(drawn, np.zeros(0, np.float32), np.zeros(0))
    outfit = Dresser(TEMPLATE, Shells.load()).dress(decode_outfit(drawn, x))
    wider = outfit.displacement + 0.002 * outfit.cloth[:, None] * TEMPLATE.vertex_normals(TEMPLATE.rest)
    worn = torch.from_numpy(np.asarray(wider, np.float32))
    person = recorded_person(tmp_path_factory.mktemp("meshes"), displacement=worn)
    colours = np.where(outfit.cloth[:, None], CLOTH, SKIN).astype(np.uint8)
    mesh = dataclasses.replace(person.mesh, colours=colours)
    return dataclasses.replace(person, mesh=mesh, kinds=KINDS)


def displacement(character: Character) -> FloatArray:
    """(V', 3) camera axes, metres."""
    return np.asarray((character.mesh.vertices - bare_skin(character)) * Y_UP, np.float32)


def moved_m(character: Character, **change: str) -> FloatArray:
    difference = displacement(dressed(character, change)) - displacement(character)
    return np.asarray(np.linalg.norm(difference, axis=1), np.float32)


@pytest.mark.parametrize(
    ("change", "where", "elsewhere"),
    [
        ({"sleeve": "short"}, ("forearm",), ("shin", "face", "foot")),
        ({"bottom": "shorts"}, ("shin",), ("forearm", "face", "scalp")),
        ({"layer": "coat"}, ("thigh", "hips"), ("foot", "scalp")),
        ({"hair": "long"}, ("scalp",), ("hand", "shin", "foot")),
        ({"headwear": "hat"}, ("scalp",), ("hand", "shin", "foot")),
        ({"shoes": "barefoot"}, ("foot",), ("hand", "face", "scalp")),
        ({"bottom_fit": "loose"}, ("thigh",), ("hand", "face", "scalp")),
    ],
)
def test_change_is_where_it_is_worn_and_nowhere_else(
    character: Character, change: dict[str, str], where: tuple[str, ...], elsewhere: tuple[str, ...]
) -> None:
    moved = moved_m(character, **change)
    assert moved[np.isin(REGION, where)].mean() > 0.002
    assert moved[np.isin(REGION, elsewhere)].max() < 1e-5, "as it was recorded"


def test_what_is_worn_already_changes_nothing(character: Character) -> None:
    np.testing.assert_allclose(dressed(character, KINDS).mesh.vertices, character.mesh.vertices, atol=1e-5)
    assert dressed(character, {"sleeve": "long"}).mesh.colours is character.mesh.colours


def test_colours_follow(character: Character) -> None:
    arms, legs = dressed(character, {"sleeve": "short"}), dressed(character, {"bottom": "shorts", "shoes": "barefoot"})
    for other, region in ((arms, "forearm"), (legs, "shin")):
        colours = other.mesh.colours
        assert colours is not None
        np.testing.assert_array_equal(np.median(colours[region == REGION], axis=0), SKIN)
    back = dressed(arms, {"sleeve": "long"}).mesh.colours
    assert back is not None
    np.testing.assert_array_equal(np.median(back[REGION == "forearm"], axis=0), CLOTH)


def test_texture_has_the_colours_of_the_vertices(character: Character) -> None:
    model, _ = load_body_skin()
    corners = template_corners(model, TEMPLATE)
    green = encode_jpeg(np.full((512, 512, 3), CLOTH, np.uint8))
    other = dressed(dataclasses.replace(character, texture=MeshTexture(corners, green)), {"sleeve": "short"})
    assert other.texture is not None and other.mesh.colours is not None
    atlas = decode_jpeg(other.texture.jpeg)
    sampled = np.rint(sample(atlas, corners.coordinates[: len(TEMPLATE.rest)]))
    assert np.abs(sampled - other.mesh.colours).mean() < 3
    chest = np.median(other.mesh.colours[REGION == "chest"], axis=0)
    np.testing.assert_allclose(chest, CLOTH, atol=6)


def test_dressed_character_stands_on_the_floor(character: Character) -> None:
    for change in ({"shoes": "barefoot"}, {"shoes": "boots"}, {"bottom": "skirt_long"}):
        other = dressed(character, change)
        assert other.mesh.vertices[:, 1].min() == pytest.approx(0.0, abs=1e-6)
        np.testing.assert_array_equal(other.offsets[1:], character.offsets[1:])


def test_kinds_that_nobody_wears_together_are_completed(character: Character) -> None:
    assert dressed(character, {"layer": "dress"}).kinds["bottom"] == "skirt_short"
    bare = dressed(character, {"layer": "none"})
    assert (bare.kinds["layer"], bare.kinds["sleeve"]) == ("none", "bare")
    assert dressed(bare, {"layer": "coat"}).kinds["sleeve"] == "long"


def test_skirts_follow_both_legs_and_trousers_their_own(character: Character) -> None:
    skirt, trousers = (
        Edits.parse([f"bottom={kind}"], [], []).applied(character) for kind in ("skirt_long", "trousers")
    )
    assert trousers.skeleton is character.skeleton
    shins = [SKELETON.index(f"lowerleg01.{side}") for side in "LR"]
    weights = np.stack(
        [(skirt.skeleton.vertex_weights * (skirt.skeleton.vertex_joints == shin)).sum(axis=1) for shin in shins]
    )
    x, y, z = skirt.mesh.vertices.T
    middle = (REGION == "shin") & (np.abs(x) < 0.015) & (z > 0.05) & (y > 0.35)
    assert middle.any() and (weights[:, middle].min(axis=0) > 0.2).all()
    np.testing.assert_allclose(skirt.skeleton.vertex_weights.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["skirt_long", "skirt_short"])
def test_published_skirt_is_found_in_the_rest_pose(tmp_path: Path, kind: str) -> None:
    drawn = draw(PLAIN.as_known({**KINDS, "bottom": kind}), IDENTITY)
    x = OutfitDiffusion.load().sample(drawn, np.zeros(0, np.float32), np.zeros(0))
    field = Dresser(TEMPLATE, Shells.load()).dress(decode_outfit(drawn, x)).displacement
    person = recorded_person(tmp_path, torch.from_numpy(field))
    np.testing.assert_allclose(displacement(person), field, atol=2e-3)
    trousers = dataclasses.replace(person, kinds={**KINDS, "bottom": kind})
    trousers = Edits.parse(["bottom=trousers"], [], []).applied(trousers)
    bare = full_weights(load_body_skin()[1].skeleton)
    assert trousers.skeleton is bare is not person.skeleton


def test_tint_is_of_the_part_that_is_worn(character: Character) -> None:
    """Hair down the back is none of the top, although it lies there and its colour is no other."""
    other = Edits.parse(["hair=long"], ["hair=#ff0000"], []).applied(character)
    hair = worn_parts(other) == PARTS.index("hair")
    assert other.mesh.colours is not None
    red, green, _ = other.mesh.colours.astype(int).T
    assert (
        (red > green + 60)[hair & TEMPLATE.outside].mean() > 0.9 > 0.1 > (red > green + 60)[REGION == "forearm"].mean()
    )


def test_edits_are_made_in_turn_and_the_file_is_valid(character: Character, tmp_path: Path) -> None:
    edits = Edits.parse(["layer=dress", "hair=long"], ["top=#336699"], ["height=+5cm"])
    other, dress = edits.applied(character), dressed(character, {"layer": "dress", "hair": "long"})
    assert np.ptp(other.mesh.vertices[:, 1]) > np.ptp(dress.mesh.vertices[:, 1]) + 0.03
    assert validation_issues(encode_characters([other], "session-1")) == []
