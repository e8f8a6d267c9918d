"""Importance weights ω of the label groups, from a measured table and the uncertainty of the present frame.

Equations (12)–(14) are missing from our copy of the paper; this is our completion.  The table has the mean displacement
of the surface in millimetres when every entry of a group is off by the codec's finest step
(`python -m sender.train.importance`).  A frame's uncertainty then shifts the weights between groups: where an
estimate is uncertain by σ, a rounding error s adds little to the total error √(σ² + s²), so that bits help more in
other groups.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np

import common
from common.arrays import Float64Array, FloatArray
from common.errors import WeightsError
from common.frames import PersonLabels, unseen_groups
from common.labels import GROUPS, LABEL_SIZE, split

IMPORTANCE_FILE: Final = Path(common.__file__).parent / "weights" / "importance.json"
TABLE_VERSION: Final = 1

# The codec's rounding error in the middle of its range of steps, standard deviations.
_ROUNDING_SIGMA: Final = 0.1
# Largest factor by which uncertainty changes a weight, because its estimate may be wrong.
_MAX_SHIFT: Final = 2.0


@dataclass(frozen=True)
class Importance:
    """The measured table.

    Args:
        omega: group name → mm of mean surface displacement when every entry is off by one step.
        mm_per_sigma: group name → (size,) mm per standard deviation of each entry.
    """

    omega: Mapping[str, float]
    mm_per_sigma: Mapping[str, FloatArray]

    @classmethod
    def load(cls, path: Path = IMPORTANCE_FILE) -> Self:
        """Loads the shipped table.

        Raises:
            WeightsError: it is missing, damaged, or of another version or vocabulary.
        """
        try:
            data = json.loads(path.read_text())
            vector = np.array(data["mm_per_sigma"], dtype=np.float32)
            omega = {group.name: float(data["omega"][group.name]) for group in GROUPS}
            version = data["version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{path} is missing or broken; reinstall the package") from error
        if version != TABLE_VERSION or vector.shape != (LABEL_SIZE,):
            raise WeightsError(f"{path} is of another version; reinstall the package")
        return cls(omega, split(vector))

    def weights(self, person: PersonLabels) -> dict[str, float]:
        """ω in mm of each group for this person in this frame.

        A group whose uncertainty equals the person's average keeps the table's value; so do all groups of a person
        without `sigma`.  What nobody sees has none.

        Raises:
            ValueError: a group's uncertainty is empty or not finite.
        """
        known = [name for name in self.omega if name in person.sigma]
        uncertainty = {name: self._uncertainty(name, person.sigma[name]) for name in known}
        if not uncertainty:
            return self._of_seen(person, self.omega)
        average = math.sqrt(sum(value**2 for value in uncertainty.values()) / len(uncertainty))
        shifts = {name: _shift(uncertainty.get(name, average), average) for name in self.omega}
        return self._of_seen(person, {name: omega * shifts[name] for name, omega in self.omega.items()})

    def shifts(self, person: PersonLabels) -> dict[str, float]:
        """Factor of each group's weight for its uncertainty in this frame; 1 for an average one.

        Raises:
            ValueError: a group's uncertainty is empty or not finite.
        """
        weights = self.weights(person)
        return {name: weights[name] / omega if omega else 1.0 for name, omega in self.omega.items()}

    def uncertainty_mm(self, person: PersonLabels) -> dict[str, float]:
        """Displacement of the surface by one σ of all of a group's entries, for the groups with `sigma`."""
        return {
            name: math.sqrt(self._squares[name][: len(sigma)] @ np.square(sigma, dtype=np.float64))
            for name, sigma in person.sigma.items()
        }

    @staticmethod
    def _of_seen(person: PersonLabels, weights: Mapping[str, float]) -> dict[str, float]:
        return {**weights, **dict.fromkeys(unseen_groups(person), 0.0)}

    @cached_property
    def _squares(self) -> Mapping[str, Float64Array]:
        """Group name → (size,) of `mm_per_sigma`."""
        return {name: np.square(mm, dtype=np.float64) for name, mm in self.mm_per_sigma.items()}

    def _uncertainty(self, name: str, sigma: FloatArray) -> float:
        """Root mean square of the entries' σ, weighted by their effect on the surface; σ may be a prefix."""
        weight, squares = self._squares[name][: len(sigma)], np.square(sigma, dtype=np.float64)
        total = float(np.add.reduce(weight))
        if total == 0.0:
            weight, total = np.ones(len(sigma)), float(len(sigma))
        mean = float(weight @ squares) / total if total else math.nan
        if not math.isfinite(mean):
            raise ValueError(f"the uncertainty of label group {name!r} must be finite numbers")
        return math.sqrt(mean)


def _shift(own: float, average: float) -> float:
    """Factor of a group's weight for its own uncertainty and the average one."""
    shift = math.hypot(_ROUNDING_SIGMA, average) / math.hypot(_ROUNDING_SIGMA, own)
    return min(max(shift, 1 / _MAX_SHIFT), _MAX_SHIFT)
