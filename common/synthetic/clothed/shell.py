"""The outer shell of a dressed person: the visible surface of body, painted clothes and garments, as ground truth.

The renderer computes the vertices, so that the shell is what the images show.  Triangles that are hidden beneath others
from all directions (the body under a shirt, the shirt under a jacket) are left out.
"""

from dataclasses import dataclass

import moderngl
import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.synthetic.renderer.mesh_buffers import LayerSurface
from common.synthetic.renderer.renderer import Figure, Renderer, set_uniforms
from common.synthetic.renderer.shaders import TRIANGLE_FRAGMENT, TRIANGLE_VERTEX

# Directions, and pixels of an image, which are 6 mm each for a standing person.
_DIRECTIONS, _SIDE = 32, 384
# Share of its pixels from all directions that an outer triangle shows at least; 0.5 on a convex surface.
_MIN_EXPOSURE = 0.04


@dataclass(frozen=True, eq=False)
class Exposure:
    """What is visible of F triangles, in pixels summed over all directions.

    Args:
        front: (F,) visible pixels of the front.
        back: (F,) visible pixels of the back.
        projected: (F,) expected pixels of one side without occlusion; the front and back of a free triangle have half
            of it each.
    """

    front: FloatArray
    back: FloatArray
    projected: FloatArray

    def of_vertices(self, faces: IntArray, visible: FloatArray, count: int) -> FloatArray:
        """(V,) share of the pixels around each vertex that is visible; 0 without a triangle.

        Args:
            faces: (F, 3).
            visible: (F,) pixels that count as visible.
        """
        corners = faces.ravel()
        seen = np.bincount(corners, np.repeat(visible, 3), count)
        drawn = np.bincount(corners, np.repeat(self.projected, 3), count)
        return np.asarray(np.minimum(seen / np.maximum(drawn, 1e-9), 1), np.float32)


class ExposureMeter:
    """Renders triangle meshes from directions that cover the sphere evenly."""

    def __init__(self, context: moderngl.Context) -> None:
        self._context = context
        with context:  # another renderer's context may be current
            self._program = context.program(vertex_shader=TRIANGLE_VERTEX, fragment_shader=TRIANGLE_FRAGMENT)
            self._target = context.framebuffer(
                [context.texture((_SIDE, _SIDE), 1, dtype="u4")], context.depth_renderbuffer((_SIDE, _SIDE))
            )
        self._rotations = _rotations(_DIRECTIONS)

    def measure(self, vertices: FloatArray, faces: IntArray) -> Exposure:
        """The exposure of the triangles `faces` (F, 3) of `vertices` (N, 3), which hide each other from both sides."""
        low, high = vertices[faces].min((0, 1)), vertices[faces].max((0, 1))
        centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
        counts = np.zeros(2 * len(faces) + 2, np.int64)
        with self._context:
            positions = self._context.buffer(np.ascontiguousarray(vertices, np.float32).tobytes())
            index = self._context.buffer(faces.astype(np.int32).tobytes())
            mesh = self._context.vertex_array(
                self._program, [(positions, "3f", "position")], index_buffer=index, index_element_size=4
            )
            self._target.use()
            self._context.disable(moderngl.CULL_FACE)
            self._context.enable(moderngl.DEPTH_TEST)
            # The framebuffer's rows run downwards, which reverses the winding order.
            self._context.front_face = "cw"
            set_uniforms(self._program, {"centre": centre, "scale": 1 / radius})
            for rotation in self._rotations:
                self._target.clear()
                set_uniforms(self._program, {"rotation": rotation.T})
                mesh.render()
                pixels = np.frombuffer(self._target.read(components=1, dtype="u4"), np.uint32)
                counts += np.bincount(pixels, minlength=len(counts))
            for resource in (mesh, positions, index):
                resource.release()
        corners = vertices[faces]
        areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
        # The mean of |cos| over the sphere is a half.
        projected = areas * (_SIDE / (2 * radius)) ** 2 * len(self._rotations) / 2
        sides = counts[2:].reshape(-1, 2).astype(np.float32)
        return Exposure(sides[:, 0], sides[:, 1], projected.astype(np.float32))


def visible_pixels(exposure: Exposure, two_sided: BoolArray) -> FloatArray:
    """(F,) pixels of the sides that the renderer draws: the front, and of two-sided triangles (F,) also the back."""
    return np.asarray(exposure.front + exposure.back * two_sided, np.float32)


def _rotations(count: int) -> FloatArray:
    """(K, 3, 3) rows right, down, forward of views along the directions of a Fibonacci lattice."""
    step = np.arange(count) + 0.5
    height, angle = 1 - 2 * step / count, np.pi * (1 + 5**0.5) * step
    radius = np.sqrt(1 - height**2)
    forward = np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], 1)
    right = np.cross(np.array([0.0, 1.0, 0.0]), forward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(forward, right), forward], 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Shell:
    """The outer surface of a dressed person, in the space of its `Figure`; open, of several layers and pieces.

    Args:
        vertices: (N, 3) metres; some belong to no triangle.
        faces: (F, 3) wound so that the visible side is the front.
        albedo: (N, 3) unlit sRGB colour, 0…1.
    """

    vertices: FloatArray
    faces: IntArray
    albedo: FloatArray


class ShellMaker:
    """Makes shells of figures."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self._meter = ExposureMeter(renderer.context)

    def make(self, figure: Figure) -> Shell:
        """The outer shell of a figure."""
        layers = self.renderer.surfaces(figure)
        vertices = np.concatenate([layer.vertices for layer in layers])
        faces, two_sided = joined_faces(layers)
        exposure = self._meter.measure(vertices, faces)
        shares = exposure.of_vertices(faces, visible_pixels(exposure, two_sided), len(vertices))
        # A triangle of less than a pixel is missed by most directions; the mean over its vertices is not.
        outer = shares[faces].mean(1) >= _MIN_EXPOSURE
        return Shell(
            vertices=vertices,
            faces=_outward(faces, exposure, two_sided)[outer],
            albedo=np.concatenate([layer.albedo for layer in layers]),
        )


def joined_faces(layers: tuple[LayerSurface, ...]) -> tuple[IntArray, BoolArray]:
    """Triangles (F, 3) of all layers, whose vertices are concatenated, and whether both sides are drawn (F,)."""
    starts = np.cumsum([0, *(len(layer.vertices) for layer in layers)])
    faces = [layer.faces + start for layer, start in zip(layers, starts[:-1], strict=True)]
    two_sided = [np.full(len(layer.faces), layer.two_sided) for layer in layers]
    return np.concatenate(faces), np.concatenate(two_sided)


def _outward(faces: IntArray, exposure: Exposure, two_sided: BoolArray) -> IntArray:
    """The triangles, those reversed of which the back is more visible than the front."""
    reverse = two_sided & (exposure.back > exposure.front)
    return np.where(reverse[:, None], faces[:, ::-1], faces)
