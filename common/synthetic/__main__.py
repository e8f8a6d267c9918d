"""Renders a contact sheet of synthetic people with their ground truth: `python -m common.synthetic`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from common.errors import OutputError, exit_code_of
from common.synthetic.dataset.contact_sheet import contact_sheet
from common.synthetic.dataset.presets import PRESETS, WIDE
from common.synthetic.dataset.split import SEED_RANGES
from common.synthetic.scene.scene import scene_maker

_EXAMPLES = """examples:
  python -m common.synthetic
  python -m common.synthetic --preset dressed --count 8 --columns 4 --out dressed.jpg
  python -m common.synthetic --preset candid --seed 12 --size 256 --tile 512
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m common.synthetic",
        description="Render a contact sheet of synthetic people with their ground truth: keypoints,\n"
        "outline of the mask, depth and body parts.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="seed in the training split (default %(default)s)")
    parser.add_argument("--count", type=int, default=24, help="number of people (default %(default)s)")
    parser.add_argument("--columns", type=int, default=6, help="crops in a row (default %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="rendered crop in pixels, even (default %(default)s)")
    parser.add_argument("--tile", type=int, default=256, help="crop on the sheet in pixels (default %(default)s)")
    parser.add_argument("--preset", choices=tuple(PRESETS), default=WIDE.name, help="distribution of the crops")
    parser.add_argument(
        "--out", type=Path, default=Path("contact-sheet.png"), help=".png or .jpg (default %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.count < 1 or options.columns < 1 or options.tile < 32 or options.size < 32 or options.size % 2:
        parser.error("--count and --columns must be at least 1, --tile at least 32, --size an even number from 32 up")
    if options.seed not in SEED_RANGES["train"]:
        parser.error(f"--seed must lie in 0…{SEED_RANGES['train'].stop - 1}")
    return exit_code_of(parser.prog, lambda: _write_sheet(options))


def _write_sheet(options: argparse.Namespace) -> None:
    rng = np.random.default_rng([options.seed, 1])
    scenes = scene_maker("train", rng, 2 * options.count, PRESETS[options.preset])
    sheet = contact_sheet(scenes.make(options.seed, options.count, options.size), options.columns, options.tile)
    try:
        written = cv2.imwrite(str(options.out), sheet[..., ::-1])
    except cv2.error:
        written = False
    if not written:
        raise OutputError(f"cannot write {options.out}; choose another --out, ending in .png or .jpg")
    print(f"{options.count} people in {options.out}")


if __name__ == "__main__":
    raise SystemExit(main())
