"""The surface stage: oriented points → one watertight mesh, in metres.

Splat normals on a grid → spectral Poisson solve → local isovalue → marching cubes (28) → largest connected component →
Taubin smoothing → subdivision where detail is wanted → refinement by the points nearby.
"""

import numpy as np

from common.arrays import ByteArray, FloatArray, Int32Array
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals
from receiver.surface.config import LARGEST_RESOLUTION, LEAST_RESOLUTION, SurfaceConfig
from receiver.surface.extract import largest_component, march, taubin_smooth
from receiver.surface.refinement import Neighbourhood, refined
from receiver.surface.spectral_poisson import Grid, Stencil, bounds, fit_grid, relative_to_isovalue, solve_indicator
from receiver.surface.subdivision import DetailedPlaces, subdivided
from receiver.surface.surfels import Surfels, estimated_areas, sampled

MINIMUM_POINTS = 16

# Largest distance between the splatted points, in voxels; the splat of each covers three voxels.
_SPACING_VOXELS = 1.2
# Triangles with longer edges than this, in voxels, are sampled.
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


class SurfaceStage:
    """Reconstructs meshes from oriented points."""

    def __init__(self, config: SurfaceConfig | None = None) -> None:
        self.config = config or SurfaceConfig()

    def resolution(self, size_px: float, people: int) -> int:
        """The grid resolution for one person of a frame.

        A voxel need not be smaller than 1.5 pixels, and the time for a frame should not grow with the number of people.
        The result depends on nothing else, so that a recording gives the same meshes on every machine.

        Args:
            size_px: length of the person's longest side in the picture.
        """
        limit = self.config.grid_resolution
        by_size = size_px / _PIXELS_PER_NODE + 2 * _PADDING_NODES
        wanted = min(by_size, float(limit / max(people, 1) ** (1 / 3)))
        return min(limit, max(_LEAST_ADAPTIVE, _ADAPTIVE_STEP * round(wanted / _ADAPTIVE_STEP)))

    def reconstruct(
        self,
        points: FloatArray,
        normals: FloatArray,
        areas: FloatArray | None = None,
        colours: ByteArray | None = None,
        resolution: int | None = None,
        detailed: DetailedPlaces | None = None,
        faces: Int32Array | None = None,
    ) -> SurfaceMesh:
        """Reconstructs one watertight connected surface through the points.

        Args:
            points: (N, 3), metres.
            normals: (N, 3), outward, of any length.
            areas: (N,) surface area that each point stands for, square metres; points of zero area are ignored, such as
                those inside the mouth. None estimates them from the distances between the points.
            colours: (N, 3) uint8 RGB of the points; those of a vertex are blended from the nearest points that face the
                same way.
            resolution: grid nodes along the longest side, 24…512; None for the configured one.
            detailed: where the mesh is finer than the grid.
            faces: (F, 3) triangles between the points, if they are known; large ones are sampled.

        Raises:
            ValueError: fewer than 16 points of any area, mismatched shapes, values that are not finite, coincident
                points, points that enclose no volume, or a resolution out of range.
        """
        _check(points, normals, areas, colours)
        surfels = _surfels(points, normals, areas)
        grid = fit_grid(surfels.points[surfels.areas > 0], self._resolution(resolution), _PADDING_NODES)
        if faces is not None:
            surfels, samples = sampled(surfels, faces, _LONGEST_VOXELS * grid.voxel_m)
            surfels = surfels.joined(samples.surfels)
            colours = None if colours is None else np.concatenate([colours, samples.interpolated(colours)])
        used = surfels.areas > 0
        surfels, colours = surfels.chosen(used), None if colours is None else colours[used]
        field = _field(grid, surfels.subdivided(_SPACING_VOXELS * grid.voxel_m))
        vertices, triangles, dropped_share = _mesh(field, grid, surfels)
        if detailed is not None:
            vertices, triangles = subdivided(vertices, triangles, detailed)
        neighbourhood = Neighbourhood.from_surfels(vertices, vertex_normals(vertices, triangles), surfels)
        blended = None if colours is None else neighbourhood.blended(colours)
        vertices = refined(vertices, neighbourhood, surfels, limit_m=grid.voxel_m)
        vertices = taubin_smooth(vertices, triangles, REFINED_PAIRS)
        return SurfaceMesh(vertices, triangles, blended, dropped_share)

    def _resolution(self, wanted: int | None) -> int:
        if wanted is None:
            return self.config.grid_resolution
        if not LEAST_RESOLUTION <= wanted <= LARGEST_RESOLUTION:
            raise ValueError(f"the resolution must lie in {LEAST_RESOLUTION}…{LARGEST_RESOLUTION}, got {wanted}")
        return wanted


def _field(grid: Grid, surfels: Surfels) -> FloatArray:
    """(X, Y, Z), positive inside the surface."""
    stencil = Stencil(surfels.points, grid)
    indicator = solve_indicator(stencil.splat_divergence(surfels.normals * surfels.areas[:, None]))
    return relative_to_isovalue(indicator, stencil, surfels.areas)


def _mesh(field: FloatArray, grid: Grid, surfels: Surfels) -> tuple[FloatArray, Int32Array, float]:
    """The smoothed zero surface of a field (X, Y, Z): vertices (V, 3) in metres, faces (F, 3) and the dropped share."""
    lowest, highest = bounds(grid.positions(surfels.points))
    low = np.maximum(np.floor(lowest).astype(int) - _MARGIN_VOXELS, 0)
    high = np.ceil(highest).astype(int) + _MARGIN_VOXELS + 1
    occupied = field[tuple(slice(start, end) for start, end in zip(low, high, strict=True))]
    vertices, faces = march(occupied, 0.0)
    vertices, faces, dropped_share = largest_component(vertices, faces)
    vertices = taubin_smooth(vertices, faces, _MARCHED_PAIRS) + low.astype(np.float32)
    return grid.origin + np.float32(grid.voxel_m) * vertices, faces, dropped_share


def _surfels(points: FloatArray, normals: FloatArray, areas: FloatArray | None) -> Surfels:
    """The points with unit normals."""
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    units = normals / np.maximum(lengths, 1e-12)
    if areas is None:
        areas = estimated_areas(points)
    return Surfels(*(array.astype(np.float32) for array in (points, units, areas)))


def _check(points: FloatArray, normals: FloatArray, areas: FloatArray | None, colours: ByteArray | None) -> None:
    """Raises ValueError if no surface can be reconstructed from the input."""
    if points.ndim != 2 or points.shape[1] != 3 or normals.shape != points.shape:
        raise ValueError(f"expected points and normals of shape (N, 3), got {points.shape} and {normals.shape}")
    if len(points) < MINIMUM_POINTS:
        raise ValueError(f"a surface needs at least {MINIMUM_POINTS} points, got {len(points)}")
    if not (np.isfinite(points).all() and np.isfinite(normals).all()):
        raise ValueError("points or normals are not finite")
    if areas is not None and (areas.shape != (len(points),) or not np.isfinite(areas).all() or areas.min() < 0.0):
        raise ValueError(f"areas must be {len(points)} finite non-negative numbers")
    if areas is not None and not areas.any():
        raise ValueError("all areas are zero")
    if areas is not None and np.count_nonzero(areas) < MINIMUM_POINTS:
        raise ValueError(f"a surface needs at least {MINIMUM_POINTS} points of non-zero area")
    if colours is not None and colours.shape != points.shape:
        raise ValueError(f"expected colours of shape {points.shape}, got {colours.shape}")
