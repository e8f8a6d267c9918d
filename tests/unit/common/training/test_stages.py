"""Stages of several trainings: order, cores, failures, repetition and termination."""

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from common.errors import OutputError, UsageError
from common.training.stages import Schedule, Stage, table

# A stage that needs the files of earlier ones, writes its own, and fails or waits where it is told to.
_SOURCE = """
import pathlib, sys, time
name, what, *needed = sys.argv[1:]
assert all(pathlib.Path(file).exists() for file in needed), needed
print("began", name, flush=True)
if what == "waits":
    pathlib.Path("waiting").touch()
    time.sleep(60)
pathlib.Path(name).touch()
print(name, "ends")
sys.exit(3 if what == "fails" else 0)
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    (tmp_path / "one_stage.py").write_text(_SOURCE)
    monkeypatch.chdir(tmp_path)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def stage(name: str, after: tuple[str, ...] = (), what: str = "works", cores: int = 1) -> Stage:
    return Stage(name, "one_stage", (name, what, *after), after, cores)


def test_stages_run_after_those_that_they_need_and_are_not_repeated(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    lines: list[str] = []
    stages = [stage("a"), stage("wide", ("a",), cores=9), stage("b", ("a",)), stage("c", ("b", "wide"))]
    schedule = Schedule(stages, tmp_path / "logs", 2, environment, lines.append)
    assert schedule.run()
    assert {name: outcome.state for name, outcome in schedule.outcomes.items()} == dict.fromkeys("ab", "done") | {
        "wide": "done",
        "c": "done",
    }
    assert schedule.outcomes["c"].last_line == "c ends"
    assert lines[0] == "a: python -m one_stage a works"
    assert (tmp_path / "logs" / "a.log").read_text() == "began a\na ends\n"
    again: list[str] = []
    assert Schedule(stages, tmp_path / "logs", 2, environment, again.append).run()
    assert again == []


def test_failed_stage_leaves_out_those_that_need_it(tmp_path: Path, environment: Mapping[str, str]) -> None:
    stages = [stage("bad", what="fails"), stage("good"), stage("needs", ("bad",)), stage("both", ("needs", "good"))]
    schedule = Schedule(stages, tmp_path / "logs", 2, environment, lambda _line: None)
    assert not schedule.run()
    states = {name: outcome.state for name, outcome in schedule.outcomes.items()}
    assert states == {"bad": "failed", "good": "done", "needs": "left out", "both": "left out"}
    assert "bad    failed" in table(schedule.outcomes)
    retried: list[str] = []
    Schedule(stages, tmp_path / "logs", 2, environment, retried.append).run()
    assert [line.split(":")[0] for line in retried] == ["bad", "bad"]


def test_termination_ends_what_runs(tmp_path: Path, environment: Mapping[str, str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    schedule = Schedule([stage("long", what="waits"), stage("next", ("long",))], tmp_path, 2, environment, print)
    ended = threading.Event()

    def terminate_when_it_waits() -> None:
        while not ended.wait(0.01):
            if (tmp_path / "waiting").exists():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=terminate_when_it_waits)
    watcher.start()
    assert not schedule.run()
    ended.set()
    watcher.join()
    assert {name: outcome.state for name, outcome in schedule.outcomes.items()} == {
        "long": "terminated",
        "next": "left out",
    }
    assert signal.getsignal(signal.SIGTERM) is before


def test_wrong_plans_and_folders_are_refused(tmp_path: Path, environment: Mapping[str, str]) -> None:
    for wrong in ([stage("a"), stage("a")], [stage("b", ("a",)), stage("a")]):
        with pytest.raises(UsageError, match="stage"):
            Schedule(wrong, tmp_path, 2, environment)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Schedule([stage("a")], tmp_path / "file", 2, environment, lambda _line: None).run()
