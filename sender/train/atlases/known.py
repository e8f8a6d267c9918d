"""Renders people and writes the texture atlas that a sender would make of each, to count masks in.

A picture is RGBA with 512 texels a side; its alpha channel says which texels are known.  People are seen from one to
eight sides.  Files that exist are kept, so the same command continues.

Examples:
  python -m sender.train.atlases.known --out atlases/train --split train --count 400
"""

import argparse
import io

import numpy as np
from PIL import Image as Pictures

from common.errors import exit_code_of
from common.io.command_line import parser_of
from common.texture.atlas import Texture
from sender.texture.atlas_memory import AtlasMemory
from sender.train.atlases.people import KNOWN_WEIGHT, AtlasPeople, add_people_flags, write_files

_MAX_SIDES = 8


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.atlases.known", __doc__)
    add_people_flags(parser, 400, "people")
    options = parser.parse_args(arguments)
    if options.count < 1:
        parser.error("--count must be at least 1")
    return options


def atlas(people: AtlasPeople, person: int) -> Texture:
    """One person's atlas, observed from one to eight sides."""
    rng = people.rng(person, 1)
    sides = int(rng.integers(1, _MAX_SIDES + 1))
    yaws = rng.uniform(0, 2 * np.pi) * (sides > 1) + 2 * np.pi / sides * np.arange(sides)
    memory = AtlasMemory(people.layout, KNOWN_WEIGHT)
    for picture in people.pictures(person, yaws.tolist()):
        memory.add(people.view(picture, picture.lit))
    return memory.texture


def png(people: AtlasPeople, persons: range) -> bytes:
    """The file of one person's atlas."""
    texture, content = atlas(people, persons.start), io.BytesIO()
    rgba = np.dstack([texture.colours, np.where(texture.known, 255, 0).astype(np.uint8)])
    Pictures.fromarray(rgba).save(content, "PNG")
    return content.getvalue()


def write_atlases(options: argparse.Namespace) -> None:
    """Renders everybody who has no file yet; errors as of `write_files`."""
    write_files(options, 1, ".png", png)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.atlases.known", lambda: write_atlases(parse())))
