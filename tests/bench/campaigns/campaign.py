"""Parts of a long run that are done several at a time, each in a process of its own, and noted in a state file."""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from common.errors import OutputError
from tests.bench import report
from tests.netlab.faults.audit import FaultFound, rows_in


class Part(Protocol):
    """A part of a campaign."""

    @property
    def key(self) -> str:
        """What no other part is called."""


@dataclass(frozen=True, slots=True)
class NumberedPart:
    """So much of something, which the seed decides."""

    seed: int
    number: int
    amount: int

    @property
    def key(self) -> str:
        """Its name in a state file."""
        return f"{self.seed} {self.number}"


_Part = TypeVar("_Part", bound=Part)


class Campaign(Generic[_Part]):
    """Goes on where it was ended until enough is in the state file, or a part has a fault.

    Args:
        state: a line of JSON for each part that was done.
        jobs: parts at a time.
        unit: the entry of a line that says how much was done.
        run: does a part, and returns its line, with `key`, `unit` and `failure`, which is empty without a fault.
    """

    def __init__(self, state: Path, jobs: int, unit: str, run: Callable[[_Part], dict[str, Any]]) -> None:
        self._state, self._jobs, self._unit, self._run = state, jobs, unit, run

    def done(self) -> list[dict[str, Any]]:
        """What is in the state file; of a part that was repeated, the last line."""
        return list({row["key"]: row for row in rows_in(self._state)}.values())

    @property
    def amount(self) -> int:
        """How much is done."""
        return sum(row[self._unit] for row in self.done())

    def live(self, planned: Sequence[_Part], wanted: int) -> None:
        """Goes on until so much is done, or a fault is found; parts with a fault are repeated first."""
        done = self.done()
        failed = {row["key"] for row in done if row["failure"]}
        waiting = [part for part in planned if part.key not in {row["key"] for row in done} - failed]
        waiting.sort(key=lambda part: part.key not in failed)
        enough, running = self.amount >= wanted, set[int]()
        while running or (waiting and not enough):
            while waiting and len(running) < self._jobs and not enough:
                running.add(self._fork(waiting.pop(0)))
            pid, status = os.wait()
            running.discard(pid)
            if status:
                raise OutputError("a part of the campaign ended with an error of its own")
            enough = self.amount >= wanted or bool(rows_in(self._state)[-1]["failure"]) or enough

    def _fork(self, part: _Part) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            line = json.dumps(self._run(part)) + "\n"
            with open(self._state, "ab", buffering=0) as file:
                file.write(line.encode())
            code = 0
        finally:
            os._exit(code)


def add_flags(parser: argparse.ArgumentParser, parts: str, jobs: int) -> None:
    """`--state`, and `--jobs` for how many parts are done at a time."""
    parser.add_argument("--state", type=Path, help="file with the campaign so far (default: a new campaign)")
    parser.add_argument("--jobs", type=report.at_least(1), default=jobs, help=f"{parts} at a time (default: {jobs})")


@contextmanager
def campaign(
    options: argparse.Namespace, unit: str, run: Callable[[_Part], dict[str, Any]]
) -> Iterator[Campaign[_Part]]:
    """The campaign of `--state`, or a new one. Raises FaultFound at the end of the block if a part has a fault."""
    with tempfile.TemporaryDirectory() as folder:
        made = Campaign(options.state or Path(folder) / "state", options.jobs, unit, run)
        yield made
        if failures := [row["failure"] for row in made.done() if row["failure"]]:
            raise FaultFound("; ".join(failures))
