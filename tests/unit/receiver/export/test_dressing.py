"""Other colours: their mean, their shading, and what they leave alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from common.arrays import ByteArray, FloatArray
from common.body.anatomy import ATLAS_SIZE, REGIONS, SKELETON
from common.errors import UsageError
from common.texture.atlas import AtlasLayout, sample
from receiver.export.animated_glb import encode_characters
from receiver.export.character import Character
from receiver.export.dressing import bare_skin, dressed, parse_tints, tinted, worn_parts
from receiver.export.editing import Edits
from receiver.export.rigging import full_weights, load_body_skin
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, decode_jpeg, encode_jpeg
from receiver.outfits.dressing import PARTS, Dresser, Shells
from receiver.outfits.guidance import OutfitDiffusion
from receiver.outfits.mixture import PLAIN, decode_outfit, draw
from receiver.texture.painting import Paint, template_corners
from tests.support.meshes.gltf_validator import validation_issues
from tests.support.motion.recorded_person import recorded_person

MODEL, SKIN = load_body_skin()
NAMES = np.array([name.split(".")[0] for name in REGIONS])[SKIN.template.region]
TOP = np.isin(NAMES, ["chest", "upper_arm", "forearm"])
WORN = np.where(TOP, PARTS.index("top"), 0)
REGION_RGB = {"face": 180, "hand": 180, "scalp": 30, "chest": 130, "upper_arm": 130, "forearm": 130, "hips": 60}


def shaded_colours() -> ByteArray:
    """(V', 3) grey tones of regions, with smooth shading."""
    tone = np.array([REGION_RGB.get(name.split(".")[0], 60) for name in REGIONS], np.float64)[SKIN.template.region]
    shading = 1 + 0.25 * np.sin(40 * SKIN.template.rest[:, 0]) * np.cos(30 * SKIN.template.rest[:, 1])
    colours: ByteArray = np.rint(np.outer(tone * shading, [1.0, 0.95, 0.9])).clip(0, 255).astype(np.uint8)
    return colours


@pytest.fixture(scope="module")
def character(tmp_path_factory: pytest.TempPathFactory) -> Character:
    """A person with shaded colours, without a texture."""
    person = recorded_person(tmp_path_factory.mktemp("meshes"))
    return dataclasses.replace(person, mesh=dataclasses.replace(person.mesh, colours=shaded_colours()))


def colours_with(character: Character, code: str) -> ByteArray:
    """(V', 3) the colours with another top."""
    colours = tinted(character, parse_tints([f"top={code}"]), WORN).mesh.colours
    assert colours is not None
    return colours


@pytest.mark.parametrize("code", ["#336699", "#f0f0f0", "#101010", "#ff0000", "#ffff00"])
def test_lightness_keeps_its_order_and_other_parts_their_colours(character: Character, code: str) -> None:
    before, after = shaded_colours(), colours_with(character, code)
    inside = np.flatnonzero(TOP & SKIN.template.outside)
    kept = ~TOP | ~SKIN.template.outside
    np.testing.assert_array_equal(after[kept], before[kept])
    order = np.argsort(rgb2lab(before[inside])[:, 0], kind="stable")
    # Colours have eight bits.
    assert np.diff(np.maximum.accumulate(lightness := rgb2lab(after[inside])[order, 0])).min() >= 0
    assert (np.maximum.accumulate(lightness) - lightness).max() < 1.5


@pytest.mark.parametrize("code", ["#336699", "#802020", "#40a060"])
def test_mean_is_the_colour_that_was_asked_for(character: Character, code: str) -> None:
    after = colours_with(character, code)
    inside = TOP & SKIN.template.outside
    wanted = rgb2lab(np.frombuffer(bytes.fromhex(code[1:]), np.uint8))
    assert np.linalg.norm(rgb2lab(after[inside]).mean(axis=0) - wanted) < 6
    assert np.ptp(rgb2lab(after[inside])[:, 0]) > 10


def test_any_colours_can_be_tinted(character: Character) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (len(WORN), 3)).astype(np.uint8)
    noisy = dataclasses.replace(character, mesh=dataclasses.replace(character.mesh, colours=noise))
    after = tinted(noisy, parse_tints(["skin=#ff0000"]), WORN).mesh.colours
    assert after is not None and (after[TOP] == noise[TOP]).all() and (after != noise).any()


def painted_person(folder: Path) -> Character:
    """A person with a texture of the shaded colours."""
    layout = AtlasLayout.from_body(MODEL)
    colours = np.zeros((int(layout.corners.max()) + 1, 3))
    colours[SKIN.template.kept] = shaded_colours()
    atlas = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
    atlas[layout.texel] = np.einsum("tc,tcd->td", layout.barycentric, colours[layout.corners]).astype(np.uint8)
    jpeg = encode_jpeg(layout.extended(atlas.reshape(ATLAS_SIZE, ATLAS_SIZE, 3)))
    coordinates = MODEL.texture_coordinates.numpy()[SKIN.template.face_index]
    corners = TextureCorners.from_triangles(SKIN.template.faces, coordinates)
    return recorded_person(folder, paint=Paint(MeshTexture(corners, jpeg, 0.25), shaded_colours()))


def test_texture_and_vertices_change_together(tmp_path: Path) -> None:
    character = painted_person(tmp_path)
    other = tinted(character, parse_tints(["top=#cc2020"]), WORN)
    assert character.texture is not None and other.texture is not None
    assert character.texture.unseen_share == other.texture.unseen_share == 0.25
    before, after = (decode_jpeg(one.texture.jpeg).astype(int) for one in (character, other) if one.texture)
    assert before.shape == after.shape and np.abs(after - before).max(axis=2).mean() > 5
    assert character.mesh.colours is not None and other.mesh.colours is not None
    changed = np.abs(other.mesh.colours.astype(int) - character.mesh.colours).max(axis=1) > 20
    assert changed[NAMES == "upper_arm"].mean() > 0.9
    assert changed[np.isin(NAMES, ["shin", "foot", "scalp", "hand"])].mean() < 0.01
    np.testing.assert_array_equal(other.mesh.vertices, character.mesh.vertices)


def test_person_without_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without colours"):
        tinted(recorded_person(tmp_path), parse_tints(["top=#336699"]), WORN)


def test_tints_are_parsed() -> None:
    assert parse_tints(["top=#336699", "hair=#FFcc00"]) == {"top": (0x33, 0x66, 0x99), "hair": (0xFF, 0xCC, 0)}


TEMPLATE = load_body_skin()[1].template
REGION = np.array([name.split(".")[0] for name in REGIONS])[TEMPLATE.region]
KINDS = {
    **{"hair": "short", "headwear": "none", "sleeve": "long", "layer": "top", "bottom": "trousers"},
    **{"top_fit": "regular", "bottom_fit": "regular", "shoes": "shoes"},
}
IDENTITY = 0
DRESSING_SKIN, CLOTH = (200, 150, 120), (30, 90, 40)


@pytest.fixture(scope="module")
def dressing_character(tmp_path_factory: pytest.TempPathFactory) -> Character:
    """Somebody of random shape in an outfit of `KINDS`, two millimetres wider than it is sampled, in two colours."""
    drawn = draw(PLAIN.as_known(KINDS), IDENTITY)
    x = OutfitDiffusion.load().sample(drawn)
    outfit = Dresser(TEMPLATE, Shells.load()).dress(decode_outfit(drawn, x))
    wider = outfit.displacement + 0.002 * outfit.cloth[:, None] * TEMPLATE.vertex_normals(TEMPLATE.rest)
    worn = torch.from_numpy(np.asarray(wider, np.float32))
    person = recorded_person(tmp_path_factory.mktemp("meshes"), displacement=worn)
    colours = np.where(outfit.cloth[:, None], CLOTH, DRESSING_SKIN).astype(np.uint8)
    mesh = dataclasses.replace(person.mesh, colours=colours)
    return dataclasses.replace(person, mesh=mesh, kinds=KINDS)


def displacement(dressing_character: Character) -> FloatArray:
    """(V', 3) camera axes, metres."""
    return np.asarray((dressing_character.mesh.vertices - bare_skin(dressing_character)) * Y_UP, np.float32)


def moved_m(dressing_character: Character, **change: str) -> FloatArray:
    difference = displacement(dressed(dressing_character, change)) - displacement(dressing_character)
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
    dressing_character: Character, change: dict[str, str], where: tuple[str, ...], elsewhere: tuple[str, ...]
) -> None:
    moved = moved_m(dressing_character, **change)
    assert moved[np.isin(REGION, where)].mean() > 0.002
    assert moved[np.isin(REGION, elsewhere)].max() < 1e-5, "as it was recorded"


def test_what_is_worn_already_changes_nothing(dressing_character: Character) -> None:
    np.testing.assert_allclose(
        dressed(dressing_character, KINDS).mesh.vertices, dressing_character.mesh.vertices, atol=1e-5
    )
    assert dressed(dressing_character, {"sleeve": "long"}).mesh.colours is dressing_character.mesh.colours


def test_colours_follow(dressing_character: Character) -> None:
    arms, legs = (
        dressed(dressing_character, {"sleeve": "short"}),
        dressed(dressing_character, {"bottom": "shorts", "shoes": "barefoot"}),
    )
    for other, region in ((arms, "forearm"), (legs, "shin")):
        colours = other.mesh.colours
        assert colours is not None
        np.testing.assert_array_equal(np.median(colours[region == REGION], axis=0), DRESSING_SKIN)
    back = dressed(arms, {"sleeve": "long"}).mesh.colours
    assert back is not None
    np.testing.assert_array_equal(np.median(back[REGION == "forearm"], axis=0), CLOTH)


def test_texture_has_the_colours_of_the_vertices(dressing_character: Character) -> None:
    model, _ = load_body_skin()
    corners = template_corners(model, TEMPLATE)
    green = encode_jpeg(np.full((512, 512, 3), CLOTH, np.uint8))
    other = dressed(dataclasses.replace(dressing_character, texture=MeshTexture(corners, green)), {"sleeve": "short"})
    assert other.texture is not None and other.mesh.colours is not None
    atlas = decode_jpeg(other.texture.jpeg)
    sampled = np.rint(sample(atlas, corners.coordinates[: len(TEMPLATE.rest)]))
    assert np.abs(sampled - other.mesh.colours).mean() < 3
    chest = np.median(other.mesh.colours[REGION == "chest"], axis=0)
    np.testing.assert_allclose(chest, CLOTH, atol=6)


def test_dressed_character_stands_on_the_floor(dressing_character: Character) -> None:
    for change in ({"shoes": "barefoot"}, {"shoes": "boots"}, {"bottom": "skirt_long"}):
        other = dressed(dressing_character, change)
        assert other.mesh.vertices[:, 1].min() == pytest.approx(0.0, abs=1e-6)
        np.testing.assert_array_equal(other.offsets[1:], dressing_character.offsets[1:])


def test_kinds_that_nobody_wears_together_are_completed(dressing_character: Character) -> None:
    assert dressed(dressing_character, {"layer": "dress"}).kinds["bottom"] == "skirt_short"
    bare = dressed(dressing_character, {"layer": "none"})
    assert (bare.kinds["layer"], bare.kinds["sleeve"]) == ("none", "bare")
    assert dressed(bare, {"layer": "coat"}).kinds["sleeve"] == "long"


def test_skirts_follow_both_legs_and_trousers_their_own(dressing_character: Character) -> None:
    skirt, trousers = (
        Edits.parse([f"bottom={kind}"], [], []).applied(dressing_character) for kind in ("skirt_long", "trousers")
    )
    assert trousers.skeleton is dressing_character.skeleton
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
    x = OutfitDiffusion.load().sample(drawn)
    field = Dresser(TEMPLATE, Shells.load()).dress(decode_outfit(drawn, x)).displacement
    person = recorded_person(tmp_path, torch.from_numpy(field))
    np.testing.assert_allclose(displacement(person), field, atol=2e-3)
    trousers = dataclasses.replace(person, kinds={**KINDS, "bottom": kind})
    trousers = Edits.parse(["bottom=trousers"], [], []).applied(trousers)
    bare = full_weights(load_body_skin()[1].skeleton)
    assert trousers.skeleton is bare is not person.skeleton


def test_tint_is_of_the_part_that_is_worn(dressing_character: Character) -> None:
    """Hair down the back is none of the top, although it lies there and its colour is no other."""
    other = Edits.parse(["hair=long"], ["hair=#ff0000"], []).applied(dressing_character)
    hair = worn_parts(other) == PARTS.index("hair")
    assert other.mesh.colours is not None
    red, green, _ = other.mesh.colours.astype(int).T
    assert (
        (red > green + 60)[hair & TEMPLATE.outside].mean() > 0.9 > 0.1 > (red > green + 60)[REGION == "forearm"].mean()
    )


def test_edits_are_made_in_turn_and_the_file_is_valid(dressing_character: Character, tmp_path: Path) -> None:
    edits = Edits.parse(["layer=dress", "hair=long"], ["top=#336699"], ["height=+5cm"])
    other, dress = edits.applied(dressing_character), dressed(dressing_character, {"layer": "dress", "hair": "long"})
    assert np.ptp(other.mesh.vertices[:, 1]) > np.ptp(dress.mesh.vertices[:, 1]) + 0.03
    assert validation_issues(encode_characters([other], "session-1")) == []
