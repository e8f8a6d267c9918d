import json
from collections.abc import Iterator, Sequence

import pytest

from common.doctor import run
from common.doctor.finding import Check, Finding, named, ok, problem, warning
from common.doctor.run import DoctorProgram, run_doctor
from common.errors import BodywireError, OutputError, PeerError, UsageError, WeightsError

PROGRAM = DoctorProgram("sender", "everything", (("sender doctor", "check"),))


@pytest.fixture(autouse=True)
def good_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_installation", lambda: iter([named("python", ok, "python", "3.11")]))


def failing(error: Exception) -> run.Checks:
    def checks(arguments: Sequence[str]) -> Iterator[tuple[str, Check]]:
        yield named("memory", ok, "memory", "enough")
        raise error

    return checks


def test_flags_reach_the_checks_without_json(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Sequence[str]] = []

    def checks(arguments: Sequence[str]) -> Iterator[tuple[str, Check]]:
        seen.append(arguments)
        yield named("memory", ok, "memory", "enough")

    assert run_doctor(PROGRAM, checks, ["--camera", "0", "--json"]) == 0
    assert seen == [["--camera", "0"]]
    document = json.loads(capsys.readouterr().out)
    assert [finding["check"] for finding in document["findings"]] == ["python", "memory"]


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UsageError("unrecognized arguments: --kamera"), "problem  configuration: unrecognized", 2),
        (WeightsError("no trained weights"), "problem  weights: no trained", 6),
        (ImportError("libtorch.so"), "problem  packages: the daemon cannot be loaded (ImportError: libtorch.so)", 1),
    ],
)
def test_what_keeps_the_checks_from_being_made(
    error: Exception, line: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_doctor(PROGRAM, failing(error), []) == code
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[1] == "ok       memory: enough"
    assert lines[2].startswith(line)
    assert captured.err == ""


def listed(*findings: Finding | list[Finding]) -> run.Checks:
    return lambda arguments: (named("check", lambda finding: finding, finding) for finding in findings)


def test_exit_code_is_that_of_the_first_problem(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = problem("a", "b", "c", OutputError), problem("d", "e", "f", PeerError)
    assert run_doctor(PROGRAM, listed(ok("x", "y"), first, second), []) == 5
    assert capsys.readouterr().out.endswith("2 problems, 0 warnings: the sender would end with exit code 5\n")


def test_warnings_do_not_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_doctor(PROGRAM, listed([ok("x", "y"), warning("clock", "not synchronised")], []), []) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == ["ok       x: y", "warning  clock: not synchronised", "the sender can run (1 warning)"]


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    findings = warning("clock", "off", "set it"), problem("a", "b", "c", PeerError)
    assert run_doctor(PROGRAM, listed(*findings), ["--json"]) == 4
    assert json.loads(capsys.readouterr().out) == {
        "program": "sender",
        "exit_code": 4,
        "findings": [
            {"check": "python", "verdict": "ok", "found": "3.11", "advice": "", "exit_code": 0},
            {"check": "clock", "verdict": "warning", "found": "off", "advice": "set it", "exit_code": 0},
            {"check": "a", "verdict": "problem", "found": "b", "advice": "c", "exit_code": 4},
        ],
    }


def test_checks_are_not_made_with_a_damaged_installation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged() -> Iterator[tuple[str, Check]]:
        yield named("packages", problem, "packages", "torch is missing", "install it", BodywireError)

    monkeypatch.setattr(run, "_installation", damaged)
    assert run_doctor(PROGRAM, failing(AssertionError("made")), []) == 1
    assert "torch is missing: install it" in capsys.readouterr().out
