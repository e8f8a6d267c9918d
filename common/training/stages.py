"""Runs the commands of several trainings, each as soon as those that it needs have succeeded and cores are free.

    OUT/<stage>.log     what a stage printed
    OUT/<stage>.done    it has succeeded: a later run does not repeat it

A stage that fails leaves out those that need it; the others go on.
"""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import OutputError, UsageError

State = Literal["done", "failed", "left out", "terminated"]

_POLL_S = 0.2
_END_S = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One command.

    Args:
        name: of its log.
        module: the Python module that is run.
        flags: of the module.
        after: names of the stages that have to succeed first.
        cores: that it keeps busy.
    """

    name: str
    module: str
    flags: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    cores: int = 1

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", self.module, *self.flags]

    def __str__(self) -> str:
        return shlex.join(["python", "-m", self.module, *self.flags])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended, after so many minutes, and the last line of its log."""

    state: State
    minutes: float = 0.0
    last_line: str = ""


class Schedule:
    """The stages of one run.

    Args:
        stages: in the order in which those that could begin at once begin.
        out: folder of logs.
        cores: of the machine; a stage that keeps more busy than there are runs alone.
        environment: of the commands.
        report: takes a line when a stage begins or ends.

    Raises:
        UsageError: two stages have one name, or one needs a stage that does not stand before it.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        out: Path,
        cores: int,
        environment: Mapping[str, str],
        report: Callable[[str], None] = print,
    ) -> None:
        known: set[str] = set()
        for stage in stages:
            if stage.name in known or not known.issuperset(stage.after):
                raise UsageError(f"stage {stage.name} is there twice, or before one of {', '.join(stage.after)}")
            known.add(stage.name)
        self._waiting = list(stages)
        self._out, self._cores, self._environment, self._report = out, cores, environment, report
        self._running: dict[Stage, _Process] = {}
        self._terminated = False
        self.outcomes: dict[str, Outcome] = {}
        """Of the stages that have ended."""

    def run(self) -> bool:
        """Runs all stages; whether all have succeeded.  SIGTERM and Ctrl-C end those that run, which save first.

        Raises:
            OutputError: the logs cannot be written.
        """
        previous = {number: signal.signal(number, self._terminate) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while self._waiting or self._running:
                self._leave_out()
                self._begin()
                self._end()
                time.sleep(_POLL_S if self._running else 0)
        finally:
            for process in self._running.values():
                process.kill()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return all(outcome.state == "done" for outcome in self.outcomes.values())

    def _terminate(self, _number: int, _frame: object) -> None:
        self._terminated = True
        for process in self._running.values():
            process.terminate()

    def _leave_out(self) -> None:
        for stage in list(self._waiting):
            before = [self.outcomes[name].state for name in stage.after if name in self.outcomes]
            if self._terminated or any(state != "done" for state in before):
                self._waiting.remove(stage)
                self.outcomes[stage.name] = Outcome("left out")

    def _begin(self) -> None:
        for stage in list(self._waiting):
            if not all(name in self.outcomes for name in stage.after):
                continue
            if self._mark(stage).exists():
                self._waiting.remove(stage)
                self.outcomes[stage.name] = Outcome("done")
            elif not self._running or sum(each.cores for each in self._running) + stage.cores <= self._cores:
                self._waiting.remove(stage)
                self._running[stage] = _Process(stage, self._out, self._environment)
                self._report(f"{stage.name}: {stage}")

    def _end(self) -> None:
        for stage, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[stage]
            state: State = "done" if code == 0 else "terminated" if self._terminated else "failed"
            if state == "done":
                self._mark(stage).touch()
            outcome = self.outcomes[stage.name] = Outcome(state, process.minutes, process.last_line())
            self._report(f"{stage.name}: {state} after {outcome.minutes:.1f} min: {outcome.last_line}")

    def _mark(self, stage: Stage) -> Path:
        return self._out / f"{stage.name}.done"


class _Process:
    """A stage that runs; its log is appended to.  Raises OutputError if that cannot be written."""

    def __init__(self, stage: Stage, out: Path, environment: Mapping[str, str]) -> None:
        self._path, self._began_s = out / f"{stage.name}.log", time.monotonic()
        try:
            out.mkdir(parents=True, exist_ok=True)
            log = self._path.open("ab")
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
        with log:
            self._process = subprocess.Popen(
                stage.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=dict(environment)
            )

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self._began_s) / 60

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_line(self) -> str:
        lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def table(outcomes: Mapping[str, Outcome]) -> str:
    """A line of each stage: name, how it ended, minutes."""
    width = max(map(len, outcomes), default=0)
    return "\n".join(
        f"{name:{width}}  {outcome.state:10}  {outcome.minutes:5.1f} min" for name, outcome in outcomes.items()
    )
