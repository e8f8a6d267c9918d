"""Prepares the batches of a training ahead: in a thread, or in processes where one thread cannot feed a GPU."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import cv2
import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

Item = TypeVar("Item")

_AHEAD = 4


def loaded(batches: Callable[[np.random.Generator], Iterator[Item]], seed: int, processes: int = 0) -> Generator[Item]:
    """Endless batches, prepared while earlier ones are in use.

    Args:
        batches: gives endless batches; its random numbers differ between processes.
        seed: of all of them.
        processes: that prepare batches, each some ahead; with 0, a thread prepares one.
    """
    if not processes:
        return read_ahead(batches(np.random.default_rng(seed)))
    # Forked: pictures and shards that are read already are shared.
    loader = DataLoader(
        _Batches(batches, seed),
        batch_size=None,
        num_workers=processes,
        prefetch_factor=_AHEAD,
        multiprocessing_context="fork",
        collate_fn=_as_it_is,
    )
    return _each(loader)


def read_ahead(batches: Iterator[Item]) -> Generator[Item]:
    """The same batches, each prepared in a thread while the one before is in use."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches)
        while True:
            batch = coming.result()
            coming = reader.submit(next, batches)
            yield batch


def _as_it_is(batch: Item) -> Item:
    """By default, the loader makes lists of tuples."""
    return batch


def _each(loader: DataLoader[Item]) -> Generator[Item]:
    yield from loader


class _Batches(IterableDataset[Item], Generic[Item]):
    def __init__(self, batches: Callable[[np.random.Generator], Iterator[Item]], seed: int) -> None:
        self._batches, self._seed = batches, seed

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        assert worker is not None
        # OpenCV's threads do not survive a fork, and the processes are parallel enough.
        cv2.setNumThreads(0)
        return self._batches(np.random.default_rng([self._seed, worker.id]))
