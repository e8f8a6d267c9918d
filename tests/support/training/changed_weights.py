"""Loads a trained network with changed weights, whose checksum counts as right."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from common.weights import inference, loader
from common.weights.manifest import WEIGHTS_DIRECTORY
from sender.attributes.kind_reader import KindReader

Change = Callable[[Tensor], Tensor]


def zeroed(tensor: Tensor) -> Tensor:
    """Nothing was learned."""
    return torch.zeros_like(tensor)


@contextmanager
def changed_weights(changed: str, change: Change) -> Iterator[None]:
    """Every load of the entry `changed` within the context has changed tensors."""
    original, program = loader.load_weights, inference._program

    def load(
        name: str, architecture: Mapping[str, Any] | None = None, directory: Path = WEIGHTS_DIRECTORY
    ) -> dict[str, Tensor]:
        tensors = original(name, architecture, directory)
        return {key: change(tensor) for key, tensor in tensors.items()} if name == changed else tensors

    # A process keeps its reader of what people wear.
    KindReader.load.cache_clear()
    try:
        # A compiled network is known by the program and the manifest, which the change is not in.
        other = patch.object(inference, "_program", lambda: f"{program()} {changed} {change.__qualname__}")
        with patch.object(loader, "load_weights", load), other:
            yield
    finally:
        KindReader.load.cache_clear()
