"""Reads data sets that `common.synthetic.render_shards` wrote, without loading them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.arrays import IntArray
from common.errors import SourceError
from common.synthetic.dataset.split import Split
from common.synthetic.scene.scene import CROP_FIELDS

Batch = dict[str, npt.NDArray[np.generic]]


class CropDataset:
    """Crops of one split in one or more directories, memory-mapped.

    Args:
        directories: data sets; their shards follow one another.
        split: which shards to take.

    Raises:
        SourceError: no shard of the split there, or one that lacks a field.
    """

    def __init__(self, directories: Sequence[Path], split: Split) -> None:
        shards = [shard for directory in directories for shard in sorted(Path(directory).glob(f"{split}-*"))]
        if not shards:
            places = ", ".join(str(directory) for directory in directories)
            raise SourceError(f"no {split} images in {places}; make some with python -m common.synthetic.render_shards")
        self._shards = [_open(shard) for shard in shards]
        self._ends = np.cumsum([len(shard["image"]) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, indices: npt.ArrayLike, fields: Sequence[str] = tuple(CROP_FIELDS)) -> Batch:
        """Crops by index: field → (N, …) array of its own.

        Raises:
            IndexError: an index outside the data set.
        """
        wanted = np.asarray(indices, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"crop {wanted.min()}…{wanted.max()} of a data set of {len(self)}")
        shard = np.searchsorted(self._ends, wanted, side="right")
        starts = np.concatenate([[0], self._ends[:-1]])
        row = wanted - starts[shard]
        return {name: self._gather(name, shard, row) for name in fields}

    def _gather(self, name: str, shard: IntArray, row: IntArray) -> npt.NDArray[np.generic]:
        first = self._shards[0][name]
        out = np.empty((len(row), *first.shape[1:]), first.dtype)
        for number in np.unique(shard):
            own = shard == number
            out[own] = self._shards[number][name][row[own]]
        return out


def _open(shard: Path) -> Batch:
    try:
        return {name: np.load(shard / f"{name}.npy", mmap_mode="r") for name in CROP_FIELDS}
    except (OSError, ValueError) as error:
        raise SourceError(f"{shard} is not a whole shard ({error}); delete it and render it again") from error
