"""The triangle mesh that the receiver reconstructs and publishes, and its geometric properties."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import ByteArray, Float64Array, FloatArray, Int32Array, IntArray
from common.body.triangles import VertexNormals


@dataclass(frozen=True, slots=True)
class SurfaceMesh:
    """A triangle mesh in camera space (x right, y down, z forward), metres, faces wound counter-clockwise from outside.

    Args:
        vertices: (V, 3) float32.
        faces: (F, 3) int32 indices into the vertices.
        colours: (V, 3) uint8 RGB, or None.
    """

    vertices: FloatArray
    faces: Int32Array
    colours: ByteArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SameArray(Hashable):
    """An array as a key: the same object, which must not be changed, not equal numbers."""

    array: npt.NDArray[Any]

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameArray) and self.array is other.array


def vertex_normals(vertices: FloatArray, faces: Int32Array | IntArray) -> FloatArray:
    """(V, 3) unit normals, each the area-weighted mean over the adjacent triangles; the faces must not be changed."""
    return np.stack(normal_components(vertices, faces), axis=1, dtype=np.float32)


def normal_components(vertices: FloatArray, faces: Int32Array | IntArray) -> list[FloatArray]:
    """The three components (V,) of `vertex_normals`."""
    x, y, z = components = _normals(SameArray(faces), len(vertices)).components(vertices)
    # A vertex without adjacent area has no normal; any unit vector keeps exported files valid.
    z[(x == 0) & (y == 0) & (z == 0)] = 1
    return components


@lru_cache(maxsize=8)
def _normals(faces: SameArray, vertex_count: int) -> VertexNormals:
    """What all meshes with the same triangles share, such as all bodies: it takes longer than their normals."""
    return VertexNormals(faces.array, vertex_count)


def is_watertight(faces: Int32Array, vertex_count: int) -> bool:
    """Whether every directed edge has exactly one opposite: closed, edge-manifold and consistently wound."""
    if len(faces) == 0:
        return False
    start = faces[:, [0, 1, 2]].ravel().astype(np.int64)
    end = faces[:, [1, 2, 0]].ravel().astype(np.int64)
    forward = np.sort(start * vertex_count + end)
    backward = np.sort(end * vertex_count + start)
    return bool(np.array_equal(forward, backward) and np.all(forward[1:] != forward[:-1]))


def signed_volume_m3(vertices: FloatArray | Float64Array, faces: Int32Array) -> float:
    """Volume enclosed by a closed mesh; negative if the faces are wound inwards."""
    corner_a, corner_b, corner_c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return float(np.einsum("ij,ij->", corner_a, np.cross(corner_b, corner_c)) / 6.0)
