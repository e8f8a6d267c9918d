"""Outfits as arrays of fixed size, from which the same garments are made again: rendered data sets store them.

A code is float32 (7, 167): row 0 is the body, the others are garments.  A row has the index of the garment plus one
(−1 for the body, 0 for no garment), its tailoring, and its appearance.
"""

from dataclasses import fields

import numpy as np

from common.arrays import FloatArray
from common.synthetic.assets.alteration import tailor
from common.synthetic.assets.appearance import MATERIALS, Appearance, Borders
from common.synthetic.assets.garment import TAILORING_SIZE, Garment, Tailoring
from common.synthetic.assets.outfit import Outfit
from common.synthetic.assets.wardrobe import Wardrobe

_GARMENTS = 6
_TABLES = ("base_colour", "second_colour", "direction", "finish")
_BORDERS = len(fields(Borders))
_APPEARANCE_SIZE = len(_TABLES) * len(MATERIALS) * 4 + _BORDERS + 3 + 3 + 1 + 4
CODE_SHAPE = (1 + _GARMENTS, 1 + TAILORING_SIZE + _APPEARANCE_SIZE)


class OutfitCode:
    """Encodes and decodes outfits of a wardrobe; without a wardrobe, painted clothes only."""

    def __init__(self, wardrobe: Wardrobe | None) -> None:
        self._wardrobe, self._garments = wardrobe, wardrobe.all() if wardrobe else ()
        self._index = {garment.name: index for index, garment in enumerate(self._garments)}

    def encode(self, outfit: Outfit) -> FloatArray:
        """(7, 167) code of an outfit.

        Raises:
            ValueError: it has more than six garments.
        """
        if len(outfit.garments) > _GARMENTS:
            raise ValueError(f"an outfit of {len(outfit.garments)} garments; {_GARMENTS} are the most")
        code = np.zeros(CODE_SHAPE, np.float32)
        code[0, 0], code[0, 1 + TAILORING_SIZE :] = -1, _appearance_values(outfit.body)
        for row, (garment, appearance) in enumerate(outfit.garments, start=1):
            code[row, 0] = 1 + self._index[garment.name]
            code[row, 1 : 1 + TAILORING_SIZE] = (garment.tailoring or Tailoring()).as_array()
            code[row, 1 + TAILORING_SIZE :] = _appearance_values(appearance)
        return code

    def decode(self, code: FloatArray) -> Outfit:
        """The outfit of a code (7, 167).

        Raises:
            ValueError: it has garments, and there is no wardrobe.
        """
        rows = code[1:][code[1:, 0] > 0]
        garments = tuple((self._garment(row), _appearance(row[1 + TAILORING_SIZE :])) for row in rows)
        return Outfit(_appearance(code[0, 1 + TAILORING_SIZE :]), garments)

    def _garment(self, row: FloatArray) -> Garment:
        if self._wardrobe is None:
            raise ValueError("the outfit has garments, and there is no wardrobe")
        original = self._garments[round(float(row[0])) - 1]
        return tailor(original, self._wardrobe.canvas, Tailoring.from_array(row[1 : 1 + TAILORING_SIZE]))


def _appearance_values(appearance: Appearance) -> FloatArray:
    """(157,) all numbers of an appearance, as float32."""
    tables = [getattr(appearance, name).ravel() for name in _TABLES]
    borders = appearance.borders.as_array()[:_BORDERS]
    noise = np.array([appearance.noise_seed], np.float32)
    parts = [*tables, borders, appearance.eye_colour, appearance.lip_colour, noise, appearance.fold_mix]
    return np.concatenate(parts).astype(np.float32)


def _appearance(values: FloatArray) -> Appearance:
    size = len(MATERIALS) * 4
    tables = {name: values[i * size : (i + 1) * size].reshape(-1, 4) for i, name in enumerate(_TABLES)}
    borders, eye, lip, noise, folds = np.split(values[len(_TABLES) * size :], np.cumsum([_BORDERS, 3, 3, 1]))
    names = [item.name for item in fields(Borders)]
    return Appearance(
        **tables,
        borders=Borders(**{name: float(value) for name, value in zip(names, borders, strict=True)}),
        eye_colour=eye,
        lip_colour=lip,
        noise_seed=float(noise[0]),
        fold_mix=folds,
    )
