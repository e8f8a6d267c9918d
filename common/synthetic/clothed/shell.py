"""The outer shell of a dressed person: the visible surface of body, painted clothes and garments, as ground truth.

The renderer computes the vertices, so that the shell is what the images show.  Triangles that are hidden beneath others
from all directions (the body under a shirt, the shirt under a jacket) are left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.triangles import random_points
from common.synthetic.clothed.exposure import Exposure, ExposureMeter, visible_pixels
from common.synthetic.renderer.mesh_buffers import LayerSurface
from common.synthetic.renderer.renderer import Figure, Renderer, View

MIN_EXPOSURE = 0.04
"""Share of its pixels from all directions that an outer triangle shows at least; 0.5 on a convex surface."""
_OCCLUSION_TOLERANCE_M = 0.01


@dataclass(frozen=True, eq=False)
class ShellSamples:
    """Points on a shell.

    Args:
        points: (N, 3) metres.
        normals: (N, 3) outward unit normals.
        albedo: (N, 3) unlit sRGB colour, 0…1.
        material: (N,) index into `appearance.MATERIALS`.
    """

    points: FloatArray
    normals: FloatArray
    albedo: FloatArray
    material: ByteArray


@dataclass(frozen=True, eq=False)
class Shell:
    """The outer surface of a dressed person, in the space of its `Figure`; open, of several layers and pieces.

    Args:
        vertices: (N, 3) metres; some belong to no triangle.
        faces: (F, 3) wound so that the visible side is the front.
        albedo: (N, 3) unlit sRGB colour, 0…1.
        material: (N,) index into `appearance.MATERIALS`.
        region: (N,) index into `anatomy.REGIONS`.
        exposure: (N,) visible share of the pixels around each vertex, 0…1.
    """

    vertices: FloatArray
    faces: IntArray
    albedo: FloatArray
    material: ByteArray
    region: IntArray
    exposure: FloatArray

    def sample(self, count: int, rng: Generator) -> ShellSamples:
        """`count` points, uniform by area."""
        points, normals, chosen, weights = random_points(self.vertices, self.faces, count, rng)
        return ShellSamples(
            points=points.astype(np.float32),
            normals=normals.astype(np.float32),
            albedo=np.einsum("nc,ncd->nd", weights, self.albedo[self.faces[chosen]]).astype(np.float32),
            material=self.material[self.faces[chosen, weights.argmax(1)]],
        )


class ShellMaker:
    """Makes shells of figures.

    Args:
        meter: measures what is visible; by default one of its own.
    """

    def __init__(self, renderer: Renderer, meter: ExposureMeter | None = None) -> None:
        self.renderer = renderer
        self._meter = meter or ExposureMeter(renderer.context)

    def make(self, figure: Figure) -> Shell:
        """The outer shell of a figure."""
        layers = self.renderer.surfaces(figure)
        vertices = np.concatenate([layer.vertices for layer in layers])
        faces, two_sided = joined_faces(layers)
        exposure = self._meter.measure(vertices, faces)
        shares = exposure.of_vertices(faces, visible_pixels(exposure, two_sided), len(vertices))
        # A triangle of less than a pixel is missed by most directions; the mean over its vertices is not.
        outer = shares[faces].mean(1) >= MIN_EXPOSURE
        return Shell(
            vertices=vertices,
            exposure=shares,
            faces=_outward(faces, exposure, two_sided)[outer],
            albedo=np.concatenate([layer.albedo for layer in layers]),
            material=np.concatenate([layer.material for layer in layers]),
            region=np.concatenate([layer.region for layer in layers]),
        )


def joined_faces(layers: tuple[LayerSurface, ...]) -> tuple[IntArray, BoolArray]:
    """Triangles (F, 3) of all layers, whose vertices are concatenated, and whether both sides are drawn (F,)."""
    starts = np.cumsum([0, *(len(layer.vertices) for layer in layers)])
    faces = [layer.faces + start for layer, start in zip(layers, starts[:-1], strict=True)]
    two_sided = [np.full(len(layer.faces), layer.two_sided) for layer in layers]
    return np.concatenate(faces), np.concatenate(two_sided)


def visible_from_camera(points: FloatArray, depth: FloatArray, view: View) -> BoolArray:
    """(N,) whether the camera sees points (N, 3).

    Args:
        points: on the shell, camera space.
        depth: (H, W) camera z of the visible surface in the same view, 0 for the background (`Rendering.depth`).
        view: the camera.
    """
    x, y, z = points.T
    centre_x, centre_y = view.centre_px or (view.width / 2, view.height / 2)
    column = np.floor(view.focal_px * x / z + centre_x).astype(np.int64)
    row = np.floor(view.focal_px * y / z + centre_y).astype(np.int64)
    inside = (column >= 0) & (column < view.width) & (row >= 0) & (row < view.height) & (z > 0)
    nearest = depth[np.where(inside, row, 0), np.where(inside, column, 0)]
    return np.asarray(inside & (nearest > 0) & (z < nearest + _OCCLUSION_TOLERANCE_M))


def _outward(faces: IntArray, exposure: Exposure, two_sided: BoolArray) -> IntArray:
    """The triangles, those reversed of which the back is more visible than the front."""
    reverse = two_sided & (exposure.back > exposure.front)
    return np.where(reverse[:, None], faces[:, ::-1], faces)
