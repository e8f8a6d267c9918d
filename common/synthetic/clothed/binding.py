"""Bindings of the template to garments: for each vertex of the template, the point of a garment that it moves to.

A binding is fitted once, on the mean body in the rest pose, by non-rigid registration of the skin to the visible side
of the garment (Amberg et al. 2007, with displacements in place of affine transforms).  Because it refers to vertices of
the garment, it holds for every shape, for looser and for shortened variants.

Shapes: V' vertices of the template, n of them bound, N vertices of the garment.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import REGION_INDEX
from common.body.template import BodyTemplate
from common.body.triangles import random_points
from common.synthetic.assets.garment_files import load_packed, save_packed
from common.synthetic.clothed.shell import MIN_EXPOSURE

BINDINGS_FILE = Path(__file__).resolve().parent.parent / "data" / "bindings.npz"

_SAMPLES = 16_000
_ROUNDS = 10
_STIFFNESS = (30.0, 0.4)
"""Weight of the Laplacian in the first and in the last round."""
_NORMAL_WEIGHT_M = 0.08
"""Distance that a unit of difference between normals counts as: keeps the sides of a limb apart."""
_SNAP_NORMAL_WEIGHT_M = 0.02
_REACH_M = 0.16
"""Skin is not moved to a point of a garment farther than this."""
_PULL = 0.6
"""Weight of the points of the garment that pull the nearest skin, relative to the opposite direction."""
_PIN = 1e3
_SPREAD_ROUNDS = 8
_MIN_COMPONENT = 30
_HANDS = (REGION_INDEX["hand.L"], REGION_INDEX["hand.R"])
"""No garment of the wardrobe covers hands."""
_SNAP_M = (0.003, 0.012)
"""A fitted vertex snaps to the garment below the first distance, and keeps its offset above the second."""


@dataclass(frozen=True, eq=False)
class GarmentBinding:
    """Where the vertices of the template go that a garment covers.

    Args:
        vertices: (n,) indices of template vertices.
        corners: (n, 3) vertices of the garment.
        barycentric: (n, 3) their weights.
        offset: (n, 3) offset from that point in the rest pose, metres: where the template only spans the garment.
    """

    vertices: IntArray
    corners: IntArray
    barycentric: FloatArray
    offset: FloatArray

    def targets(self, garment_vertices: FloatArray) -> FloatArray:
        """(n, 3) positions of the bound vertices, for vertices (N, 3) of the garment in the rest pose."""
        corners = garment_vertices[self.corners]
        points = np.einsum("nc,ncd->nd", self.barycentric, corners)
        return np.asarray(points + self.offset, np.float32)

    @cached_property
    def nearest(self) -> IntArray:
        """(n,) which of the three corners is nearest."""
        return np.asarray(self.barycentric.argmax(1))

    def remains(self, removal: FloatArray | None) -> BoolArray:
        """(n,) whether the bound points are left of a garment of which `removal` (N,) > 0 was cut off; None: all."""
        if removal is None:
            return np.ones(len(self.vertices), np.bool_)
        return np.asarray(np.einsum("nc,nc->n", self.barycentric, removal[self.corners]) <= 0)


@dataclass(frozen=True, eq=False)
class OuterSurface:
    """The visible side of a garment on the mean body in the rest pose.

    Args:
        vertices: (N, 3) metres.
        faces: (F, 3) visible triangles, wound so that the visible side is the front.
    """

    vertices: FloatArray
    faces: IntArray


class BindingFitter:
    """Fits bindings."""

    def __init__(self, template: BodyTemplate) -> None:
        self._template = template
        degree = np.asarray(template.adjacency.sum(1)).ravel()
        self._laplacian = sparse.csr_matrix(sparse.diags(degree) - template.adjacency, dtype=np.float64)

    def fit(self, garment: OuterSurface, exposure: FloatArray, bare_exposure: FloatArray) -> GarmentBinding:
        """Binds the template to a garment.

        Args:
            exposure: (V',) share of the skin around each vertex that is visible beside the garment.
            bare_exposure: (V',) the same without the garment.
        """
        samples = random_points(garment.vertices, garment.faces, _SAMPLES, np.random.default_rng(0))
        hidden = self._hidden(samples[0], exposure, bare_exposure)
        moved = self._register(samples[0], samples[1], hidden)
        return self._bind(moved, hidden, garment, samples)

    def _hidden(self, points: Float64Array, exposure: FloatArray, bare_exposure: FloatArray) -> BoolArray:
        """(V',) vertices that the garment hides; those hidden anyway (nostrils, armpits) go with their neighbours."""
        template = self._template
        distance, _ = cKDTree(points).query(template.rest)
        eligible = template.outside & (distance < _REACH_M) & ~np.isin(template.region, _HANDS)
        nook = eligible & (bare_exposure < 2 * MIN_EXPOSURE)
        hidden = eligible & (exposure < MIN_EXPOSURE) & ~nook
        degree = np.asarray(template.adjacency.sum(1)).ravel()
        for _ in range(_SPREAD_ROUNDS):
            hidden |= nook & (template.adjacency @ hidden.astype(np.float32) > 0.5 * degree)
        inner = np.flatnonzero(hidden)
        component = connected_components(template.adjacency[inner][:, inner], directed=False)[1]
        hidden[inner] = np.bincount(component)[component] >= _MIN_COMPONENT
        return np.asarray(hidden, np.bool_)

    def _register(self, points: Float64Array, normals: Float64Array, hidden: BoolArray) -> Float64Array:
        """(V', 3) displacement of the skin that lays the hidden vertices on sampled points of the garment."""
        rest = self._template.rest.astype(np.float64)
        displacement = np.zeros_like(rest)
        inner = np.flatnonzero(hidden)
        tree = cKDTree(_oriented(points, normals))
        for stiffness in np.geomspace(*_STIFFNESS, _ROUNDS):
            position = rest + displacement
            oriented = _oriented(position, self._template.vertex_normals(position.astype(np.float32)))[inner]
            weight, pull = np.where(hidden, 0.0, _PIN), np.zeros_like(rest)
            _, nearest = tree.query(oriented)
            target = points[nearest]
            near = np.linalg.norm(target - rest[inner], axis=1) < _REACH_M
            weight[inner] += near
            pull[inner] += (target - rest[inner]) * near[:, None]
            distance, owner = cKDTree(oriented).query(tree.data)
            back = np.flatnonzero(distance < _REACH_M)
            owners = inner[owner[back]]
            share = _PULL / np.maximum(np.bincount(owners, minlength=len(rest)), 1)[owners]
            weight += np.bincount(owners, share, len(rest))
            np.add.at(pull, owners, share[:, None] * (points[back] - rest[owners]))
            displacement = self._solve(weight, stiffness, pull, displacement)
        return displacement

    def _solve(self, weight: Float64Array, stiffness: float, pull: Float64Array, start: Float64Array) -> Float64Array:
        system = sparse.csr_matrix(sparse.diags(weight + 1e-6) + stiffness * self._laplacian)
        scale = sparse.diags(1 / system.diagonal())
        columns = [
            cg(system, pull[:, axis], x0=start[:, axis], rtol=1e-4, maxiter=200, M=scale)[0] for axis in range(3)
        ]
        return np.stack(columns, 1)

    def _bind(
        self,
        displacement: Float64Array,
        hidden: BoolArray,
        garment: OuterSurface,
        samples: tuple[Float64Array, Float64Array, IntArray, Float64Array],
    ) -> GarmentBinding:
        """Expresses the displaced vertices by the nearest points of the garment."""
        points, normals, triangle, weights = samples
        position = self._template.rest + displacement
        inner = np.flatnonzero(hidden)
        outwards = self._template.vertex_normals(position.astype(np.float32))
        oriented = _oriented(position, outwards, _SNAP_NORMAL_WEIGHT_M)
        _, nearest = cKDTree(_oriented(points, normals, _SNAP_NORMAL_WEIGHT_M)).query(oriented[inner])
        offset = position[inner] - points[nearest]
        low, high = _SNAP_M
        keep = np.clip((np.linalg.norm(offset, axis=1) - low) / (high - low), 0, 1)
        return GarmentBinding(
            vertices=inner,
            corners=garment.faces[triangle[nearest]],
            barycentric=weights[nearest].astype(np.float32),
            offset=(offset * (keep * keep * (3 - 2 * keep))[:, None]).astype(np.float32),
        )


def _oriented(
    points: Float64Array, normals: FloatArray | Float64Array, weight_m: float = _NORMAL_WEIGHT_M
) -> Float64Array:
    """(N, 6) coordinates in which points with other normals are farther apart."""
    return np.hstack([points, weight_m * normals])


def save_bindings(bindings: dict[str, GarmentBinding], path: Path) -> None:
    """Writes bindings by the name of the garment, with errors below 0.1 mm."""
    save_packed(bindings, _PACKED, path)


def load_bindings(path: Path = BINDINGS_FILE) -> dict[str, GarmentBinding]:
    """The bindings that `save_bindings` wrote, by the name of the garment."""
    return {name: GarmentBinding(**arrays) for name, arrays in load_packed(_PACKED, path).items()}


_PACKED: dict[str, type[np.generic]] = {
    "vertices": np.uint16,
    "corners": np.uint16,
    "barycentric": np.float16,
    "offset": np.float16,
}
