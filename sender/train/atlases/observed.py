"""Renders people and writes what a sender knows of their texture atlases beside the whole, to train the completion.

Each person is seen from eight sides, and known from some of them: from the front; from any side; from two neighbouring
sides; and from up to six.  The truth are the colours without light, of all sides.  A file has 16 people; files that
exist are kept, so the same command continues.

Arrays of a file, for n people and k = 4 choices of sides, reduced to s = 128 texels a side: `known` (n, k, s, s, 4)
and `whole` (n, s, s, 4), uint8 RGBA, whose alpha channel says which texels are known.

Examples:
  python -m sender.train.atlases.observed --out observed/train --split train --count 800
  python -m sender.train.atlases.observed --out observed/val --split val --count 48
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from common.arrays import ByteArray
from common.body.anatomy import ATLAS_SIZE
from common.errors import OutputError, exit_code_of
from common.io.atomic_write import atomic_write
from common.io.command_line import parser_of
from common.synthetic.dataset.split import SEED_RANGES, SPLITS
from common.texture.atlas import AtlasLayout
from common.texture.atlas_tiles import reduced
from sender.texture.atlas_memory import AtlasMemory
from sender.texture.atlas_view import AtlasView
from sender.train.atlases.people import KNOWN_WEIGHT, AtlasPeople

SIZE = 128
SIDES = 8
_PEOPLE_PER_FILE = 16
_LARGEST_TURN = np.pi / SIDES
_MOST_SIDES = 6


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.atlases.observed", __doc__ or "")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the files")
    parser.add_argument("--split", choices=SPLITS, default="train", help="whose shapes and poses")
    parser.add_argument(
        "--count", type=int, default=800, help=f"people, a multiple of {_PEOPLE_PER_FILE} (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="within the split's seeds (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.count % _PEOPLE_PER_FILE:
        parser.error(f"--count must be a multiple of {_PEOPLE_PER_FILE}")
    return options


def observed_atlases(people: AtlasPeople, person: int) -> tuple[ByteArray, ByteArray]:
    """What is known (k, s, s, 4) of one person by choice of sides, and the whole (s, s, 4)."""
    rng = people.rng(person, 2)
    yaws = rng.uniform(-_LARGEST_TURN, _LARGEST_TURN) + 2 * np.pi / SIDES * np.arange(SIDES)
    pictures = people.pictures(person, yaws.tolist())
    lit, unlit = ([people.view(one, getattr(one, light)) for one in pictures] for light in ("lit", "unlit"))
    choices = choices_of_sides(rng)
    known = [_joined(people.layout, [lit[side] for side in sides], remove_light=True) for sides in choices]
    return np.stack(known), _joined(people.layout, unlit, remove_light=False)


def _joined(layout: AtlasLayout, views: Sequence[AtlasView], *, remove_light: bool) -> ByteArray:
    memory = AtlasMemory(layout, KNOWN_WEIGHT, remove_light=remove_light)
    for view in views:
        memory.add(view)
    colours, known = reduced(memory.texture.colours, memory.texture.known, ATLAS_SIZE // SIZE)
    return np.dstack([colours, np.where(known, 255, 0).astype(np.uint8)])


def choices_of_sides(rng: np.random.Generator) -> list[list[int]]:
    """Numbers of the sides that somebody is known from: four choices."""
    any_side, first = (int(rng.integers(SIDES)) for _ in range(2))
    several = rng.permutation(SIDES)[: rng.integers(2, _MOST_SIDES + 1)]
    return [[0], [any_side], [first, (first + 1) % SIDES], several.tolist()]


def npz(people: AtlasPeople, persons: range) -> bytes:
    """The file of some people."""
    known, whole = zip(*(observed_atlases(people, person) for person in persons), strict=True)
    content = io.BytesIO()
    np.savez_compressed(content, known=np.stack(known), whole=np.stack(whole))
    return content.getvalue()


def write_observed_atlases(options: argparse.Namespace) -> None:
    """Renders the people of all files that do not exist.

    Raises:
        OutputError: a file cannot be written.
        RendererUnavailable: OpenGL is not available.
    """
    torch.set_num_threads(1)
    people = AtlasPeople(options.split, SEED_RANGES[options.split].start + options.seed, options.count)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for first in range(0, options.count, _PEOPLE_PER_FILE):
            path = options.out / f"{options.split}-{options.seed}-{first:05d}.npz"
            if not path.exists():
                atomic_write(path, npz(people, range(first, first + _PEOPLE_PER_FILE)))
    except OSError as error:
        raise OutputError(f"cannot write {options.out}: {error.strerror or error}") from error


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.atlases.observed", lambda: write_observed_atlases(parse())))
