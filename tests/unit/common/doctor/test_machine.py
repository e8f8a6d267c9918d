import resource
import subprocess
from pathlib import Path

import pytest

from common.doctor import machine
from common.doctor.finding import Finding, Verdict, run_check

GIGABYTE = 1_000_000_000


def meminfo(folder: Path, available_kb: int) -> Path:
    path = folder / "meminfo"
    path.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {available_kb} kB\n")
    return path


def test_memory_of_the_machine(tmp_path: Path) -> None:
    enough = machine.check_memory(meminfo(tmp_path, 4_000_000), tmp_path / "none")
    assert (enough.verdict, enough.found) == (Verdict.OK, "4.1 GB available")
    assert machine.check_memory(meminfo(tmp_path, 100_000), tmp_path / "none").verdict is Verdict.WARNING


def test_memory_of_another_system_is_not_known(tmp_path: Path) -> None:
    found = machine.check_memory(tmp_path / "none", tmp_path)
    assert found.verdict is Verdict.WARNING and "only Linux says" in found.found


@pytest.mark.parametrize(("limit", "verdict"), [("max", Verdict.OK), ("5500000000", Verdict.WARNING)])
def test_memory_of_the_control_group(tmp_path: Path, limit: str, verdict: Verdict) -> None:
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("5000000000\n")
    finding = machine.check_memory(meminfo(tmp_path, 8_000_000), tmp_path)
    assert finding.verdict is verdict
    assert ("0.5 GB left in the control group" in finding.found) is (limit != "max")


def test_processors() -> None:
    assert machine.check_processors(lambda: 2).verdict is Verdict.OK
    assert machine.check_processors().verdict in Verdict
    assert machine.check_processors(lambda: 1).verdict is Verdict.WARNING


def test_clock() -> None:
    assert machine.check_clock(lambda: (0, 0.0123)).found == "synchronised, error at most 12 ms"
    assert machine.check_clock(lambda: (5, 16.0)).found == "not synchronised"

    def denied() -> tuple[int, float]:
        raise PermissionError(1, "Operation not permitted")

    assert "Operation not permitted" in machine.check_clock(denied).found


def test_clock_of_this_machine_is_read_without_setting_it() -> None:
    (finding,) = run_check("clock", machine.check_clock)
    assert finding.verdict in (Verdict.OK, Verdict.WARNING)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert machine.check_process_limits().verdict is Verdict.OK
    monkeypatch.setattr(resource, "getrlimit", lambda _: (16, 16))
    (finding,) = run_check("limits", machine.check_process_limits)
    assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 5)


def test_egl() -> None:
    def check(code: int, output: str, errors: str) -> Finding:
        return machine.check_egl(lambda *_, **__: subprocess.CompletedProcess([], code, output, errors))

    assert check(0, "llvmpipe (LLVM 19)\n", "").found == "llvmpipe (LLVM 19)"
    missing = check(1, "", "Traceback…\nOSError: libEGL.so.1: cannot open\n")
    assert (missing.verdict, missing.exit_code) == (Verdict.WARNING, 0)
    assert missing.found == "cannot be used (OSError: libEGL.so.1: cannot open)"
    assert "it crashed" in check(-11, "", "").found

    def silent(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired([], 4.0)

    assert machine.check_egl(silent).found == "does not answer"
    assert machine.check_egl().verdict in (Verdict.OK, Verdict.WARNING)
