"""Dresses a character in other kinds of hair and clothes (`common.wears`): `sleeve=short`, `layer=coat`.

The receiver generates an outfit of the kinds that a person wears, by the seed of the identity (`receiver.outfits`).
Where an outfit of the other kinds is the same, the person stays as recorded; elsewhere the other outfit is put on.
Colours follow: skin that is bared has the colour of the skin that was seen, and what is covered that of the garment.

Shapes: V' vertices of the template, N colours.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import REGIONS
from common.body.template import BodyTemplate
from common.wear_kinds import worn_together
from common.wears import check_kinds
from common.weights.devices import to_numpy
from receiver.export.character import Character
from receiver.export.skin_weights import is_of_body_model, load_body_skin, spanning_skeleton
from receiver.export.tinting import repainted
from receiver.mesh.mesh_files import Y_UP
from receiver.outfits.diffusion import OutfitDiffusion
from receiver.outfits.dressing import PARTS, Dresser, Outfit
from receiver.outfits.mixture import PLAIN, Draw, Kinds, decode_outfit, draw
from receiver.outfits.shells import Shells

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
    x = _measures(drawn)
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
    return _dresser().dress(decode_outfit(drawn, _measures(drawn))).part


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


def _measures(drawn: Draw) -> Float64Array:
    """x (D,) of an outfit as the receiver generates it of whom nothing but the kinds is known."""
    return _diffusion().sample(drawn, np.zeros(0, np.float32), np.zeros(0))


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
