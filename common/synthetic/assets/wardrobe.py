"""Garments cut to any body and moved with it: what dressed people wear.

Shapes: N vertices of a garment, F triangles, S = 52 bones, R body regions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from common.arrays import BoolArray, FloatArray, IntArray
from common.body.model import skin
from common.synthetic.assets.base_mesh import BaseMesh
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment_files import Kind, Pattern, unpack


@dataclass(frozen=True, eq=False)
class Skeleton:
    """One person's posed skeleton, as `BodyModel` gives it.

    Args:
        shape: (10,) coefficients.
        rest: (S, 3) where the bones begin at rest, metres.
        positions: (S, 3) where they begin in camera space.
        rotations: (S, 3, 3) from rest to camera space.
    """

    shape: FloatArray
    rest: FloatArray
    positions: FloatArray
    rotations: FloatArray


@dataclass(frozen=True, eq=False)
class Garment:
    """A garment over the shape space; it can be painted like a body (`Canvas`).

    Args:
        name: the pattern's.
        kind: what it covers.
        attachment: (11, N, 3) what it is bound to: on the mean body, then what each shape coefficient adds, metres.
        offset: (N, 3) stand-off, in units of `scale`.
        scale: (11, 3) the body's measure that the offset grows with, over the shape space.
        weights: (N, S) skinning weights.
        faces: (F, 3) triangles.
        rest: (N, 3) on the mean body.
        limb: (N, 4) coordinates of the skin beneath, as in `Canvas.limb`.
        region: (N,) of the skin beneath.
        covered: (C,) vertices of the body that nobody sees when it is worn.
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

    def at_rest(self, shape: FloatArray) -> FloatArray:
        """(N, 3) on an unposed body with shape coefficients (10,)."""
        rows = np.concatenate([[np.float32(1)], shape]).astype(np.float32)
        placed = (rows @ self.attachment.reshape(len(rows), -1)).reshape(-1, 3)
        return np.asarray(placed + self.offset * np.abs(rows @ self.scale), np.float32)

    def drape(self, skeleton: Skeleton) -> FloatArray:
        """(N, 3) in camera space on a posed body."""
        posed = (self.at_rest(skeleton.shape), skeleton.rest, skeleton.positions, skeleton.rotations)
        rest, rest_joints, positions, rotations = (torch.from_numpy(part)[None] for part in posed)
        placed = skin(rest, rest_joints, positions, rotations, torch.from_numpy(self.weights))
        return np.asarray(placed[0].numpy(), np.float32)


@dataclass(frozen=True)
class Wardrobe:
    """All garments, by kind."""

    garments: dict[Kind, tuple[Garment, ...]]

    @classmethod
    def load(cls, canvas: Canvas) -> "Wardrobe":
        """The garments that ship, cut to the shape space; bakes the base mesh first where that has not been done."""
        tailor = Tailor(BaseMesh.load(), canvas)
        cut = [tailor.cut(pattern) for pattern in unpack()]
        return cls({kind: tuple(item for item in cut if item.kind is kind) for kind in Kind})


class Tailor:
    """Binds patterns to the body.

    Args:
        mesh: what the patterns are bound to.
        canvas: the body beneath.
    """

    def __init__(self, mesh: BaseMesh, canvas: Canvas) -> None:
        self._mesh, self._canvas = mesh, canvas
        self._skin = np.unique(canvas.faces)
        self._nearest = cKDTree(canvas.rest[self._skin])

    def cut(self, pattern: Pattern) -> Garment:
        """One garment."""
        mesh, corners, share = self._mesh, pattern.corners, pattern.barycentric
        attachment = np.einsum("nc,kncd->knd", share, mesh.rest[:, corners])
        # A corner may pull with a negative weight; bones never push.
        pull = np.abs(share) / np.abs(share).sum(1, keepdims=True)
        weights = np.einsum("nc,ncs->ns", pull, mesh.weights[corners])
        first, second = mesh.rest[:, pattern.scale_pairs[:, 0]], mesh.rest[:, pattern.scale_pairs[:, 1]]
        axes = np.arange(3)
        # Both the measure and its standard are signed alike, so that shapes may be added up before the sign is dropped.
        scale = (first - second)[:, axes, axes] / pattern.scale_lengths
        rest = attachment[0] + pattern.offset * np.abs(scale[0])
        beneath = self._skin[self._nearest.query(rest)[1]]
        return Garment(
            name=pattern.name,
            kind=pattern.kind,
            attachment=attachment.astype(np.float32),
            offset=pattern.offset,
            scale=scale.astype(np.float32),
            weights=weights.astype(np.float32),
            faces=pattern.faces,
            rest=rest.astype(np.float32),
            limb=_limb(pattern.kind, self._canvas.limb[beneath]),
            region=self._canvas.region[beneath],
            covered=np.flatnonzero(np.isin(mesh.body, pattern.hidden)),
        )


def _limb(kind: Kind, beneath: FloatArray) -> FloatArray:
    """Hair and hats are of the head wherever they hang; nothing else is."""
    limb = beneath.copy()
    limb[:, 3] = float(kind in (Kind.HAIR, Kind.HAT))
    return limb


def bare_faces(faces: IntArray, worn: Sequence[Garment], vertices: int) -> BoolArray:
    """(F,) which of the body's triangles can still be seen under garments: those with a corner that none covers."""
    covered = np.zeros(vertices, np.bool_)
    for garment in worn:
        covered[garment.covered] = True
    bare = np.logical_not(covered[faces].all(axis=1))
    return np.asarray(bare, np.bool_)
