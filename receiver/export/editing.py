"""The changes to recorded people that the command line asks for."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeVar

from common.errors import UsageError
from receiver.export.character import Character
from receiver.export.dressing import dressed, parse_garments
from receiver.export.reshaping import ShapeChange, reshaped
from receiver.export.skin_weights import is_of_body_model
from receiver.export.tinting import Tints, parse_tints, tinted

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Edits:
    """Changes of every character.

    Args:
        garments: of `--wear`, in the order in which they are put on.
        tints: of `--tint`.
        shape: of `--shape`; None for everybody's own.
    """

    garments: tuple[str, ...] = ()
    tints: Tints = field(default_factory=dict)
    shape: ShapeChange | None = None

    @classmethod
    def from_options(cls, options: argparse.Namespace, only_published: bool) -> Self:
        """The changes of the parsed arguments.

        Args:
            options: of the command line.
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
        """The character with all changes.

        Raises:
            UsageError: a change is not for this character.
        """
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
