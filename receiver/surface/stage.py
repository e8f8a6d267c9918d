"""The surface stage: oriented points → one watertight mesh, in metres.

Splat normals on a grid → spectral Poisson solve → local isovalue → marching cubes (28) → largest connected component →
Taubin smoothing → subdivision where detail is wanted → refinement by the points nearby.
"""

import numpy as np

from common.arrays import FloatArray, Int32Array
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals
from receiver.surface.extract import largest_component, march, taubin_smooth
from receiver.surface.refinement import Neighbourhood, refined
from receiver.surface.spectral_poisson import Grid, Stencil, bounds, fit_grid, relative_to_isovalue, solve_indicator
from receiver.surface.subdivision import DetailedPlaces, subdivided
from receiver.surface.surfels import Surfels, sampled

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
