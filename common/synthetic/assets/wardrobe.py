"""MakeHuman's garments on people of any shape: they are bound to its base mesh over our shape space."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.spatial import cKDTree

from common.arrays import BoolArray, FloatArray, IntArray
from common.synthetic.assets.garments import (
    Canvas,
    Garment,
    GarmentPattern,
    Kind,
    SkinBasis,
    made_skirt,
    made_suit,
    unpack,
)

BASE_MESH_FILE = Path(__file__).resolve().parent.parent / "data" / "base_mesh.npz"


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """The base mesh in the rest pose, in camera axes, metres; 19,158 vertices.

    Args:
        rest: (11, 19158, 3) the mean shape, then the displacement per unit of each shape coefficient.
        weights: (19158, 52) skinning weights.
        body: (13718,) the indices of `BodyModel`'s vertices, in its order.
    """

    rest: FloatArray
    weights: FloatArray
    body: IntArray

    @classmethod
    def load(cls) -> Self:
        """The mesh of the package."""
        with np.load(BASE_MESH_FILE) as stored:
            return cls(**{name: stored[name] for name in stored.files})


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
        mesh = BaseMesh.load()
        fitter = GarmentFitter(mesh, canvas)
        garments = [fitter.fit(pattern) for pattern in unpack()]
        by_kind = {kind: tuple(garment for garment in garments if garment.kind is kind) for kind in Kind}
        skin = SkinBasis(mesh.rest[:, mesh.body], mesh.weights[mesh.body], canvas)
        return cls(by_kind, made_suit(skin), made_skirt(skin), skin, canvas)


class GarmentFitter:
    """Binds garment patterns to the body."""

    def __init__(self, mesh: BaseMesh, canvas: Canvas) -> None:
        self._mesh, self._canvas = mesh, canvas
        self._skin = np.unique(canvas.faces)
        self._nearest = cKDTree(canvas.rest[self._skin])

    def fit(self, pattern: GarmentPattern) -> Garment:
        """Binds one pattern."""
        mesh, corners, barycentric = self._mesh, pattern.corners, pattern.barycentric
        attachment = np.einsum("nc,kncd->knd", barycentric, mesh.rest[:, corners])
        # Barycentric weights may be negative, skinning weights must not be.
        shares = np.abs(barycentric) / np.abs(barycentric).sum(1, keepdims=True)
        weights = np.einsum("nc,ncs->ns", shares, mesh.weights[corners])
        first, second = mesh.rest[:, pattern.scale_pairs[:, 0]], mesh.rest[:, pattern.scale_pairs[:, 1]]
        axes = np.arange(3)
        # Signed, so that it is linear in the shape coefficients; the absolute value is taken of the sum.
        scale = (first - second)[:, axes, axes] / pattern.scale_lengths
        rest = attachment[0] + pattern.offset * np.abs(scale[0])
        nearest_skin = self._skin[self._nearest.query(rest)[1]]
        return Garment(
            name=pattern.name,
            kind=pattern.kind,
            attachment=attachment.astype(np.float32),
            offset=pattern.offset,
            scale=scale.astype(np.float32),
            weights=weights.astype(np.float32),
            faces=pattern.faces,
            rest=rest.astype(np.float32),
            limb=_limb(pattern.kind, self._canvas.limb[nearest_skin]),
            region=self._canvas.region[nearest_skin],
            covered=np.flatnonzero(np.isin(mesh.body, pattern.hidden)),
        )


def _limb(kind: Kind, skin_limb: FloatArray) -> FloatArray:
    """The limb coordinates of the skin (N, 4), with the head's flag set for hair and hats only."""
    limb = skin_limb.copy()
    limb[:, 3] = float(kind in (Kind.HAIR, Kind.HAT))
    return limb


def bare_faces(faces: IntArray, worn: Sequence[Garment], vertices: int) -> BoolArray:
    """(F,) the body's triangles that are visible under garments: those with a corner that no garment covers."""
    covered = np.zeros(vertices, np.bool_)
    for garment in worn:
        covered[garment.covered] = True
    bare = np.logical_not(covered[faces].all(axis=1))
    return np.asarray(bare, np.bool_)
