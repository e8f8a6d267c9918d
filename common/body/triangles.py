"""Triangle meshes: which vertices are connected, and where points lie on them."""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from common.arrays import BoolArray, FloatArray, Int32Array, IntArray


def vertex_adjacency(faces: Int32Array | IntArray, vertex_count: int) -> sparse.csr_matrix:
    """(V, V) float32: 1 from the start of each directed edge of the faces to its end.

    On a closed mesh the matrix is symmetric.
    """
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    ones = np.ones(len(start), dtype=np.float32)
    return sparse.csr_matrix((ones, (start, end)), shape=(vertex_count, vertex_count))


def neighbour_mean(adjacency: sparse.csr_matrix) -> sparse.csr_matrix:
    """(V, V) rows of an adjacency (V, V) divided by their sums: times values (V, …), the mean over the neighbours."""
    return sparse.diags(1 / np.asarray(adjacency.sum(axis=1)).ravel()) @ adjacency


def vertex_components(faces: Int32Array | IntArray, vertex_count: int) -> tuple[int, Int32Array]:
    """The number of connected components and (V,) the component of each vertex."""
    # Vertices and faces are the nodes of the graph: unlike the edges of the faces, their corners need no sorting.
    starts = np.concatenate([np.zeros(vertex_count, np.int32), np.arange(0, faces.size + 1, 3, dtype=np.int32)])
    nodes = vertex_count + len(faces)
    corners = sparse.csr_array((np.ones(faces.size, np.float32), faces.ravel(), starts), shape=(nodes, nodes))
    count, component = connected_components(corners, directed=False)
    return int(count), component[:vertex_count]


def largest_component(faces: Int32Array | IntArray, vertex_count: int) -> BoolArray:
    """(V,) whether each vertex belongs to the connected component with the most vertices."""
    _, component = vertex_components(faces, vertex_count)
    largest: BoolArray = component == np.bincount(component).argmax()
    return largest


def triangle_normals(vertices: FloatArray, faces: Int32Array | IntArray) -> FloatArray:
    """(F, 3) outward normals, each twice as long as the triangle's area: the cross products of two edges."""
    return np.stack(_cross_products(vertices, faces.T), axis=1)


def _cross_products(vertices: FloatArray, corners: npt.NDArray[np.integer]) -> list[FloatArray]:
    """The components of the normals of triangles whose corners are (3, F)."""
    # Several times faster with the components along the first axis.
    rows = np.ascontiguousarray(vertices.T)
    corner_a, corner_b, corner_c = (rows.take(corner, axis=1) for corner in corners)
    (x, y, z), (u, v, w) = corner_b - corner_a, corner_c - corner_a
    return [y * w - z * v, z * u - x * w, x * v - y * u]


def corner_matrix(faces: Int32Array | IntArray, vertex_count: int) -> sparse.csr_array:
    """(F, V) float32: 1 where a vertex is a corner of a triangle. Transposed, it sums over a vertex's triangles."""
    starts = np.arange(0, faces.size + 1, 3, dtype=np.int32)
    return sparse.csr_array((np.ones(faces.size, np.float32), faces.ravel(), starts), shape=(len(faces), vertex_count))


class VertexNormals:
    """Area-weighted vertex normals of a fixed triangulation, and the areas of its vertices."""

    def __init__(self, faces: IntArray | Int32Array, vertex_count: int) -> None:
        self._corners = np.ascontiguousarray(faces.T, np.intp)
        self._sum = corner_matrix(faces, vertex_count).T.tocsr()

    def __call__(self, vertices: FloatArray) -> FloatArray:
        """(V, 3) → (V, 3) unit normals, outward; 0 for a vertex without triangles."""
        return np.stack(self.components(vertices), axis=1, dtype=np.float32)

    def components(self, vertices: FloatArray) -> list[FloatArray]:
        """The three components (V,) of the unit normals of vertices (V, 3)."""
        return self._units(_cross_products(vertices, self._corners))

    def with_areas(self, vertices: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Unit normals (V, 3), and a third of the area of the triangles around each vertex (V,), of vertices (V, 3)."""
        x, y, z = cross = _cross_products(vertices, self._corners)
        areas = self._sum @ (np.sqrt(x * x + y * y + z * z) / 6)
        return np.stack(self._units(cross), axis=1, dtype=np.float32), np.asarray(areas, np.float32)

    def _units(self, cross: list[FloatArray]) -> list[FloatArray]:
        # Three products with vectors take half the time of one with three columns.
        x, y, z = sums = [self._sum @ component for component in cross]
        length = np.maximum(np.sqrt(x * x + y * y + z * z), 1e-12)
        return [component / length for component in sums]
