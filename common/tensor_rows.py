"""Dataclasses of tensors whose first axes count the same things."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from common.io.files import atomic_replacement


class TensorRows:
    """What a dataclass has whose fields all are tensors (N, …): a length, some of its rows, and several as one."""

    __slots__ = ()

    def __len__(self) -> int:
        dataclass: Any = self
        return len(getattr(self, next(iter(dataclass.__dataclass_fields__))))

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return type(self)(*(column[rows] for column in self.columns()))

    def to(self, device: torch.device) -> Self:
        """The same rows on a device."""
        return type(self)(*(column.to(device) for column in self.columns()))

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Several batches as one, of the class of the first."""
        columns = map(torch.cat, zip(*(part.columns() for part in parts), strict=True))
        return type(parts[0])(*columns)

    @classmethod
    def cached(cls, path: Path, make: Callable[[], Self]) -> Self:
        """The rows of a file, which is written if it is missing; read as far as they are used."""
        if not path.exists():
            rows = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_replacement(path) as partial:
                torch.save(rows.columns(), partial)
        return cls(*torch.load(path, mmap=True))

    def columns(self) -> list[Tensor]:
        """All fields, in their order."""
        dataclass: Any = self
        return [getattr(self, item.name) for item in fields(dataclass)]
