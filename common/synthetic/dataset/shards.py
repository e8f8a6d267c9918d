"""Memory-mapped access to data sets of `common.synthetic.render_shards`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.arrays import IntArray
from common.errors import SourceError
from common.synthetic.dataset.split import Split
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
        return {name: np.load(shard / f"{name}.npy", mmap_mode="r") for name in _fields(shard)}
    except (OSError, ValueError) as error:
        raise SourceError(f"{shard} is not a complete shard ({error}); delete it and render it again") from error


def _fields(shard: Path) -> list[str]:
    """The required fields, and the optional ones that a shard has."""
    return [name for name in CROP_FIELDS if name in REQUIRED_FIELDS or (shard / f"{name}.npy").exists()]
