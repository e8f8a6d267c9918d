"""Rendered heads whose facial actions are known.

The body's own eyeballs turn by the actions of gaze, the inside of the mouth is drawn, brows, lips and irises are
painted in the rest pose and move with the skin.  Hair is a colour of the scalp.
"""

from dataclasses import dataclass

import cv2
import moderngl
import numpy as np
import torch
from numpy.random import Generator
from scipy.spatial import cKDTree

from common.arrays import FloatArray, Image, Int32Array, IntArray
from common.body.anatomy import FACIAL_ACTIONS, LID_LOOPS, REGION_INDEX
from common.body.faces import load_facial_actions
from common.body.model import BodyModel
from common.body.triangles import VertexNormals, vertex_components
from common.synthetic.assets.appearance import Light, sample_light
from common.synthetic.renderer import View, create_context, set_uniforms

_SKIN, _MOUTH, _EYES = 0, 1, 2
_EYE_VERTICES = 72
_LIP_M = 0.0075
_VERTEX = """
#version 330
in vec3 position; in vec3 normal; in vec3 rest; in vec2 where;
uniform vec2 camera;
out vec3 v_position; out vec3 v_normal; out vec3 v_rest; out vec2 v_where;
void main() {
    v_position = position; v_normal = normal; v_rest = rest; v_where = where;
    gl_Position = vec4(position.xy * camera, (position.z - 0.1) * 0.1 * position.z, position.z);
}
"""
_FRAGMENT = """
#version 330
in vec3 v_position; in vec3 v_normal; in vec3 v_rest;
in vec2 v_where;  // lip, scalp: 0…1
uniform int material;
uniform vec3 eyes[2];      // centres of the eyeballs in the rest pose
uniform float eye_radius;
uniform vec3 skin, lip, hair, iris, teeth;
uniform vec3 brow;         // height above the eye's centre, half thickness (m), strength 0…1
uniform float mouth_height;
uniform vec3 light_direction[3]; uniform vec3 light_colour[3]; uniform vec3 sky_colour; uniform vec3 ground_colour;
uniform float seed;
out vec4 colour;

float noise(vec3 p) {
    vec3 a = sin(p * 61.0 + seed) + sin(p.yzx * 113.0 + 2.0 * seed) + sin(p.zxy * 197.0 + 3.0 * seed);
    return (a.x + a.y + a.z) / 9.0;
}

void main() {
    vec3 albedo = skin * (1.0 + 0.06 * noise(v_rest));
    vec3 eye = eyes[v_rest.x > 0.0 ? 0 : 1];
    if (material == 0) {
        albedo = mix(albedo, lip, v_where.x);
        vec2 d = v_rest.xy - eye.xy;
        float across = (v_rest.x > 0.0 ? d.x : -d.x) / 0.021;
        float height = brow.x * (1.0 - 0.22 * across * across) - 0.001 * across;
        float thickness = brow.y * clamp(1.25 - 0.5 * across, 0.2, 1.2);
        float share = 1.0 - smoothstep(0.6, 1.1, abs(d.y + height) / thickness);
        share *= 1.0 - smoothstep(0.9, 1.1, abs(across - 0.05));
        if (v_rest.z < eye.z + 0.01) albedo = mix(albedo, hair, share * brow.z * (0.8 + 0.4 * noise(v_rest * 9.0)));
        albedo = mix(albedo, hair * (1.0 + 0.3 * noise(v_rest * 5.0)), v_where.y);
    } else if (material == 1) {
        bool upper = v_rest.y < mouth_height;
        bool tooth = v_rest.z < -0.118 && abs(v_rest.y - mouth_height) < 0.007 && abs(v_rest.x) < 0.024;
        albedo = tooth && upper ? teeth : vec3(0.22, 0.06, 0.06);
        albedo = mix(albedo, lip, smoothstep(0.3, 0.8, v_where.x));
    } else {
        vec2 d = v_rest.xy - eye.xy;
        float r = length(d);
        albedo = vec3(0.80, 0.76, 0.73);
        if (r < 0.0059) albedo = iris * (0.7 + 0.3 * smoothstep(0.0059, 0.0045, r));
        if (r < 0.0022) albedo = vec3(0.03);
    }
    albedo *= albedo;
    vec3 n = normalize(v_normal), view = normalize(-v_position);
    vec3 shade = mix(ground_colour, sky_colour, -n.y * 0.5 + 0.5);
    vec3 gloss = vec3(0.0);
    for (int i = 0; i < 3; i++) {
        shade += light_colour[i] * max(dot(n, light_direction[i]), 0.0);
        gloss += light_colour[i] * pow(max(dot(n, normalize(light_direction[i] + view)), 0.0), 40.0);
    }
    if (material == 1 && v_where.x < 0.5) shade *= 0.45;
    vec3 linear = albedo * shade + gloss * (material == 2 ? 0.35 : 0.05);
    colour = vec4(sqrt(clamp(linear, 0.0, 1.0)), 1.0);
}
"""


@dataclass(frozen=True, slots=True)
class Look:
    """Colours (3,) 0…1 of a head, its brows (height, half thickness, strength), hair line and light."""

    skin: FloatArray
    lip: FloatArray
    hair: FloatArray
    iris: FloatArray
    teeth: FloatArray
    brow: FloatArray
    hair_line_m: float
    seed: float
    light: Light

    @classmethod
    def draw(cls, rng: Generator) -> "Look":
        dark = rng.uniform(0, 1) ** 1.3
        skin = (1 - dark) * np.array([0.93, 0.76, 0.67]) + dark * np.array([0.36, 0.23, 0.17]) + rng.normal(0, 0.02, 3)
        lip = skin * np.array([0.92, 0.70, 0.70]) * rng.uniform(0.75, 1.0)
        hair = rng.uniform(0.05, 0.55) * np.array([1.0, 0.85, 0.7]) ** rng.uniform(0, 2)
        iris = rng.uniform(0.12, 0.45) * np.array([[1.0, 0.75, 0.5], [0.7, 0.9, 1.0], [0.8, 1.0, 0.7]])[rng.integers(3)]
        teeth = np.full(3, rng.uniform(0.6, 0.95)) if rng.uniform() < 0.7 else np.array([0.25, 0.08, 0.08])
        colours = np.clip([skin, lip, hair, iris, teeth], 0.02, 0.98).astype(np.float32)
        brow = np.array([rng.uniform(0.019, 0.023), rng.uniform(0.0022, 0.005), rng.uniform(0.4, 1.0)], np.float32)
        line_m, seed, light = rng.uniform(0.035, 0.06), rng.uniform(0, 6), sample_light(rng)
        return cls(colours[0], colours[1], colours[2], colours[3], colours[4], brow, line_m, seed, light)


class Heads:
    """The body's head with its facial actions, and what draws it.

    Raises:
        WeightsError: the body or the actions are missing.
        RendererUnavailable: OpenGL over EGL is not available.
    """

    def __init__(self) -> None:
        self.model = BodyModel.load()
        rest = self.model.rest_vertices[0].numpy()
        actions = load_facial_actions(len(rest))
        self._actions = np.stack([actions[name].numpy() for name in FACIAL_ACTIONS])
        # The lining stays on the eyeball.
        lining = self.model.eyes[:, LID_LOOPS:].flatten().numpy()
        self._actions[:, lining] = 0
        self._faces, self.eyeballs = self._parts(rest, lining)
        self.eye_vertices = np.unique(self._faces[_EYES])
        self._normals = VertexNormals(np.concatenate(list(self._faces.values())), len(rest))
        self._lip, self._mouth_height = self._lips(rest)
        self._rest = rest
        self._context = create_context()
        self._program = self._context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        self._targets: dict[tuple[int, int], moderngl.Framebuffer] = {}

    def _parts(self, rest: FloatArray, lining: IntArray) -> tuple[dict[int, Int32Array], FloatArray]:
        """Triangles by material, and centres (2, 3) of the left and the right eyeball."""
        faces = self.model.faces.numpy().astype(np.int32)
        _, component = vertex_components(faces, len(rest))
        outer = np.zeros(len(rest), np.bool_)
        outer[self.model.skin_faces.numpy()] = True
        sizes = np.bincount(component)
        ball = sizes[component] == _EYE_VERTICES
        covered = np.isin(faces, lining).any(1)
        lids = np.isin(np.arange(len(rest)), self.model.eyes.numpy())
        body = sizes[component] == sizes.max()
        eyes, skin = ball[faces].all(1), (outer & body | lids)[faces].all(1) & ~covered
        mouth = ~eyes & ~skin & ~covered
        on = [np.flatnonzero(ball & (sign * rest[:, 0] > 0)) for sign in (1, -1)]
        centres = np.stack([(rest[i].min(0) + rest[i].max(0)) / 2 for i in on])
        return {_SKIN: faces[skin], _MOUTH: faces[mouth], _EYES: faces[eyes]}, centres

    def _lips(self, rest: FloatArray) -> tuple[FloatArray, float]:
        """(V,) 1 on the lips, and the height where they meet."""
        skin, mouth = (np.unique(self._faces[kind]) for kind in (_SKIN, _MOUTH))
        edge = rest[np.intersect1d(skin, mouth)]
        edge = edge[edge[:, 2] < -0.12]
        lip = np.clip(2 - 2 * cKDTree(edge).query(rest)[0] / _LIP_M, 0, 1)
        return lip.astype(np.float32), float(edge[:, 1].mean())

    def vertices(self, shape: FloatArray, activations: FloatArray) -> FloatArray:
        """(V, 3) in the rest pose, for shape coefficients (10,) and activations (52,)."""
        rest = self.model.rest(torch.from_numpy(shape[None].astype(np.float32)))[0][0].numpy()
        return np.asarray(rest + np.tensordot(activations.astype(np.float32), self._actions, 1), np.float32)

    def render(self, vertices: FloatArray, look: Look, view: View, rng: Generator) -> Image:
        """A picture of posed vertices (V, 3), camera space, before a background of noise."""
        with self._context:
            target = self._framebuffer(view)
            target.use()
            target.clear(0, 0, 0, 0)
            light = look.light
            set_uniforms(
                self._program,
                {
                    "camera": (2 * view.focal_px / view.width, 2 * view.focal_px / view.height),
                    "eyes": self.eyeballs,
                    "skin": look.skin,
                    "lip": look.lip,
                    "hair": look.hair,
                    "iris": look.iris,
                    "teeth": look.teeth,
                    "brow": look.brow,
                    "mouth_height": self._mouth_height,
                    "light_direction": light.directions,
                    "light_colour": light.colours,
                    "sky_colour": light.sky,
                    "ground_colour": light.ground,
                    "seed": look.seed,
                },
            )
            self._context.enable(moderngl.DEPTH_TEST)
            where = np.stack([self._lip, self._scalp(look)], 1)
            attributes = np.hstack([vertices, self._normals(vertices), self._rest, where]).astype(np.float32)
            buffer = self._context.buffer(attributes.tobytes())
            for material, faces in self._faces.items():
                self._program["material"] = material
                index = self._context.buffer(faces.tobytes())
                content = [(buffer, "3f 3f 3f 2f", "position", "normal", "rest", "where")]
                array = self._context.vertex_array(self._program, content, index, 4)
                array.render()
                array.release()
                index.release()
            buffer.release()
            pixels = np.frombuffer(target.read(components=4), np.uint8).reshape(view.height, view.width, 4)
        spots = rng.uniform(0, 255, (4, 4, 3)).astype(np.float32)
        background = cv2.resize(spots, (view.width, view.height), interpolation=cv2.INTER_CUBIC).clip(0, 255)
        return np.where(pixels[..., 3:] > 0, pixels[..., :3], background).astype(np.uint8)

    def _scalp(self, look: Look) -> FloatArray:
        region = self.model.vertex_region.numpy()
        on = region == REGION_INDEX["scalp"]
        high = self._rest[:, 1] < self.eyeballs[0, 1] - look.hair_line_m
        return np.asarray(on & high, np.float32)

    def _framebuffer(self, view: View) -> moderngl.Framebuffer:
        size = view.width, view.height
        if size not in self._targets:
            self._targets[size] = self._context.framebuffer(
                [self._context.texture(size, 4)], self._context.depth_renderbuffer(size)
            )
        return self._targets[size]
