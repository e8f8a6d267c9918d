"""What a campaign has done: a line for each piece in a file that survives SIGKILL, and the figures of all pieces."""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from common.errors import UsageError
from tests.bench.measures import percentile

Row = Mapping[str, Any]
_QUANTILES = np.linspace(0, 1, 1001)
_SETTLING_MINUTES = 5


@dataclass(frozen=True)
class Piece:
    """What one piece of a part found.

    Args:
        done: how far it came, in the part's unit.
        counts: summed over pieces.
        samples: name → values, whose percentiles over all pieces are shown.
        lines: name → (process, minute of the process, value), through which a line is fitted.
        faults: sentences; none if all was right.
    """

    done: float
    counts: Mapping[str, float] = field(default_factory=dict)
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    lines: Mapping[str, Sequence[tuple[float, float, float]]] = field(default_factory=dict)
    faults: Sequence[str] = ()


class Journal:
    """The finished pieces of a campaign; the folder is locked until the process ends (UsageError if it already is)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / "pieces.jsonl", "a+b")  # noqa: SIM115
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UsageError(f"another campaign is using {folder}") from error
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        # A line that was being written when the process was killed goes.
        whole = [line for line in lines if line.endswith(b"\n")]
        self._file.truncate(sum(map(len, whole)))
        self._rows: list[Row] = [json.loads(line) for line in whole]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, part: str, piece: Piece, **more: object) -> None:
        """Writes a piece, with more about it, to the disk."""
        line = json.dumps({"part": part, **more, **asdict(piece)})
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._rows.append(json.loads(line))

    def rows(self, part: str) -> list[Row]:
        """The pieces of a part, in order."""
        return [row for row in self._rows if row["part"] == part]


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """Sums, percentiles, medians and slopes over all pieces of a part."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(row["counts"])
    found: dict[str, float] = dict(counts)
    for name, values in _together(rows, "samples"):
        found |= {f"{name}_p{share}": percentile(values, share) for share in (50, 95, 99, 100)}
    for name, points in _together(rows, "lines"):
        found[f"{name}_median"] = percentile([value for *_, value in points], 50)
        found[f"{name}_per_hour"], found[f"{name}_per_hour_error"] = slope(points)
    return found


def _together(rows: Sequence[Row], kind: str) -> Iterator[tuple[str, list[Any]]]:
    for name in dict.fromkeys(name for row in rows for name in row[kind]):
        yield name, [value for row in rows for value in row[kind].get(name, ())]


def slope(points: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Slope per hour, with its standard error, of equally steep lines through the points of each process.

    Args:
        points: (process, minute, value); the first minutes of each process are left out.
    """
    settled = np.array([point for point in points if point[1] > _SETTLING_MINUTES]).reshape(-1, 3)
    processes, process = np.unique(settled[:, 0], return_inverse=True)
    freedom = len(settled) - len(processes) - 1
    if freedom < 1:
        return float("nan"), float("nan")
    for number in range(len(processes)):
        settled[process == number] -= settled[process == number].mean(0)
    _, minutes, values = settled.T
    spread = minutes @ minutes
    steepness = minutes @ values / spread
    return 60 * float(steepness), 60 * float(np.sqrt(((values - steepness * minutes) ** 2).sum() / freedom / spread))


def thinned(values: npt.ArrayLike) -> list[float]:
    """At most a thousand values with about the same percentiles."""
    array = np.asarray(values, np.float64)
    return [round(float(value), 3) for value in (np.quantile(array, _QUANTILES) if array.size > 1000 else array)]
