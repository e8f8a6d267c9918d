"""Counts how often texels of texture atlases are known next to others; the mask codec ships with the frequencies.

The atlases are those that a sender would make of rendered people who are seen from one to eight sides.  Both ends of a
link must have the same frequencies.

Examples:
  python -m sender.train.atlases.mask_frequencies --count 125
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from common.arrays import BoolArray, Float64Array, IntArray
from common.errors import exit_code_of
from common.io.command_line import parser_of
from common.texture.atlas_tiles import TILES, reduced
from common.texture.mask_codec import CONTEXTS, FREQUENCIES_FILE, PROBABILITY_BITS, observed_contexts
from sender.texture.atlas_memory import AtlasMemory
from sender.train.atlases.people import KNOWN_WEIGHT, AtlasPeople

_MAX_SIDES = 8
_NEAREST = 4
_NEIGHBOUR_BITS = 12
# How many texels the mean of similar contexts counts as.
_PRIOR_TEXELS = 4.0


def rendered_masks(count: int) -> Iterator[BoolArray]:
    """The known texels (512, 512) of training people. Raises RendererUnavailable if OpenGL is not available."""
    people = AtlasPeople("train", 0, count)
    for person in range(count):
        rng = people.rng(person, 1)
        sides = int(rng.integers(1, _MAX_SIDES + 1))
        yaws = rng.uniform(0, 2 * np.pi) * (sides > 1) + 2 * np.pi / sides * np.arange(sides)
        memory = AtlasMemory(people.layout, KNOWN_WEIGHT)
        for picture in people.pictures(person, yaws.tolist()):
            memory.add(people.view(picture, picture.lit))
        yield memory.texture.known


def mask_frequencies(masks: Iterable[BoolArray]) -> IntArray:
    """(CONTEXTS,) of `MaskCodec`, from the known texels (512, 512) of atlases.

    Contexts that are rare are mixed with all those that have as many known texels among the four nearest and among the
    others.
    """
    texels, ones = np.zeros(CONTEXTS), np.zeros(CONTEXTS)
    for known in masks:
        for tile in TILES:
            part = known[tile.area]
            _, mask = reduced(np.zeros((*part.shape, 3), np.uint8), part, tile.scale)
            if not mask.any() or mask.all():
                continue
            for contexts, values in observed_contexts(mask):
                texels += np.bincount(contexts, minlength=CONTEXTS)
                ones += np.bincount(contexts, weights=values, minlength=CONTEXTS)
    kind = _kinds()
    mean = (np.bincount(kind, weights=ones) + 0.5) / (np.bincount(kind, weights=texels) + 1.0)
    probability: Float64Array = (ones + _PRIOR_TEXELS * mean[kind]) / (texels + _PRIOR_TEXELS)
    whole = 1 << PROBABILITY_BITS
    return np.rint(probability * whole).astype(np.int64).clip(1, whole - 1)


def _kinds() -> IntArray:
    """(CONTEXTS,) number of each context's group of similar ones."""
    context = np.arange(CONTEXTS)
    neighbours = context >> np.arange(_NEIGHBOUR_BITS)[:, None] & 1
    near, far = neighbours[:_NEAREST].sum(axis=0), neighbours[_NEAREST:].sum(axis=0)
    step = context >> _NEIGHBOUR_BITS
    return np.asarray((step * (_NEAREST + 1) + near) * (_NEIGHBOUR_BITS - _NEAREST + 1) + far, np.int64)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    program = "python -m sender.train.atlases.mask_frequencies"
    parser = parser_of(program, __doc__)
    parser.add_argument("--count", type=int, default=125, help="people (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=FREQUENCIES_FILE, help="file to write (default: the package's)")
    options = parser.parse_args(arguments)

    def fit() -> None:
        torch.set_num_threads(1)
        frequencies = mask_frequencies(rendered_masks(options.count))
        np.savez_compressed(options.out, known=frequencies.astype(np.uint16))

    return exit_code_of(program, fit)


if __name__ == "__main__":
    raise SystemExit(main())
