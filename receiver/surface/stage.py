"""The surface stage: oriented points with areas (surfels) → one watertight mesh, in metres.

Splat normals on a grid → spectral Poisson solve → local isovalue → marching cubes (28) → largest connected component →
Taubin smoothing → subdivision where detail is wanted → refinement by the points nearby.

Surfels are discs that a surface is splatted from: Pfister et al., Surfels: Surface Elements as Rendering Primitives
(2000).  The indicator function is solved for in Fourier space: Kazhdan et al., Poisson Surface Reconstruction (2006),
in the spectral form of Peng et al., Shape as Points (2021).  Its gradient is the field of inward normals, so its
Laplacian is the divergence of that field.  Each point spreads its normal with a quadratic B-spline, whose derivative is
known, so the divergence is splatted directly and one forward transform is enough.  On a periodic grid the Laplacian is
a multiplication in Fourier space.

Where more detail is needed than the grid has, such as at the eyes and the mouth, an edge is halved while it is too
long, and the triangles on both of its sides with it, so that a closed mesh stays closed.

A grid rounds off what is smaller than its voxels.  The points still have it, so each vertex moves along their normal,
but never by more than about a voxel; the triangles stay.

Shapes: V vertices, F triangles, E edges, N points, M samples of triangles; K places of detail, or neighbours of a
vertex; grid of X × Y × Z cells.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import scipy.fft
import scipy.sparse
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from skimage.measure import marching_cubes

from common.arrays import BoolArray, ByteArray, FloatArray, Int32Array, IntArray
from common.body.triangles import corner_matrix, neighbour_mean, vertex_adjacency, vertex_components
from receiver.mesh.triangle_mesh import SurfaceMesh, is_watertight, signed_volume_m3, vertex_normals

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


_MOST_PASSES = 4
# Upper limit of the edges of a mesh, which a grid of 24 nodes has.
_LONGEST_EDGE_M = 0.25
# Which triangles replace one, by the edges that are halved: bit k is the edge from corner k to the next one.  Corners
# are 0, 1 and 2, and 3 + k is the middle of edge k.
_PARTS: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((0, 1, 2),),
    ((0, 3, 2), (3, 1, 2)),
    ((0, 1, 4), (0, 4, 2)),
    ((3, 1, 4), (0, 3, 4), (0, 4, 2)),
    ((0, 1, 5), (5, 1, 2)),
    ((0, 3, 5), (3, 1, 2), (3, 2, 5)),
    ((0, 1, 5), (5, 1, 4), (5, 4, 2)),
    ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
)
_CORNERS = [np.array(parts).ravel() for parts in _PARTS]


@dataclass(frozen=True, slots=True, eq=False)
class DetailedPlaces:
    """Spheres in which a mesh gets short edges.

    Args:
        centres: (K, 3) metres.
        radii_m: (K,).
        edges_m: (K,) greatest length of an edge there.
    """

    centres: FloatArray
    radii_m: FloatArray
    edges_m: FloatArray

    def joined(self, other: Self) -> Self:
        """These and others."""
        return type(self)(*(np.concatenate([getattr(each, name) for each in (self, other)]) for name in self.__slots__))

    def too_long(self, middles: FloatArray, lengths_m: FloatArray) -> BoolArray:
        """(E,) whether edges with these middles (E, 3) and lengths (E,) are too long."""
        inside = cdist(middles, self.centres) <= self.radii_m
        return np.asarray((inside & (lengths_m[:, None] > self.edges_m)).any(axis=1))


def subdivided(vertices: FloatArray, faces: Int32Array, places: DetailedPlaces) -> tuple[FloatArray, Int32Array]:
    """Vertices (V', 3), first the given (V, 3), and triangles (F', 3) with edges halved up to four times."""
    near = _near(vertices, faces, places)
    done, left = [faces[~near]], faces[near]
    for _ in range(_MOST_PASSES):
        edges, edge_of_side = _edges(left)
        starts, ends = vertices[edges[:, 0]], vertices[edges[:, 1]]
        middles = np.asarray((starts + ends) / 2, np.float32)
        halved = np.flatnonzero(places.too_long(middles, np.linalg.norm(ends - starts, axis=1)))
        if not len(halved):
            break
        middle_of_edge = np.full(len(edges), -1, np.int32)
        middle_of_edge[halved] = np.arange(len(vertices), len(vertices) + len(halved), dtype=np.int32)
        vertices = np.concatenate([vertices, middles[halved]])
        # The sides of a triangle that was not split stay as they are.
        kept, left = _split(left, middle_of_edge[edge_of_side])
        done.append(kept)
    return vertices, np.concatenate([*done, left])


def _near(vertices: FloatArray, faces: Int32Array, places: DetailedPlaces) -> BoolArray:
    """(F,) whether a triangle may have an edge that is halved: a corner is at most half an edge from the sphere around
    all places."""
    centre = places.centres.mean(axis=0)
    radius_m = (np.linalg.norm(places.centres - centre, axis=1) + places.radii_m).max()
    offsets = vertices - centre
    distance_m = np.sqrt(np.einsum("vd,vd->v", offsets, offsets))
    around = faces[(distance_m < radius_m + _LONGEST_EDGE_M / 2)[faces[:, 0]]]
    corners = np.ascontiguousarray(vertices.T)[:, around.T]
    longest_m = np.sqrt(np.square(corners - corners[:, [1, 2, 0]]).sum(axis=0).max(initial=0))
    near: BoolArray = distance_m <= radius_m + longest_m / 2
    return near[faces[:, 0]] | near[faces[:, 1]] | near[faces[:, 2]]


def _edges(faces: Int32Array) -> tuple[IntArray, IntArray]:
    """The edges (E, 2), and (F, 3) which of them is the side of each triangle from one corner to the next."""
    low, high = np.minimum(faces, faces[:, [1, 2, 0]]), np.maximum(faces, faces[:, [1, 2, 0]])
    keys, edge_of_side = np.unique(low.astype(np.int64) << 32 | high, return_inverse=True)
    return np.column_stack([keys >> 32, keys & 0xFFFFFFFF]), edge_of_side.reshape(-1, 3)


def _split(faces: Int32Array, middles: Int32Array) -> tuple[Int32Array, Int32Array]:
    """The triangles of (F, 3) that stay, and those in place of the others; a middle (F, 3) of −1 is not used."""
    pattern = (middles >= 0) @ np.array([1, 2, 4])
    points = np.hstack([faces, middles])
    parts = [points[pattern == number][:, corners].reshape(-1, 3) for number, corners in enumerate(_CORNERS)]
    return parts[0], np.concatenate(parts[1:])


_MOST_PARTS = 6


@dataclass(frozen=True, slots=True)
class Surfels:
    """Discs on a surface.

    Args:
        points: (N, 3) centres, metres.
        normals: (N, 3) outward unit normals.
        areas: (N,) square metres.
    """

    points: FloatArray
    normals: FloatArray
    areas: FloatArray

    def __len__(self) -> int:
        return len(self.points)

    def chosen(self, rows: BoolArray) -> "Surfels":
        """Some of them."""
        return Surfels(self.points[rows], self.normals[rows], self.areas[rows])

    def joined(self, other: "Surfels") -> "Surfels":
        """These and others."""
        return Surfels(*(np.concatenate([getattr(each, name) for each in (self, other)]) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Samples:
    """Points inside triangles.

    Args:
        surfels: M of them.
        corners: (M, 3) vertices of the triangles.
        places: (M, 3) barycentric coordinates in them.
    """

    surfels: Surfels
    corners: Int32Array
    places: FloatArray

    def interpolated(self, colours: ByteArray) -> ByteArray:
        """(M, 3) colours from those of the vertices (N, 3)."""
        mixed = np.einsum("mk,mkc->mc", self.places, colours[self.corners].astype(np.float32))
        return np.asarray(np.rint(mixed), np.uint8)


def sampled(surfels: Surfels, faces: Int32Array, longest_m: float) -> tuple[Surfels, Samples]:
    """Samples the triangles that have a longer edge than `longest_m`, and takes their area from their corners.

    Where clothes pull triangles long, such as the cloth of a skirt between the legs, the vertices lie at the rims of
    what they stand for, and the splat between them would have a hole.

    Args:
        surfels: N vertices; triangles with a corner of no area are not sampled.
        faces: (F, 3).
        longest_m: edges are split into about as many parts of this length, at most six.
    """
    a, b, c = (np.take(surfels.points, corner, axis=0) for corner in faces.T)
    squared = np.maximum(np.maximum(_squared(b - a), _squared(c - b)), _squared(a - c))
    large = np.flatnonzero(squared > np.float32(longest_m**2))
    large = large[(surfels.areas[faces[large]] > 0).all(axis=1)]
    a, b, c = a[large], b[large], c[large]
    cross = np.cross(b - a, c - a)
    twice_area = np.sqrt(_squared(cross))
    normals, areas = cross / np.maximum(twice_area, np.float32(1e-12))[:, None], twice_area / 2
    taken = np.bincount(faces[large].ravel(), np.repeat(areas / 3, 3), len(surfels))
    left = np.maximum(surfels.areas - taken, 0).astype(np.float32)
    parts = np.clip(np.rint(np.sqrt(squared[large]) / np.float32(longest_m)), 1, _MOST_PARTS).astype(int)
    # Each triangle as often as it has samples, and the number of the sample in it.
    row = np.repeat(np.arange(len(large)), parts**2)
    number = np.arange(len(row)) - np.repeat(np.cumsum(parts**2) - parts**2, parts**2)
    places = _PLACES[_FIRST_PLACE[parts[row]] + number]
    corners = faces[large[row]]
    points = np.einsum("mk,mkd->md", places, surfels.points[corners])
    samples = Surfels(points, normals[row].astype(np.float32), areas[row] / np.square(parts[row]).astype(np.float32))
    return Surfels(surfels.points, surfels.normals, left), Samples(samples, corners, places)


def _places(parts: int) -> FloatArray:
    """(P², 3) barycentric coordinates of the centroids of the equal triangles that halve, third… the edges."""
    row, column = (index.ravel() for index in np.mgrid[:parts, :parts])
    upright = np.stack([row, column], 1)[row + column < parts] + 1 / 3
    inverted = np.stack([row, column], 1)[row + column < parts - 1] + 2 / 3
    along = np.concatenate([upright, inverted]) / parts
    return np.column_stack([1 - along.sum(axis=1), along]).astype(np.float32)


# Places of all numbers of parts, from 0 on, one after the other, and where those of each begin.
_PLACES = np.concatenate([_places(parts) for parts in range(1, _MOST_PARTS + 1)])
_FIRST_PLACE = np.cumsum([0, *(parts**2 for parts in range(_MOST_PARTS))])


def _squared(vectors: FloatArray) -> FloatArray:
    """Squared lengths of the rows."""
    return np.asarray(np.einsum("nd,nd->n", vectors, vectors), np.float32)


NEIGHBOURS = 4


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The points nearest to each vertex, with weights that leave out those on other sides of the body.

    Args:
        nearest: (K, V) indices of points.
        weights: (K, V); each column sums to 1, or to 0 where no point agrees with the vertex's normal.
    """

    nearest: IntArray
    weights: FloatArray

    @classmethod
    def from_surfels(cls, vertices: FloatArray, normals: FloatArray, surfels: Surfels) -> "Neighbourhood":
        """Finds the points nearest to vertices (V, 3) with unit normals (V, 3).

        The weights are Gaussian in the distance, with the distance of the farthest neighbour as the standard deviation,
        times the squared cosine between the normals.
        """
        tree = cKDTree(surfels.points, balanced_tree=False, compact_nodes=False)
        distance, nearest = tree.query(vertices, k=list(range(1, NEIGHBOURS + 1)))
        distance, nearest = distance.T.astype(np.float32, order="C"), np.ascontiguousarray(nearest.T)
        cosine = _dot(_gathered(surfels.normals, nearest), np.ascontiguousarray(normals.T)[:, None])
        spread = np.maximum(distance[-1], np.float32(1e-4))
        weights = np.exp(-0.5 * np.square(distance / spread)) * np.square(np.maximum(cosine, 0))
        return cls(nearest, weights / np.maximum(weights.sum(axis=0), np.float32(1e-6)))

    def blended(self, colours: ByteArray) -> ByteArray:
        """(V, 3) colours of the vertices from (N, 3) of the points; a vertex without weights takes the nearest."""
        weights = self.weights.copy()
        weights[0, weights.sum(axis=0) < 0.5] = 1.0
        weights /= weights.sum(axis=0)
        mixed = np.einsum("kv,kvc->vc", weights, colours[self.nearest].astype(np.float32))
        return np.asarray(np.rint(np.clip(mixed, 0, 255)), np.uint8)


def refined(vertices: FloatArray, neighbourhood: Neighbourhood, surfels: Surfels, limit_m: float) -> FloatArray:
    """The vertices (V, 3) after their move to the points' surface.

    The offset to it is the mean of the distances to the tangent planes, which lie outside a convex surface, and of the
    distances to the points themselves along the mean normal, which lie inside; on a sphere the errors cancel out.
    Larger moves than `limit_m` are reduced, to nothing from twice that on.
    """
    nearest, weights = neighbourhood.nearest, neighbourhood.weights
    normals = _gathered(surfels.normals, nearest)
    offsets = _gathered(surfels.points, nearest) - np.ascontiguousarray(vertices.T)[:, None]
    mean_normal = (normals * weights).sum(axis=1)
    mean_normal /= np.maximum(np.sqrt(_dot(mean_normal, mean_normal)), np.float32(1e-6))
    distance = (0.5 * weights * _dot(normals + mean_normal[:, None], offsets)).sum(axis=0)
    distance *= np.clip(2 - np.abs(distance) / np.float32(limit_m), 0, 1)
    return np.asarray(vertices + (mean_normal * distance).T, np.float32)


def _gathered(vectors: FloatArray, rows: IntArray) -> FloatArray:
    """Rows (K, V) of vectors (N, 3), components first: (3, K, V)."""
    return np.stack([np.ascontiguousarray(component)[rows] for component in vectors.T])


def _dot(first: FloatArray, second: FloatArray) -> FloatArray:
    """Dot products along the first axis."""
    return np.asarray(first[0] * second[0] + first[1] * second[1] + first[2] * second[2], np.float32)


_ORDER = 3
"""Nodes per axis that a quadratic B-spline covers."""

# Points where the indicator is higher than this lie inside another part of the body, which the surface does not pass
# through.  Where an arm enters the torso they would tear it open.
_INSIDE = 2.0
# Bounds of the isovalue, 0 outside the body and 1 at the mean over all points: noise outside stays below the lower one.
_LOWEST, _HIGHEST = 0.2, 1.6


@dataclass(frozen=True, slots=True)
class Grid:
    """A periodic grid of cubic voxels; node (i, j, k) lies at origin + voxel_m · (i, j, k).

    Args:
        origin: (3,) position of node (0, 0, 0), metres.
        voxel_m: edge length of a voxel.
        shape: nodes along each axis.
    """

    origin: FloatArray
    voxel_m: float
    shape: tuple[int, int, int]

    def positions(self, points: FloatArray) -> FloatArray:
        """Points (N, 3) in voxels from node (0, 0, 0)."""
        return np.asarray((points - self.origin) / np.float32(self.voxel_m), np.float32)


def bounds(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest coordinates (3,) of points (N, 3)."""
    # A tenth of the time of `min` and `max` along the first axis.
    axes = np.ascontiguousarray(points.T)
    return axes.min(axis=1), axes.max(axis=1)


def fit_grid(points: FloatArray, resolution: int, padding: int) -> Grid:
    """The smallest FFT-friendly grid around the points, `resolution` nodes along their longest side.

    Args:
        points: (N, 3), metres.
        resolution: nodes along the longest side, padding included.
        padding: empty nodes on every side, which separate the periodic copies.

    Raises:
        ValueError: the points have no extent.
    """
    low, high = bounds(points)
    extent = high - low
    if float(extent.max()) <= 0.0:
        raise ValueError("all points coincide: no surface passes through them")
    voxel_m = float(extent.max()) / (resolution - 2 * padding - 1)
    nodes = np.ceil(extent / voxel_m - 1e-4).astype(int) + 1 + 2 * padding
    shape = tuple(scipy.fft.next_fast_len(int(count), real=True) for count in nodes)
    origin = (low + high) / 2.0 - 0.5 * voxel_m * (np.array(shape) - 1)
    return Grid(origin.astype(np.float32), voxel_m, (shape[0], shape[1], shape[2]))


class Stencil:
    """The 27 grid nodes around each of N points, with the weights of a quadratic B-spline.

    Arrays have the nodes first: NumPy is several times faster with the points along the contiguous axis.

    Args:
        points: (N, 3); they are moved into the grid where they lie outside.
    """

    def __init__(self, points: FloatArray, grid: Grid) -> None:
        limit = np.array(grid.shape, np.float32) - 2
        position = np.ascontiguousarray(np.clip(grid.positions(points), 1, limit).T)
        centre = np.floor(position + np.float32(0.5))
        offset = position - centre
        half = np.float32(0.5)
        # Along each axis: weights of the nodes before, at and after the centre, and their derivatives by the node.
        self._weights = np.stack([half * (half - offset) ** 2, 0.75 - offset**2, half * (half + offset) ** 2], axis=1)
        self._slopes = np.stack([half - offset, 2 * offset, -half - offset], axis=1)
        x, y, z = centre.astype(np.int64) - 1
        first = (x * grid.shape[1] + y) * grid.shape[2] + z
        steps = np.asarray(np.ravel_multi_index(tuple(np.indices((_ORDER,) * 3).reshape(3, -1)), grid.shape))
        self.nodes: IntArray = steps[:, None] + first
        """(27, N) flat node indices."""
        self._grid = grid

    @cached_property
    def weights(self) -> FloatArray:
        """(27, N); each column sums to 1."""
        x, y, z = self._weights
        return self._product(x[:, None] * y[None], z)

    def splat(self, values: FloatArray) -> FloatArray:
        """Distributes the values (N,) of the points over the grid nodes: (X, Y, Z)."""
        return self._accumulate(self.weights * values)

    def splat_divergence(self, vectors: FloatArray) -> FloatArray:
        """The divergence (X, Y, Z), per voxel, of the field to which each point adds its vector (N, 3)."""
        x, y, z = self._weights
        slope_x, slope_y, slope_z = self._slopes
        along_x, along_y, along_z = np.ascontiguousarray(vectors.T)
        across = (along_x * slope_x)[:, None] * y[None] + (along_y * x)[:, None] * slope_y[None]
        along = (along_z * x)[:, None] * y[None]
        return self._accumulate(self._product(across, z) + self._product(along, slope_z))

    def sample(self, field: FloatArray) -> FloatArray:
        """Interpolates the field (X, Y, Z) at the points: (N,)."""
        values: FloatArray = (field.ravel()[self.nodes] * self.weights).sum(axis=0)
        return values

    def _accumulate(self, values: FloatArray) -> FloatArray:
        sums = np.bincount(self.nodes.ravel(), weights=values.ravel(), minlength=math.prod(self._grid.shape))
        return np.asarray(sums, np.float32).reshape(self._grid.shape)

    @staticmethod
    def _product(plane: FloatArray, line: FloatArray) -> FloatArray:
        """(3, 3, N) × (3, N) → (27, N)."""
        values: FloatArray = plane[:, :, None] * line
        return values.reshape(_ORDER**3, -1)


def _angular_frequencies(shape: tuple[int, ...]) -> list[FloatArray]:
    """Angular frequencies along each axis of the half spectrum, radians per voxel, shaped for broadcasting."""
    axes = (scipy.fft.fftfreq(shape[0]), scipy.fft.fftfreq(shape[1]), scipy.fft.rfftfreq(shape[2]))
    return [np.asarray(2.0 * np.pi * k, dtype=np.float32) for k in np.ix_(*axes)]


def solve_indicator(divergence: FloatArray) -> FloatArray:
    """The function χ, high inside, whose gradient is closest to the negated field of outward normals.

    Args:
        divergence: (X, Y, Z) of the field of outward normals, per voxel.

    Returns:
        (X, Y, Z) float32 of zero mean, in arbitrary units; only its level sets are meaningful.
    """
    spectrum = scipy.fft.rfftn(divergence)
    k = _angular_frequencies(divergence.shape)
    k_squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    k_squared[0, 0, 0] = 1.0  # avoids 0/0; the divergence has zero mean, and so has χ
    spectrum /= k_squared
    spectrum[0, 0, 0] = 0.0
    indicator: FloatArray = scipy.fft.irfftn(spectrum, s=divergence.shape)
    return indicator.astype(np.float32, copy=False)


def relative_to_isovalue(indicator: FloatArray, stencil: Stencil, areas: FloatArray) -> FloatArray:
    """The indicator less its local isovalue: positive inside, zero at the points as far as possible.

    The indicator of a part that is thinner than a few voxels, such as a finger, never reaches the mean isovalue of the
    whole body; that of a narrow gap, such as an armpit, never falls to it. So the isovalue follows the indicator's
    value at the points nearby. Kazhdan and Hoppe, Screened Poisson Surface Reconstruction (2013), have the same aim,
    but need a system of equations that Fourier space does not diagonalise.

    Args:
        indicator: (X, Y, Z), high inside.
        stencil: of N points on the surface.
        areas: (N,) weights of the points.
    """
    at_points = stencil.sample(indicator)
    outside = float(indicator[0].mean())
    mean = float(np.average(at_points, weights=areas))
    inside = at_points - outside > _INSIDE * abs(mean - outside)
    areas = np.where(inside, 0, areas)
    level = float(np.average(at_points, weights=areas))
    amplitude = level - outside
    weight = stencil.splat(areas)
    deviation = stencil.splat(areas * (at_points - np.float32(level)))
    deviation /= np.maximum(weight, np.float32(1e-12))
    np.clip(deviation, (_LOWEST - 1) * amplitude, (_HIGHEST - 1) * amplitude, out=deviation)
    return np.asarray(indicator - np.float32(level) - deviation, np.float32)


MINIMUM_POINTS = 16

# Triangles with longer edges than this, in voxels, are sampled: the splat of each point covers three voxels.
_LONGEST_VOXELS = 1.8
# Marching cubes runs on the nodes within this distance of the points, in voxels.
_MARGIN_VOXELS = 3
# Empty nodes on every side of the grid: the solver's field is periodic, and its copies must not touch.
_PADDING_NODES = 4
# Pairs of smoothing steps on what marching cubes leaves, in which voxels still show, and after the refinement: the
# points differ in noise and density, which one more pair evens out.
_MARCHED_PAIRS, REFINED_PAIRS = 2, 1
# The adaptive resolution: pixels of the picture per node, the lowest value, and its step, so that it rarely changes.
_PIXELS_PER_NODE = 1.5
_LEAST_ADAPTIVE, _ADAPTIVE_STEP = 64, 16


def adaptive_resolution(limit: int, size_px: float, people: int) -> int:
    """The grid resolution for one person of a picture, at most `limit`.

    A voxel need not be smaller than 1.5 pixels, and the time for a picture should not grow with the number of people.
    The result depends on nothing else, so that a recording gives the same meshes on every machine.

    Args:
        size_px: length of the person's longest side in the picture.
    """
    by_size = size_px / _PIXELS_PER_NODE + 2 * _PADDING_NODES
    wanted = min(by_size, float(limit / max(people, 1) ** (1 / 3)))
    return min(limit, max(_LEAST_ADAPTIVE, _ADAPTIVE_STEP * round(wanted / _ADAPTIVE_STEP)))


def reconstruct(
    mesh: SurfaceMesh, normals: FloatArray, areas: FloatArray, detailed: DetailedPlaces, resolution: int
) -> SurfaceMesh:
    """The watertight connected surface through the N vertices of a mesh, metres, which may pass through itself.

    Args:
        mesh: large triangles are sampled; colours of the surface are blended from those of the nearest vertices that
            face the same way.
        normals: (N, 3), outward, of any length.
        areas: (N,) surface area that each vertex stands for, square metres; vertices of zero area are ignored, such as
            those inside the mouth.
        detailed: where the surface is finer than the grid.
        resolution: grid nodes along the longest side.

    Raises:
        ValueError: fewer than 16 vertices of any area, values that are not finite, coincident vertices, or vertices
            that enclose no volume.
    """
    surfels, colours = _surfels(mesh.vertices, normals, areas), mesh.colours
    grid = fit_grid(surfels.points[surfels.areas > 0], resolution, _PADDING_NODES)
    surfels, samples = sampled(surfels, mesh.faces, _LONGEST_VOXELS * grid.voxel_m)
    surfels = surfels.joined(samples.surfels)
    used = surfels.areas > 0
    surfels = surfels.chosen(used)
    if colours is not None:
        colours = np.concatenate([colours, samples.interpolated(colours)])[used]
    field = _field(grid, surfels)
    vertices, triangles = subdivided(*_marched(field, grid, surfels), detailed)
    neighbourhood = Neighbourhood.from_surfels(vertices, vertex_normals(vertices, triangles), surfels)
    blended = None if colours is None else neighbourhood.blended(colours)
    vertices = refined(vertices, neighbourhood, surfels, limit_m=grid.voxel_m)
    return SurfaceMesh(taubin_smooth(vertices, triangles, REFINED_PAIRS), triangles, blended)


def _field(grid: Grid, surfels: Surfels) -> FloatArray:
    """(X, Y, Z), positive inside the surface."""
    stencil = Stencil(surfels.points, grid)
    indicator = solve_indicator(stencil.splat_divergence(surfels.normals * surfels.areas[:, None]))
    return relative_to_isovalue(indicator, stencil, surfels.areas)


def _marched(field: FloatArray, grid: Grid, surfels: Surfels) -> tuple[FloatArray, Int32Array]:
    """The smoothed zero surface of a field (X, Y, Z): vertices (V, 3) in metres, and faces (F, 3)."""
    lowest, highest = bounds(grid.positions(surfels.points))
    low = np.maximum(np.floor(lowest).astype(int) - _MARGIN_VOXELS, 0)
    high = np.ceil(highest).astype(int) + _MARGIN_VOXELS + 1
    occupied = field[tuple(slice(start, end) for start, end in zip(low, high, strict=True))]
    vertices, faces = largest_component(*march(occupied, 0.0))
    vertices = taubin_smooth(vertices, faces, _MARCHED_PAIRS) + low.astype(np.float32)
    return grid.origin + np.float32(grid.voxel_m) * vertices, faces


def _surfels(points: FloatArray, normals: FloatArray, areas: FloatArray) -> Surfels:
    """The points with unit normals. Raises ValueError if no surface can be reconstructed from them."""
    if not (np.isfinite(points).all() and np.isfinite(normals).all() and np.isfinite(areas).all()):
        raise ValueError("points, normals or areas are not finite")
    if np.count_nonzero(areas) < MINIMUM_POINTS:
        raise ValueError(f"a surface needs at least {MINIMUM_POINTS} points of non-zero area")
    units = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return Surfels(*(array.astype(np.float32) for array in (points, units, areas)))
