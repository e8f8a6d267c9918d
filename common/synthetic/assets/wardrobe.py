"""MakeHuman's garments on people of any shape: they are bound to its base mesh over our shape space.

A vertex of a garment is bound to three vertices of the base mesh, with an offset that scales with the body:

    p = w₁ v₁ + w₂ v₂ + w₃ v₃ + s ∘ o,   s_axis = |v_a − v_b|_axis / l_axis
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from common.arrays import BoolArray, FloatArray, IntArray
from common.synthetic.assets.garments import Canvas, Garment, Kind, SkinBasis, made_skirt, made_suit

_FIELDS = ("corners", "barycentric", "offset", "scale_pairs", "scale_lengths", "faces", "hidden")
"""Of a pattern in `wardrobe.npz`: (N, 3) vertices of the base mesh, their weights, and offsets, decimetres on the mean
body; (3, 2) pairs of base vertices whose distances along x, y, z scale these, and the distances at scale 1; triangles;
vertices of the base mesh that it covers."""
_DATA = Path(__file__).resolve().parent.parent / "data"


@dataclass(frozen=True, eq=False)
class Wardrobe:
    """All garments.

    Args:
        garments: MakeHuman's, by kind.
        suit: made to measure: a thin layer over the skin from neck to wrists and ankles, to be cut into any top or
            bottom.
        skirt: made to measure, from waist to ankles.
        skin: what more is made to measure on.
    """

    garments: dict[Kind, tuple[Garment, ...]]
    suit: Garment
    skirt: Garment
    skin: SkinBasis
    canvas: Canvas

    @classmethod
    def load(cls, canvas: Canvas) -> Self:
        """The garments of the package, fitted to the shape space."""
        with np.load(_DATA / "base_mesh.npz") as mesh:
            rest, weights, body = mesh["rest"], mesh["weights"], mesh["body"]
        by_kind: dict[Kind, tuple[Garment, ...]] = dict.fromkeys(Kind, ())
        with np.load(_DATA / "wardrobe.npz") as stored:
            patterns = sorted({file.rpartition("/")[0] for file in stored.files})
            for pattern in patterns:
                arrays = {field: _widened(field, stored[f"{pattern}/{field}"]) for field in _FIELDS}
                garment = _bound(pattern, arrays, rest, weights, body, canvas)
                by_kind[garment.kind] += (garment,)
        skin = SkinBasis(rest[:, body], weights[body], canvas)
        return cls(by_kind, made_suit(skin), made_skirt(skin), skin, canvas)


def _widened(field: str, packed: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array that is stored in 16 bits, in int64 or float32."""
    if packed.dtype == np.uint16:
        return packed.astype(np.int64)
    values = packed.astype(np.float32)
    # In half precision the weights sum to 1 ± 0.001, which would displace a vertex by a millimetre.
    return values / values.sum(1, keepdims=True) if field == "barycentric" else values


def _bound(
    pattern: str,
    arrays: Mapping[str, npt.NDArray[Any]],
    mesh_rest: FloatArray,
    mesh_weights: FloatArray,
    body: IntArray,
    canvas: Canvas,
) -> Garment:
    """Binds a pattern (`suit/…`) to the body.

    Args:
        arrays: those of `_FIELDS`.
        mesh_rest: (11, 19158, 3) the base mesh over the shape space: mean, then displacement per unit of coefficient.
        mesh_weights: (19158, 52) skinning weights.
        body: (V,) the indices of `BodyModel`'s vertices.
    """
    corners, barycentric, offset, scale_pairs, scale_lengths, faces, hidden = (arrays[field] for field in _FIELDS)
    value, _, name = pattern.partition("/")
    kind = Kind(value)
    attachment = np.einsum("nc,kncd->knd", barycentric, mesh_rest[:, corners])
    # Barycentric weights may be negative, skinning weights must not be.
    shares = np.abs(barycentric) / np.abs(barycentric).sum(1, keepdims=True)
    weights = np.einsum("nc,ncs->ns", shares, mesh_weights[corners])
    first, second = mesh_rest[:, scale_pairs[:, 0]], mesh_rest[:, scale_pairs[:, 1]]
    axes = np.arange(3)
    # Signed, so that it is linear in the shape coefficients; the absolute value is taken of the sum.
    scale = (first - second)[:, axes, axes] / scale_lengths
    rest = attachment[0] + offset * np.abs(scale[0])
    skin = np.unique(canvas.faces)
    nearest_skin = skin[cKDTree(canvas.rest[skin]).query(rest)[1]]
    limb = canvas.limb[nearest_skin]
    limb[:, 3] = float(kind in (Kind.HAIR, Kind.HAT))
    return Garment(
        name=name,
        kind=kind,
        attachment=attachment.astype(np.float32),
        offset=offset,
        scale=scale.astype(np.float32),
        weights=weights.astype(np.float32),
        faces=faces,
        rest=rest.astype(np.float32),
        limb=limb,
        region=canvas.region[nearest_skin],
        covered=np.flatnonzero(np.isin(body, hidden)),
    )


def bare_faces(faces: IntArray, worn: Sequence[Garment], vertices: int) -> BoolArray:
    """(F,) the body's triangles that are visible under garments: those with a corner that no garment covers."""
    covered = np.zeros(vertices, np.bool_)
    for garment in worn:
        covered[garment.covered] = True
    bare = np.logical_not(covered[faces].all(axis=1))
    return np.asarray(bare, np.bool_)
