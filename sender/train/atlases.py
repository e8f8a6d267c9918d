"""Renders people and writes the texture atlas that a sender would make of each, to train the picture codec on.

A picture is RGBA with 512 texels a side; its alpha channel says which texels are known.  People are seen from one to
eight sides.  Files that exist are kept, so the same command continues.

Examples:
  python -m sender.train.atlases --out atlases/train --split train --count 400
  python -m sender.train.atlases --out atlases/val --split val --count 24
"""

import argparse
import io

import numpy as np
import torch
from PIL import Image as Pictures

from common.errors import OutputError, exit_code_of
from common.io.atomic_write import atomic_write
from common.synthetic.dataset.split import Split
from common.texture.atlas import Texture
from common.training.flags import parser_of
from sender.texture.atlas_memory import AtlasMemory
from sender.train.atlas_people import KNOWN_WEIGHT, AtlasPeople, add_people_flags

_MAX_SIDES = 8


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.atlases", __doc__)
    add_people_flags(parser, 400, "people")
    options = parser.parse_args(arguments)
    if options.count < 1:
        parser.error("--count must be at least 1")
    return options


class AtlasSampler:
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

    def atlas(self, person: int) -> Texture:
        """One person's atlas, observed from one to eight sides."""
        rng = self._people.rng(person, 1)
        sides = int(rng.integers(1, _MAX_SIDES + 1))
        yaws = rng.uniform(0, 2 * np.pi) * (sides > 1) + 2 * np.pi / sides * np.arange(sides)
        memory = AtlasMemory(self._people.layout, KNOWN_WEIGHT)
        for picture in self._people.pictures(person, yaws.tolist()):
            memory.add(self._people.view(picture, picture.lit))
        return memory.texture


def write_atlases(options: argparse.Namespace) -> None:
    """Renders everybody who has no file yet.

    Raises:
        OutputError: a file cannot be written.
    """
    torch.set_num_threads(1)
    sampler = AtlasSampler(options.split, options.seed, options.count)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for person in range(options.count):
            path = options.out / f"{options.split}-{options.seed}-{person:05d}.png"
            if path.exists():
                continue
            texture = sampler.atlas(person)
            rgba = np.dstack([texture.colours, np.where(texture.known, 255, 0).astype(np.uint8)])
            content = io.BytesIO()
            Pictures.fromarray(rgba).save(content, "PNG")
            atomic_write(path, content.getvalue())
    except OSError as error:
        raise OutputError(f"cannot write {options.out}: {error.strerror or error}") from error


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.atlases", lambda: write_atlases(parse())))
