"""Fits the expected error of the image channel's positions: `python -m common.training.channel_errors`.

Crops of the pictures that the image channel was trained on go through AWGN, with equal lengths at all positions, at
several lengths and SNRs.  The logarithm of the mean squared error of a position is fitted by Newton's method on the
likelihood of errors with a gamma distribution, whose mean, not the mean of its logarithm, is what counts.  Writes
`common/weights/channel_errors.json`.

Example:
  python -m common.training.channel_errors --data people panoramas openimages --cache cache
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.channel.expected_error import ERRORS_FILE, TABLE_VERSION, TERMS, features, terms
from common.channel.model import ImageChannel
from common.channel.transmission import load_network
from common.errors import OutputError, exit_code_of
from common.imaging.grid import STRIDE
from common.io.atomic_write import atomic_write
from common.training.image_channel import CROP_PX, sent
from common.training.picture_cache import add_picture_flags, random_crops, read_pictures

_CROPS, _BATCH = 192, 32
_LENGTHS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_SNRS_DB = (-1.0, 2.0, 6.0, 10.0, 13.0)
_LEAST_ERROR = 1e-6
_NEWTON_STEPS = 12
_RIDGE = 1e-3
# Errors beyond so many times their expectation count no more in a step of Newton's method.
_LARGEST_RATIO = 20.0

Rows = list[tuple[Tensor, Tensor]]
"""Terms (n, TERMS) and errors (n,)."""


@torch.no_grad()
def measured(network: ImageChannel, crops: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Terms and errors of all positions of crops (B, 3, H, W), for each length and SNR."""
    source = network.source(crops)
    own = features(source.statistics)
    shape = own.shape[:3]
    for snr_db in _SNRS_DB:
        for length in _LENGTHS:
            lengths, level_db = torch.full(shape, length), torch.full((len(crops),), snr_db)
            gains = torch.ones(shape, dtype=torch.complex64)
            pictures = sent(network, source, level_db, lengths, gains, generator).pictures.float().clamp(0, 1)
            errors = functional.avg_pool2d((pictures - crops).square().mean(1, keepdim=True), STRIDE)
            found = terms(own, lengths, torch.full(shape, snr_db))
            yield found.flatten(0, 2), errors.flatten().double().clamp_min(_LEAST_ERROR)


def fitted(rows: Rows) -> Tensor:
    """(TERMS,) coefficients of log₂ of the error; first by least squares of the logarithms."""
    ridge = _RIDGE * torch.eye(TERMS, dtype=torch.float64)
    squares = sum((found.T @ found for found, _ in rows), ridge)
    logarithms = sum((found.T @ errors.log2() for found, errors in rows), torch.zeros(TERMS, dtype=torch.float64))
    coefficients: Tensor = torch.linalg.solve(squares, logarithms)
    for _ in range(_NEWTON_STEPS):
        gradient, curvature = torch.zeros(TERMS, dtype=torch.float64), ridge.clone()
        for found, errors in rows:
            ratio = errors / (found @ coefficients).exp2()
            gradient += found.T @ (1 - ratio)
            curvature += (found * ratio.clamp_max(_LARGEST_RATIO)[:, None]).T @ found
        coefficients = coefficients - torch.linalg.solve(curvature, gradient) / math.log(2)
    return coefficients


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m common.training.channel_errors", None, __doc__, formatter_class=form)
    add_picture_flags(parser)
    parser.add_argument("--out", type=Path, default=ERRORS_FILE, metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--crops", type=int, default=_CROPS, help="crops to measure (default: %(default)s)")
    options = parser.parse_args(arguments)
    return exit_code_of("channel_errors", lambda: _fit(options))


def _fit(options: argparse.Namespace) -> None:
    pictures, _ = read_pictures(options, CROP_PX)
    crops = next(random_crops(pictures, options.crops, CROP_PX, np.random.default_rng(0)))
    network, generator = load_network(), torch.Generator().manual_seed(0)
    rows = [row for batch in crops.split(_BATCH) for row in measured(network, batch, generator)]
    coefficients = [round(value, 6) for value in fitted(rows).tolist()]
    try:
        atomic_write(
            options.out, (json.dumps({"version": TABLE_VERSION, "coefficients": coefficients}) + "\n").encode()
        )
    except OSError as error:
        raise OutputError(f"cannot write {options.out}: {error.strerror or error}") from error


if __name__ == "__main__":
    sys.exit(main())
