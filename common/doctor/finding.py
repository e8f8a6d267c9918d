"""What a check has found, and how checks are run: none of them stops the ones after it."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from common.errors import BodywireError
from common.text import printable

_MAX_CHARACTERS = 600


class Verdict(StrEnum):
    """How good a finding is."""

    OK = "ok"
    WARNING = "warning"  # the daemon works, but maybe not as wanted, or it could not be checked
    PROBLEM = "problem"  # the daemon would end


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Args:
        check: its name, the same in every run.
        verdict: how good it is.
        found: what was found, without a full stop.
        advice: what to do; empty if there is nothing to do, or if `found` says it.
        exit_code: of a problem, the one that the daemon would end with; otherwise 0.
    """

    check: str
    verdict: Verdict
    found: str
    advice: str = ""
    exit_code: int = 0

    def line(self) -> str:
        """The finding as one printable line."""
        text = f"{self.check}: {self.found}" + (f": {self.advice}" if self.advice else "")
        return f"{self.verdict:<8} {printable(' '.join(text.split()), _MAX_CHARACTERS)}"


Check = Callable[[], Finding | list[Finding]]
"""A check; a `BodywireError` that it raises is its problem."""


def ok(check: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, advice: str = "") -> Finding:
    """The daemon starts all the same."""
    return Finding(check, Verdict.WARNING, found, advice)


def problem(check: str, found: str, advice: str, kind: type[BodywireError]) -> Finding:
    """The daemon would end with the exit code of this kind of error."""
    return Finding(check, Verdict.PROBLEM, found, advice, kind.exit_code)


def failure(check: str, error: BodywireError) -> Finding:
    """An error that the daemon would end with; its message says what to do."""
    return Finding(check, Verdict.PROBLEM, str(error), exit_code=error.exit_code)


def run_check(name: str, check: Check) -> Iterator[Finding]:
    """Runs a check, whatever it raises: what Bodywire reports is a problem, anything else only could not be checked."""
    try:
        found = check()
    except BodywireError as error:
        found = failure(name, error)
    except Exception as error:  # a check of a strange machine must not hide the other checks
        found = warning(name, f"cannot be checked ({type(error).__name__}: {error})")
    yield from [found] if isinstance(found, Finding) else found


def named(name: str, check: Callable[..., Finding | list[Finding]], *arguments: object) -> tuple[str, Check]:
    """A check with its arguments, and the name under which it is reported if it fails."""
    return name, functools.partial(check, *arguments)
