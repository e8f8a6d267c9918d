"""The changes to recorded people that the command line asks for."""

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import GARMENTS
from common.body.garments import GarmentTable
from common.errors import UsageError
from common.weights.devices import to_numpy
from receiver.export.character import Character
from receiver.export.reshaping import ShapeChange, reshaped
from receiver.export.skin_weights import is_of_body_model, load_body_skin
from receiver.export.tinting import Tints, parse_tints, tinted
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.triangle_mesh import SurfaceMesh

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Edits:
    """Changes of every character.

    Args:
        garments: of `--wear`, in the order in which they are put on.
        shape: of `--shape`; None for everybody's own.
    """

    garments: tuple[str, ...] = ()
    tints: Tints = field(default_factory=dict)
    shape: ShapeChange | None = None

    @classmethod
    def from_options(cls, options: argparse.Namespace, only_published: bool) -> Self:
        """The changes of the parsed arguments.

        Args:
            only_published: the format has the meshes as they were published, which cannot be changed.

        Raises:
            UsageError: a flag has a wrong value, or is not for the format.
        """
        for flag in ("wear", "tint", "shape"):
            reason = "which has the meshes as they were published" if only_published else ""
            if options.format == "bvh" and flag != "shape":
                reason = "which has no mesh"
            if reason and getattr(options, flag):
                raise UsageError(f"--{flag} is not for --format {options.format}, {reason}: give --format glb")
        return cls(
            garments=_parsed("--wear", parse_garments, options.wear),
            tints=_parsed("--tint", parse_tints, options.tint),
            shape=_parsed("--shape", ShapeChange.parse, options.shape) if options.shape else None,
        )

    def applied(self, character: Character) -> Character:
        """The character with all changes. Raises UsageError if a change is not for this character."""
        for flag, wanted in (("--wear", self.garments), ("--tint", self.tints), ("--shape", self.shape)):
            if wanted and not is_of_body_model(character.skeleton):
                raise UsageError(f"{flag}: person {character.identity} was recorded with another body model")
        if self.garments:
            character = dressed(character, self.garments)
        if self.tints:
            character = tinted(character, self.tints)
        return character if self.shape is None else reshaped(character, self.shape)


def _parsed(flag: str, parse: Callable[[list[str]], Parsed], texts: list[str]) -> Parsed:
    """The value of a flag, with errors that name it."""
    try:
        return parse(texts)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error


NOTHING = "none"
"""The bare skin, without hair."""


def parse_garments(texts: list[str]) -> tuple[str, ...]:
    """Checks the names of garments. Raises ValueError if there is no such garment."""
    for text in texts:
        if text != NOTHING and text not in GARMENTS:
            raise ValueError(f"{text!r} is no garment: give {', '.join(GARMENTS)} or {NOTHING}")
    return tuple(texts)


def dressed(character: Character, garments: tuple[str, ...]) -> Character:
    """The character, of the body model's body, in other clothes, put on in this order. Raises WeightsError."""
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
