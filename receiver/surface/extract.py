"""Indicator function → watertight mesh: marching cubes (28), largest connected component, Taubin smoothing."""

import numpy as np
import scipy.sparse
from skimage.measure import marching_cubes

from common.arrays import FloatArray, Int32Array
from common.body.triangles import corner_matrix, neighbour_mean, vertex_adjacency, vertex_components
from receiver.mesh.triangle_mesh import is_watertight, signed_volume_m3

# Nodes closer to the isovalue than this share of the field's standard deviation are moved away from it, so that no
# triangle degenerates and readers that merge close vertices keep them apart (20 µm at 20 mm voxels).
_CLEARANCE = 2e-3
# λ, the step towards the mean of the neighbours, and μ, the one away from it; −μ > λ.
_TAUBIN_STEPS = (0.5, -0.53)


def march(indicator: FloatArray, level: float) -> tuple[FloatArray, Int32Array]:
    """Marching cubes over (X, Y, Z), closed at the border: vertices (V, 3) in voxels, faces (F, 3) wound outwards.

    Raises:
        ValueError: the field is constant, no node exceeds the isovalue, or the isosurface is not closed.
    """
    deviation = float(indicator.std())
    if not np.isfinite(deviation) or deviation <= 0.0:
        raise ValueError("the indicator function is flat: the normals cancel out or are zero")
    height, clearance = indicator - np.float32(level), _CLEARANCE * deviation
    near = np.abs(height) < clearance
    height[near] = np.where(height[near] < 0.0, -clearance, clearance)
    _close_border(height, outside=-clearance)
    if float(height.max()) <= 0.0:
        raise ValueError("no node lies inside the surface: the points are too few, too flat or wrongly oriented")
    marched, triangles, _, _ = marching_cubes(height, 0.0)
    vertices, faces = marched.astype(np.float32), triangles.astype(np.int32)
    if not is_watertight(faces, len(vertices)):
        raise ValueError("marching cubes gave an open surface")
    inside_out = signed_volume_m3(vertices, faces) < 0.0
    return vertices, np.ascontiguousarray(faces[:, ::-1]) if inside_out else faces


def _close_border(height: FloatArray, outside: float) -> None:
    """Clamps the six border layers to the outside, in place, so that no isosurface crosses the border."""
    for axis in range(3):
        for end in (0, -1):
            layer = np.take(height, end, axis=axis)
            height[tuple(end if a == axis else slice(None) for a in range(3))] = np.minimum(layer, outside)


def largest_component(vertices: FloatArray, faces: Int32Array) -> tuple[FloatArray, Int32Array]:
    """The connected component with the largest volume; a flat shell may have more faces than the body."""
    count, component_of_vertex = vertex_components(faces, len(vertices))
    if count == 1:
        return vertices, faces
    component_of_face = component_of_vertex[faces[:, 0]]
    corner_a, corner_b, corner_c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    volumes = np.einsum("ij,ij->i", corner_a, np.cross(corner_b, corner_c))
    kept = int(np.argmax(np.bincount(component_of_face, weights=volumes, minlength=count)))
    kept_vertices = component_of_vertex == kept
    renumbered = np.cumsum(kept_vertices, dtype=np.int32) - 1
    return vertices[kept_vertices], renumbered[faces[component_of_face == kept]]


def taubin_smooth(vertices: FloatArray, faces: Int32Array, iterations: int) -> FloatArray:
    """Smooths a closed mesh without shrinking it (Taubin, A Signal Processing Approach to Fair Surface Design, 1995).

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        iterations: number of pairs of a shrinking and an inflating step.
    """
    if not iterations:
        return vertices
    smooth = vertices.astype(np.float32)
    corners = corner_matrix(faces, len(vertices))
    counts = np.bincount(faces.ravel(), minlength=len(vertices)).astype(np.float32)[:, None]
    for _ in range(iterations):
        for step in _TAUBIN_STEPS:
            # Each neighbour is a corner of two of a vertex's faces, and the vertex itself one of all of them.
            sums = corners.T @ (corners @ smooth)
            smooth = smooth + np.float32(0.5 * step) * (sums / counts - 3 * smooth)
    return smooth


def taubin_smoothing(faces: Int32Array, vertex_count: int, iterations: int) -> scipy.sparse.csr_array:
    """(V, V) the matrix whose product with vertices is `taubin_smooth`."""
    identity = scipy.sparse.eye_array(vertex_count, dtype=np.float32, format="csr")
    mean = scipy.sparse.csr_array(neighbour_mean(vertex_adjacency(faces, vertex_count)))
    smoothing = identity
    for step in iterations * _TAUBIN_STEPS:
        smoothing = smoothing + np.float32(step) * (mean @ smoothing - smoothing)
    return scipy.sparse.csr_array(smoothing)
