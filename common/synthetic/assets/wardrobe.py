"""Garments that fit any body shape and are posed with the body.

Shapes: N vertices of a garment, F triangles, S = 52 bones, R body regions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy.spatial import cKDTree

from common.arrays import BoolArray, FloatArray, IntArray
from common.body.model import skin
from common.synthetic.assets.base_mesh import BaseMesh
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment_files import GarmentPattern, Kind, unpack


@dataclass(frozen=True, eq=False)
class PosedSkeleton:
    """One person's skeleton in the rest pose and posed by `BodyModel`.

    Args:
        shape: (10,) coefficients.
        rest: (S, 3) heads of the bones in the rest pose, metres.
        positions: (S, 3) heads of the bones in camera space.
        rotations: (S, 3, 3) from the rest pose to camera space.
    """

    shape: FloatArray
    rest: FloatArray
    positions: FloatArray
    rotations: FloatArray


@dataclass(frozen=True, eq=False)
class Garment:
    """A garment over the shape space; it has the paint coordinates of a `Canvas`.

    Args:
        name: name of the pattern.
        kind: what it covers.
        attachment: (11, N, 3) bound positions: on the mean body, then per unit of each shape coefficient, metres.
        offset: (N, 3) offset from the bound positions, in units of `scale`.
        scale: (11, 3) measure of the body that scales the offset, over the shape space.
        weights: (N, S) skinning weights.
        faces: (F, 3) triangles.
        rest: (N, 3) vertices on the mean body in the rest pose.
        limb: (N, 4) coordinates of the nearest skin, as in `Canvas.limb`.
        region: (N,) region of the nearest skin.
        covered: (C,) vertices of the body that the garment hides.
    """

    name: str
    kind: Kind
    attachment: FloatArray
    offset: FloatArray
    scale: FloatArray
    weights: FloatArray
    faces: IntArray
    rest: FloatArray
    limb: FloatArray
    region: IntArray
    covered: IntArray

    def rest_vertices(self, shape: FloatArray) -> FloatArray:
        """(N, 3) vertices in the rest pose, for shape coefficients (10,)."""
        rows = np.concatenate([[np.float32(1)], shape]).astype(np.float32)
        bound = (rows @ self.attachment.reshape(len(rows), -1)).reshape(-1, 3)
        return np.asarray(bound + self.offset * np.abs(rows @ self.scale), np.float32)

    def posed_vertices(self, skeleton: PosedSkeleton) -> FloatArray:
        """(N, 3) vertices in camera space, by linear blend skinning."""
        arrays = (self.rest_vertices(skeleton.shape), skeleton.rest, skeleton.positions, skeleton.rotations)
        rest, rest_joints, positions, rotations = (torch.from_numpy(array)[None] for array in arrays)
        vertices = skin(rest, rest_joints, positions, rotations, torch.from_numpy(self.weights))
        return np.asarray(vertices[0].numpy(), np.float32)


@dataclass(frozen=True)
class Wardrobe:
    """All garments, by kind."""

    garments: dict[Kind, tuple[Garment, ...]]

    @classmethod
    def load(cls, canvas: Canvas) -> Self:
        """The garments of the package, fitted to the shape space; bakes the base mesh first if necessary."""
        fitter = GarmentFitter(BaseMesh.load(), canvas)
        garments = [fitter.fit(pattern) for pattern in unpack()]
        return cls({kind: tuple(garment for garment in garments if garment.kind is kind) for kind in Kind})


class GarmentFitter:
    """Binds garment patterns to the body.

    Args:
        mesh: the base mesh that the patterns refer to.
        canvas: paint coordinates of the body.
    """

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
