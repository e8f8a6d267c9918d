"""Functions of both NumPy's arrays and PyTorch's tensors.

NumPy takes a third of PyTorch's time for a hundred operations on a few numbers; PyTorch's become one graph on a GPU.
"""

from typing import Any

import numpy as np
import torch

Array = Any
"""A float32 array, or a tensor on any device."""


def namespace(array: Array) -> Any:
    """The module whose functions take an array; those that both have are used."""
    return np if isinstance(array, np.ndarray) else torch


def selected(array: Array, index: Array) -> Array:
    """The elements along the second axis at an index."""
    return array.take(index, 1) if isinstance(array, np.ndarray) else array.index_select(1, index)


def solved(matrices: Array, columns: Array) -> Array:
    """(B, N, 1) the solutions x of matrices (B, N, N) times x = columns (B, N, 1)."""
    if isinstance(matrices, np.ndarray):
        return np.linalg.solve(matrices, columns)
    # Without the check, which would wait for a GPU.
    return torch.linalg.solve_ex(matrices, columns)[0]
