"""Pictures of textured heads from where the camera stands, or beside it, in the light of a lamp at the camera."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import moderngl
import numpy as np

from common.arrays import ByteArray, FloatArray, Image, Int32Array, IntArray
from common.synthetic.renderer import create_context
from common.texture.face_picture import LiveFace
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.mesh_texture import decode_jpeg, encode_jpeg
from receiver.mesh.triangle_mesh import vertex_normals
from receiver.texture.live_face import FaceLaying, face_places

SIDE_PX = 320
_HEAD_M, _HEAD_SHARE = 0.25, 0.6
_NEAR_M, _FAR_M = 0.05, 60.0
# What is seen edge-on is darker by so much.
_SHADE = 0.25
_BACKGROUND = (0.75, 0.75, 0.75)
_BACKGROUND_BYTE = 191
_VERTEX = """
#version 330
uniform float focal; uniform vec2 range;
in vec3 position; in vec3 normal; in vec2 coordinates; in vec3 chart;
out vec2 place; out vec3 facing; out vec3 seen; out vec3 face;
void main() {
    place = coordinates; facing = normal; seen = position; face = chart;
    float width = range.y - range.x;
    float depth = ((range.x + range.y) * position.z - 2 * range.x * range.y) / width;
    // Rows of the target run downwards, as y of the camera does.
    gl_Position = vec4(focal * position.xy, depth, position.z);
}
"""
_FRAGMENT = """
#version 330
uniform sampler2D colours; uniform sampler2D picture; uniform float shade; uniform float share;
in vec2 place; in vec3 facing; in vec3 seen; in vec3 face;
out vec4 colour;
void main() {
    float cosine = abs(dot(normalize(facing), normalize(seen)));
    vec3 skin = texture(colours, place).rgb * (1 - shade * (1 - cosine));
    colour = vec4(mix(skin, texture(picture, face.xy).rgb, share * face.z), 1);
}
"""


class HeadView:
    """Draws heads. Raises RendererUnavailable if OpenGL over EGL is not available."""

    def __init__(self) -> None:
        self._context = create_context()
        self._program = self._context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        self._target = self._context.simple_framebuffer((SIDE_PX, SIDE_PX))

    def picture(
        self, person: ReconstructedPerson, turn_deg: float = 0.0, face: Image | None = None, *, is_lit: bool = True
    ) -> tuple[ByteArray, FloatArray]:
        """(`SIDE_PX`, `SIDE_PX`, 3) RGB of somebody's body with its texture, centred on the head.

        Beside it, (3, 2) pixels of nose, left and right eye.

        Args:
            turn_deg: by which the body turns about the vertical through the head; positive to the right.
            face: a live picture in the chart of faces, which lies over the texture.
            is_lit: whether what is seen edge-on is darker.

        Raises:
            ValueError: the body has no texture.
        """
        texture = person.body.texture
        if texture is None:
            raise ValueError("the body has no texture")
        view, corners = _View.of(person, turn_deg), texture.corners
        vertices = view.seen(person.body.mesh.vertices)
        normals, chart = vertex_normals(vertices, person.body.mesh.faces), face_places(corners, corners)[:, :3]
        rows = np.hstack([vertices[corners.vertex], normals[corners.vertex], corners.coordinates, chart])
        images = decode_jpeg(texture.jpeg), np.zeros((1, 1, 3), np.uint8) if face is None else face
        values = {"shade": _SHADE * is_lit, "share": float(face is not None), "focal": view.focal}
        drawn = self._draw(rows.astype(np.float32), corners.faces, images, values)
        return drawn, view.pixels(view.seen(person.joints_3d[:3]))

    def opacity(self, person: ReconstructedPerson, turn_deg: float = 0.0) -> FloatArray:
        """(`SIDE_PX`, `SIDE_PX`) how far a live picture of the face covers each pixel of `picture`, 0…1."""
        texture = person.body.texture
        assert texture is not None
        black = replace(texture, jpeg=encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
        dark = replace(person, body=replace(person.body, texture=black))
        white = np.full((8, 8, 3), 255, np.uint8)
        drawn = self.picture(dark, turn_deg, white, is_lit=False)[0][..., 1].astype(np.float32) / 255
        return np.where(drawn == np.float32(_BACKGROUND_BYTE / 255), np.float32(0), drawn)

    def _draw(
        self, rows: FloatArray, faces: Int32Array, images: tuple[ByteArray, ByteArray], values: Mapping[str, float]
    ) -> ByteArray:
        with self._context as context:
            self._target.use()
            self._target.clear(*_BACKGROUND, depth=1.0)
            context.enable(moderngl.DEPTH_TEST)
            textures = [context.texture(each.shape[1::-1], 3, each.tobytes(), alignment=1) for each in images]
            for place, texture in enumerate(textures):
                texture.build_mipmaps()
                texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
                texture.use(place)
            given = {"range": (_NEAR_M, _FAR_M), "colours": 0, "picture": 1, **values}
            for name, value in given.items():
                self._program[name] = value
            vertices, indices = context.buffer(rows.tobytes()), context.buffer(faces.tobytes())
            layout = [(vertices, "3f 3f 2f 3f", "position", "normal", "coordinates", "chart")]
            array = context.vertex_array(self._program, layout, indices)
            array.render()
            drawn = np.frombuffer(self._target.read(components=3, alignment=1), np.uint8)
            for each in (array, vertices, indices, *textures):
                each.release()
        return drawn.reshape(SIDE_PX, SIDE_PX, 3).copy()


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A camera that looks at somebody's head, who is turned."""

    centre: FloatArray
    turn: FloatArray
    look: FloatArray
    focal: float

    @classmethod
    def of(cls, person: ReconstructedPerson, turn_deg: float = 0.0) -> Self:
        centre = person.joints_3d[:5].mean(axis=0)
        focal = 2 * _HEAD_SHARE * float(np.linalg.norm(centre)) / _HEAD_M
        return cls(centre, _about_vertical(turn_deg), _look_at(centre), focal)

    def seen(self, points: FloatArray) -> FloatArray:
        """(N, 3) in its axes."""
        turned = (points - self.centre) @ self.turn.T + self.centre
        return np.asarray(turned @ self.look.T, np.float32)

    def pixels(self, seen: FloatArray) -> FloatArray:
        """(N, 2) of points in its axes."""
        return np.asarray(SIDE_PX / 2 * (1 + self.focal * seen[:, :2] / seen[:, 2:]), np.float32)


def moved_to(person: ReconstructedPerson, face: LiveFace) -> ReconstructedPerson:
    """Somebody whose face is where the picture had it, as the page draws it."""
    assert person.body.texture is not None
    laying, mesh = FaceLaying(person.body.texture.corners, person.body.texture.corners), person.body.mesh
    residual = laying.residual(mesh.vertices, face.landmarks)
    if residual is None:
        return person
    vertices = laying.moved(mesh.vertices, residual)
    return replace(person, body=replace(person.body, mesh=replace(mesh, vertices=vertices)))


def pixels_of(person: ReconstructedPerson, vertices: IntArray) -> tuple[FloatArray, FloatArray]:
    """(N, 2) pixels of vertices of the body in `HeadView.picture`, and (N,) cosines to the camera."""
    view = _View.of(person)
    seen = view.seen(person.body.mesh.vertices)
    normals = vertex_normals(seen, person.body.mesh.faces)[vertices]
    towards = -seen[vertices] / np.linalg.norm(seen[vertices], axis=1, keepdims=True)
    return view.pixels(seen[vertices]), np.einsum("nc,nc->n", normals, towards)


def _about_vertical(degrees: float) -> FloatArray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], np.float32)


def _look_at(point: FloatArray) -> FloatArray:
    """(3, 3) from camera space to axes whose z leads to a point, y down."""
    forward = point / np.linalg.norm(point)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward]).astype(np.float32)
