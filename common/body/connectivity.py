"""Which vertices of a triangle mesh are connected."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from common.arrays import BoolArray, Int32Array, IntArray


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
