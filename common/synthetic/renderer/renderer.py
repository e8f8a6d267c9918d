"""Off-screen rasteriser: moderngl over EGL, on a GPU or on Mesa's software rasteriser llvmpipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moderngl
import numpy as np
import numpy.typing as npt
from scipy import sparse

from common.arrays import BoolArray, ByteArray, FloatArray, IntArray
from common.body.anatomy import REGIONS
from common.errors import UsageError
from common.synthetic.assets.appearance import Appearance, Light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.wardrobe import Garment, bare_faces
from common.synthetic.renderer.shaders import ALBEDO, FRAGMENT, VERTEX

_NEAR_M, _FAR_M = 0.05, 60.0
_COLOUR_STRIDE = 5
"""Region colours are means over every n-th vertex."""
_CODES_PER_PERSON = 64
"""Codes in the truth attachment per person: 1 + region; see shaders.FRAGMENT."""


class RendererUnavailable(UsageError):
    """OpenGL over EGL is not available."""


@dataclass(frozen=True)
class View:
    """A pinhole camera.

    Args:
        width: pixels of the rendered image.
        height: pixels of the rendered image.
        focal_px: focal length in pixels.
        centre_px: principal point; by default the centre of the image.
    """

    width: int
    height: int
    focal_px: float
    centre_px: tuple[float, float] | None = None

    def clip_row(self) -> tuple[float, float, float, float]:
        """Focal lengths and principal point in clip units (−1…1)."""
        x, y = self.centre_px or (self.width / 2, self.height / 2)
        return (
            2 * self.focal_px / self.width,
            2 * self.focal_px / self.height,
            2 * x / self.width - 1,
            2 * y / self.height - 1,
        )


@dataclass(frozen=True, eq=False)
class WornGarment:
    """A posed garment.

    Args:
        garment: the garment.
        vertices: (N, 3) camera space, metres.
        appearance: its materials.
    """

    garment: Garment
    vertices: FloatArray
    appearance: Appearance


@dataclass(frozen=True, eq=False)
class Figure:
    """A person to render.

    Args:
        vertices: (V, 3) of the body, camera space, metres.
        appearance: materials of the body.
        worn: garments.
    """

    vertices: FloatArray
    appearance: Appearance
    worn: tuple[WornGarment, ...] = ()


@dataclass(frozen=True)
class Rendering:
    """An image of people without background.

    Args:
        colour: (H, W, 4) uint8 RGB and coverage (0 or 255).
        depth: (H, W) float32 camera z of the visible surface, metres; 0 for the background.
        instance: (H, W) uint8 index of the person; 255 for the background.
        part: (H, W) uint8 1 + region index; 0 for the background.
    """

    colour: ByteArray
    depth: FloatArray
    instance: ByteArray
    part: ByteArray


class VertexNormals:
    """Area-weighted vertex normals of a fixed triangulation."""

    def __init__(self, faces: IntArray, vertex_count: int) -> None:
        self._faces = np.ascontiguousarray(faces.T)
        column = np.tile(np.arange(len(faces)), 3)
        ones = np.ones(column.size, np.float32)
        self._sum = sparse.csr_matrix((ones, (self._faces.ravel(), column)), shape=(vertex_count, len(faces)))

    def __call__(self, vertices: FloatArray) -> FloatArray:
        """(V, 3) → (V, 3) unit normals, outward."""
        a, b, c = (vertices[index] for index in self._faces)
        u, v = b - a, c - a
        cross = np.empty_like(u)
        cross[:, 0] = u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1]
        cross[:, 1] = u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2]
        cross[:, 2] = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        normals = np.asarray(self._sum @ cross, np.float32)
        length = np.sqrt(np.einsum("ij,ij->i", normals, normals))
        return np.asarray(normals / np.maximum(length, 1e-12)[:, None], np.float32)


class _Mesh:
    """Buffers of a body or a garment: constant attributes are uploaded once, vertices for every image.

    Args:
        context: OpenGL context.
        program: draws the mesh.
        albedo: computes the unlit colours of vertices.
        shape: topology and paint coordinates.
        colour_stride: `colours` samples every n-th vertex.
    """

    def __init__(
        self,
        context: moderngl.Context,
        program: moderngl.Program,
        albedo: moderngl.Program,
        shape: Canvas | Garment,
        colour_stride: int,
    ) -> None:
        self._faces = shape.faces.astype(np.int32)
        self._normals = VertexNormals(shape.faces, len(shape.rest))
        self._dynamic = context.buffer(reserve=len(shape.rest) * 24, dynamic=True)
        self._index = context.buffer(self._faces.tobytes(), dynamic=True)
        self._all_faces = True
        constant = np.hstack([shape.rest, shape.limb, shape.region[:, None], _folds(shape.rest)]).astype(np.float32)
        self._mesh = context.vertex_array(
            program,
            [
                (self._dynamic, "3f 3f", "position", "normal"),
                (context.buffer(constant.tobytes()), "3f 4f 1f 4f", "rest", "limb", "region", "folds"),
            ],
            index_buffer=self._index,
            index_element_size=4,
        )
        self.sampled = np.unique(shape.faces)[::colour_stride]
        self.region = shape.region[self.sampled]
        samples = np.hstack([shape.rest[self.sampled], shape.limb[self.sampled]]).astype(np.float32)
        self._colours = context.buffer(reserve=len(samples) * 12)
        self._samples = context.vertex_array(albedo, [(context.buffer(samples.tobytes()), "3f 4f", "rest", "limb")])

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

    def colours(self) -> FloatArray:
        """(n, 3) unlit colours of the sampled vertices."""
        self._samples.transform(self._colours, mode=moderngl.POINTS)
        return np.frombuffer(self._colours.read(), np.float32).reshape(-1, 3)


class Renderer:
    """Renders bodies and garments to colour, depth, person and body part; one per process is enough.

    Raises:
        RendererUnavailable: OpenGL 3.3 over EGL is not available; the message names the packages to install.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.context = create_context()
        self.canvas = canvas
        self._program = self.context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        self._albedo = self.context.program(vertex_shader=ALBEDO, varyings=("albedo",))
        self._body = _Mesh(self.context, self._program, self._albedo, canvas, _COLOUR_STRIDE)
        self._garments: dict[Garment, _Mesh] = {}
        self._targets: dict[tuple[int, int], moderngl.Framebuffer] = {}

    def render(self, people: Sequence[Figure], view: View, light: Light, up: FloatArray | None = None) -> Rendering:
        """Renders people into one image.

        Args:
            people: the people.
            view: the camera.
            light: directional and ambient lights.
            up: (3,) direction of the sky in camera space; by default upwards in the image.
        """
        with self.context:  # another renderer's context may be current
            target = self._target(view.width, view.height)
            target.use()
            target.clear(0.0, 0.0, 0.0, 0.0)
            self._set_scene(view, light, np.array([0, -1, 0], np.float32) if up is None else up)
            for index, figure in enumerate(people):
                self._draw(index, figure)
            return self._read(target, view)

    def region_colours(self, figure: Figure) -> FloatArray:
        """(R, 3) mean unlit colour of the visible surface of each body region, 0…1; 0 for hidden regions."""
        with self.context:
            set_uniforms(self._albedo, appearance_uniforms(figure.appearance, self.canvas))
            colours, regions = [self._body.colours()], [self._body.region]
            if figure.worn:
                visible = np.zeros(len(self.canvas.rest), np.bool_)
                visible[self.canvas.faces[self._bare(figure)]] = True
                visible = visible[self._body.sampled]
                colours, regions = [colours[0][visible]], [regions[0][visible]]
            for worn in figure.worn:
                set_uniforms(self._albedo, appearance_uniforms(worn.appearance, self.canvas))
                mesh = self._garment_mesh(worn.garment)
                colours.append(mesh.colours())
                regions.append(mesh.region)
        region, colour = np.concatenate(regions), np.concatenate(colours)
        count = np.bincount(region, minlength=len(REGIONS))
        sums = [np.bincount(region, weights=colour[:, channel], minlength=len(REGIONS)) for channel in range(3)]
        return (np.stack(sums, 1) / np.maximum(count, 1)[:, None]).astype(np.float32)

    def _draw(self, index: int, figure: Figure) -> None:
        self.context.enable(moderngl.CULL_FACE)
        set_uniforms(self._program, {"instance": index} | appearance_uniforms(figure.appearance, self.canvas))
        self._body.draw(figure.vertices, self._bare(figure) if figure.worn else None)
        # The inside of sleeves, skirts and hair is visible.
        self.context.disable(moderngl.CULL_FACE)
        for worn in figure.worn:
            set_uniforms(self._program, appearance_uniforms(worn.appearance, self.canvas))
            self._garment_mesh(worn.garment).draw(worn.vertices)

    def _bare(self, figure: Figure) -> BoolArray:
        return bare_faces(self.canvas.faces, [worn.garment for worn in figure.worn], len(self.canvas.rest))

    def _garment_mesh(self, garment: Garment) -> _Mesh:
        if garment not in self._garments:
            self._garments[garment] = _Mesh(self.context, self._program, self._albedo, garment, _COLOUR_STRIDE)
        return self._garments[garment]

    def _target(self, width: int, height: int) -> moderngl.Framebuffer:
        if (width, height) not in self._targets:
            self._targets[width, height] = self.context.framebuffer(
                [
                    self.context.texture((width, height), 4),
                    self.context.texture((width, height), 2, dtype="f4"),
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
        truth = np.frombuffer(target.read(components=2, attachment=1, dtype="f4"), np.float32).reshape(*shape, 2)
        code = truth[..., 1].astype(np.int32)
        instance = np.where(code > 0, (code - 1) // _CODES_PER_PERSON, 255).astype(np.uint8)
        part = np.where(code > 0, (code - 1) % _CODES_PER_PERSON + 1, 0).astype(np.uint8)
        return Rendering(colour, np.ascontiguousarray(truth[..., 0]), instance, part)


def _folds(rest: FloatArray) -> FloatArray:
    """(V, 4) four smooth noise patterns over the body, which modulate the offset of loose cloth."""
    rng = np.random.default_rng(0)
    waves = rng.normal(0, 14, (4, 3, 6))
    phase = rng.uniform(0, 2 * np.pi, (4, 1, 6))
    return np.asarray(np.sin(rest[None] @ waves + phase).sum(2).T / np.sqrt(3), np.float32)


def create_context() -> moderngl.Context:
    """An off-screen OpenGL context.

    Raises:
        RendererUnavailable: OpenGL 3.3 over EGL is not available.
    """
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
