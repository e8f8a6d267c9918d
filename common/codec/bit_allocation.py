"""Allocates the bits of a frame to the label groups: a Lagrangian over measured rate–distortion tables.

`data/rate_distortion.json` has the mean bits and the mean error in millimetres of each group at each ρ level, measured
by `python -m common.training.fit_codec` on its sequences.  For a budget B, the levels l minimise
Σ (w D(l))² + λ R(l) with the smallest λ for which Σ R(l) ≤ B; w weighs the groups.  Optional groups, which few people
have, come on top of B, at the same λ.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

import numpy as np

from common.arrays import Float64Array, IntArray
from common.codec.quantiser import LEVELS
from common.codec.tables import DATA_FOLDER
from common.errors import WeightsError
from common.labels import GROUP_NAMES, OPTIONAL_GROUPS

RATE_DISTORTION_FILE: Final = DATA_FOLDER / "rate_distortion.json"

# Multipliers λ that are tried, mm² a bit: a quarter of an octave apart.
_MULTIPLIERS: Final[Float64Array] = 2.0 ** (np.arange(-40, 60) / 4)
_LEVEL: Final = np.arange(LEVELS)
_COUNTED: Final = ~np.isin(GROUP_NAMES, OPTIONAL_GROUPS)

# Quantisation may add this share of a group's uncertainty; the total error grows by a fifth of a per cent.
_UNCERTAINTY_SHARE: Final = 1 / 16
# Uncertainty coarsens a group up to this level: estimates of uncertainty may be wrong.
_MAX_UNCERTAIN_LEVEL: Final = 3


@dataclass(frozen=True)
class RateDistortion:
    """The measured table; G groups.

    Args:
        bits: (G, LEVELS) mean bits of a group in a frame at each level.
        mm: (G, LEVELS) mean displacement by a group's quantisation.
    """

    bits: Float64Array
    mm: Float64Array

    @classmethod
    def load(cls, path: Path = RATE_DISTORTION_FILE) -> Self:
        """Loads the package's table. Raises WeightsError if it is missing or damaged."""
        try:
            data = json.loads(path.read_text())
            bits, mm = (np.array([data[key][name] for name in GROUP_NAMES], dtype=np.float64) for key in ("bits", "mm"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{path} is missing or damaged; reinstall bodywire") from error
        if bits.shape != (len(GROUP_NAMES), LEVELS) or mm.shape != bits.shape:
            raise WeightsError(f"{path} is of another version; reinstall bodywire")
        return cls(bits, mm)

    @property
    def bounds_bits(self) -> tuple[float, float]:
        """Bits of a frame without optional groups, at the coarsest and at the finest level."""
        return float(self.bits[_COUNTED, -1].sum()), float(self.bits[_COUNTED, 0].sum())

    def finest(self, uncertainty_mm: Mapping[str, float]) -> IntArray:
        """(G,) the finest level that is worth its bits, for the uncertainty of each group's labels.

        A group whose labels are known to ±50 mm needs no steps of a quarter millimetre; 0 for groups without one.
        """
        allowed = np.array([_UNCERTAINTY_SHARE * uncertainty_mm.get(name, 0.0) for name in GROUP_NAMES])
        coarse_enough = (self.mm <= allowed[:, None]).sum(axis=1) - 1
        finest: IntArray = np.clip(coarse_enough, 0, _MAX_UNCERTAIN_LEVEL)
        return finest

    def allocate(self, budget_bits: float, weights: Mapping[str, float], finest: IntArray) -> dict[str, float]:
        """ρ by group: the levels of least weighted error whose mean bits meet a budget, or the coarsest ones.

        Args:
            budget_bits: of all groups together but the optional ones.
            weights: by group; 1 where there is none.
            finest: (G,) no group is finer than this.
        """
        weight = np.array([weights.get(name, 1.0) for name in GROUP_NAMES])
        error = np.where(finest[:, None] <= _LEVEL, (weight[:, None] * self.mm) ** 2, np.inf)
        levels = (error + _MULTIPLIERS[:, None, None] * self.bits).argmin(axis=2)
        bits = np.take_along_axis(self.bits[None], levels[:, :, None], axis=2)[..., 0] @ _COUNTED
        fits = np.flatnonzero(bits <= budget_bits)
        chosen = levels[fits[0]] if len(fits) else np.full(len(GROUP_NAMES), LEVELS - 1)
        return {name: int(level) / (LEVELS - 1) for name, level in zip(GROUP_NAMES, chosen, strict=True)}


@lru_cache(maxsize=1)
def load() -> RateDistortion:
    """The package's table. Raises WeightsError if it is missing or damaged."""
    return RateDistortion.load()
