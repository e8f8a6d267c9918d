"""Renders a data set of synthetic people with ground truth, as shards of NumPy arrays.

A data set is a folder of shards `<split>-<number>/`, each with one `.npy` file per field of
`common.synthetic.scene.scene.CROP_FIELDS`.  A shard is written atomically and an existing one is kept, so an
interrupted run can be continued.  The same split, seed, size and preset give the same images.

Examples:
  python -m common.synthetic.render_shards --out everyday --preset everyday --count 106496
  python -m common.synthetic.render_shards --out everyday --preset everyday --split val --count 4096
"""

import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.arrays import IntArray
from common.errors import OutputError, SourceError, exit_code_of
from common.io.command_line import parser_of
from common.synthetic.dataset import PRESETS, SEED_RANGES, SPLITS, WIDE, DatasetPreset, Split, check_seed
from common.synthetic.scene.scene import CROP_FIELDS, OPTIONAL_FIELDS

Batch = dict[str, npt.NDArray[np.generic]]
REQUIRED_FIELDS: tuple[str, ...] = tuple(name for name in CROP_FIELDS if name not in OPTIONAL_FIELDS)
"""Fields that every shard has."""


class CropDataset:
    """The crops of one split in one or more data sets.

    Args:
        directories: folders of data sets, concatenated in this order.

    Raises:
        SourceError: there is no shard of the split, or a shard lacks a field.
    """

    def __init__(self, directories: Sequence[Path], split: Split) -> None:
        shards = [shard for directory in directories for shard in sorted(Path(directory).glob(f"{split}-*"))]
        if not shards:
            folders = ", ".join(str(directory) for directory in directories)
            raise SourceError(f"no {split} images in {folders}; render some: python -m common.synthetic.render_shards")
        self._shards = [_open(shard) for shard in shards]
        self._ends = np.cumsum([len(shard["image"]) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def side(self) -> int:
        """Side of the crops, pixels."""
        return int(self._shards[0]["image"].shape[1])

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that all shards have, in the order of `CROP_FIELDS`."""
        return tuple(name for name in CROP_FIELDS if all(name in shard for shard in self._shards))

    def batch(self, indices: npt.ArrayLike, fields: Sequence[str] = REQUIRED_FIELDS) -> Batch:
        """Copies of the crops with the given indices: field → (N, …).

        Raises:
            IndexError: an index is outside the data set.
            SourceError: a shard lacks one of the fields.
        """
        missing = [name for name in fields if name not in self.fields]
        if missing:
            raise SourceError(f"the crops lack {', '.join(missing)}; render them again")
        index = np.asarray(indices, np.int64)
        if index.size and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"crops {index.min()}…{index.max()} of a data set of {len(self)}")
        shard = np.searchsorted(self._ends, index, side="right")
        starts = np.concatenate([[0], self._ends[:-1]])
        row = index - starts[shard]
        return {name: self._gather(name, shard, row) for name in fields}

    def batches(self, size: int, fields: Sequence[str] = REQUIRED_FIELDS) -> Iterator[Batch]:
        """All crops in their order, `size` at once; raises as `batch`."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))), fields)

    def _gather(self, name: str, shard: IntArray, row: IntArray) -> npt.NDArray[np.generic]:
        first = self._shards[0][name]
        out = np.empty((len(row), *first.shape[1:]), first.dtype)
        for number in np.unique(shard):
            in_shard = shard == number
            out[in_shard] = self._shards[number][name][row[in_shard]]
        return out


def _open(shard: Path) -> Batch:
    try:
        here = [name for name in CROP_FIELDS if name in REQUIRED_FIELDS or (shard / f"{name}.npy").exists()]
        return {name: np.load(shard / f"{name}.npy", mmap_mode="r") for name in here}
    except (OSError, ValueError) as error:
        raise SourceError(f"{shard} is not a complete shard ({error}); delete it and render it again") from error


BATCH = 64
"""Images that are rendered from one seed."""
SHARD = 4096
"""Images in a shard."""
_SEEDS_PER_DATASET = 10_000
_MAX_BACKGROUNDS = 200


@dataclass(frozen=True)
class Task:
    """One shard.

    Args:
        split: split whose identities, poses and seeds are used.
        seed: seed of the data set, from 0 within its split.
        size: width of a crop, pixels.
    """

    out: Path
    split: Split
    seed: int
    number: int
    count: int
    size: int
    preset: DatasetPreset = WIDE

    @property
    def directory(self) -> Path:
        """Folder of the shard."""
        return self.out / f"{self.split}-{self.number:04d}"

    def batch_seeds(self) -> list[int]:
        """The seed of each batch.

        Raises:
            ValueError: the data set is too large for one seed, or the seed is outside the split.
        """
        first = self.number * (SHARD // BATCH)
        batches = range(first, first + -(-self.count // BATCH))
        if batches.stop > _SEEDS_PER_DATASET:
            raise ValueError(
                f"a data set of one seed has at most {_SEEDS_PER_DATASET * BATCH} images; add another seed"
            )
        start = SEED_RANGES[self.split].start + self.seed * _SEEDS_PER_DATASET
        return [check_seed(self.split, start + batch) for batch in batches]


def render_shard(task: Task) -> int:
    """Renders one shard, and gives the number of its images."""
    # Imported in the worker only: the parent needs neither torch nor OpenGL.
    from common.synthetic.scene.scene import scene_maker

    seeds = task.batch_seeds()
    backgrounds = min(_MAX_BACKGROUNDS, max(8, task.count // 4))
    scenes = scene_maker(task.split, np.random.default_rng([seeds[0], 1]), backgrounds, task.preset)
    counts = [min(BATCH, task.count - start) for start in range(0, task.count, BATCH)]
    batches = [scenes.make(seed, count, task.size) for seed, count in zip(seeds, counts, strict=True)]
    unfinished = task.directory.with_name(f".{task.directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name in batches[0]:
        np.save(unfinished / f"{name}.npy", np.concatenate([batch[name] for batch in batches]))
    unfinished.rename(task.directory)
    return task.count


def render(tasks: Sequence[Task], workers: int) -> None:
    """Renders all shards in `workers` processes, and says on stderr after each how long the others take."""
    context = multiprocessing.get_context("spawn")
    total, done, began_s = sum(task.count for task in tasks), 0, time.monotonic()
    with context.Pool(workers, _start_worker) as pool:
        for count in pool.imap_unordered(render_shard, tasks):
            done += count
            rate = done / (time.monotonic() - began_s)
            print(f"{done}/{total} images, {rate:.0f}/s, {(total - done) / rate:.0f} s left", file=sys.stderr)


def _start_worker() -> None:
    # Set before Mesa loads: rasterise in this thread only, because every core has a worker.
    os.environ["LP_NUM_THREADS"] = "0"
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def plan(out: Path, split: Split, seed: int, count: int, size: int, preset: DatasetPreset = WIDE) -> list[Task]:
    """The shards of a data set that do not exist yet.

    Raises:
        ValueError: see `Task.batch_seeds`.
    """
    shards = range(-(-count // SHARD))
    tasks = [Task(out, split, seed, number, min(SHARD, count - number * SHARD), size, preset) for number in shards]
    for task in tasks:
        task.batch_seeds()
    return [task for task in tasks if not task.directory.exists()]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of("python -m common.synthetic.render_shards", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", choices=SPLITS, default="train", help="default %(default)s")
    parser.add_argument("--count", type=int, default=SHARD, help="number of images (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed within the split (default %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="width of a crop in pixels, even (default %(default)s)")
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), default=WIDE.name, help="distribution (default %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.size < 32 or options.size % 2 or options.workers < 1:
        parser.error("--count and --workers must be at least 1, --size an even number from 32 up")
    try:
        tasks = plan(options.out, options.split, options.seed, options.count, options.size, PRESETS[options.preset])
    except ValueError as error:
        parser.error(str(error))
    return exit_code_of(parser.prog, lambda: _render_into(options.out, tasks, options.workers))


def _render_into(out: Path, tasks: Sequence[Task], workers: int) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}; choose another --out") from error
    if tasks:
        render(tasks, min(workers, len(tasks)))


if __name__ == "__main__":
    raise SystemExit(main())
