"""Changes what a character wears.

A recorded mesh is the body in the person's shape, displaced by clothes and hair. The joints tell the shape, because the
shape space is linear; the displacement is what remains. A garment replaces it where the garment is, and softly around
it: a skirt leaves hair and shirt as they were.
"""

import dataclasses

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import GARMENTS
from common.body.garments import GarmentTable
from common.weights.devices import to_numpy
from receiver.export.character import Character
from receiver.export.skin_weights import load_body_skin
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.triangle_mesh import SurfaceMesh

NOTHING = "none"
"""The bare skin, without hair."""


def parse_garments(texts: list[str]) -> tuple[str, ...]:
    """Checks the names of garments.

    Raises:
        ValueError: there is no such garment.
    """
    for text in texts:
        if text != NOTHING and text not in GARMENTS:
            raise ValueError(f"{text!r} is no garment: give {', '.join(GARMENTS)} or {NOTHING}")
    return tuple(texts)


def dressed(character: Character, garments: tuple[str, ...]) -> Character:
    """The character, whose body is the body model's, in other clothes, put on one after the other.

    Raises:
        WeightsError: the table of garments is missing or unreadable.
    """
    table, skin = GarmentTable.load(), bare_skin(character)
    displacement: FloatArray = ((character.mesh.vertices - skin) * Y_UP).astype(np.float32)
    for garment in garments:
        nothing = np.zeros_like(displacement)
        displacement = nothing if garment == NOTHING else table.worn(garment, displacement)
    vertices = skin + displacement * Y_UP
    lowest = float(vertices[:, 1].min())
    vertices[:, 1] -= lowest
    offsets = character.offsets.copy()
    offsets[0, 1] -= lowest
    mesh = SurfaceMesh(vertices.astype(np.float32), character.mesh.faces, character.mesh.colours)
    return dataclasses.replace(character, offsets=offsets, mesh=mesh)


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
