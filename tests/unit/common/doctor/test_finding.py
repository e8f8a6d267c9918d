import json

from common.doctor.finding import Finding, Verdict, named, ok, problem, run_check, warning
from common.doctor.report import Report
from common.errors import OutputError, PeerError, SourceError


def raises(error: Exception) -> Finding:
    raise error


def test_line_is_printable_and_says_what_to_do() -> None:
    finding = problem("peer tcp", "refused by \x1b[2J\nhost", "start it", PeerError)
    assert finding.line() == r"problem  peer tcp: refused by \x1b[2J host: start it"
    assert ok("python", "3.11").line() == "ok       python: 3.11"


def test_error_of_a_check_is_its_problem() -> None:
    (finding,) = run_check("source", lambda: raises(SourceError("no camera: plug it in")))
    assert finding == Finding("source", Verdict.PROBLEM, "no camera: plug it in", exit_code=3)


def test_bug_of_a_check_hides_no_other_check() -> None:
    (finding,) = run_check("egl", lambda: raises(ZeroDivisionError("by zero")))
    assert finding.verdict is Verdict.WARNING
    assert "cannot be checked (ZeroDivisionError: by zero)" in finding.found


def report(*findings: Finding | list[Finding], as_json: bool = False) -> tuple[int, list[str]]:
    lines: list[str] = []
    report = Report("sender", as_json, lines.append)
    found = report.run(named("check", lambda finding: finding, finding) for finding in findings)
    return report.conclude(found), lines


def test_exit_code_is_that_of_the_first_problem() -> None:
    first, second = problem("a", "b", "c", OutputError), problem("d", "e", "f", PeerError)
    code, lines = report(ok("x", "y"), first, second)
    assert code == 5
    assert lines[-1] == "2 problems, 0 warnings: the sender would end with exit code 5"


def test_warnings_do_not_fail() -> None:
    code, lines = report([ok("x", "y"), warning("clock", "not synchronised")], [])
    assert code == 0
    assert lines == ["ok       x: y", "warning  clock: not synchronised", "the sender can run (1 warning)"]


def test_json_is_one_document() -> None:
    code, lines = report(warning("clock", "off", "set it"), problem("a", "b", "c", PeerError), as_json=True)
    (text,) = lines
    assert code == 4
    assert json.loads(text) == {
        "program": "sender",
        "exit_code": 4,
        "findings": [
            {"check": "clock", "verdict": "warning", "found": "off", "advice": "set it", "exit_code": 0},
            {"check": "a", "verdict": "problem", "found": "b", "advice": "c", "exit_code": 4},
        ],
    }
