from common.doctor.finding import Finding, Verdict, ok, problem, run_check
from common.errors import PeerError, SourceError


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
