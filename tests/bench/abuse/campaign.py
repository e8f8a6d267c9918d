"""The course of a campaign: calm, siege, faults, and the end.

calm     the honest senders alone
siege    attackers in rounds, one group of them at a time, with a calm time after each; the receiver is not restarted
faults   processes and files fail and are mended, with or without attackers beside
"""

import asyncio
import itertools
import random
import signal
import time
from dataclasses import dataclass, field

from common.wire.convert import Drain
from tests.bench import report
from tests.bench.abuse.faults import FAULTS, QUIET_FAMILIES, Fault, stop
from tests.bench.abuse.outcome import Outcome, Result
from tests.bench.abuse.startup import CASES
from tests.bench.abuse.supervision import Watched
from tests.bench.abuse.testbed import Testbed
from tests.netlab.hostile_client import HostileClient, Identity, StreamEnded

_SIEGE_SHARE = 0.65
_CALM_S, _ROUND_S = (6.0, 20.0), (14.0, 40.0)
_SETTLING_S = 3.0
_NICE = 10
_SAME_SESSIONS = 20
# A process for some families of attacks, and how many attacks run at once in it.
_ATTACKERS = ((("protocol", "theft", "packets", "blobs"), 3), (("connections",), 2), (("load",), 1))
ALL = "all together"
"""A round of every group at once, as the faults have beside them; a short campaign has no other."""
GROUPS = (*(family for families, _ in _ATTACKERS for family in families), "links", "cameras", ALL)
"""The attackers of one round each, in turn."""


@dataclass(slots=True)
class Course:
    """What happened when.

    Args:
        calm: (begin, end) of each calm time, seconds since the epoch.
        siege: the same of each round of attacks, by the group that attacked.
        captured: frames of the sender with complete delivery; None if it did not finish.
        problems: what went wrong besides attacks.
        peers: the gauge before and after a session was opened many times at once and drained.
        log_lines_per_min: of receiver and honest senders during the siege.
    """

    calm: list[tuple[float, float]] = field(default_factory=list)
    siege: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    captured: int | None = None
    problems: list[str] = field(default_factory=list)
    peers: tuple[float, float] = (float("nan"), float("nan"))
    log_lines_per_min: float = 0.0


class Campaign:
    """Attacks a testbed.

    Args:
        seconds: duration, without the start and the end.
        seed: decides everything but the machine's timing.
    """

    def __init__(self, bed: Testbed, seconds: float, seed: int) -> None:
        self._bed, self._seconds, self._seed = bed, seconds, seed
        self._rng = random.Random(seed)
        short = seconds < 240
        self._groups = (ALL,) if short else GROUPS
        self._calm_s, self._round_s = (pair[0] if short else pair[1] for pair in (_CALM_S, _ROUND_S))
        self.course = Course()

    def run(self) -> Course:
        bed, course = self._bed, self.course
        until_s = time.monotonic() + self._seconds
        if bed.until_progress(60.0) is None:
            course.problems.append("the honest senders did not begin")
        self._calm()
        lines, began_s = bed.log_lines(), time.monotonic()
        siege_s = began_s + _SIEGE_SHARE * (until_s - began_s)
        for number in itertools.count():
            if number and time.monotonic() + self._round_s / 2 >= siege_s:
                break
            self._attack(number)
            self._calm()
        course.log_lines_per_min = 60 * (bed.log_lines() - lines) / (time.monotonic() - began_s)
        self._check_peers()
        self._faults(until_s)
        self._end()
        return course

    def _calm(self) -> None:
        self._bed.wait(_SETTLING_S)
        began_s = time.time()
        self._bed.wait(self._calm_s)
        self.course.calm.append((began_s, time.time()))

    def attackers(self, seconds: float, seed: str, group: str = ALL) -> list[Watched]:
        """Starts the processes of a group of attackers, for some seconds."""
        bed = self._bed
        fixed = ["--seconds", f"{seconds:g}", "--seed", seed, "--journal", str(bed.folder / "journal")]
        started = []
        for families, at_once in _ATTACKERS:
            chosen = [family for family in families if group in (family, ALL)]
            if not chosen:
                continue
            command = ["-m", "tests.bench.abuse.attacker", "--target", str(bed.target_file), *fixed]
            command += ["--at-once", str(at_once), "--families", *chosen]
            started.append(bed.start("attacker", *command, nice=_NICE))
        model, patience = ["--model", bed.target.model.hex()], ["--patience", f"{bed.patience:g}"]
        folder = ["--folder", str(bed.folder / "sources")]
        for name, module, more in (("links", "hostile_receiver", model), ("cameras", "cameras", folder)):
            if group in (name, ALL):
                command = ["-m", f"tests.bench.abuse.{module}", *more, *fixed, *patience]
                started.append(bed.start(name, *command, nice=_NICE))
        return started

    def _attack(self, number: int) -> None:
        group = self._groups[number % len(self._groups)]
        report.progress(f"round {number + 1} of attacks: {group}")
        began_s = time.time()
        started = self.attackers(self._round_s, f"{self._seed}/{number}", group)
        self._bed.wait(self._round_s)
        self.course.siege.setdefault(group, []).append((began_s, time.time()))
        self._finish(started)

    def _finish(self, attackers: list[Watched]) -> None:
        for attacker in attackers:
            if attacker.wait(15.0) is None:
                attacker.kill()
            elif attacker.name == "attacker" and attacker.exit_code:
                self.course.problems.append(f"an attacker failed: {attacker.errors[-300:]}")

    def _check_peers(self) -> None:
        """One session that is opened many times at once and drained must leave the gauge as it was."""
        before = self._bed.peers()
        with_result = asyncio.run(self._same_session())
        self._bed.wait(1.0)
        self.course.peers = before, self._bed.peers()
        self._bed.journal.write("protocol", "peers_gauge", str(self._seed), with_result)

    async def _same_session(self) -> Result:
        identity = Identity.make(self._rng)
        client = HostileClient(self._bed.target, "studio")

        async def hold() -> None:
            try:
                async with client.session(identity) as (stream, _):
                    await stream.end()
            except (StreamEnded, TimeoutError):
                return

        holding = [asyncio.create_task(hold()) for _ in range(_SAME_SESSIONS)]
        await asyncio.sleep(2.0)
        try:
            async with client.session(identity, resume=True) as (stream, _):
                await stream.send(Drain())
                await stream.end()
        except StreamEnded as ended:
            return Result(Outcome.WRONG, str(ended))
        finally:
            for task in holding:
                task.cancel()
            await asyncio.gather(*holding, return_exceptions=True)
        return Result(Outcome.HARMLESS)

    def _faults(self, until_s: float) -> None:
        """Every fault and every case of a start once, in random order, before the first comes again."""
        queue: list[tuple[str, str, Fault]] = []
        number = 0
        while time.monotonic() < until_s or number == 0:
            if not queue:
                groups = [*FAULTS.items(), *CASES.items()]
                queue = [(family, name, work) for family, group in groups for name, work in group.items()]
                self._rng.shuffle(queue)
                # Starts take longest: a short campaign has time for few of them.
                queue.sort(key=lambda item: item[0] not in CASES)
            family, name, work = queue.pop()
            number += 1
            seed = f"{self._seed}/{number}"
            rng = random.Random(f"{name} {seed}")
            attackers = []
            if family not in QUIET_FAMILIES and rng.random() < 0.3:
                attackers = self.attackers(8.0, f"{self._seed}/fault-{number}")
            started_s = time.monotonic()
            result = work(self._bed, rng)
            self._finish(attackers)
            self._bed.journal.write(family, name, seed, result, time.monotonic() - started_s)
            report.progress(f"{family}: {name}: {result.outcome.value} {result.detail}")
            self._bed.tend()

    def _end(self) -> None:
        bed, course = self._bed, self.course
        if bed.until_progress(60.0) is None:
            course.problems.append("the honest senders do not go on after the last fault")
        course.captured, problem = bed.finish()
        problem_at_end = stop(bed)
        course.problems += [text for text in (problem, problem_at_end) if text]
        for process in bed.processes:
            if process.exit_code is None:
                process.signal(signal.SIGKILL)
                process.wait(10.0)
