"""Checkpoints of a training: written whole or not at all, so that a training killed at any moment resumes."""

from pathlib import Path
from typing import Any

import torch

from common.errors import OutputError, UsageError
from common.io.atomic_write import atomic_replacement


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, texts, nested) to `path`.

    Raises:
        OutputError: the directory cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"cannot write the checkpoint {path}: {error}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote.

    Raises:
        UsageError: there is no checkpoint at `path`, or it cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UsageError(f"cannot resume from {path}: {error}") from error
    return state
