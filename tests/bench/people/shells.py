"""The outer shell of a dressed person: the visible surface of body, painted clothes and garments, as ground truth.

The renderer computes the vertices, so that the shell is what the images show.  Triangles that are hidden beneath others
from all directions (the body under a shirt, the shirt under a jacket) are left out.
"""

import moderngl
import numpy as np

from common.arrays import FloatArray, IntArray
from common.synthetic.renderer.renderer import Figure, Renderer, set_uniforms
from receiver.mesh.triangle_mesh import SurfaceMesh

# Directions of orthographic views, and pixels of their side, which are 6 mm each for a standing person.
_DIRECTIONS, _SIDE = 32, 384
# Share of its pixels from all directions that an outer triangle shows at least; 0.5 on a convex surface.
_MIN_EXPOSURE = 0.04

_VERTEX = """
#version 330
in vec3 position;
uniform mat3 rotation;
uniform vec3 centre;
uniform float scale;
void main() {
    gl_Position = vec4(rotation * (position - centre) * scale, 1.0);
}
"""
_FRAGMENT = """
#version 330
layout(location = 0) out uint triangle;  // 0 background, 2 + 2 i the front, 3 + 2 i the back of triangle i
void main() {
    triangle = 2u + 2u * uint(gl_PrimitiveID) + (gl_FrontFacing ? 0u : 1u);
}
"""


class ShellMaker:
    """Makes shells of figures."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer, self._context = renderer, renderer.context
        with self._context:  # another renderer's context may be current
            self._program = self._context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
            colours = [self._context.texture((_SIDE, _SIDE), 1, dtype="u4")]
            self._target = self._context.framebuffer(colours, self._context.depth_renderbuffer((_SIDE, _SIDE)))

    def make(self, figure: Figure) -> SurfaceMesh:
        """The outer shell in its unlit colours, in the figure's space; open, of several layers and pieces."""
        surfaces, triangles = zip(*self._renderer.surfaces(figure), strict=True)
        vertices, albedo = np.split(np.concatenate(surfaces), 2, axis=1)
        starts = np.cumsum([0, *map(len, surfaces)])
        faces = np.concatenate([each + start for each, start in zip(triangles, starts[:-1], strict=True)])
        # Of garments both sides are drawn, of the body, which comes first, the outer one.
        two_sided = np.arange(len(faces)) >= len(triangles[0])
        front, back, drawn = self._pixels(vertices, faces)
        # A triangle of less than a pixel is missed by most directions; the mean over its vertices is not.
        seen, all_drawn = (
            np.bincount(faces.ravel(), np.repeat(each, 3), len(vertices)) for each in (front + back * two_sided, drawn)
        )
        outer = np.minimum(seen / np.maximum(all_drawn, 1e-9), 1)[faces].mean(1) >= _MIN_EXPOSURE
        outward = np.where((two_sided & (back > front))[:, None], faces[:, ::-1], faces)[outer]
        return SurfaceMesh(vertices, outward.astype(np.int32), np.rint(255 * albedo).clip(0, 255).astype(np.uint8))

    def _pixels(self, vertices: FloatArray, faces: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(F,) visible pixels of front and back, over all directions, and those of a side that nothing hides."""
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
            for rotation in _rotations():
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
        drawn = areas * (_SIDE / (2 * radius)) ** 2 * _DIRECTIONS / 2
        front, back = counts[2:].reshape(-1, 2).astype(np.float32).T
        return front, back, drawn.astype(np.float32)


def _rotations() -> FloatArray:
    """(K, 3, 3) rows right, down, forward of views along the directions of a Fibonacci lattice."""
    step = np.arange(_DIRECTIONS) + 0.5
    height, angle = 1 - 2 * step / _DIRECTIONS, np.pi * (1 + 5**0.5) * step
    radius = np.sqrt(1 - height**2)
    forward = np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], 1)
    right = np.cross(np.array([0.0, 1.0, 0.0]), forward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(forward, right), forward], 1).astype(np.float32)
