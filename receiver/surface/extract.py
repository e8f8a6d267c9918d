"""From an indicator function to one watertight piece: marching cubes (28), largest piece, Taubin smoothing."""

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes

from common.arrays import FloatArray, Int32Array
from receiver.mesh.triangle_mesh import is_watertight, signed_volume_m3

# Nodes closer to the level than this share of the field's spread are moved away from it: no triangle degenerates, and
# vertices stay far enough apart (20 µm at 20 mm voxels) to survive readers that merge neighbours.
_CLEARANCE = 2e-3


def march(indicator: FloatArray, level: float) -> tuple[FloatArray, Int32Array]:
    """Marching cubes over (X, Y, Z), closed at the border: vertices (V, 3) in voxels, faces (F, 3), wound outwards.

    Raises:
        ValueError: nothing lies inside the level, or the surface cannot be closed.
    """
    spread = float(indicator.std())
    if not np.isfinite(spread) or spread <= 0.0:
        raise ValueError("the indicator function is flat: the normals cancel out or are zero")
    for nudge in (0.0, 0.01, -0.01, 0.03, -0.03):
        vertices, faces = _march_once(indicator, level + nudge * spread, _CLEARANCE * spread)
        if is_watertight(faces, len(vertices)):
            inside_out = signed_volume_m3(vertices, faces) < 0.0
            return vertices, np.ascontiguousarray(faces[:, ::-1]) if inside_out else faces
    raise ValueError("marching cubes left an open surface at every level tried")


def _march_once(indicator: FloatArray, level: float, clearance: float) -> tuple[FloatArray, Int32Array]:
    """One pass at one level."""
    height = indicator - np.float32(level)
    near = np.abs(height) < clearance
    height[near] = np.where(height[near] < 0.0, -clearance, clearance)
    _close_border(height, outside=-clearance)
    if float(height.max()) <= 0.0:
        raise ValueError("no cell lies inside the surface: the points are too few, too flat or wrongly oriented")
    vertices, faces, _, _ = marching_cubes(height, 0.0)
    return vertices.astype(np.float32), faces.astype(np.int32)


def _close_border(height: FloatArray, outside: float) -> None:
    """Put the six outer layers outside, in place, so that no surface runs out of the grid."""
    for axis in range(3):
        for end in (0, -1):
            layer = np.take(height, end, axis=axis)
            height[tuple(end if a == axis else slice(None) for a in range(3))] = np.minimum(layer, outside)


def _adjacency(faces: Int32Array, vertex_count: int) -> scipy.sparse.csr_matrix:
    """(V, V) float32, 1 where two vertices of a closed mesh share an edge."""
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    ones = np.ones(len(start), dtype=np.float32)
    return scipy.sparse.csr_matrix((ones, (start, end)), shape=(vertex_count, vertex_count))


def largest_component(vertices: FloatArray, faces: Int32Array) -> tuple[FloatArray, Int32Array, float]:
    """The connected piece with the largest volume, and the share of faces that lay on the others, 0…1."""
    count, piece_of_vertex = connected_components(_adjacency(faces, len(vertices)), directed=False)
    if count == 1:
        return vertices, faces, 0.0
    piece_of_face = piece_of_vertex[faces[:, 0]]
    keep_piece = _most_voluminous(vertices, faces, piece_of_face, count)
    kept_faces = faces[piece_of_face == keep_piece]
    kept_vertices = piece_of_vertex == keep_piece
    renumbered = np.cumsum(kept_vertices, dtype=np.int32) - 1
    return vertices[kept_vertices], renumbered[kept_faces], 1.0 - len(kept_faces) / len(faces)


def _most_voluminous(vertices: FloatArray, faces: Int32Array, piece_of_face: Int32Array, count: int) -> int:
    """By volume, not by faces: a torn shell with many faces must not win over the body."""
    corner_a, corner_b, corner_c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    volumes = np.einsum("ij,ij->i", corner_a, np.cross(corner_b, corner_c))
    return int(np.argmax(np.bincount(piece_of_face, weights=volumes, minlength=count)))


def taubin_smooth(
    vertices: FloatArray, faces: Int32Array, iterations: int, shrink: float = 0.5, inflate: float = -0.53
) -> FloatArray:
    """Smooth a closed mesh without shrinking it (Taubin, A Signal Processing Approach to Fair Surface Design, 1995).

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        iterations: pairs of a shrinking and an inflating step.
        shrink: λ, the step towards the neighbours' mean.
        inflate: μ, the step away from it; −μ > λ.
    """
    adjacency = _adjacency(faces, len(vertices))
    neighbour_counts = np.asarray(adjacency.sum(axis=1)).ravel()
    mean_of_neighbours = scipy.sparse.diags(1.0 / neighbour_counts, dtype=np.float32) @ adjacency
    smooth = vertices
    for _ in range(iterations):
        for step in (shrink, inflate):
            smooth = smooth + np.float32(step) * (mean_of_neighbours @ smooth - smooth)
    return smooth.astype(np.float32)
