"""Other colours: their mean, their shading, and what they leave alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from skimage.color import rgb2lab

from common.arrays import ByteArray
from common.body.anatomy import ATLAS_SIZE, REGIONS
from common.errors import UsageError
from common.texture.atlas import AtlasLayout
from receiver.export.character import Character
from receiver.export.dressing import parse_tints, tinted
from receiver.export.rigging import load_body_skin
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, decode_jpeg, encode_jpeg
from receiver.outfits.dressing import PARTS
from receiver.texture.painting import Paint
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
