"""Fits the bindings of the template to the garments of the wardrobe, and writes them into the package.

Needs a few minutes.  A new wardrobe or another body needs new bindings.

Examples:
  python -m common.synthetic.clothed.fit_bindings
  python -m common.synthetic.clothed.fit_bindings --garment made_skirt
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.arrays import FloatArray
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.errors import exit_code_of
from common.synthetic.assets.appearance import Appearance, sample_appearance
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.body_garments import SKIRT_NAME
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.clothed.binding import (
    BINDINGS_FILE,
    BindingFitter,
    GarmentBinding,
    OuterSurface,
    load_bindings,
    save_bindings,
)
from common.synthetic.clothed.exposure import ExposureMeter
from common.synthetic.clothed.shell import Shell, ShellMaker
from common.synthetic.clothed.skirt_binding import bind_legs
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


def _plain() -> Appearance:
    """An appearance without loose clothes."""
    appearance = sample_appearance(np.random.default_rng(0))
    finish = appearance.finish.copy()
    finish[:, 2] = 0
    return replace(appearance, finish=finish)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m common.synthetic.clothed.fit_bindings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=BINDINGS_FILE, help="file to write (default: that of the package)")
    parser.add_argument(
        "--garment", action="append", metavar="NAME", help="fit this one only, keep the others in --out"
    )
    options = parser.parse_args(arguments)

    def work() -> None:
        model = BodyModel.load()
        canvas = Canvas.from_model(model)
        studio = BindingStudio(model, Renderer(canvas))
        bindings = load_bindings(options.out) if options.garment else {}
        for garment in [
            item for item in Wardrobe.load(canvas).all() if not options.garment or item.name in options.garment
        ]:
            bindings[garment.name] = studio.fit(garment)
            print(f"{garment.name}: {len(bindings[garment.name].vertices)} vertices of the template", flush=True)
        save_bindings(bindings, options.out)
        print(f"{len(bindings)} garments in {options.out}, {options.out.stat().st_size / 1e6:.1f} MB")

    return exit_code_of(parser.prog, work)


if __name__ == "__main__":
    raise SystemExit(main())
