"""The outer shell of a dressed person: the visible surface of body, painted clothes and garments, as ground truth.

The renderer computes the vertices, so that the shell is what the images show.  Triangles that are hidden beneath others
from all directions (the body under a shirt, the shirt under a jacket) are left out.
"""

from typing import NamedTuple

import moderngl
import numpy as np

from common.arrays import FloatArray, IntArray
from common.body.anatomy import REGIONS
from common.body.triangles import VertexNormals
from common.synthetic.assets.appearance import Appearance
from common.synthetic.assets.garments import Canvas, Garment
from common.synthetic.assets.wardrobe import bare_faces
from common.synthetic.renderer import LOOSEN, PAINT, Figure, Renderer, appearance_uniforms, folds, set_uniforms
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
# The surface that the renderer draws, and its unlit colours.
_SURFACE = f"""
#version 330
in vec3 position;
in vec3 normal;
in vec3 rest;
in vec4 limb;
in vec4 folds;
out vec3 surface;
out vec3 albedo;
{PAINT}
{LOOSEN}
void main() {{
    int m = material(limb, rest);
    surface = position + normal * offset_of(folds, m);
    albedo = painted(m, limb, rest);
    gl_Position = vec4(0.0);
}}
"""


class Layer(NamedTuple):
    """Body or garment: vertices (N, 6), places and unlit sRGB 0…1; drawn triangles (F, 3); body regions (N,)."""

    vertices: FloatArray
    faces: IntArray
    region: IntArray


class ShellMaker:
    """Makes shells of figures."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer, self._context = renderer, renderer.context
        with self._context:  # another renderer's context may be current
            self._program = self._context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
            self._surface = self._context.program(vertex_shader=_SURFACE, varyings=("surface", "albedo"))
            colours = [self._context.texture((_SIDE, _SIDE), 1, dtype="u4")]
            self._target = self._context.framebuffer(colours, self._context.depth_renderbuffer((_SIDE, _SIDE)))

    def make(self, figure: Figure) -> SurfaceMesh:
        """The outer shell in its unlit colours, in the figure's space; open, of several layers and pieces."""
        surfaces, triangles, _ = zip(*self._layers(figure), strict=True)
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

    def region_colours(self, figure: Figure) -> FloatArray:
        """(R, 3) mean unlit colour of the drawn vertices of each body region, 0…1; 0 for hidden regions."""
        layers = [(layer, np.unique(layer.faces)) for layer in self._layers(figure)]
        colours = np.concatenate([layer.vertices[drawn, 3:] for layer, drawn in layers])
        region = np.concatenate([layer.region[drawn] for layer, drawn in layers])
        on = np.eye(len(REGIONS), dtype=np.float32)[region]
        return np.asarray(on.T @ colours / np.maximum(on.sum(axis=0), 1)[:, None], np.float32)

    def _layers(self, figure: Figure) -> list[Layer]:
        """The body, then each garment."""
        canvas, worn = self._renderer.canvas, figure.worn
        bare = canvas.faces[bare_faces(canvas.faces, [each.garment for each in worn], len(canvas.rest))]
        with self._context:
            self._target.use()  # transform feedback needs a complete framebuffer
            body = self._layer(canvas, figure.appearance, figure.vertices, bare)
            return [body, *(self._layer(one.garment, one.appearance, one.vertices, one.garment.faces) for one in worn)]

    def _layer(self, mesh: Canvas | Garment, painted: Appearance, vertices: FloatArray, faces: IntArray) -> Layer:
        set_uniforms(self._surface, appearance_uniforms(painted, self._renderer.canvas))
        normals = VertexNormals(mesh.faces, len(mesh.rest))(vertices)
        attributes = np.hstack([vertices, normals, mesh.rest, mesh.limb, folds(mesh.rest)]).astype(np.float32)
        source, made = self._context.buffer(attributes.tobytes()), self._context.buffer(reserve=24 * len(vertices))
        content = [(source, "3f 3f 3f 4f 4f", "position", "normal", "rest", "limb", "folds")]
        array = self._context.vertex_array(self._surface, content)
        array.transform(made, mode=moderngl.POINTS)
        surface = np.frombuffer(made.read(), np.float32).reshape(-1, 6)
        for resource in (array, source, made):
            resource.release()
        return Layer(surface, faces, mesh.region)

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
