"""Renders people and writes what a sender knows of their texture atlases beside the whole, to train the completion.

Each person is seen from eight sides, and known from some of them: from the front; from any side; from two neighbouring
sides; and from up to six.  The truth are the colours without light, of all sides.  A file has 16 people; files that
exist are kept, so the same command continues.

Arrays of a file, for n people and k = 4 choices of sides, reduced to s = 128 texels a side: `known` (n, k, s, s, 4)
and `whole` (n, s, s, 4), uint8 RGBA, whose alpha channel says which texels are known.

Examples:
  python -m sender.train.observed_atlases --out observed/train --split train --count 800
  python -m sender.train.observed_atlases --out observed/val --split val --count 48
"""

import argparse
import io
from collections.abc import Sequence

import numpy as np
import torch

from common.arrays import ByteArray
from common.body.anatomy import ATLAS_SIZE
from common.errors import OutputError, exit_code_of
from common.io.atomic_write import atomic_write
from common.synthetic.dataset.split import Split
from common.texture.atlas_tiles import reduced
from common.training.flags import parser_of
from sender.texture.atlas_memory import AtlasMemory
from sender.texture.atlas_view import AtlasView
from sender.train.atlas_people import KNOWN_WEIGHT, AtlasPeople, add_people_flags

SIZE = 128
SIDES = 8
_PEOPLE_PER_FILE = 16
_LARGEST_TURN = np.pi / SIDES
_MOST_SIDES = 6


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.observed_atlases", __doc__ or "")
    add_people_flags(parser, 800, f"people, a multiple of {_PEOPLE_PER_FILE}")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.count % _PEOPLE_PER_FILE:
        parser.error(f"--count must be a multiple of {_PEOPLE_PER_FILE}")
    return options


class ObservedAtlasSampler:
    """Makes atlases of rendered people with their true poses and masks.

    Args:
        split: whose shapes and poses people have.
        seed: within the split's seeds.
        count: people that can be rendered.

    Raises:
        RendererUnavailable: OpenGL is not available.
    """

    def __init__(self, split: Split, seed: int, count: int) -> None:
        self._people = AtlasPeople(split, seed, count)

    def atlases(self, person: int) -> tuple[ByteArray, ByteArray]:
        """What is known (k, s, s, 4) of one person by choice of sides, and the whole (s, s, 4)."""
        rng = self._people.rng(person, 2)
        yaws = rng.uniform(-_LARGEST_TURN, _LARGEST_TURN) + 2 * np.pi / SIDES * np.arange(SIDES)
        lit: list[AtlasView] = []
        unlit: list[AtlasView] = []
        for picture in self._people.pictures(person, yaws.tolist()):
            for views, image in ((lit, picture.lit), (unlit, picture.unlit)):
                views.append(self._people.view(picture, image))
        known = [self._atlas([lit[side] for side in sides], remove_light=True) for sides in choices_of_sides(rng)]
        return np.stack(known), self._atlas(unlit, remove_light=False)

    def _atlas(self, views: Sequence[AtlasView], *, remove_light: bool) -> ByteArray:
        memory = AtlasMemory(self._people.layout, KNOWN_WEIGHT, remove_light=remove_light)
        for view in views:
            memory.add(view)
        colours, known = reduced(memory.texture.colours, memory.texture.known, ATLAS_SIZE // SIZE)
        return np.dstack([colours, np.where(known, 255, 0).astype(np.uint8)])


def choices_of_sides(rng: np.random.Generator) -> list[list[int]]:
    """Numbers of the sides that somebody is known from: four choices."""
    any_side, first = (int(rng.integers(SIDES)) for _ in range(2))
    several = rng.permutation(SIDES)[: rng.integers(2, _MOST_SIDES + 1)]
    return [[0], [any_side], [first, (first + 1) % SIDES], several.tolist()]


def write_observed_atlases(options: argparse.Namespace) -> None:
    """Renders the people of all files that do not exist.

    Raises:
        OutputError: a file cannot be written.
    """
    torch.set_num_threads(1)
    sampler = ObservedAtlasSampler(options.split, options.seed, options.count)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for first in range(0, options.count, _PEOPLE_PER_FILE):
            path = options.out / f"{options.split}-{options.seed}-{first:05d}.npz"
            if path.exists():
                continue
            known, whole = zip(*map(sampler.atlases, range(first, first + _PEOPLE_PER_FILE)), strict=True)
            content = io.BytesIO()
            np.savez_compressed(content, known=np.stack(known), whole=np.stack(whole))
            atomic_write(path, content.getvalue())
    except OSError as error:
        raise OutputError(f"cannot write {options.out}: {error.strerror or error}") from error


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.observed_atlases", lambda: write_observed_atlases(parse())))
