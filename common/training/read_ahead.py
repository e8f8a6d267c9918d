"""Prepares the next batch while this one is trained on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(batches: Iterator[T]) -> Iterator[T]:
    """The same batches, each prepared in a thread while the one before is in use."""
    end = object()
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, end)
        while (batch := coming.result()) is not end:
            coming = reader.submit(next, batches, end)
            yield batch  # type: ignore[misc]
