"""The wardrobe file of the package: MakeHuman's garments.

A vertex of a garment is bound to three vertices of MakeHuman's base mesh, with an offset that scales with the body:

    p = w₁ v₁ + w₂ v₂ + w₃ v₃ + s ∘ o,   s_axis = |v_a − v_b|_axis / l_axis
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import FloatArray, IntArray

WARDROBE_FILE = Path(__file__).resolve().parent.parent / "data" / "wardrobe.npz"

_FIELDS = ("corners", "barycentric", "offset", "scale_pairs", "scale_lengths", "faces", "hidden")


class Kind(StrEnum):
    """What a garment covers."""

    SUIT = "suit"
    SHOES = "shoes"
    HAIR = "hair"
    HAT = "hat"


@dataclass(frozen=True, eq=False)
class GarmentPattern:
    """A garment of N vertices and F triangles, bound to the base mesh, independent of the body's shape.

    Args:
        corners: (N, 3) vertices of the base mesh.
        barycentric: (N, 3) their weights; they sum to 1 and may be negative.
        offset: (N, 3) offset in camera axes, decimetres on MakeHuman's mean body.
        scale_pairs: (3, 2) for x, y, z the two base vertices whose distance along that axis scales the offset.
        scale_lengths: (3,) that distance at scale 1, decimetres.
        faces: (F, 3) triangles.
        hidden: (H,) vertices of the base mesh that it covers.
    """

    name: str
    kind: Kind
    corners: IntArray
    barycentric: FloatArray
    offset: FloatArray
    scale_pairs: IntArray
    scale_lengths: FloatArray
    faces: IntArray
    hidden: IntArray


def unpack() -> list[GarmentPattern]:
    """The garments of the package."""
    patterns = []
    for key, arrays in load_packed(_FIELDS, WARDROBE_FILE).items():
        kind, _, name = key.partition("/")
        patterns.append(GarmentPattern(kind=Kind(kind), name=name, **arrays))
    return patterns


def load_packed(fields: Iterable[str], path: Path) -> dict[str, dict[str, Any]]:
    """Arrays of a file, stored mostly in 16 bits as `item/field`, in int64 and float32 by the sorted names of items."""
    with np.load(path) as stored:
        names = sorted({name.rpartition("/")[0] for name in stored.files})
        return {name: {field: _widened(field, stored[f"{name}/{field}"]) for field in fields} for name in names}


def _widened(field: str, packed: npt.NDArray[np.generic]) -> IntArray | FloatArray:
    if packed.dtype == np.uint16:
        return packed.astype(np.int64)
    values = packed.astype(np.float32)
    # In half precision the weights sum to 1 ± 0.001, which would displace a vertex by a millimetre.
    return values / values.sum(1, keepdims=True) if field == "barycentric" else values
