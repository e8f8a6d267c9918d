"""Other colours: their mean, their shading, and what they leave alone."""

from pathlib import Path

import numpy as np
import pytest
from skimage.color import rgb2lab

from common.arrays import ByteArray
from common.body.anatomy import ATLAS_SIZE, REGIONS
from common.errors import UsageError
from common.texture.atlas import AtlasLayout
from receiver.export.character import Character
from receiver.export.clothing_parts import PARTS, SurfacePlaces, segment
from receiver.export.skin_weights import load_body_skin
from receiver.export.tinting import parse_tints, recoloured, tinted
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, decode_jpeg, encode_jpeg
from receiver.texture.painting import Paint
from tests.support.recorded_person import recorded_person

MODEL, SKIN = load_body_skin()
PLACES = SurfacePlaces.from_vertices(SKIN.template)
TOP = PARTS.index("top")
REGION_RGB = {"face": 180, "hand": 180, "scalp": 30, "chest": 130, "upper_arm": 130, "forearm": 130, "hips": 60}


def shaded_colours() -> ByteArray:
    """(V', 3) grey tones of regions, with smooth shading."""
    tone = np.array([REGION_RGB.get(name.split(".")[0], 60) for name in REGIONS], np.float64)[SKIN.template.region]
    shading = 1 + 0.25 * np.sin(40 * SKIN.template.rest[:, 0]) * np.cos(30 * SKIN.template.rest[:, 1])
    colours: ByteArray = np.rint(np.outer(tone * shading, [1.0, 0.95, 0.9])).clip(0, 255).astype(np.uint8)
    return colours


@pytest.mark.parametrize("code", ["#336699", "#f0f0f0", "#101010", "#ff0000", "#ffff00"])
def test_lightness_keeps_its_order_and_other_parts_their_colours(code: str) -> None:
    before = shaded_colours()
    after = recoloured(before, PLACES, parse_tints([f"top={code}"]))
    share = segment(PLACES, before[PLACES.index])[:, TOP]
    inside, outside = PLACES.index[share > 0.999], PLACES.index[share == 0]
    assert len(inside) > 1000 and len(outside) > 1000
    np.testing.assert_array_equal(after[outside], before[outside])
    np.testing.assert_array_equal(after[~SKIN.template.outside], before[~SKIN.template.outside])
    order = np.argsort(rgb2lab(before[inside])[:, 0], kind="stable")
    # Colours have eight bits.
    assert np.diff(np.maximum.accumulate(lightness := rgb2lab(after[inside])[order, 0])).min() >= 0
    assert (np.maximum.accumulate(lightness) - lightness).max() < 1.5


@pytest.mark.parametrize("code", ["#336699", "#802020", "#40a060"])
def test_mean_is_the_colour_that_was_asked_for(code: str) -> None:
    before = shaded_colours()
    after = recoloured(before, PLACES, parse_tints([f"top={code}"]))
    inside = PLACES.index[segment(PLACES, before[PLACES.index])[:, TOP] > 0.999]
    wanted = rgb2lab(np.frombuffer(bytes.fromhex(code[1:]), np.uint8))
    assert np.linalg.norm(rgb2lab(after[inside]).mean(axis=0) - wanted) < 6
    assert np.ptp(rgb2lab(after[inside])[:, 0]) > 10


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
    other = tinted(character, parse_tints(["top=#cc2020"]))
    assert character.texture is not None and other.texture is not None
    assert character.texture.unseen_share == other.texture.unseen_share == 0.25
    before, after = (decode_jpeg(one.texture.jpeg).astype(int) for one in (character, other) if one.texture)
    assert before.shape == after.shape and np.abs(after - before).max(axis=2).mean() > 5
    assert character.mesh.colours is not None and other.mesh.colours is not None
    changed = np.abs(other.mesh.colours.astype(int) - character.mesh.colours).max(axis=1) > 20
    names = np.array([name.split(".")[0] for name in REGIONS])[SKIN.template.region]
    assert changed[names == "upper_arm"].mean() > 0.9
    assert changed[np.isin(names, ["shin", "foot", "scalp", "hand"])].mean() < 0.01
    np.testing.assert_array_equal(other.mesh.vertices, character.mesh.vertices)


def test_person_without_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without colours"):
        tinted(recorded_person(tmp_path), parse_tints(["top=#336699"]))


def test_tints_are_parsed() -> None:
    assert parse_tints(["top=#336699", "hair=#FFcc00"]) == {"top": (0x33, 0x66, 0x99), "hair": (0xFF, 0xCC, 0)}
