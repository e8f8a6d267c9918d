"""Counts how often texels of texture atlases are known next to others; the mask codec ships with the frequencies.

The atlases are PNG files of `sender.train.atlases.known`.  Both ends of a link must have the same frequencies.

Examples:
  python -m common.training.fit_mask_frequencies --atlases atlases/train
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image as Pictures

from common.arrays import BoolArray, Float64Array, IntArray
from common.body.anatomy import ATLAS_SIZE
from common.errors import SourceError, exit_code_of
from common.io.command_line import parser_of
from common.texture.atlas_tiles import TILES, reduced
from common.texture.mask_codec import CONTEXTS, FREQUENCIES_FILE, PROBABILITY_BITS, observed_contexts

_NEAREST = 4
_NEIGHBOUR_BITS = 12
# How many texels the mean of similar contexts counts as.
_PRIOR_TEXELS = 4.0


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


def read_masks(folder: Path) -> list[BoolArray]:
    """The known texels (512, 512) of the atlases in a folder.

    Raises:
        SourceError: there is none, or one cannot be read or has another size.
    """
    masks = []
    for path in sorted(folder.glob("*.png")):
        try:
            with Pictures.open(path) as picture:
                masks.append(np.asarray(picture.getchannel("A")) > 0)
        except (OSError, ValueError, SyntaxError) as error:
            raise SourceError(f"{path}: cannot be read as a picture with an alpha channel") from error
        if masks[-1].shape != (ATLAS_SIZE, ATLAS_SIZE):
            raise SourceError(f"{path}: an atlas has {ATLAS_SIZE} texels a side")
    if not masks:
        raise SourceError(f"no atlases in {folder}: run python -m sender.train.atlases.known")
    return masks


def _kinds() -> IntArray:
    """(CONTEXTS,) number of each context's group of similar ones."""
    context = np.arange(CONTEXTS)
    neighbours = context >> np.arange(_NEIGHBOUR_BITS)[:, None] & 1
    near, far = neighbours[:_NEAREST].sum(axis=0), neighbours[_NEAREST:].sum(axis=0)
    step = context >> _NEIGHBOUR_BITS
    return np.asarray((step * (_NEAREST + 1) + near) * (_NEIGHBOUR_BITS - _NEAREST + 1) + far, np.int64)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m common.training.fit_mask_frequencies", __doc__)
    parser.add_argument("--atlases", type=Path, required=True, metavar="DIR", help="PNG files")
    parser.add_argument("--out", type=Path, default=FREQUENCIES_FILE, help="file to write (default: the package's)")
    return parser.parse_args(arguments)


def fit(options: argparse.Namespace) -> None:
    """Writes the frequencies. Raises SourceError as `read_masks`."""
    np.savez_compressed(options.out, known=mask_frequencies(read_masks(options.atlases)).astype(np.uint16))


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m common.training.fit_mask_frequencies", lambda: fit(parse())))
