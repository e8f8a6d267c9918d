"""What an attack led to, how it is logged, and the table per family of attacks."""

import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from tests.netlab.hostile_client import StreamEnded, Target


class Outcome(Enum):
    """The result of an attack."""

    REFUSED = "refused"  # with a status or exit code that the documentation names
    HARMLESS = "harmless"  # answered or ignored as the documentation says
    WRONG = "wrong"  # accepted, although it must not be
    UNHANDLED = "unhandled"  # an exception that nothing handles, at either end
    HANG = "hang"  # no answer, or no end, in time
    ABSENT = "absent"  # not counted: no receiver at that moment, or no room for a session of this account


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of an attack, with its cause in words."""

    outcome: Outcome
    detail: str = ""


def refused(detail: str = "") -> Result:
    return Result(Outcome.REFUSED, detail)


def harmless(detail: str = "") -> Result:
    return Result(Outcome.HARMLESS, detail)


def wrong(detail: str) -> Result:
    return Result(Outcome.WRONG, detail)


Attack = Callable[[Target, random.Random], Awaitable[Result]]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def by_name(*functions: _Function) -> dict[str, _Function]:
    """The table of a family: attacks, faults or cases by the names of their functions."""
    return {function.__name__: function for function in functions}


# gRPC turns an exception that the receiver does not handle into UNKNOWN; OK is an orderly end.
_OUTCOME_BY_STATUS = {"UNKNOWN": Outcome.UNHANDLED, "UNAVAILABLE": Outcome.ABSENT, "OK": Outcome.HARMLESS}


def is_full(ended: StreamEnded) -> bool:
    """Whether the receiver had no room for another session; gRPC itself uses the status for large messages."""
    return ended.code == "RESOURCE_EXHAUSTED" and "larger than max" not in ended.reason


def result_of(ended: StreamEnded) -> Result:
    """The result of an attack whose stream the receiver ended."""
    if is_full(ended):
        return Result(Outcome.ABSENT, str(ended))
    return Result(_OUTCOME_BY_STATUS.get(ended.code, Outcome.REFUSED), str(ended))


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal.

    Args:
        at: when the attack ended, seconds since the epoch.
    """

    at: float
    family: str
    attack: str
    seed: str
    outcome: str
    detail: str
    seconds: float


class Journal:
    """A file with one line of JSON per attack."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, family: str, attack: str, seed: str, result: Result, seconds: float = 0.0) -> None:
        """Adds an attack; each line is one write, so that several processes may share the file."""
        entry = Entry(time.time(), family, attack, seed, result.outcome.value, result.detail[:500], round(seconds, 3))
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")

    def read(self) -> list[Entry]:
        """All entries; an incomplete last line, of a killed process, is ignored."""
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        return [Entry(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def table(entries: Iterable[Entry]) -> dict[str, dict[str, float]]:
    """Counts by family, in the order of their first attack: attempts, and each outcome but `absent`."""
    rows: dict[str, Counter[str]] = {}
    for entry in entries:
        if entry.outcome != Outcome.ABSENT.value:
            rows.setdefault(entry.family, Counter())[entry.outcome] += 1
    counted = [outcome.value for outcome in Outcome if outcome is not Outcome.ABSENT]
    return {
        family: {"attempts": float(sum(row.values())), **{outcome: float(row[outcome]) for outcome in counted}}
        for family, row in rows.items()
    }


def findings(entries: Iterable[Entry]) -> Mapping[tuple[str, str], list[Entry]]:
    """The entries that show a fault, by family and attack."""
    faults = (Outcome.WRONG.value, Outcome.UNHANDLED.value, Outcome.HANG.value)
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.outcome in faults:
            found.setdefault((entry.family, entry.attack), []).append(entry)
    return found
