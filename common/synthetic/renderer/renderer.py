"""Off-screen rasteriser: moderngl over EGL, on a GPU or on Mesa's software rasteriser llvmpipe."""

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import moderngl
import numpy as np
import numpy.typing as npt

from common.arrays import BoolArray, ByteArray, FloatArray
from common.errors import UsageError
from common.synthetic.assets.appearance import Appearance, Light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.wardrobe import bare_faces
from common.synthetic.renderer.mesh_buffers import Looseness, MeshBuffers
from common.synthetic.renderer.shaders import FRAGMENT, LOOSENESS, TRUTH_BITS, VERTEX

_NEAR_M, _FAR_M = 0.05, 60.0
_MAX_GARMENTS = 96
"""Garments whose buffers are kept; tailored garments are worn once."""
_REGION_MASK, _MATERIAL_MASK = 31, 15
"""Bits of a region and of a material in the truth of a pixel (`shaders.TRUTH_BITS`)."""


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
        cloth: (H, W) uint32 material and normal of the visible surface, for `cloth_of`.
    """

    colour: ByteArray
    depth: FloatArray
    part: ByteArray
    cloth: npt.NDArray[np.uint32]


class Renderer:
    """Renders bodies and garments to colour, depth, person and body part; one per process is enough.

    Raises:
        RendererUnavailable: OpenGL 3.3 over EGL is not available; the message names the packages to install.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.context = create_context()
        self.canvas = canvas
        self._program = self.context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        self._looseness = self.context.program(vertex_shader=LOOSENESS, varyings=("looseness",))
        self._body = self._buffers(canvas)
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
            for index, figure in enumerate(people):
                self._draw(index, figure)
            return self._read(target, view)

    def looseness(self, appearance: Appearance, garment: Garment | None = None) -> Looseness:
        """The offset of loose painted clothes of the body or of a garment, whatever the shape and pose."""
        with self.context:
            self._target(1, 1).use()  # transform feedback needs a complete framebuffer
            set_uniforms(self._looseness, appearance_uniforms(appearance, self.canvas))
            return (self._garment_buffers(garment) if garment else self._body).looseness()

    def _draw(self, index: int, figure: Figure) -> None:
        self.context.enable(moderngl.CULL_FACE)
        set_uniforms(self._program, {"instance": index} | appearance_uniforms(figure.appearance, self.canvas))
        self._body.draw(figure.vertices, self._bare(figure) if figure.worn else None)
        # The inside of sleeves, skirts and hair is visible.
        self.context.disable(moderngl.CULL_FACE)
        for worn in figure.worn:
            set_uniforms(self._program, appearance_uniforms(worn.appearance, self.canvas))
            self._garment_buffers(worn.garment).draw(worn.vertices)

    def _bare(self, figure: Figure) -> BoolArray:
        return bare_faces(self.canvas.faces, [worn.garment for worn in figure.worn], len(self.canvas.rest))

    def _garment_buffers(self, garment: Garment) -> MeshBuffers:
        if garment not in self._garments:
            while len(self._garments) >= _MAX_GARMENTS:
                self._garments.pop(next(iter(self._garments))).release()
            self._garments[garment] = self._buffers(garment)
        return self._garments[garment]

    def _buffers(self, shape: Canvas | Garment) -> MeshBuffers:
        return MeshBuffers(self.context, self._program, self._looseness, shape)

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
        depth, what = np.ascontiguousarray(truth[..., 0]).view(np.float32), np.ascontiguousarray(truth[..., 1])
        # The background's 0 becomes 255.
        region = (what >> np.uint32(TRUTH_BITS["region"])).astype(np.uint8) & np.uint8(_REGION_MASK)
        part = np.where(what > 0, region + np.uint8(1), np.uint8(0))
        return Rendering(colour, depth, part, what)


def cloth_of(pixels: npt.NDArray[np.uint32]) -> tuple[ByteArray, FloatArray]:
    """Materials (N,), 1 + index into `appearance.MATERIALS`, and normals (N, 3) of pixels (N,) of `Rendering.cloth`.

    The normal is in camera space, without wrinkles, and exact to a degree.  The background has material 0.
    """
    material = (pixels >> np.uint32(TRUTH_BITS["material"])).astype(np.uint8) & np.uint8(_MATERIAL_MASK)
    folded = np.stack([pixels >> np.uint32(8), pixels], -1) & np.uint32(255)
    plane = folded.astype(np.float32) / np.float32(127.5) - 1
    toward = 1 - np.abs(plane).sum(-1)
    folds = np.maximum(-toward, 0)[..., None]
    plane = plane - np.copysign(folds, plane)
    normals = np.concatenate([plane, -toward[..., None]], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(pixels > 0, material + np.uint8(1), np.uint8(0)), normals


def create_context() -> moderngl.Context:
    """An off-screen OpenGL context. Raises RendererUnavailable if OpenGL 3.3 over EGL is not available."""
    _load_triton()
    try:
        # The type stubs ask for a dictionary, but moderngl accepts the name.
        return moderngl.create_context(standalone=True, require=330, backend="egl")  # type: ignore[arg-type]
    except Exception as error:  # moderngl raises bare Exception
        raise RendererUnavailable(
            f"cannot render: no OpenGL over EGL ({error}); install Debian's libegl1 and libegl-mesa0"
        ) from error


def _load_triton() -> None:
    """Loads Triton, where it is installed, before Mesa's LLVM.

    Triton ≥ 3.7 exports its own LLVM.  Loaded after that of llvmpipe, as by the first optimiser of PyTorch, it ends the
    process with a segmentation fault; loaded before, both work.
    """
    with suppress(ImportError):
        importlib.import_module("triton")


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
