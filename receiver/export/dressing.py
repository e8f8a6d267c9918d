"""Dresses a character in other kinds, and colours its parts: `top=#336699`.

A part of the outfit (`receiver.export.dressing.worn_parts`) gets the new colour as its mean, in CIELAB.  Its shading
remains: how much lighter or darker a place is than the part's mean, and chroma that grows with lightness as under any
light.  Its pattern remains as differences of chroma.  Colours outside of sRGB lose chroma, not lightness, so that the
order of lightness is kept.

Shapes: V' vertices of the template, N colours, P parts.

Dresses a character in other kinds of hair and clothes (`common.wears`): `sleeve=short`, `layer=coat`.

The receiver generates an outfit of the kinds that a person wears, by the seed of the identity (`receiver.outfits`).
Where an outfit of the other kinds is the same, the person stays as recorded; elsewhere the other outfit is put on.
Colours follow: skin that is bared has the colour of the skin that was seen, and what is covered that of the garment.

Shapes: V' vertices of the template, N colours.
"""

import dataclasses
import functools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from skimage.color import lab2rgb, rgb2lab

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import REGIONS
from common.body.template import BodyTemplate
from common.errors import UsageError
from common.texture.atlas import AtlasLayout, sample
from common.wear_kinds import worn_together
from common.wears import check_kinds
from common.weights.devices import to_numpy
from receiver.export.character import Character
from receiver.export.rigging import is_of_body_model, load_body_skin, spanning_skeleton
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.mesh_texture import decode_jpeg, encode_jpeg
from receiver.outfits.dressing import PARTS, Dresser, Outfit, Shells
from receiver.outfits.guidance import OutfitDiffusion
from receiver.outfits.mixture import PLAIN, Draw, Kinds, decode_outfit, draw

_TINT = re.compile(r"([a-z]+)=#([0-9a-fA-F]{6})", re.ASCII)
# Contrast of a dark part that becomes a light one: more would show the noise of the camera.
_MOST_CONTRAST = 1.5
# How far towards white the lightest places of a part may come.
_LIGHTEST = 0.6
_CHROMA_STEPS = 8
_FORMATTED = f"give PART=#RRGGBB, for example top=#336699; the parts are {', '.join(PARTS)}"

Tints = Mapping[str, tuple[int, int, int]]
"""sRGB by part."""


def parse_tints(texts: Sequence[str]) -> Tints:
    """Of texts such as `top=#336699`. Raises ValueError if a text is something else, or a part is named twice."""
    tints: dict[str, tuple[int, int, int]] = {}
    for text in texts:
        found = _TINT.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no colour of a part: {_FORMATTED}")
        part, code = found.groups()
        if part not in PARTS:
            raise ValueError(f"{part!r} is no part: {_FORMATTED}")
        if part in tints:
            raise ValueError(f"{part} is coloured twice: give each part once")
        red, green, blue = bytes.fromhex(code)
        tints[part] = (red, green, blue)
    return tints


def tinted(character: Character, tints: Tints, worn: IntArray) -> Character:
    """The character, of the body model's body, with other colours.

    Args:
        worn: (V',) the part that each vertex of the template is of, index into `PARTS`.

    Raises:
        UsageError: it has no colours, or as `repainted`.
    """
    if character.mesh.colours is None:
        raise UsageError(f"--tint: person {character.identity} was recorded without colours")
    # What lines the mouth and the eyes keeps its colours.
    shares = np.eye(len(PARTS), dtype=np.float32)[worn] * load_body_skin()[1].template.outside[:, None]

    def paint(colours: ByteArray, places: IntArray, weights: FloatArray) -> ByteArray:
        share = np.einsum("nc,ncp->np", weights, shares[places]).astype(np.float64)
        after = colours.astype(np.float64)
        for part, rgb in tints.items():
            own = share[:, PARTS.index(part)]
            touched = own > 0
            if touched.any():
                shift = _in_colour(colours[touched], own[touched], rgb) - colours[touched]
                after[touched] += own[touched, None] * shift
        return np.rint(after).clip(0, 255).astype(np.uint8)

    return repainted(character, paint)


def repainted(character: Character, paint: Callable[[ByteArray, IntArray, FloatArray], ByteArray]) -> Character:
    """A character, of the body model's body and with colours, whose colours are painted.

    Args:
        paint: is called with colours (N, 3), the vertices of the template (N, C) that each lies between, and how near
            each of these is (N, C); returns other colours (N, 3).

    Raises:
        UsageError: the texture is another atlas than ours.
    """
    mesh, texture, layout = character.mesh, character.texture, atlas_layout()
    assert mesh.colours is not None
    if texture is None:
        places = np.arange(len(mesh.vertices))[:, None]
        colours = paint(mesh.colours, places, np.ones(places.shape, np.float32))
        return dataclasses.replace(character, mesh=dataclasses.replace(mesh, colours=colours))
    atlas = decode_jpeg(texture.jpeg)
    if atlas.shape[:2] != layout.nearest.shape:
        raise UsageError(f"the texture of person {character.identity} is of another version: its colours stay")
    place = load_body_skin()[1].template.place[layout.corners].astype(np.int64)
    shown = (place >= 0).all(axis=1)
    texels, index = atlas.reshape(-1, 3), layout.texel[shown]
    texels[index] = paint(texels[index], place[shown], layout.barycentric[shown])
    atlas = layout.extended(atlas)
    colours = np.rint(sample(atlas, texture.corners.coordinates[: len(mesh.vertices)])).astype(np.uint8)
    return dataclasses.replace(
        character,
        mesh=dataclasses.replace(mesh, colours=colours),
        texture=dataclasses.replace(texture, jpeg=encode_jpeg(atlas)),
    )


@functools.cache
def atlas_layout() -> AtlasLayout:
    """Where the texels are on the body model."""
    return AtlasLayout.from_body(load_body_skin()[0])


def _in_colour(colours: ByteArray, share: Float64Array, rgb: tuple[int, int, int]) -> Float64Array:
    """(n, 3) sRGB of a part, 0…255, in another colour; its mean is weighted with the share (n,) of each place."""
    lab, wanted = rgb2lab(colours), rgb2lab(np.array(rgb, np.uint8))
    mean = np.average(lab, axis=0, weights=share)
    contrast = min(wanted[0] / max(mean[0], 1.0), _MOST_CONTRAST)
    lightness = wanted[0] + _limited(contrast * (lab[:, 0] - mean[0]), wanted[0], _LIGHTEST * (100 - wanted[0]))
    shading = (lightness / max(wanted[0], 1.0))[:, None]
    pattern = lab[:, 1:] - mean[1:] * (lab[:, :1] / max(mean[0], 1.0))
    return _within_srgb(np.column_stack([lightness, wanted[1:] * shading + pattern]))


def _limited(difference: Float64Array, most_below: float, most_above: float) -> Float64Array:
    """Differences (n,) that approach limits, in the same order."""
    most = np.maximum(np.where(difference < 0, most_below, most_above), 1e-6)
    return np.asarray(most * np.tanh(difference / most), np.float64)


def _within_srgb(lab: Float64Array) -> Float64Array:
    """(n, 3) sRGB, 0…255, of CIELAB colours, with as much of their chroma as sRGB has; found by bisection."""
    low, high = np.zeros((len(lab), 1)), np.ones((len(lab), 1))
    trial = high
    with warnings.catch_warnings():
        # Colours that no light has are tried, too.
        warnings.filterwarnings("ignore", message="Conversion from CIE-LAB")
        for _ in range(_CHROMA_STEPS):
            candidate = np.hstack([lab[:, :1], lab[:, 1:] * trial])
            fits = (np.abs(rgb2lab(lab2rgb(candidate)) - candidate).max(axis=1, keepdims=True) < 0.5) | (trial == 0)
            low, high = np.where(fits, trial, low), np.where(fits, high, trial)
            trial = (low + high) / 2
        return 255 * np.asarray(lab2rgb(np.hstack([lab[:, :1], lab[:, 1:] * low])), np.float64)


_SAME_M = 1e-3
# Further from the outfit of the kinds that are likeliest, the person wears something else.
_OTHER_M = 0.02
# Of whom less is seen has no colour of a part to go on with: sRGB.
_FEWEST = 40
_USUAL: Mapping[str, tuple[int, int, int]] = {
    "skin": (196, 154, 132),
    "hair": (72, 54, 42),
    "top": (150, 152, 156),
    "bottom": (78, 84, 98),
    "shoes": (58, 56, 56),
}
# Lips, eyes and nails are not the colour of an arm.
_SHOWN_SKIN = ("face", "hand", "forearm", "upper_arm", "shin", "thigh")


def parse_kinds(texts: Sequence[str]) -> Kinds:
    """Of texts such as `sleeve=short`. Raises ValueError if a text is something else, or names an attribute again."""
    kinds: dict[str, str] = {}
    for text in texts:
        name, given, value = text.partition("=")
        if not given:
            raise ValueError(f"{text!r} says not what of what: give, for example, sleeve=short or layer=coat")
        check_kinds({name: value})
        if name in kinds:
            raise ValueError(f"{name} is given twice")
        kinds[name] = value
    return kinds


def dressed(character: Character, change: Kinds) -> Character:
    """The character, of the body model's body, with other kinds of what it wears. Raises WeightsError."""
    drawn = _drawn(character.kinds, character.identity)
    other_kinds = _drawn(worn_together({**character.kinds, **change}, fixed=change), character.identity)
    x = _diffusion().sample(drawn)
    before, after = _dresser().dress(decode_outfit(drawn, x)), _dresser().dress(decode_outfit(other_kinds, x))
    skin = bare_skin(character)
    recorded: FloatArray = ((character.mesh.vertices - skin) * Y_UP).astype(np.float32)
    kept = _kept(recorded, before, after)
    vertices = skin + np.where(kept[:, None], recorded, after.displacement) * Y_UP
    lowest = float(vertices[:, 1].min())
    vertices[:, 1] -= lowest
    offsets = character.offsets.copy()
    offsets[0, 1] -= lowest
    mesh = dataclasses.replace(character.mesh, vertices=vertices.astype(np.float32))
    other = dataclasses.replace(character, offsets=offsets, mesh=mesh, kinds=other_kinds.kinds)
    return _coloured(other, before, after)


def spanned(character: Character) -> Character:
    """The character in which skirts, dresses and tails of coats stay whole when the legs part."""
    if not is_of_body_model(character.skeleton):
        return character
    displacement = ((character.mesh.vertices - bare_skin(character)) * Y_UP).astype(np.float32)
    shares = to_numpy(load_body_skin()[1].span.shares(torch.from_numpy(displacement)))
    return dataclasses.replace(character, skeleton=spanning_skeleton(shares))


def worn_parts(character: Character) -> IntArray:
    """(V',) the part that is outermost in a character's outfit: index into `PARTS`."""
    drawn = _drawn(character.kinds, character.identity)
    return _dresser().dress(decode_outfit(drawn, _diffusion().sample(drawn))).part


def bare_skin(character: Character) -> Float64Array:
    """(V', 3) the template of a character's shape without clothes, y up, in the place of the character's mesh."""
    model, skin = load_body_skin()
    rest = to_numpy(model.rest_vertices)[:, skin.template.kept].astype(np.float64) * Y_UP
    joints = to_numpy(model.rest_joints).astype(np.float64) * Y_UP
    rows = np.concatenate([[1.0], _shape(character, joints)])
    return np.asarray(np.tensordot(rows, rest, 1) - rows @ joints[:, 0] + character.rest_positions[0], np.float64)


def _shape(character: Character, joints: Float64Array) -> Float64Array:
    """(10,) coefficients of the character's bones, by least squares; `joints` (11, J, 3) are the body model's."""
    bones = joints - joints[:, :1]
    wanted = character.rest_positions - character.rest_positions[0] - bones[0]
    shape: Float64Array = np.linalg.lstsq(bones[1:].reshape(len(bones) - 1, -1).T, wanted.ravel(), rcond=None)[0]
    return shape


@functools.cache
def _dresser() -> Dresser:
    return Dresser(_template(), Shells.load())


def _template() -> BodyTemplate:
    return load_body_skin()[1].template


@functools.cache
def _diffusion() -> OutfitDiffusion:
    return OutfitDiffusion.load()


def _kept(recorded: FloatArray, before: Outfit, after: Outfit) -> BoolArray:
    """(V',) where a person stays as recorded (V', 3), who changes from one outfit to another."""
    changed = _distance(after.displacement, before.displacement) >= _SAME_M
    region = _template().region
    around = np.isin(region, region[changed])
    return np.asarray(~changed & ~(around & (_distance(recorded, before.displacement) > _OTHER_M)))


def _distance(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(one - other, axis=1), np.float32)


def _drawn(kinds: Kinds, identity: int) -> Draw:
    """Of kinds; those that are not known, or that nobody can wear together, are chosen."""
    return draw(PLAIN.as_known(kinds), identity)


def _coloured(character: Character, before: Outfit, after: Outfit) -> Character:
    """The character with colours of the parts that are outermost now. Raises UsageError as `repainted`."""
    if character.mesh.colours is None or np.array_equal(before.part, after.part):
        return character
    return repainted(character, lambda colours, places, weights: _painted(colours, places, weights, (before, after)))


def _painted(colours: ByteArray, places: IntArray, weights: FloatArray, worn: tuple[Outfit, Outfit]) -> ByteArray:
    """(N, 3) sRGB colours in which parts that are outermost now have their own.

    Args:
        places: (N, C) vertices of the template that each colour lies between.
        weights: (N, C) how near each is.
        worn: before and now.
    """
    before, after = (each.part[places] for each in worn)
    changed = weights * (before != after)
    row, nearest = np.arange(len(places)), weights.argmax(axis=1)
    own = before[row, nearest]
    own_skin = _shown_skin(worn[0])[places[row, nearest]]
    seen = {name: own_skin if name == "skin" else own == number for number, name in enumerate(PARTS)}
    palette = np.array([_colour_of(name, colours[among]) for name, among in seen.items()])
    wanted = palette[after[row, changed.argmax(axis=1)]]
    share = changed.sum(axis=1, keepdims=True)
    painted: Float64Array = colours * (1 - share) + wanted * share
    return np.rint(painted).clip(0, 255).astype(np.uint8)


def _shown_skin(outfit: Outfit) -> BoolArray:
    """(V',) skin whose colour other skin may have."""
    shown = np.array([name.split(".")[0] in _SHOWN_SKIN for name in REGIONS])
    return np.asarray(shown[_template().region] & _template().outside & (outfit.part == 0))


def _colour_of(part: str, seen: ByteArray) -> Float64Array:
    """(3,) sRGB of a part of which these colours (n, 3) are seen."""
    return np.asarray(np.median(seen, axis=0) if len(seen) >= _FEWEST else _USUAL[part], np.float64)
