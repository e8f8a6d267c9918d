"""The course of a siege: calm times and rounds of attackers in turn, then faults; and what it showed."""

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests.bench import report
from tests.bench.abuse.faults import FAULTS, QUIET_FAMILIES, Fault, stop
from tests.bench.abuse.ledger import Faults, audit
from tests.bench.abuse.outcome import findings
from tests.bench.abuse.supervision import Watched, resident_kb
from tests.bench.abuse.testbed import Testbed

_SIEGE_SHARE = 0.65
_SHORT_S = 240.0
# Of a short siege, and of a long one.
_CALM_S, _ROUND_S = (6.0, 20.0), (14.0, 40.0)
_BESIDE_FAULT_S = 8.0
_NICE = 10
# A process for some families of attacks, and how many attacks run at once in it.
_ATTACKERS = ((("protocol", "theft", "packets"), 3), (("connections",), 2), (("load",), 1), (("doors",), 1))
ALL = "all together"
"""A round of every group at once, as the faults have beside them; a short siege has no other."""
GROUPS = (*(family for families, _ in _ATTACKERS for family in families), ALL)
"""The attackers of one round each, in turn."""
CALM = "calm"
_LEAST_RATE = 0.8
"""Of the live sender's frames beside each group of attackers, relative to its calm times."""
_LARGEST_GROWTH = 1.25
"""The receiver's memory after the rounds of attackers, over that before."""

Line = dict[str, Any]


@dataclass(slots=True)
class Course:
    """What happened.

    Args:
        served: by group of attackers, seconds and frames of the live sender that were acknowledged beside it.
        growth: of the receiver's memory; NaN if it was restarted.
        captured: frames of the sender with complete delivery; None if it did not finish.
        problems: what went wrong besides attacks.
    """

    served: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    growth: float = float("nan")
    captured: int | None = None
    problems: list[str] = field(default_factory=list)

    def rates(self) -> dict[str, dict[str, float]]:
        """The live sender's frame rate in calm times and beside each group; `share` is that over the calm one."""
        rows: dict[str, dict[str, float]] = {}
        for group, rounds in self.served.items():
            seconds, frames = (sum(column) for column in zip(*rounds, strict=True))
            rows[group] = {"minutes": seconds / 60, "fps": frames / seconds}
        return {group: row | {"share": row["fps"] / rows[CALM]["fps"]} for group, row in rows.items()}


class Siege:
    """Attacks a testbed.

    Args:
        seconds: duration, without the start and the end.
        seed: decides everything but the machine's timing.
    """

    def __init__(self, bed: Testbed, seconds: float, seed: str) -> None:
        self._bed, self._seconds, self._seed = bed, seconds, seed
        self.short = seconds < _SHORT_S
        self._groups = (ALL,) if self.short else GROUPS
        self._calm_s, self._round_s = (pair[0] if self.short else pair[1] for pair in (_CALM_S, _ROUND_S))
        self.course = Course()

    def run(self) -> Course:
        bed, course, began_s = self._bed, self.course, time.monotonic()
        if bed.until_progress(60.0) is None:
            course.problems.append("the honest senders did not begin")
        self._serve(CALM, self._calm_s)
        receiver, before_kb = bed.receiver.pid, resident_kb(bed.receiver.pid)
        for number, group in enumerate(itertools.cycle(self._groups)):
            if number and time.monotonic() + self._round_s / 2 >= began_s + _SIEGE_SHARE * self._seconds:
                break
            report.progress(f"round {number + 1} of attacks: {group}")
            attackers = self._attackers(self._round_s, f"{self._seed}/{number}", group)
            self._serve(group, self._round_s)
            self._finish(attackers)
            self._serve(CALM, self._calm_s)
        if bed.receiver.pid == receiver:
            course.growth = resident_kb(receiver) / max(before_kb, 1)
        self._faults(began_s + self._seconds)
        if bed.until_progress(60.0) is None:
            course.problems.append("the honest senders do not go on after the last fault")
        course.captured, problems = bed.finish()
        course.problems += [text for text in (*problems, stop(bed)) if text]
        return course

    def _serve(self, group: str, seconds: float) -> None:
        before, began_s = self._bed.progress()[0], time.monotonic()
        self._bed.wait(seconds)
        frames = self._bed.progress()[0] - before
        self.course.served.setdefault(group, []).append((time.monotonic() - began_s, frames))

    def _attackers(self, seconds: float, seed: str, group: str = ALL) -> list[Watched]:
        """Starts the processes of a group of attackers, for some seconds."""
        bed, started = self._bed, []
        fixed = ["--target", str(bed.target_file), "--journal", str(bed.folder / "journal")]
        fixed += ["--seconds", f"{seconds:g}", "--seed", seed]
        for families, at_once in _ATTACKERS:
            chosen = [family for family in families if group in (family, ALL)]
            command = ["tests.bench.abuse.attacker", *fixed, "--at-once", str(at_once), "--families", *chosen]
            started += [bed.start("attacker", *command, nice=_NICE)] if chosen else []
        return started

    def _finish(self, attackers: list[Watched]) -> None:
        for attacker in attackers:
            if attacker.wait(15.0) is None:
                attacker.kill()
            elif attacker.exit_code:
                self.course.problems.append(f"an attacker failed: {attacker.errors[-300:]}")

    def _faults(self, until_s: float) -> None:
        """Every fault once, in random order, before the first comes again."""
        order, queue = random.Random(self._seed), list[tuple[str, str, Fault]]()
        for number in itertools.count(1):
            if not queue:
                queue = [(family, name, work) for family, group in FAULTS.items() for name, work in group.items()]
                order.shuffle(queue)
            family, name, work = queue.pop()
            seed = f"{self._seed}/{number}"
            rng = random.Random(f"{name} {seed}")
            besieged = family not in QUIET_FAMILIES and rng.random() < 0.3
            attackers = self._attackers(_BESIDE_FAULT_S, f"{self._seed}/fault-{number}") if besieged else []
            started_s = time.monotonic()
            result = work(self._bed, rng)
            self._finish(attackers)
            self._bed.journal.write(family, name, seed, result, time.monotonic() - started_s)
            report.progress(f"{family}: {name}: {result.outcome.value} {result.detail}")
            self._bed.tend()
            if time.monotonic() >= until_s:
                return


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_lines(path: Path) -> tuple[list[Line], list[str]]:
    """The frame records in order, and what is not strict JSON; an incomplete last line is ignored."""
    records, bad = [], []
    for line in path.read_bytes().decode(errors="replace").split("\n")[:-1]:
        try:
            record = json.loads(line, parse_constant=_refuse)
            records.append({name: record[name] for name in ("seq", "session", "source", "captured_at", "age_ms")})
        except (ValueError, KeyError, TypeError) as error:
            bad.append(f"{path.name}: {error}: {line[:100]}")
    return records, bad


@dataclass(frozen=True, slots=True)
class LiveFrames:
    """The live sender's frames: number and time of capture in milliseconds of those acknowledged, and of records."""

    acknowledged: list[tuple[int, int]]
    recorded: list[tuple[int, int]]

    @classmethod
    def read(cls, log: Path, records: Sequence[Line]) -> "LiveFrames":
        """From the sender's log and the records."""
        captured, acknowledged = dict[int, int](), []
        for line in log.read_text(encoding="utf-8").split("\n")[:-1]:
            event = json.loads(line)
            if event["what"] == "captured":
                captured[event["seq"]] = round(event["captured_at"] * 1e3)
            elif event["what"] == "ended" and event["fate"] == "acknowledged":
                acknowledged.append((event["seq"], captured[event["seq"]]))
        mine = [record for record in records if record["source"] == "logged"]
        return cls(acknowledged, [(each["seq"], round(each["captured_at"] * 1e3)) for each in mine])

    @property
    def lost(self) -> list[tuple[int, int]]:
        """Acknowledged frames without a record; times are rounded to milliseconds at both ends."""
        recorded = {(seq, at_ms + by) for seq, at_ms in self.recorded for by in (-1, 0, 1)}
        return [frame for frame in self.acknowledged if frame not in recorded]

    @property
    def duplicated(self) -> int:
        """Records beyond the first of a frame."""
        return len(self.recorded) - len(set(self.recorded))


def durable_faults(ledger: Path, captured: int | None, records: Sequence[Line]) -> Faults:
    """Compares the records with the frames that the sender with complete delivery captured."""
    acknowledged = [int(line) for line in ledger.read_text().split("\n")[:-1]] if ledger.exists() else []
    mine = [(record["seq"], record["captured_at"]) for record in records if record["source"] == "durable"]
    return audit([*acknowledged, *range(captured or 0)], mine)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is reported: the live sender calm and beside each group, both senders' frames, and the faults in words."""

    live: Mapping[str, Mapping[str, float]]
    senders: dict[str, dict[str, float]]
    faults: list[str]


def judge(bed: Testbed, siege: Siege) -> Verdict:
    """Evaluates a siege; in a short one rates and memory decide nothing."""
    course, rates = siege.course, siege.course.rates()
    records, bad = read_lines(bed.out / "frames.jsonl")
    live, durable = LiveFrames.read(bed.live_log, records), durable_faults(bed.ledger, course.captured, records)
    faults = _alarms(bed.processes)
    for (family, attack), found in findings(bed.journal.read()).items():
        faults.append(f"{family}.{attack}:{found[0].seed} {found[0].outcome} ×{len(found)}: {found[0].detail}")
    faults += [*bed.gave_up, *course.problems, *bad[:3]]
    faults += [f"complete delivery: {durable}"] if durable.any else []
    faults += [f"of the live frames {live.lost} are lost"] if live.lost else []
    faults += [f"{live.duplicated} live frames twice"] if live.duplicated else []
    if not siege.short:
        slow = [f"{group} {row['share']:.0%}" for group, row in rates.items() if row["share"] < _LEAST_RATE]
        faults += [f"frame rate of the live sender: {', '.join(slow)}"] if slow else []
        faults += [f"memory grew by a factor of {course.growth:.2f}"] if course.growth > _LARGEST_GROWTH else []
    of_live = {"lost": float(len(live.lost)), "duplicated": float(live.duplicated), "memory_growth": course.growth}
    senders = {
        "live": {"frames": float(len(live.acknowledged)), **of_live},
        "complete delivery": {"frames": float(course.captured or 0), **durable.counts()},
    }
    return Verdict(rates, senders, faults)


def _alarms(processes: Iterable[Watched]) -> list[str]:
    counts = Counter((process.name, cause) for process in processes for cause in process.alarms())
    return [f"{name} ×{count} on stderr: {cause}" for (name, cause), count in counts.items()]
