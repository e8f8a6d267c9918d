"""Loads a trained network with changed weights, whose checksum counts as right."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from common.weights import loader
from common.weights.manifest import WEIGHTS_DIRECTORY

Change = Callable[[Tensor], Tensor]


def zeroed(tensor: Tensor) -> Tensor:
    """Nothing was learned."""
    return torch.zeros_like(tensor)


def shuffled(tensor: Tensor) -> Tensor:
    """The same values at random places; vectors and integers as they are."""
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    order = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(1))
    return tensor.flatten()[order].view_as(tensor)


@contextmanager
def changed_weights(changed: str, change: Change) -> Iterator[None]:
    """Every load of the entry `changed` within the context has changed tensors."""
    original = loader.load_weights

    def load(
        name: str, architecture: Mapping[str, Any] | None = None, directory: Path = WEIGHTS_DIRECTORY
    ) -> dict[str, Tensor]:
        tensors = original(name, architecture, directory)
        return {key: change(tensor) for key, tensor in tensors.items()} if name == changed else tensors

    with patch.object(loader, "load_weights", load):
        yield
