"""What people wear: kinds with probabilities, and colours, also of garments that nobody has seen.

What people wear, in kinds: the attributes of a person's hair and clothes, and how sure the sender is of each; and
the outline of the head with its hair.

Of each attribute the values that are possible travel, with their probabilities; of an attribute that the picture does
not tell, nothing.  A posterior travels as a type of the method of types: its probabilities are rounded to multiples of
1/15 that sum to one, and the number of that composition among all is written.  The outline follows, a byte a number.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from common.arrays import ByteArray, FloatArray
from common.body.anatomy import REGION_INDEX
from common.head_outline import SECTORS
from common.wear_kinds import VALUES

# Mean colours, sRGB 0…1, of 659 and 444 people of the training photographs `people`: of tops by the brightness of the
# thighs, of trousers by that of the chest.
_TOPS = (
    (0.13, 0.27, 0.42, 0.57, 0.74),
    ((0.26, 0.24, 0.26), (0.40, 0.37, 0.37), (0.44, 0.38, 0.39), (0.47, 0.44, 0.46), (0.56, 0.55, 0.60)),
)
_TROUSERS = (
    (0.10, 0.28, 0.43, 0.58, 0.75),
    ((0.20, 0.19, 0.20), (0.27, 0.27, 0.28), (0.30, 0.28, 0.30), (0.33, 0.32, 0.32), (0.46, 0.46, 0.48)),
)
_BY = {"top": ("thigh.L", _TOPS), "bottom": ("chest", _TROUSERS)}
# Of 324 people, whatever else they wear.
_SHOES = (0.36, 0.34, 0.34)


def usual_colour(garment: str, region_colours: FloatArray) -> FloatArray:
    """(3,) of a `top`, a `bottom` or `shoes` that somebody wears with colours (R, 3) of the body regions, 0…1."""
    if garment == "shoes":
        return np.array(_SHOES, np.float32)
    region, (brightness, colours) = _BY[garment]
    seen = region_colours[REGION_INDEX[region]].mean()
    return np.array([np.interp(seen, brightness, each) for each in zip(*colours, strict=True)], np.float32)


WITHDRAWN = b"\0"
"""A posterior that says nothing: the identity belongs to nobody any more, or nothing is known of who it is."""

UNKNOWN = "?"
"""Where an attribute of a label cannot be seen."""


_USUAL: Mapping[str, tuple[float, ...]] = {
    "hair": (0.02, 0.55, 0.12, 0.09, 0.10, 0.12),
    "headwear": (0.69, 0.13, 0.09, 0.04, 0.03, 0.01, 0.01),
    "sleeve": (0.02, 0.08, 0.42, 0.48),
    "layer": (0.68, 0.23, 0.02, 0.03, 0.03, 0.0, 0.01),
    "bottom": (0.71, 0.08, 0.16, 0.04, 0.01, 0.0),
    "top_fit": (0.09, 0.63, 0.28),
    "bottom_fit": (0.11, 0.52, 0.37),
    "shoes": (0.05, 0.07, 0.70, 0.18),
}
USUAL: Mapping[str, FloatArray] = {name: np.array(shares, np.float32) for name, shares in _USUAL.items()}
"""How frequent the values are among the judged people of `sender.train.wears`: the prior of who is not seen."""


def possible(kinds: Mapping[str, Iterable[str]]) -> ByteArray:
    """(A,) for each attribute the values that are possible, as bits; all of them where none is given or `UNKNOWN` is.

    Raises:
        ValueError: a value is not in `VALUES`.
    """
    rows = np.zeros(len(VALUES), np.uint8)
    for row, (name, values) in enumerate(VALUES.items()):
        seen = set(kinds.get(name, ()))
        if strangers := seen - {*values, UNKNOWN}:
            raise ValueError(f"{name} is one of {', '.join(values)}, not {', '.join(sorted(strangers))}")
        known = range(len(values)) if not seen or UNKNOWN in seen else [values.index(value) for value in seen]
        rows[row] = sum(1 << index for index in known)
    return rows


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Raises ValueError, which lists what can be said, if there is no such attribute, or no such value of it."""
    for name, value in kinds.items():
        if name not in VALUES:
            raise ValueError(f"{name!r} cannot be worn: give one of {', '.join(VALUES)}")
        if value not in VALUES[name]:
            raise ValueError(f"{name} is one of {', '.join(VALUES[name])}, not {value!r}")


_GRAINS = 15
# Of an outline: metres a unit, the number of units that is 0 m, and that which says nothing.
_UNIT_M, _ZERO, _NOTHING = 0.002, 30, 255


def _compositions(grains: int, parts: int) -> int:
    """Number of ways to write `grains` as an ordered sum of `parts` numbers from 0 on."""
    return math.comb(grains + parts - 1, parts - 1) if parts else int(grains == 0)


_RADICES: Mapping[str, int] = {name: _compositions(_GRAINS, len(values)) for name, values in VALUES.items()}


@dataclass(frozen=True, eq=False)
class Wears:
    """What is known of one person's hair and clothes.

    Args:
        posterior: attribute → probabilities of `VALUES[attribute]`, which sum to one; without the unknown attributes.
        outline: (S,) how far the head with its hair reaches beyond the bare mean head in the sectors of
            `common.head_outline`, metres; NaN where that is not known; None where no outline was seen.

    Raises:
        ValueError: there is no such attribute, it has another number of values, or its probabilities do not sum to one.
    """

    posterior: Mapping[str, FloatArray]
    outline: FloatArray | None = None

    def __post_init__(self) -> None:
        for name, shares in self.posterior.items():
            if name not in VALUES or shares.shape != (len(VALUES[name]),):
                raise ValueError(f"{name!r} with {len(shares)} probabilities is no attribute of hair and clothes")
            if not (np.all(shares >= 0) and abs(float(shares.sum()) - 1) < 1e-3):
                raise ValueError(f"the probabilities of {name!r} must not be negative and sum to one, got {shares}")

    def shares(self, name: str) -> FloatArray:
        """(V,) the probabilities of an attribute's values; how frequent they are where it is unknown."""
        return self.posterior.get(name, USUAL[name])

    def as_known(self, kinds: Mapping[str, str]) -> Self:
        """The posterior if some attributes are known. Raises ValueError as `check_kinds`."""
        check_kinds(kinds)
        known = {
            name: np.array([float(each == value) for each in VALUES[name]], np.float32) for name, value in kinds.items()
        }
        return type(self)({**self.posterior, **known}, self.outline)

    def likeliest(self) -> dict[str, tuple[str, float]]:
        """Attribute → its likeliest value and that value's probability, also of those that are unknown."""
        best = {name: int(self.shares(name).argmax()) for name in VALUES}
        return {name: (VALUES[name][row], float(self.shares(name)[row])) for name, row in best.items()}

    def sets(self) -> dict[str, list[str]]:
        """Known attribute → its values that are possible, the likeliest first."""
        ranked = {name: np.argsort(-shares, kind="stable") for name, shares in self.posterior.items()}
        return {
            name: [VALUES[name][row] for row in rows if self.posterior[name][row] > 0] for name, rows in ranked.items()
        }

    def encode(self) -> bytes:
        """A byte whose bits say which attributes are known, a big-endian number of their compositions, the outline."""
        known = [name for name in VALUES if name in self.posterior]
        number = 0
        for name in known:
            number = number * _RADICES[name] + _rank(_grains(self.posterior[name]))
        known_bits = sum(1 << row for row, name in enumerate(VALUES) if name in self.posterior)
        return bytes([known_bits]) + number.to_bytes(_length(known), "big") + _outline_bytes(self.outline)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """What `encode` has written, with probabilities rounded to 1/15, and an outline to 2 mm.

        Raises:
            ValueError: the data has another length or is not of `encode`.
        """
        known = [name for row, name in enumerate(VALUES) if data[:1] and data[0] >> row & 1]
        end = 1 + _length(known)
        if len(data) not in (end, end + len(SECTORS)):
            raise ValueError(f"what a person wears has another length than its attributes: {data[:32].hex()}")
        number = int.from_bytes(data[1:end], "big")
        posterior: dict[str, FloatArray] = {}
        for name in reversed(known):
            number, rank = divmod(number, _RADICES[name])
            posterior[name] = np.divide(_composition(rank, len(VALUES[name])), _GRAINS, dtype=np.float32)
        if number:
            raise ValueError(f"what a person wears is no posterior of {', '.join(VALUES)}")
        return cls(posterior, _outline_of(data[end:]))


def _outline_bytes(outline: FloatArray | None) -> bytes:
    if outline is None:
        return b""
    units = np.clip(np.rint(outline / _UNIT_M) + _ZERO, 0, _NOTHING - 1)
    return np.where(np.isnan(outline), _NOTHING, units).astype(np.uint8).tobytes()


def _outline_of(data: bytes) -> FloatArray | None:
    if not data:
        return None
    units = np.frombuffer(data, np.uint8).astype(np.float32)
    return np.where(units == _NOTHING, np.float32(np.nan), (units - _ZERO) * np.float32(_UNIT_M))


def _length(known: Iterable[str]) -> int:
    """Bytes of the number that the compositions of these attributes make."""
    return ((math.prod(_RADICES[name] for name in known) - 1).bit_length() + 7) // 8


def _grains(shares: FloatArray) -> list[int]:
    """Probabilities as numbers of grains that sum to `_GRAINS`; what is possible has one at least."""
    exact = np.asarray(shares, np.float64) * _GRAINS
    counts = np.maximum(np.floor(exact), exact > 0)
    while counts.sum() < _GRAINS:
        counts[np.argmax(exact - counts)] += 1
    while counts.sum() > _GRAINS:
        counts[np.argmax(counts)] -= 1
    return [int(count) for count in counts]


def _rank(counts: list[int]) -> int:
    """The number of a composition in lexicographic order."""
    rank, left = 0, sum(counts)
    for row, count in enumerate(counts):
        parts_after = len(counts) - row - 1
        rank += sum(_compositions(left - smaller, parts_after) for smaller in range(count))
        left -= count
    return rank


def _composition(rank: int, parts: int) -> list[int]:
    """The inverse of `_rank`."""
    counts, left = [], _GRAINS
    for parts_after in range(parts - 1, -1, -1):
        count = 0
        while rank >= (below := _compositions(left - count, parts_after)):
            rank, count = rank - below, count + 1
        counts.append(count)
        left -= count
    return counts
