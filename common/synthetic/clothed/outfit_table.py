"""Writes tables of dressed people, to train networks on what people wear.

A table is a folder of shards `<split>-<seed>/` of .npy files: displacement int16 (n, V', 3) in 0.1 mm, surface float32
(n, 24), material uint8 (n, V'), shape float32 (n, 10).  V' are the vertices of
`common.body.template`; `common.body.surface_space` decodes `surface`.  A second run with the same arguments continues
where the first one stopped.

Examples:
  python -m common.synthetic.clothed.outfit_table --out outfits --count 4096
  python -m common.synthetic.clothed.outfit_table --out outfits --split val --count 512
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from common.arrays import ByteArray, FloatArray
from common.body.surface_space import SurfaceSpace
from common.errors import OutputError, SourceError, exit_code_of
from common.io.command_line import parser_of
from common.synthetic.clothed.outfit_sampler import DressedPerson, OutfitSampler
from common.synthetic.dataset.presets import PRESETS, WARDROBE
from common.synthetic.dataset.split import SEED_RANGES, SPLITS, Split, check_seed

SHARD = 512
DISPLACEMENT_STEP_M = 1e-4


@dataclass(frozen=True, eq=False)
class OutfitTable:
    """Dressed people in memory, quantised as on disk.

    Args:
        displacement: (n, V', 3) int16 in 0.1 mm, rest pose.
        surface: (n, 24) float32 entries of the label group.
        material: (n, V') uint8 index into `appearance.MATERIALS`.
        shape: (n, 10) float32 coefficients.
    """

    displacement: npt.NDArray[np.int16]
    surface: FloatArray
    material: ByteArray
    shape: FloatArray

    def __len__(self) -> int:
        return len(self.surface)

    @classmethod
    def read(cls, directory: Path, split: Split, limit: int | None = None) -> Self:
        """The shards of a split.

        Raises:
            SourceError: the directory has no shard of the split.
        """
        shards = sorted(directory.glob(f"{split}-*"))[: None if limit is None else -(-limit // SHARD)]
        if not shards:
            raise SourceError(
                f"no {split} outfits in {directory}: run python -m common.synthetic.clothed.outfit_table first"
            )
        return cls(*(np.concatenate([np.load(shard / f"{name}.npy") for shard in shards])[:limit] for name in _FIELDS))

    def displacements(self, rows: npt.ArrayLike) -> torch.Tensor:
        """(B, V', 3) float32 displacements of some people, metres."""
        return torch.from_numpy(self.displacement[np.asarray(rows)]).float() * DISPLACEMENT_STEP_M


_FIELDS = ("displacement", "surface", "material", "shape")


def table_of(people: Sequence[DressedPerson], space: SurfaceSpace) -> OutfitTable:
    """The table of sampled people."""
    fields = np.stack([person.clothed.displacement for person in people])
    return OutfitTable(
        displacement=np.round(fields / DISPLACEMENT_STEP_M).astype(np.int16),
        surface=space.encode(torch.from_numpy(fields)).numpy(),
        material=np.stack([person.clothed.material for person in people]),
        shape=np.stack([person.shape for person in people]),
    )


def write_shard(directory: Path, table: OutfitTable) -> None:
    """Writes one shard, atomically."""
    unfinished = directory.with_name(f".{directory.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        for name in _FIELDS:
            np.save(unfinished / f"{name}.npy", getattr(table, name))
        unfinished.rename(directory)
    except OSError as error:
        raise OutputError(f"cannot write {directory}: {error.strerror}; choose another --out") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    program = "python -m common.synthetic.clothed.outfit_table"
    parser = parser_of(program, __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument(
        "--split", choices=SPLITS, default="train", help="whose shapes and seeds (default: %(default)s)"
    )
    parser.add_argument("--count", type=int, default=4096, help="number of people (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, help="of the first shard (default: one that the surface space is not fitted to)"
    )
    parser.add_argument("--preset", choices=tuple(PRESETS), default=WARDROBE.name, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.count < 1:
        parser.error("--count must be at least 1")
    first = SEED_RANGES[options.split].start + _FIRST_SEED if options.seed is None else options.seed
    try:
        check_seed(options.split, first + options.count // SHARD)
    except ValueError as error:
        parser.error(str(error))
    return exit_code_of(program, lambda: _write(options, first))


_FIRST_SEED = 500_000
"""Within the split: the surface space is fitted to other people."""


def _write(options: argparse.Namespace, first: int) -> None:
    torch.set_num_threads(1)
    space, began = SurfaceSpace.load(), time.monotonic()
    sampler = OutfitSampler(options.split, PRESETS[options.preset])
    for number, start in enumerate(range(0, options.count, SHARD)):
        directory = options.out / f"{options.split}-{first + number:010d}"
        count = min(SHARD, options.count - start)
        if not directory.exists():
            write_shard(directory, table_of(list(sampler.people(first + number, count)), space))
            print(f"{start + count} of {options.count} people, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
