"""Edits a character: its height, weight, colours and clothes.

The shape space of the body model is linear: a change of its ten coefficients, in standard deviations of the population,
moves the vertices and the joints of the rest pose by sums of its directions, whatever the person's own shape is. Of all
changes with the wanted height and weight, the one with the smallest norm is taken: it is the most probable one, because
the coefficients are normally distributed. A change of height alone also changes the weight, as it does from person to
person; a change of weight alone keeps the height.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np

from common.arrays import Float64Array
from common.errors import UsageError
from common.weights.devices import to_numpy
from receiver.export.character import Character, Motion
from receiver.export.dressing import Tints, dressed, parse_kinds, parse_tints, spanned, tinted, worn_parts
from receiver.export.rigging import is_of_body_model, load_body_skin
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.posing import joint_transforms
from receiver.mesh.triangle_mesh import SurfaceMesh, signed_volume_m3
from receiver.outfits.mixture import Kinds

BODY_DENSITY_KG_M3 = 985.0
"""Mean density of the human body."""

_CHANGE = re.compile(r"(?:(height)=([+-]\d+(?:\.\d+)?)(cm|m)|(weight)=([+-]\d+(?:\.\d+)?)(kg))", re.ASCII)
_UNITS = {"cm": 0.01, "m": 1.0, "kg": 1.0}
_LARGEST_CHANGE = 5.0
_STEP = 1e-3
_ITERATIONS = 8


@dataclass(frozen=True, slots=True)
class ShapeChange:
    """A change of build; None leaves it to what is probable (weight) or keeps it (height).

    Args:
        height_m: difference of the height in the rest pose, metres.
        weight_kg: difference of the weight, by the mesh's volume, kilograms.
    """

    height_m: float | None = None
    weight_kg: float | None = None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "ShapeChange":
        """Of texts such as `height=+5cm` and `weight=-8kg`.

        Raises:
            ValueError: a text is something else, or changes what another one has changed.
        """
        changes: dict[str, float] = {}
        for text in texts:
            found = _CHANGE.fullmatch(text)
            if found is None:
                raise ValueError(f"{text!r} is no change such as height=+5cm, height=-0.1m or weight=+8kg")
            name, number, unit = (group for group in found.groups() if group is not None)
            if name in changes:
                raise ValueError(f"the {name} is changed twice")
            changes[name] = _UNITS[unit] * float(number)
        return cls(changes.get("height"), changes.get("weight"))


@dataclass(frozen=True, slots=True)
class _Directions:
    """Displacements at rest for one standard deviation of ten coefficients: (10, V, 3), (10, J, 3) metres, y up."""

    vertices: Float64Array
    joints: Float64Array


def reshaped(character: Character, change: ShapeChange) -> Character:
    """The character with another build; its lowest joint stays. Raises UsageError if its body has no shape space."""
    model, skin = load_body_skin()
    directions = _Directions(
        to_numpy(model.rest_vertices)[1:, skin.template.kept].astype(np.float64) * Y_UP,
        to_numpy(model.rest_joints)[1:].astype(np.float64) * Y_UP,
    )
    coefficients = _coefficients(character.mesh, directions, change)
    vertices = character.mesh.vertices + np.tensordot(coefficients, directions.vertices, 1)
    joints = character.rest_positions + np.tensordot(coefficients, directions.joints, 1)
    # The root is above the origin, and the lowest vertex at y = 0.
    origin = np.array([joints[0, 0], vertices[:, 1].min(), joints[0, 2]])
    vertices, joints = vertices - origin, joints - origin
    parents = character.skeleton.parents
    offsets = np.where(parents[:, None] >= 0, joints - joints[parents], joints)
    mesh = dataclasses.replace(character.mesh, vertices=vertices.astype(np.float32))
    motion = _on_the_floor(character.motion, parents.tolist(), character.offsets, offsets)
    return dataclasses.replace(character, offsets=offsets, mesh=mesh, motion=motion)


def _coefficients(mesh: SurfaceMesh, directions: _Directions, change: ShapeChange) -> Float64Array:
    """(10,) the smallest change of the coefficients with the wanted measures, by Newton's method."""
    constrained = [change.height_m is not None or change.weight_kg is not None, change.weight_kg is not None]

    def measures(coefficients: Float64Array) -> Float64Array:
        """Height in metres and weight in kilograms."""
        vertices = mesh.vertices + np.tensordot(coefficients, directions.vertices, 1)
        weight_kg = BODY_DENSITY_KG_M3 * signed_volume_m3(vertices, mesh.faces)
        return np.array([float(np.ptp(vertices[:, 1])), weight_kg])[constrained]

    found = np.zeros(len(directions.vertices))
    target = measures(found) + np.array([change.height_m or 0.0, change.weight_kg or 0.0])[constrained]
    for _ in range(_ITERATIONS):
        reached = measures(found)
        slopes = np.stack([(measures(found + step) - reached) / _STEP for step in _STEP * np.eye(len(found))], axis=1)
        # The smallest of all changes that the linearised measures allow.
        found = np.linalg.pinv(slopes) @ (target - reached + slopes @ found)
        if np.linalg.norm(found) > _LARGEST_CHANGE:
            break
    else:
        if np.allclose(measures(found), target, rtol=1e-3, atol=1e-3):
            return found
    raise UsageError("--shape: the shape space has no such body: give a smaller change")


def _on_the_floor(motion: Motion, parents: list[int], before: Float64Array, after: Float64Array) -> Motion:
    """The motion with the root raised or lowered by as much as the lowest joint has come down or gone up."""
    heights = [joint_transforms(motion.rotations, parents, offsets)[1][:, :, 1] for offsets in (before, after)]
    rise = heights[0].min(axis=1) - heights[1].min(axis=1)
    root_positions = motion.root_positions.copy()
    root_positions[:, 1] += rise.astype(np.float32)
    return dataclasses.replace(motion, root_positions=root_positions)


Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Edits:
    """Changes of every character.

    Args:
        kinds: of `--wear`; what is not named stays as it is.
        shape: of `--shape`; None for everybody's own.
    """

    kinds: Kinds = field(default_factory=dict)
    tints: Tints = field(default_factory=dict)
    shape: ShapeChange | None = None

    @classmethod
    def parse(cls, wear: Sequence[str], tint: Sequence[str], shape: Sequence[str]) -> Self:
        """The changes of texts such as `sleeve=short`, `top=#336699` and `height=+5cm`.

        Raises:
            UsageError: a text is wrong; the error lists the choices.
        """
        return cls(
            kinds=_parsed("--wear", parse_kinds, wear),
            tints=_parsed("--tint", parse_tints, tint),
            shape=_parsed("--shape", ShapeChange.parse, shape) if shape else None,
        )

    def applied(self, character: Character) -> Character:
        """The character with all changes, its skirt whole. Raises UsageError if a change is not for this character."""
        for flag, wanted in (("--wear", self.kinds), ("--tint", self.tints), ("--shape", self.shape)):
            if wanted and not is_of_body_model(character.skeleton):
                raise UsageError(f"{flag}: person {character.identity} was recorded with another body model")
        if self.kinds:
            character = dressed(character, self.kinds)
        if self.tints:
            character = tinted(character, self.tints, worn_parts(character))
        return spanned(character if self.shape is None else reshaped(character, self.shape))


def _parsed(flag: str, parse: Callable[[Sequence[str]], Parsed], texts: Sequence[str]) -> Parsed:
    """The value of a flag, with errors that name it."""
    try:
        return parse(texts)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error
