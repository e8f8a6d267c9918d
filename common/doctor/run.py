"""The command line that both doctors share. Imports nothing large, so that it can say what is missing."""

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from common.doctor.finding import Check, Finding, Verdict, failure, named, problem, run_check
from common.doctor.machine import check_process_limits
from common.doctor.packages import check_messages, check_packages, check_python
from common.errors import BodywireError, WeightsError, exit_code_of
from common.io.options import Program
from common.io.startup import announce, open_standard_streams

JSON_FLAG = "--json"
_SHOWING_FLAGS = ("-h", "--help", "--version")


@dataclass(frozen=True, slots=True)
class DoctorProgram:
    """A doctor's command line.

    Args:
        daemon: `sender` or `receiver`.
        subject: what is checked.
        examples: as in `Program`.
    """

    daemon: str
    subject: str
    examples: Sequence[tuple[str, str]]

    @property
    def command_line(self) -> Program:
        """What `--help` and `--version` show."""
        description = (
            f"Checks what the {self.daemon} needs, with the {self.daemon}'s own options: {self.subject}.\n"
            "Prints a line for each check: ok, warning or problem, what was found, and what to do. Changes nothing.\n"
            f"Ends with 0 or the exit code that the {self.daemon} would end with. {JSON_FLAG} prints JSON instead."
        )
        return Program(f"{self.daemon} doctor", description, self.examples)


Checks = Callable[[Sequence[str]], Iterator[tuple[str, Check]]]
"""The checks for a command line without `--json`, one after the other; raises what reading the configuration raises."""


def run_doctor(program: DoctorProgram, checks: Checks, arguments: Sequence[str]) -> int:
    """Runs the checks of the installation, then those of the configuration; returns the exit code.

    Prints a line for each finding at once, or one JSON document at the end.
    """
    open_standard_streams()
    # What a library logs or warns of would stand between the findings.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    flags = [argument for argument in arguments if argument != JSON_FLAG]
    findings: list[Finding] = []

    def work() -> None:
        if any(flag in _SHOWING_FLAGS for flag in flags):
            next(checks(flags))
        for stage in (_installation(), _configured(checks, flags)):
            for name, check in stage:
                for finding in run_check(name, check):
                    findings.append(finding)
                    if JSON_FLAG not in arguments:
                        announce(finding.line())
            if _exit_code(findings):
                break
        announce((_document if JSON_FLAG in arguments else _conclusion)(program.daemon, findings))

    failed = exit_code_of(f"{program.daemon} doctor", work)
    sys.stdout.flush()
    return failed or _exit_code(findings)


def _exit_code(findings: Sequence[Finding]) -> int:
    """That of the first problem, in the order in which the daemon would come upon them; 0 without one."""
    return next((finding.exit_code for finding in findings if finding.verdict is Verdict.PROBLEM), 0)


def _document(daemon: str, findings: Sequence[Finding]) -> str:
    listed = [asdict(finding) for finding in findings]
    return json.dumps({"program": daemon, "exit_code": _exit_code(findings), "findings": listed}, indent=1)


def _conclusion(daemon: str, findings: Sequence[Finding]) -> str:
    warned, failed = _count(findings, Verdict.WARNING), _count(findings, Verdict.PROBLEM)
    if code := _exit_code(findings):
        return f"{failed}, {warned}: the {daemon} would end with exit code {code}"
    return f"the {daemon} can run ({warned})"


def _count(findings: Sequence[Finding], verdict: Verdict) -> str:
    count = sum(finding.verdict is verdict for finding in findings)
    return f"{count} {verdict}" + ("" if count == 1 else "s")


def _installation() -> Iterator[tuple[str, Check]]:
    yield named("python", check_python)
    yield named("packages", check_packages)
    yield named("messages", check_messages)
    yield named("limits", check_process_limits)


def _configured(checks: Checks, flags: Sequence[str]) -> Iterator[tuple[str, Check]]:
    """The checks of the configuration; one finding if that is wrong, or if the daemon cannot be loaded."""
    try:
        yield from checks(flags)
    except BodywireError as error:
        name = "weights" if isinstance(error, WeightsError) else "configuration"
        yield named(name, failure, name, error)
    except Exception as error:  # of an import: libraries raise anything where they do not fit the machine
        found = f"the daemon cannot be loaded ({type(error).__name__}: {error})"
        yield named("packages", problem, "packages", found, "install Bodywire again", BodywireError)
