"""Pictures of textured heads from where the camera stands, or beside it, in the light of a lamp at the camera."""

import moderngl
import numpy as np

from common.arrays import ByteArray, FloatArray, Int32Array
from common.synthetic.renderer import create_context
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.mesh_texture import decode_jpeg
from receiver.mesh.triangle_mesh import vertex_normals

SIDE_PX = 320
_HEAD_M, _HEAD_SHARE = 0.25, 0.6
_NEAR_M, _FAR_M = 0.05, 60.0
# What is seen edge-on is darker by so much.
_SHADE = 0.25
_BACKGROUND = (0.75, 0.75, 0.75)
_VERTEX = """
#version 330
uniform float focal; uniform vec2 range;
in vec3 position; in vec3 normal; in vec2 coordinates;
out vec2 place; out vec3 facing; out vec3 seen;
void main() {
    place = coordinates; facing = normal; seen = position;
    float width = range.y - range.x;
    float depth = ((range.x + range.y) * position.z - 2 * range.x * range.y) / width;
    // Rows of the target run downwards, as y of the camera does.
    gl_Position = vec4(focal * position.xy, depth, position.z);
}
"""
_FRAGMENT = """
#version 330
uniform sampler2D colours; uniform float shade;
in vec2 place; in vec3 facing; in vec3 seen;
out vec4 colour;
void main() {
    float cosine = abs(dot(normalize(facing), normalize(seen)));
    colour = vec4(texture(colours, place).rgb * (1 - shade * (1 - cosine)), 1);
}
"""


class HeadView:
    """Draws heads. Raises RendererUnavailable if OpenGL over EGL is not available."""

    def __init__(self) -> None:
        self._context = create_context()
        self._program = self._context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        self._target = self._context.simple_framebuffer((SIDE_PX, SIDE_PX))

    def picture(self, person: ReconstructedPerson, turn_deg: float = 0.0) -> tuple[ByteArray, FloatArray]:
        """(`SIDE_PX`, `SIDE_PX`, 3) RGB of somebody's body with its texture, centred on the head.

        Beside it, (3, 2) pixels of nose, left and right eye.

        Args:
            turn_deg: by which the body turns about the vertical through the head; positive to the right.

        Raises:
            ValueError: the body has no texture.
        """
        texture = person.body.texture
        if texture is None:
            raise ValueError("the body has no texture")
        mesh, corners = person.body.mesh, texture.corners
        centre = person.joints_3d[:5].mean(axis=0)
        turn, look = _about_vertical(turn_deg), _look_at(centre)
        vertices, face = (
            (((points - centre) @ turn.T + centre) @ look.T).astype(np.float32)
            for points in (mesh.vertices, person.joints_3d[:3])
        )
        focal = 2 * _HEAD_SHARE * float(np.linalg.norm(centre)) / _HEAD_M
        normals = vertex_normals(vertices, mesh.faces)
        rows = np.hstack([vertices[corners.vertex], normals[corners.vertex], corners.coordinates])
        places = np.asarray(SIDE_PX / 2 * (1 + focal * face[:, :2] / face[:, 2:]), np.float32)
        return self._draw(rows.astype(np.float32), corners.faces, decode_jpeg(texture.jpeg), focal), places

    def _draw(self, rows: FloatArray, faces: Int32Array, image: ByteArray, focal: float) -> ByteArray:
        with self._context as context:
            self._target.use()
            self._target.clear(*_BACKGROUND, depth=1.0)
            context.enable(moderngl.DEPTH_TEST)
            texture = context.texture(image.shape[1::-1], 3, image.tobytes(), alignment=1)
            texture.build_mipmaps()
            texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
            texture.use()
            for name, value in {"focal": focal, "range": (_NEAR_M, _FAR_M), "shade": _SHADE}.items():
                self._program[name] = value
            vertices, indices = context.buffer(rows.tobytes()), context.buffer(faces.tobytes())
            layout = [(vertices, "3f 3f 2f", "position", "normal", "coordinates")]
            array = context.vertex_array(self._program, layout, indices)
            array.render()
            drawn = np.frombuffer(self._target.read(components=3, alignment=1), np.uint8)
            for each in (array, vertices, indices, texture):
                each.release()
        return drawn.reshape(SIDE_PX, SIDE_PX, 3).copy()


def _about_vertical(degrees: float) -> FloatArray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], np.float32)


def _look_at(point: FloatArray) -> FloatArray:
    """(3, 3) from camera space to axes whose z leads to a point, y down."""
    forward = point / np.linalg.norm(point)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward]).astype(np.float32)
