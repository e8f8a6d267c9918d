"""The course of a siege: calm times and rounds of attackers in turn, then faults; and what it showed."""

import itertools
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tests.bench import report
from tests.bench.abuse.faults import FAULTS, QUIET_FAMILIES, Fault, stop
from tests.bench.abuse.ledger import Faults, audit
from tests.bench.abuse.outcome import Entry, findings
from tests.bench.abuse.supervision import Watched
from tests.bench.abuse.testbed import Sample, Testbed
from tests.bench.measures import percentile

_SIEGE_SHARE = 0.65
_CALM_S, _ROUND_S = (6.0, 20.0), (14.0, 40.0)
_SETTLING_S = 3.0
_NICE = 10
# A process for some families of attacks, and how many attacks run at once in it.
_ATTACKERS = ((("protocol", "theft", "packets", "receiver"), 3), (("connections",), 2), (("load",), 1))
ALL = "all together"
"""A round of every group at once, as the faults have beside them; a short siege has no other."""
GROUPS = (*(family for families, _ in _ATTACKERS for family in families), ALL)
"""The attackers of one round each, in turn."""
LEAST_RATE = 0.8
"""Of the live sender's frames beside each group of attackers, relative to its calm times."""
LARGEST_GROWTH = 1.25
"""The receiver's memory in the last calm time of the siege, over that in the first."""
# A frame that was captured before something happened may be on its way meanwhile.
_SETTLED_S = 0.5

Line = dict[str, Any]
Span = tuple[float, float]


@dataclass(slots=True)
class Course:
    """What happened when.

    Args:
        calm: (begin, end) of each calm time, seconds since the epoch.
        siege: the same of each round of attacks, by the group that attacked.
        captured: frames of the sender with complete delivery; None if it did not finish.
        problems: what went wrong besides attacks.
    """

    calm: list[Span] = field(default_factory=list)
    siege: dict[str, list[Span]] = field(default_factory=dict)
    captured: int | None = None
    problems: list[str] = field(default_factory=list)


class Siege:
    """Attacks a testbed.

    Args:
        seconds: duration, without the start and the end.
        seed: decides everything but the machine's timing.
    """

    def __init__(self, bed: Testbed, seconds: float, seed: str) -> None:
        self._bed, self._seconds, self._seed = bed, seconds, seed
        short = seconds < 240
        self._groups = (ALL,) if short else GROUPS
        self._calm_s, self._round_s = (pair[0] if short else pair[1] for pair in (_CALM_S, _ROUND_S))
        self.course = Course()

    def run(self) -> Course:
        bed, course, began_s = self._bed, self.course, time.monotonic()
        if bed.until_progress(60.0) is None:
            course.problems.append("the honest senders did not begin")
        self._calm()
        for number in itertools.count():
            if number and time.monotonic() + self._round_s / 2 >= began_s + _SIEGE_SHARE * self._seconds:
                break
            self._attack(number)
            self._calm()
        self._faults(began_s + self._seconds)
        if bed.until_progress(60.0) is None:
            course.problems.append("the honest senders do not go on after the last fault")
        course.captured, problem = bed.finish()
        course.problems += [text for text in (problem, stop(bed)) if text]
        return course

    def _calm(self) -> None:
        self._bed.wait(_SETTLING_S)
        began_s = time.time()
        self._bed.wait(self._calm_s)
        self.course.calm.append((began_s, time.time()))

    def _attack(self, number: int) -> None:
        group = self._groups[number % len(self._groups)]
        report.progress(f"round {number + 1} of attacks: {group}")
        began_s = time.time()
        started = self._attackers(self._round_s, f"{self._seed}/{number}", group)
        self._bed.wait(self._round_s)
        self.course.siege.setdefault(group, []).append((began_s, time.time()))
        self._finish(started)

    def _attackers(self, seconds: float, seed: str, group: str = ALL) -> list[Watched]:
        """Starts the processes of a group of attackers, for some seconds."""
        bed, started = self._bed, []
        fixed = ["--target", str(bed.target_file), "--journal", str(bed.folder / "journal")]
        fixed += ["--seconds", f"{seconds:g}", "--seed", seed]
        for families, at_once in _ATTACKERS:
            chosen = [family for family in families if group in (family, ALL)]
            command = ["-m", "tests.bench.abuse.attacker", *fixed, "--at-once", str(at_once), "--families", *chosen]
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
            attackers = self._attackers(8.0, f"{self._seed}/fault-{number}") if besieged else []
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


def read_lines(paths: Iterable[Path]) -> tuple[list[Line], list[str]]:
    """The frame records of several files in order, and what is not strict JSON; an incomplete last line is ignored."""
    records, bad = [], []
    for path in paths:
        text = path.read_bytes().decode(errors="replace") if path.exists() else ""
        for line in text.split("\n")[:-1]:
            try:
                record = json.loads(line, parse_constant=_refuse)
                records.append({name: record[name] for name in ("seq", "session", "source", "captured_at", "age_ms")})
            except (ValueError, KeyError, TypeError) as error:
                bad.append(f"{path.name}: {error}: {line[:100]}")
    return records, bad


@dataclass(frozen=True, slots=True)
class LiveFrames:
    """The live sender's frames.

    Args:
        acknowledged: number and time of capture in milliseconds of each acknowledged frame.
        recorded: the same of each record, and its age.
    """

    acknowledged: list[tuple[int, int]]
    recorded: list[tuple[int, int, float]]

    @classmethod
    def read(cls, log: Path, records: Sequence[Line]) -> "LiveFrames":
        """From the sender's log and the records."""
        captured, acknowledged = dict[int, int](), []
        text = log.read_text(encoding="utf-8") if log.exists() else ""
        for line in text.split("\n")[:-1]:
            event = json.loads(line)
            if event["what"] == "captured":
                captured[event["seq"]] = round(event["captured_at"] * 1e3)
            elif event["what"] == "ended" and event["fate"] == "acknowledged":
                acknowledged.append((event["seq"], captured[event["seq"]]))
        mine = [record for record in records if record["source"] == "logged"]
        recorded = [(each["seq"], round(each["captured_at"] * 1e3), each["age_ms"] or 0.0) for each in mine]
        return cls(acknowledged, recorded)

    @property
    def lost(self) -> list[tuple[int, int]]:
        """Acknowledged frames without a record; times are rounded to milliseconds at both ends."""
        recorded = {(seq, at_ms + by) for seq, at_ms, _ in self.recorded for by in (-1, 0, 1)}
        return [frame for frame in self.acknowledged if frame not in recorded]

    @property
    def duplicated(self) -> int:
        """Records beyond the first of a frame."""
        return len(self.recorded) - len({(seq, at_ms) for seq, at_ms, _ in self.recorded})

    def within(self, spans: Sequence[Span]) -> dict[str, float]:
        """Frame rate and age of the records captured in some spans of time."""
        seconds = sum(end - begin for begin, end in spans)
        ages = [age for _, at_ms, age in self.recorded if any(begin <= at_ms / 1e3 < end for begin, end in spans)]
        fps = len(ages) / seconds if seconds else float("nan")
        return {"fps": fps, "age_p50_ms": percentile(ages, 50), "age_p95_ms": percentile(ages, 95)}


def by_group(live: LiveFrames, course: Course) -> dict[str, dict[str, float]]:
    """The live sender's rate and age in calm times and beside each group; `share` is the rate over the calm one."""
    calm_fps, rows = live.within(course.calm)["fps"], dict[str, dict[str, float]]()
    for group, spans in {"calm": course.calm, **course.siege}.items():
        row = live.within(spans)
        rows[group] = {"minutes": sum(end - begin for begin, end in spans) / 60, **row, "share": row["fps"] / calm_fps}
    return rows


def durable_faults(ledger: Path, captured: int | None, records: Sequence[Line]) -> Faults:
    """Compares the records with the frames that the sender with complete delivery captured."""
    acknowledged = [int(line) for line in ledger.read_text().split("\n")[:-1]] if ledger.exists() else []
    mine = [(record["seq"], record["captured_at"]) for record in records if record["source"] == "durable"]
    return audit([*acknowledged, *range(captured or 0)], mine)


def growth(samples: Sequence[Sample], calm: Sequence[Span]) -> float:
    """The receiver's memory in the last calm time, over that in the first; NaN if it was not sampled twice."""
    memory = [[sample.rss_kb for sample in samples if begin <= sample.at < end] for begin, end in calm]
    medians = [float(np.median(values)) for values in memory if values]
    return medians[-1] / medians[0] if len(medians) > 1 else float("nan")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is reported: the live sender calm and beside each group, both senders' frames, and the faults in words."""

    live: Mapping[str, Mapping[str, float]]
    senders: dict[str, dict[str, float]]
    faults: list[str]


def judge(bed: Testbed, course: Course, *, short: bool) -> Verdict:
    """Evaluates a siege; in a short one rates and memory decide nothing."""
    # The files that were moved away, the oldest first, and the present one.
    files = [*sorted(bed.folder.glob("frames.jsonl.*")), bed.out / "frames.jsonl"]
    records, bad = read_lines(files)
    live, entries = LiveFrames.read(bed.live_log, records), bed.journal.read()
    durable = durable_faults(bed.ledger, course.captured, records)
    rates, memory = by_group(live, course), growth(bed.samples, course.calm)
    alarms = Counter((alarm.process, alarm.cause) for process in bed.processes for alarm in process.alarms())
    faults = [f"{process} ×{count} on stderr: {cause}" for (process, cause), count in alarms.items()]
    for (family, attack), found in findings(entries).items():
        faults.append(f"{family}.{attack}:{found[0].seed} {found[0].outcome} ×{len(found)}: {found[0].detail}")
    faults += [*bed.gave_up, *course.problems, *bad[:3], *(moment(frame, entries) for frame in live.lost)]
    faults += [f"complete delivery: {durable}"] if durable.any else []
    faults += [f"{live.duplicated} live frames twice"] if live.duplicated else []
    if not short:
        slow = [f"{group} {row['share']:.0%}" for group, row in rates.items() if row["share"] < LEAST_RATE]
        faults += [f"frame rate of the live sender: {', '.join(slow)}"] if slow else []
        faults += [f"memory grew by a factor of {memory:.2f}"] if memory > LARGEST_GROWTH else []
    lost = {name: float(len(getattr(durable, name))) for name in ("lost", "duplicated", "misplaced", "wrong")}
    of_live = {"lost": float(len(live.lost)), "duplicated": float(live.duplicated), "memory_growth": memory}
    senders = {
        "live": {"frames": float(len(live.acknowledged)), **of_live},
        "complete delivery": {"frames": float(course.captured or 0), **lost},
    }
    return Verdict(rates, senders, faults)


def moment(frame: tuple[int, int], entries: Iterable[Entry]) -> str:
    """A lost frame, and which faults and attacks its capture fell into."""
    seq, at_ms = frame
    beside = [e for e in entries if e.at - e.seconds - _SETTLED_S <= at_ms / 1e3 <= e.at]
    names = sorted({f"{each.family}.{each.attack}" for each in beside})
    return f"live frame {seq} is lost: {', '.join(names) or 'calm'}"


def end_all(processes: Iterable[Watched]) -> None:
    """Kills what still runs."""
    for process in processes:
        if process.exit_code is None:
            process.signal(signal.SIGKILL)
            process.wait(10.0)
