"""What people wear, in kinds: the attributes of a person's hair and clothes, and how sure the sender is of each.

A posterior travels as a type of the method of types: its probabilities are rounded to multiples of 1/15 that sum to
one, and the number of that composition among all is written.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from common.arrays import ByteArray, FloatArray
from common.wear_kinds import VALUES

WITHDRAWN = b"\0"
"""In place of an encoded posterior: the identity belongs to nobody any more."""

UNKNOWN = "?"
"""Where an attribute of a label cannot be seen."""


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


def _compositions(grains: int, parts: int) -> int:
    """Number of ways to write `grains` as an ordered sum of `parts` numbers from 0 on."""
    return math.comb(grains + parts - 1, parts - 1) if parts else int(grains == 0)


_RADICES: Mapping[str, int] = {name: _compositions(_GRAINS, len(values)) for name, values in VALUES.items()}
WEARS_BYTES = (math.prod(_RADICES.values()).bit_length() + 7) // 8
"""Size of an encoded posterior: 12 bytes."""


@dataclass(frozen=True, eq=False)
class Wears:
    """The posterior over the values of each attribute of one person.

    Args:
        posterior: attribute → probabilities of `VALUES[attribute]`, which sum to one.

    Raises:
        ValueError: an attribute is missing, has another number of values, or its probabilities do not sum to one.
    """

    posterior: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        for name, values in VALUES.items():
            shares = self.posterior.get(name)
            if shares is None or shares.shape != (len(values),):
                raise ValueError(f"attribute {name!r} needs the probabilities of {', '.join(values)}")
            if not (np.all(shares >= 0) and abs(float(shares.sum()) - 1) < 1e-3):
                raise ValueError(f"the probabilities of {name!r} must not be negative and sum to one, got {shares}")

    def as_known(self, kinds: Mapping[str, str]) -> Self:
        """The posterior if some attributes are known. Raises ValueError as `check_kinds`."""
        check_kinds(kinds)
        known = {
            name: np.array([float(each == value) for each in VALUES[name]], np.float32) for name, value in kinds.items()
        }
        return type(self)({**self.posterior, **known})

    def likeliest(self) -> dict[str, tuple[str, float]]:
        """Attribute → its likeliest value and that value's probability."""
        best = {name: int(shares.argmax()) for name, shares in self.posterior.items()}
        return {name: (VALUES[name][row], float(self.posterior[name][row])) for name, row in best.items()}

    def encode(self) -> bytes:
        """`WEARS_BYTES` bytes: a big-endian number."""
        number = 0
        for name, radix in _RADICES.items():
            number = number * radix + _rank(_grains(self.posterior[name]))
        return number.to_bytes(WEARS_BYTES, "big")

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The posterior of `encode`, rounded to 1/15.

        Raises:
            ValueError: the data has another length or is not of `encode`.
        """
        if len(data) != WEARS_BYTES:
            raise ValueError(f"what a person wears takes {WEARS_BYTES} bytes, got {data[:32].hex()}")
        number = int.from_bytes(data, "big")
        posterior: dict[str, FloatArray] = {}
        for name in reversed(list(VALUES)):
            number, rank = divmod(number, _RADICES[name])
            posterior[name] = np.divide(_composition(rank, len(VALUES[name])), _GRAINS, dtype=np.float32)
        if number:
            raise ValueError(f"what a person wears is no posterior of {', '.join(VALUES)}")
        return cls(posterior)


def _grains(shares: FloatArray) -> list[int]:
    """Probabilities as numbers of grains that sum to `_GRAINS`, by largest remainder."""
    exact = np.asarray(shares, np.float64) / float(shares.sum()) * _GRAINS
    counts = np.floor(exact).astype(int)
    for row in np.argsort(counts - exact, kind="stable")[: _GRAINS - int(counts.sum())]:
        counts[row] += 1
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
