"""Runs the checks of a daemon's doctor and prints what they find: a line each, or one JSON document."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from common.doctor.finding import Check, Finding, Verdict, exit_code, run_check

JSON_FLAG = "--json"


@dataclass(frozen=True, slots=True)
class Report:
    """Where findings go.

    Args:
        program: `sender` or `receiver`.
        as_json: one JSON document at the end, instead of a line for each finding at once.
        write: prints a line.
    """

    program: str
    as_json: bool
    write: Callable[[str], None]

    def run(self, checks: Iterable[tuple[str, Check]]) -> list[Finding]:
        """Runs the checks in order; each is made when those before it are reported."""
        findings: list[Finding] = []
        for name, check in checks:
            for finding in run_check(name, check):
                findings.append(finding)
                if not self.as_json:
                    self.write(finding.line())
        return findings

    def conclude(self, findings: list[Finding]) -> int:
        """Prints the conclusion, or the JSON document; returns the exit code."""
        code = exit_code(findings)
        self.write(self._document(findings, code) if self.as_json else self._conclusion(findings, code))
        return code

    def _document(self, findings: list[Finding], code: int) -> str:
        document = {
            "program": self.program,
            "exit_code": code,
            "findings": [asdict(finding) for finding in findings],
        }
        return json.dumps(document, indent=1)

    def _conclusion(self, findings: list[Finding], code: int) -> str:
        warnings = _count(findings, Verdict.WARNING)
        if code:
            problems = _count(findings, Verdict.PROBLEM)
            return f"{problems}, {warnings}: the {self.program} would end with exit code {code}"
        return f"the {self.program} can run ({warnings})"


def _count(findings: list[Finding], verdict: Verdict) -> str:
    count = sum(finding.verdict is verdict for finding in findings)
    return f"{count} {verdict}" + ("" if count == 1 else "s")
