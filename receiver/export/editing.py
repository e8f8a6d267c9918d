"""The changes to people that a command line or the page asks for, in the same words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar

from common.errors import UsageError
from receiver.export.character import Character
from receiver.export.dressing import dressed, parse_kinds, spanned, worn_parts
from receiver.export.reshaping import ShapeChange, reshaped
from receiver.export.skin_weights import is_of_body_model
from receiver.export.tinting import Tints, parse_tints, tinted
from receiver.outfits.mixture import Kinds

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
