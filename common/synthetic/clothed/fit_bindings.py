"""Fits the bindings of the template to the garments of the wardrobe, and writes them into the package.

Needs a few minutes.  A new wardrobe or another body needs new bindings.

Examples:
  python -m common.synthetic.clothed.fit_bindings
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.arrays import FloatArray, IntArray
from common.body.anatomy import JOINT_INDEX, REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.errors import exit_code_of
from common.io.command_line import parser_of
from common.synthetic.assets.appearance import Appearance, sample_appearance
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.body_garments import SKIRT_COLUMNS, SKIRT_NAME, SKIRT_ROWS
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.clothed.binding import (
    BINDINGS_FILE,
    BindingFitter,
    GarmentBinding,
    OuterSurface,
    save_bindings,
)
from common.synthetic.clothed.shell import ExposureMeter, Shell, ShellMaker
from common.synthetic.renderer.renderer import Figure, Renderer, WornGarment

_DIRECTIONS, _SIDE = 40, 512


class BindingStudio:
    """Dresses the mean body in one garment at a time and binds the template to it."""

    def __init__(self, model: BodyModel, renderer: Renderer) -> None:
        self._model = model
        self._canvas, self._template = renderer.canvas, BodyTemplate.from_model(model)
        self._fitter = BindingFitter(self._template)
        self._shells = ShellMaker(renderer, ExposureMeter(renderer.context, _DIRECTIONS, _SIDE))
        self._bare = self._exposure(self._wear())

    def fit(self, garment: Garment) -> GarmentBinding:
        """The binding of one garment."""
        shell, body = self._wear(garment), len(self._canvas.rest)
        faces = shell.faces[(shell.faces >= body).all(1)] - body
        binding = self._fitter.fit(OuterSurface(garment.rest, faces), self._exposure(shell), self._bare)
        if garment.name == SKIRT_NAME:
            return bind_legs(binding, garment, self._model, self._template)
        return binding

    def _wear(self, *garments: Garment) -> Shell:
        paint = _plain()
        worn = tuple(WornGarment(garment, garment.rest, paint) for garment in garments)
        return self._shells.make(Figure(self._canvas.rest, paint, worn))

    def _exposure(self, shell: Shell) -> FloatArray:
        return shell.exposure[self._template.kept]


_OVERLAP = 1.2
"""The vertices near the innermost line all go to the middle, so that the two legs meet there."""
_LEG_JOINTS = ("upperleg01", "lowerleg01", "foot")


def bind_legs(binding: GarmentBinding, skirt: Garment, model: BodyModel, template: BodyTemplate) -> GarmentBinding:
    """A fitted binding of the skirt in which the legs are bound by the angle around them.

    The outside of a leg goes to the side of the skirt, its inside to the middle of front and back; the innermost line
    of the leg is where it changes between these, inside the skirt.

    Args:
        binding: fitted by registration, good for the hips.
    """
    parts = [binding]
    bound = np.zeros(len(template), np.bool_)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        legs = np.isin(template.region, [REGION_INDEX[f"{name}.{side}"] for name in ("thigh", "shin")])
        below = (template.rest[:, 1] > skirt.rest[:, 1].min()) & (template.rest[:, 1] < skirt.rest[:, 1].max())
        vertices = np.flatnonzero(legs & below & template.outside)
        bound[vertices] = True
        joints = model.rest_joints[0, [JOINT_INDEX[f"{name}.{side}"] for name in _LEG_JOINTS]].cpu().numpy()
        parts.append(_around(vertices, template.rest[vertices], joints, sign, skirt))
    hips = ~bound[binding.vertices]
    parts[0] = GarmentBinding(
        binding.vertices[hips], binding.corners[hips], binding.barycentric[hips], binding.offset[hips]
    )
    names = ("vertices", "corners", "barycentric", "offset")
    return GarmentBinding(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _around(
    vertices: IntArray,
    rest: FloatArray,
    joints: FloatArray,
    sign: float,
    skirt: Garment,
) -> GarmentBinding:
    """Binds vertices (n, 3) of one leg; `sign` is that of the leg's x."""
    axis = np.stack([np.interp(rest[:, 1], joints[:, 1], joints[:, k]) for k in (0, 2)], 1)
    across, back = sign * (rest[:, 0] - axis[:, 0]), rest[:, 2] - axis[:, 1]
    # 0 at the back, π/2 outside, π in front; the innermost line is at −π/2 and 3π/2.
    angle = np.arctan2(across, back)
    angle = np.where(angle < -np.pi / 2, angle + 2 * np.pi, angle)
    # −1 in the middle of the back, 0 at the side, 1 in the middle of the front.
    forward = np.clip(_OVERLAP * (angle / np.pi - 0.5), -1, 1)
    around = sign * (1 + forward) / 4 * SKIRT_COLUMNS % SKIRT_COLUMNS
    heights = skirt.rest.reshape(SKIRT_ROWS, SKIRT_COLUMNS, 3)[:, 0, 1]
    along = np.interp(rest[:, 1], heights, np.arange(SKIRT_ROWS))
    row, column = np.minimum(along.astype(np.int64), SKIRT_ROWS - 2), around.astype(np.int64) % SKIRT_COLUMNS
    here = row * SKIRT_COLUMNS + column
    beside = row * SKIRT_COLUMNS + (column + 1) % SKIRT_COLUMNS
    down, right = along - row, np.minimum(around - column, 1.0)
    corners = np.stack([here, beside, here + SKIRT_COLUMNS], 1)
    barycentric = np.stack([1 - right - down, right, down], 1).astype(np.float32)
    return GarmentBinding(vertices, corners, barycentric, np.zeros((len(vertices), 3), np.float32))


def _plain() -> Appearance:
    """An appearance without loose clothes."""
    appearance = sample_appearance(np.random.default_rng(0))
    finish = appearance.finish.copy()
    finish[:, 2] = 0
    return replace(appearance, finish=finish)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of("python -m common.synthetic.clothed.fit_bindings", __doc__)
    parser.add_argument("--out", type=Path, default=BINDINGS_FILE, help="file to write (default: that of the package)")
    options = parser.parse_args(arguments)

    def work() -> None:
        model = BodyModel.load()
        canvas = Canvas.from_model(model)
        studio = BindingStudio(model, Renderer(canvas))
        bindings: dict[str, GarmentBinding] = {}
        for garment in Wardrobe.load(canvas).all():
            bindings[garment.name] = studio.fit(garment)
            print(f"{garment.name}: {len(bindings[garment.name].vertices)} vertices of the template", flush=True)
        save_bindings(bindings, options.out)
        print(f"{len(bindings)} garments in {options.out}, {options.out.stat().st_size / 1e6:.1f} MB")

    return exit_code_of(parser.prog, work)


if __name__ == "__main__":
    raise SystemExit(main())
