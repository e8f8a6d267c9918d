"""The shells that outfits are cut from: displacements of the template at rest.

Shapes: V' vertices of the template.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from common.arrays import FloatArray
from common.errors import WeightsError

SHELLS_FILE = Path(__file__).with_name("shells.npz")
_STEP_M = 1e-4
"""Unit of the stored displacements."""
_COORDINATES = ("limb", "axes")


@dataclass(frozen=True, eq=False)
class Shells:
    """Whole garments on the mean body.

    Args:
        limb: (V', 4) along the arm (0 shoulder, 1 elbow, 2 wrist), along the leg (0 hip, 1 knee, 2 ankle), up the
            torso (0 hips, 1 neck), 1 on the head; below 0 where a vertex is not on the limb.
        axes: (V', 3) metres down the limb or up the torso per unit of that coordinate.
        fields: name → (V', 3) displacement, metres: `suit.…` from the neck towards wrists and ankles, `skirt…` from the
            waist to the ankles, `hair.…`, `shoes.…`.
    """

    limb: FloatArray
    axes: FloatArray
    fields: dict[str, FloatArray]

    @classmethod
    def load(cls) -> Self:
        """The shells of the package.

        Raises:
            WeightsError: they are missing or unreadable.
        """
        try:
            with open(SHELLS_FILE, "rb") as file, np.load(file) as stored:
                arrays = {name: stored[name].astype(np.float32) for name in stored.files}
            limb, axes = (arrays.pop(name) for name in _COORDINATES)
            fields = {name: array * np.float32(_STEP_M) for name, array in arrays.items()}
            if limb.shape != (len(axes), 4) or any(field.shape != axes.shape for field in fields.values()):
                raise ValueError(f"shapes {limb.shape}, {axes.shape}")
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{SHELLS_FILE.name} is missing or unreadable; reinstall bodywire") from error
        return cls(limb, axes, fields)
