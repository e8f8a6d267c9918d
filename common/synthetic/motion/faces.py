"""What faces do over time: recordings of Live Link Face, which are the facial actions of ARKit."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from common.errors import SourceError


def recorded_faces(paths: Iterable[Path]) -> FloatArray:
    """(N, 52) activations, 0…1, in the order of `FACIAL_ACTIONS`; lines that were cut short are left out.

    Raises:
        SourceError: a file has no column of an action.
    """
    rows = []
    for path in paths:
        header, *lines = csv.reader(path.read_text(encoding="utf-8").splitlines())
        names = [name.strip().lower() for name in header]
        try:
            columns = [names.index(action.lower()) for action in FACIAL_ACTIONS]
        except ValueError as error:
            raise SourceError(f"{path} is no recording of Live Link Face: {error}") from error
        rows += [[float(line[column]) for column in columns] for line in lines if len(line) == len(header)]
    return np.asarray(rows, np.float32).clip(0, 1)
