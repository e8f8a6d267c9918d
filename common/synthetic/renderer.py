"""Draws people in clothes by OpenGL: colour, mask, depth and what each pixel shows."""

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import moderngl
import numpy as np
import numpy.typing as npt

from common.arrays import BoolArray, ByteArray, FloatArray
from common.body.triangles import VertexNormals
from common.errors import UsageError
from common.synthetic.assets.appearance import Appearance, Light
from common.synthetic.assets.garments import Canvas, Garment
from common.synthetic.assets.wardrobe import bare_faces


class MeshBuffers:
    """Buffers of a body or a garment: constant attributes are uploaded once, vertices for every image.

    Args:
        image: draws the mesh.
    """

    def __init__(
        self,
        context: moderngl.Context,
        image: moderngl.Program,
        shape: Canvas | Garment,
    ) -> None:
        self._faces = shape.faces.astype(np.int32)
        self._normals = VertexNormals(shape.faces, len(shape.rest))
        self._dynamic = context.buffer(reserve=len(shape.rest) * 24, dynamic=True)
        self._index = context.buffer(self._faces.tobytes(), dynamic=True)
        self._all_faces = True
        constant = np.hstack([shape.rest, shape.limb, shape.region[:, None], folds(shape.rest)]).astype(np.float32)
        constants = context.buffer(constant.tobytes())
        self._mesh = context.vertex_array(
            image,
            [
                (self._dynamic, "3f 3f", "position", "normal"),
                (constants, "3f 4f 1f 4f", "rest", "limb", "region", "folds"),
            ],
            index_buffer=self._index,
            index_element_size=4,
        )
        self._resources = (self._mesh, self._dynamic, self._index, constants)

    def draw(self, vertices: FloatArray, faces: BoolArray | None = None) -> None:
        """Draws the mesh, or only the triangles that `faces` (F,) selects."""
        attributes = np.hstack([vertices, self._normals(vertices)])
        self._dynamic.write(attributes.astype(np.float32, copy=False).tobytes())
        if faces is None and self._all_faces:
            self._mesh.render()
            return
        visible = self._faces if faces is None else self._faces[faces]
        self._index.write(visible.tobytes())
        self._all_faces = faces is None
        self._mesh.render(vertices=visible.size)

    def release(self) -> None:
        """Frees the buffers."""
        for resource in self._resources:
            resource.release()


def folds(rest: FloatArray) -> FloatArray:
    """(V, 4) four smooth noise patterns over the body, which modulate the offset of loose cloth."""
    rng = np.random.default_rng(0)
    waves = rng.normal(0, 14, (4, 3, 6))
    phase = rng.uniform(0, 2 * np.pi, (4, 1, 6))
    return np.asarray(np.sin(rest[None] @ waves + phase).sum(2).T / np.sqrt(3), np.float32)


# Materials are in the order of `appearance.MATERIALS`.  Borders between garments are thresholds on coordinates that are
# interpolated over the body (along arm and leg, up the torso), so they are sharp at any resolution.
PAINT = """
const int SKIN = 0, TOP = 1, BOTTOM = 2, SHOES = 3, HAIR = 4, GLOVES = 5, INNER = 6, SOCKS = 7;
uniform vec4 base_colour[8];    // rgb, pattern kind
uniform vec4 second_colour[8];  // rgb, pattern scale (1/m)
uniform vec4 direction[8];      // of stripes and checks in rest space, phase
uniform vec4 finish[8];         // specular, wrinkle amplitude, looseness (m), grain
uniform float border[24];       // garment borders, see appearance.Borders
uniform vec3 eye_colour;
uniform vec3 lip_colour;
uniform vec3 face[4];           // left eye, right eye, mouth in rest space; head centre
uniform vec3 head_radius;
uniform float noise_seed;

float hash(vec3 p) {
    p = fract(p * 0.3183099 + vec3(0.1, 0.17, 0.13) + noise_seed);
    p *= 17.0;
    return fract(p.x * p.y * p.z * (p.x + p.y + p.z));
}

float value_noise(vec3 x) {
    vec3 i = floor(x), f = fract(x);
    f = f * f * (3.0 - 2.0 * f);
    return mix(mix(mix(hash(i), hash(i + vec3(1, 0, 0)), f.x),
                   mix(hash(i + vec3(0, 1, 0)), hash(i + vec3(1, 1, 0)), f.x), f.y),
               mix(mix(hash(i + vec3(0, 0, 1)), hash(i + vec3(1, 0, 1)), f.x),
                   mix(hash(i + vec3(0, 1, 1)), hash(i + vec3(1, 1, 1)), f.x), f.y), f.z);
}

// Gradient of value_noise, from the same eight corners.
vec3 noise_gradient(vec3 x) {
    vec3 i = floor(x), f = fract(x);
    vec3 u = f * f * (3.0 - 2.0 * f), du = 6.0 * f * (1.0 - f);
    float a = hash(i), b = hash(i + vec3(1, 0, 0)), c = hash(i + vec3(0, 1, 0)), d = hash(i + vec3(1, 1, 0));
    float e = hash(i + vec3(0, 0, 1)), g = hash(i + vec3(1, 0, 1)), h = hash(i + vec3(0, 1, 1)), k = hash(i + 1.0);
    vec3 slope = vec3(b - a, c - a, e - a);
    float xy = a - b - c + d, yz = a - c - e + h, zx = a - b - e + g, xyz = -a + b + c - d + e - g - h + k;
    return du * (slope + vec3(xy, yz, zx) * u.yzx + vec3(zx, xy, yz) * u.zxy + xyz * u.yzx * u.zxy);
}

// limb: x along the arm (0 shoulder, 1 elbow, 2 wrist), y along the leg (0 hip, 1 knee, 2 ankle),
//       z up the torso (0 hips, 1 neck), w 1 on the head.
int material(vec4 limb, vec3 rest) {
    vec3 n = normalize((rest - face[3]) / head_radius);
    if (limb.w > 0.5) {
        float line = n.z < 0.0 ? mix(border[11], border[10], smoothstep(0.0, 1.0, -n.z))
                               : mix(border[11], border[12], smoothstep(0.0, 0.6, n.z));
        if (n.y < line) return HAIR;
        if (border[14] > 0.0 && n.y > 0.95 - border[14] && n.z < 0.1
            && length(rest.xy - face[2].xy) > 0.024) return HAIR;
    }
    if (limb.w <= 0.5 && limb.x <= 0.3 && rest.z > face[3].z + border[16] && limb.z > border[13] && limb.z > 0.3
        && abs(rest.x) < 0.16) return HAIR;
    if (limb.x > border[9]) return GLOVES;
    if (limb.y > border[7]) return SHOES;
    if (limb.y > border[8]) return SOCKS;
    bool front = rest.z < face[3].z;
    float neckline = border[3] - (front ? max(0.0, border[4] - abs(rest.x - face[3].x) * border[15]) : 0.0);
    bool arm = limb.x > 0.0;
    if (limb.w <= 0.5 && (arm ? limb.x < border[0] : (limb.z > border[1] && limb.y < border[2] && limb.z < neckline))) {
        if (!arm && front && abs(rest.x - face[3].x) < border[17] * (0.5 + limb.z)) return INNER;
        return TOP;
    }
    if (!arm && limb.z < border[5] && limb.y < border[6]) return BOTTOM;
    return SKIN;
}

vec3 painted(int m, vec4 limb, vec3 rest) {
    vec3 first = base_colour[m].rgb, second = second_colour[m].rgb;
    int kind = int(base_colour[m].a + 0.5);
    float scale = second_colour[m].a;
    vec3 along = direction[m].xyz;
    float phase = direction[m].a;
    float s = dot(rest, along) * scale + phase;
    float mixing = 0.0;
    if (kind == 1) mixing = step(0.5, fract(s));
    else if (kind == 2) {
        float t = dot(rest, normalize(cross(along, vec3(0.1, 0.2, 1.0)))) * scale + phase;
        mixing = 0.5 * step(0.6, fract(s)) + 0.5 * step(0.6, fract(t));
    } else if (kind == 3) mixing = smoothstep(0.48, 0.56, value_noise(rest * scale * 1.5 + phase));
    else if (kind == 4) mixing = value_noise(rest * scale * 12.0) * 0.6 + value_noise(rest * scale * 4.0) * 0.4;
    else if (kind == 5) {  // a logo or print on the chest or the thigh
        vec2 q = (rest.xy - face[3].xy - vec2(along.x * 0.05, 0.38 + along.y * 0.06)) * vec2(1.0, 1.4) * scale * 0.45;
        mixing = max(abs(q.x), abs(q.y)) < 1.0 ? step(0.45, value_noise(vec3(q * 3.0, phase * 9.0))) : 0.0;
    } else if (kind == 6) mixing = step(phase, fract(limb.z + 0.3));  // colour blocks
    vec3 colour = mix(first, second, mixing);
    colour *= 1.0 + finish[m].a * (hash(floor(rest * vec3(160.0, 90.0, 160.0))) - 0.5);
    if (m == SKIN && limb.w > 0.5) {
        for (int i = 0; i < 2; i++) {
            vec2 d = (rest.xy - face[i].xy) / vec2(0.015, 0.008);
            if (rest.z < face[3].z && dot(d, d) < 1.0) colour = abs(d.x) < 0.42 ? eye_colour : vec3(0.85, 0.83, 0.81);
            vec2 b = (rest.xy - face[i].xy + vec2(0.0, 0.021)) / vec2(0.021, 0.0045);
            if (rest.z < face[3].z && dot(b, b) < 1.0) colour = mix(colour, base_colour[HAIR].rgb, 0.8);
        }
        vec2 d = (rest.xy - face[2].xy) / vec2(0.024, 0.009);
        if (rest.z < face[3].z && dot(d, d) < 1.0) colour = lip_colour;
    }
    return clamp(colour, 0.0, 1.0);
}
"""

# The offset of loose painted clothes; the image and the ground truth of the surface share it.
LOOSEN = """
uniform vec4 fold_mix;

float offset_of(vec4 folds, int m) {
    return finish[m].b * max(1.0 + dot(folds, fold_mix), 0.0);
}
"""

VERTEX = (
    """
#version 330
in vec3 position;
in vec3 normal;
in vec3 rest;
in vec4 limb;
in float region;
in vec4 folds;  // noise, zero mean
uniform vec4 camera;    // focal x, focal y in half image sizes, principal point in clip units
uniform vec2 depth_range;
out vec3 v_position;
out vec3 v_normal;
out vec3 v_rest;
out vec4 v_limb;
flat out float v_region;
"""
    + PAINT
    + LOOSEN
    + """
void main() {
    vec3 p = position + normal * offset_of(folds, material(limb, rest));
    v_position = p; v_normal = normal; v_rest = rest; v_limb = limb; v_region = region;
    float near = depth_range.x, far = depth_range.y;
    // Image rows and framebuffer rows both run downwards: no flip.
    gl_Position = vec4(p.x * camera.x + p.z * camera.z, p.y * camera.y + p.z * camera.w,
                       (p.z * (far + near) - 2.0 * far * near) / (far - near), p.z);
}
"""
)

FRAGMENT = (
    """
#version 330
in vec3 v_position;
in vec3 v_normal;
in vec3 v_rest;
in vec4 v_limb;
flat in float v_region;
uniform vec3 light_direction[3];
uniform vec3 light_colour[3];
uniform vec3 sky_colour;
uniform vec3 ground_colour;
uniform vec3 up;
layout(location = 0) out vec4 colour;
layout(location = 1) out uvec2 truth;  // camera depth (m) as bits; 1 + region
"""
    + PAINT
    + """
void main() {
    int m = material(v_limb, v_rest);
    vec3 albedo = painted(m, v_limb, v_rest);
    albedo *= albedo;  // approximates the conversion from sRGB to linear light
    float wrinkle = finish[m].g;
    // Back faces are visible inside sleeves and skirts.
    vec3 outward = normalize(gl_FrontFacing ? v_normal : -v_normal);
    vec3 n = outward;
    if (wrinkle > 0.0) n = normalize(n + 0.35 * wrinkle * noise_gradient(v_rest * vec3(22.0, 13.0, 22.0) + 7.0));
    vec3 view = normalize(-v_position);
    float upness = dot(n, up) * 0.5 + 0.5;
    // Cheap approximation of ambient occlusion: surfaces at grazing angles receive less ambient light.
    float open_sky = 0.72 + 0.28 * smoothstep(0.0, 0.45, abs(dot(outward, view)));
    vec3 shade = mix(ground_colour, sky_colour, upness) * open_sky;
    vec3 gloss = vec3(0.0);
    for (int i = 0; i < 3; i++) {
        float lambert = max(dot(n, light_direction[i]), 0.0);
        shade += light_colour[i] * lambert;
        gloss += light_colour[i] * pow(max(dot(n, normalize(light_direction[i] + view)), 0.0), 24.0);
    }
    vec3 linear = albedo * shade + gloss * finish[m].r;
    colour = vec4(sqrt(clamp(linear, 0.0, 1.0)), 1.0);
    truth = uvec2(floatBitsToUint(v_position.z), uint(v_region) + 1u);
}
"""
)

_NEAR_M, _FAR_M = 0.05, 60.0
_MAX_GARMENTS = 96
"""Garments whose buffers are kept; tailored garments are worn once."""


class RendererUnavailable(UsageError):
    """OpenGL over EGL is not available."""


@dataclass(frozen=True)
class View:
    """A pinhole camera.

    Args:
        width: pixels of the rendered image.
        height: pixels of the rendered image.
        focal_px: focal length in pixels.
        principal: point in clip units; by default the centre of the image, which is −1…1.
    """

    width: int
    height: int
    focal_px: float
    principal: tuple[float, float] = (0.0, 0.0)

    def clip_row(self) -> tuple[float, float, float, float]:
        """Focal lengths and principal point in clip units (−1…1)."""
        return 2 * self.focal_px / self.width, 2 * self.focal_px / self.height, *self.principal


@dataclass(frozen=True, eq=False)
class WornGarment:
    """A posed garment (`vertices`: (N, 3) camera space, metres)."""

    garment: Garment
    vertices: FloatArray
    appearance: Appearance


@dataclass(frozen=True, eq=False)
class Figure:
    """A person to render (`vertices`: (V, 3) of the body, camera space, metres)."""

    vertices: FloatArray
    appearance: Appearance
    worn: tuple[WornGarment, ...] = ()


@dataclass(frozen=True)
class Rendering:
    """An image of people without background.

    Args:
        colour: (H, W, 4) uint8 RGB and coverage (0 or 255).
        depth: (H, W) float32 camera z of the visible surface, metres; 0 for the background.
        part: (H, W) uint8 1 + region index; 0 for the background.
    """

    colour: ByteArray
    depth: FloatArray
    part: ByteArray


class Renderer:
    """Renders bodies and garments to colour, depth and body part; one per process is enough.

    Raises:
        RendererUnavailable: OpenGL 3.3 over EGL is not available; the message names the packages to install.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.context = create_context()
        self.canvas = canvas
        self._program = self.context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        self._body = MeshBuffers(self.context, self._program, canvas)
        self._garments: dict[Garment, MeshBuffers] = {}
        self._targets: dict[tuple[int, int], moderngl.Framebuffer] = {}

    def render(self, people: Sequence[Figure], view: View, light: Light, up: FloatArray | None = None) -> Rendering:
        """Renders people into one image.

        Args:
            up: (3,) direction of the sky in camera space; by default upwards in the image.
        """
        with self.context:  # another renderer's context may be current
            target = self._target(view.width, view.height)
            target.use()
            target.clear(0.0, 0.0, 0.0, 0.0)
            self._set_scene(view, light, np.array([0, -1, 0], np.float32) if up is None else up)
            for figure in people:
                self._draw(figure)
            return self._read(target, view)

    def _draw(self, figure: Figure) -> None:
        self.context.enable(moderngl.CULL_FACE)
        set_uniforms(self._program, appearance_uniforms(figure.appearance, self.canvas))
        garments = [worn.garment for worn in figure.worn]
        faces, count = self.canvas.faces, len(self.canvas.rest)
        self._body.draw(figure.vertices, bare_faces(faces, garments, count) if garments else None)
        # The inside of sleeves, skirts and hair is visible.
        self.context.disable(moderngl.CULL_FACE)
        for worn in figure.worn:
            set_uniforms(self._program, appearance_uniforms(worn.appearance, self.canvas))
            self._garment_buffers(worn.garment).draw(worn.vertices)

    def _garment_buffers(self, garment: Garment) -> MeshBuffers:
        if garment not in self._garments:
            while len(self._garments) >= _MAX_GARMENTS:
                self._garments.pop(next(iter(self._garments))).release()
            self._garments[garment] = MeshBuffers(self.context, self._program, garment)
        return self._garments[garment]

    def _target(self, width: int, height: int) -> moderngl.Framebuffer:
        if (width, height) not in self._targets:
            self._targets[width, height] = self.context.framebuffer(
                [
                    self.context.texture((width, height), 4),
                    self.context.texture((width, height), 2, dtype="u4"),
                ],
                self.context.depth_renderbuffer((width, height)),
            )
        return self._targets[width, height]

    def _set_scene(self, view: View, light: Light, up: FloatArray) -> None:
        scene: dict[str, npt.ArrayLike] = {
            "camera": view.clip_row(),
            "depth_range": (_NEAR_M, _FAR_M),
            "light_direction": light.directions,
            "light_colour": light.colours,
            "sky_colour": light.sky,
            "ground_colour": light.ground,
            "up": up,
        }
        set_uniforms(self._program, scene)
        # The framebuffer's rows run downwards, which reverses the winding order.
        self.context.enable(moderngl.DEPTH_TEST)
        self.context.front_face = "cw"

    def _read(self, target: moderngl.Framebuffer, view: View) -> Rendering:
        shape = (view.height, view.width)
        colour = np.frombuffer(target.read(components=4, attachment=0), np.uint8).reshape(*shape, 4)
        truth = np.frombuffer(target.read(components=2, attachment=1, dtype="u4"), np.uint32).reshape(*shape, 2)
        depth = np.ascontiguousarray(truth[..., 0]).view(np.float32)
        return Rendering(colour, depth, truth[..., 1].astype(np.uint8))


def create_context() -> moderngl.Context:
    """An off-screen OpenGL context. Raises RendererUnavailable if OpenGL 3.3 over EGL is not available."""
    # Triton ≥ 3.7 exports its own LLVM.  Loaded after that of llvmpipe, as by the first optimiser of PyTorch, it ends
    # the process with a segmentation fault; loaded before, both work.
    with suppress(ImportError):
        importlib.import_module("triton")
    try:
        # The type stubs ask for a dictionary, but moderngl accepts the name.
        return moderngl.create_context(standalone=True, require=330, backend="egl")  # type: ignore[arg-type]
    except Exception as error:  # moderngl raises bare Exception
        raise RendererUnavailable(
            f"cannot render: no OpenGL over EGL ({error}); install Debian's libegl1 and libegl-mesa0"
        ) from error


def appearance_uniforms(appearance: Appearance, canvas: Canvas) -> dict[str, npt.ArrayLike]:
    """The uniforms of `shaders.PAINT`."""
    return {
        "base_colour": appearance.base_colour,
        "second_colour": appearance.second_colour,
        "direction": appearance.direction,
        "finish": appearance.finish,
        "border": appearance.borders.as_array(),
        "eye_colour": appearance.eye_colour,
        "lip_colour": appearance.lip_colour,
        "face": canvas.face,
        "head_radius": canvas.head_radius,
        "noise_seed": appearance.noise_seed,
        "fold_mix": appearance.fold_mix,
    }


def set_uniforms(program: moderngl.Program, values: Mapping[str, npt.ArrayLike]) -> None:
    """Sets uniforms of a program, except those that its compiler removed as unused."""
    for name, value in values.items():
        uniform = program.get(name, None)
        if isinstance(uniform, moderngl.Uniform):
            # The compiler may shorten an array to the last entry in use.
            size = uniform.array_length * uniform.dimension
            uniform.write(np.asarray(value, np.float32).ravel()[:size].tobytes())
