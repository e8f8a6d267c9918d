"""What a campaign showed: figures of the honest senders and of the receiver, and the criteria."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from common.arrays import Float64Array
from tests.bench.abuse.campaign import Course
from tests.bench.abuse.outcome import Entry, findings
from tests.bench.abuse.supervision import Alarm
from tests.bench.abuse.testbed import Sample, Testbed
from tests.bench.ledger import Faults, audit
from tests.bench.measures import percentile

LEAST_RATE = 0.8
"""Of the live sender's frames beside each group of attackers, relative to its calm times."""
LARGEST_GROWTH = 0.05
"""Of memory and descriptors over the siege, fitted to its calm times without the first fifth."""
_SPARE_DESCRIPTORS, _SPARE_KB = 20.0, 20_000.0
_FEWEST_SAMPLES = 60
_LARGEST_PEERS = 64.0
# A frame that was captured before something happened may be on its way meanwhile.
_SETTLED_S = 0.5

Line = dict[str, Any]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One condition of a campaign.

    Args:
        holds: None if the campaign was too short to tell.
    """

    name: str
    holds: bool | None
    detail: str = ""


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


def record_files(bed: Testbed) -> list[Path]:
    """The present `frames.jsonl`, after those that were moved away, the oldest first."""
    return [*sorted(bed.folder.glob("frames.jsonl.*")), bed.out / "frames.jsonl"]


@dataclass(frozen=True, slots=True)
class LiveFrames:
    """The live sender's frames.

    Args:
        acknowledged: number and time of capture in milliseconds of each acknowledged frame.
        recorded: the same of each record, and its age.
        late: frames that the receiver reported as dropped.
    """

    acknowledged: list[tuple[int, int]]
    recorded: list[tuple[int, int, float]]
    late: int = 0

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
        return {
            "fps": len(ages) / seconds if seconds else float("nan"),
            "age_p50_ms": percentile(ages, 50) if ages else float("nan"),
            "age_p95_ms": percentile(ages, 95) if ages else float("nan"),
        }


def live_frames(log: Path, records: Sequence[Line]) -> LiveFrames:
    """Compares the live sender's log with the records."""
    captured: dict[int, int] = {}
    acknowledged, late = [], 0
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        event = json.loads(line)
        if event["what"] == "captured":
            captured[event["seq"]] = round(event["captured_at"] * 1e3)
        elif event["what"] == "ended" and event["fate"] == "acknowledged":
            acknowledged.append((event["seq"], captured[event["seq"]]))
        elif event["what"] == "ended" and event["fate"] == "late":
            late += 1
    recorded = [
        (record["seq"], round(record["captured_at"] * 1e3), record["age_ms"] or 0.0)
        for record in records
        if record["source"] == "logged"
    ]
    return LiveFrames(acknowledged, recorded, late)


def by_group(
    live: LiveFrames, calm: Sequence[Span], siege: Mapping[str, Sequence[Span]]
) -> dict[str, dict[str, float]]:
    """The live sender's rate and age in calm times, beside each group of attackers, and in all rounds.

    `share` is the rate over that of the calm times, `minutes` how long each lasted.
    """
    calm_fps = live.within(calm)["fps"]
    spans = {"calm": calm, **siege, "all rounds": [*itertools.chain(*siege.values())]}
    rows = {}
    for group, of_group in spans.items():
        row = live.within(of_group)
        share = row["fps"] / calm_fps if calm_fps else math.nan
        rows[group] = {"minutes": sum(end - begin for begin, end in of_group) / 60, **row, "share": share}
    return rows


def durable_faults(ledger: Path, captured: int | None, records: Sequence[Line]) -> Faults:
    """Compares the records with the frames that the sender with complete delivery captured."""
    acknowledged = [int(line) for line in ledger.read_text().split("\n")[:-1]] if ledger.exists() else []
    mine = [(record["seq"], record["captured_at"]) for record in records if record["source"] == "durable"]
    return audit([*acknowledged, *range(captured or 0)], mine)


def growth(samples: Sequence[Sample], spans: Sequence[Span]) -> dict[str, float]:
    """Memory and descriptors of the receiver in calm times, and how much they grow from the first to the last."""
    calm = [sample for sample in samples if any(begin <= sample.at < end for begin, end in spans)]
    figures = {"samples": float(len(calm))}
    for name, values in (("rss_kb", [s.rss_kb for s in calm]), ("descriptors", [s.descriptors for s in calm])):
        if len(calm) < 10:
            continue
        line = np.array([[sample.at, value] for sample, value in zip(calm, values, strict=True)])
        seconds = float(line[-1, 0] - line[len(line) // 5, 0])
        figures |= {name: float(np.median(values)), f"{name}_per_min": 60 * slope(line)}
        figures[f"{name}_growth"] = slope(line) * seconds
    return figures


def medians_kb(samples: Sequence[Sample], spans: Sequence[Span]) -> list[float]:
    """The receiver's memory in each calm time, in order."""
    memory = [[sample.rss_kb for sample in samples if begin <= sample.at < end] for begin, end in spans]
    return [float(np.median(values)) for values in memory if values]


def is_flat(figures: dict[str, float], name: str, spare: float) -> bool | None:
    """Whether a resource grows by less than a small share; None if there are too few samples to tell."""
    if figures["samples"] < _FEWEST_SAMPLES:
        return None
    return figures[f"{name}_growth"] <= max(LARGEST_GROWTH * figures[name], spare)


def slope(line: Float64Array) -> float:
    """Slope of a line fitted to (N, 2) points, without the first fifth of them."""
    rest = line[len(line) // 5 :]
    return float(np.polyfit(rest[:, 0] - rest[0, 0], rest[:, 1], 1)[0])


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that is reported.

    Args:
        live: rate and age of the live sender, calm and beside each group of attackers.
        senders: what became of the frames of both honest senders.
    """

    live: dict[str, dict[str, float]]
    senders: dict[str, dict[str, float]]
    receiver: dict[str, float]
    criteria: list[Criterion]
    alarms: Counter[tuple[str, str]]
    faults: list[str]

    @property
    def failed(self) -> list[Criterion]:
        return [criterion for criterion in self.criteria if criterion.holds is not None and not criterion.holds]


def judge(bed: Testbed, course: Course, *, short: bool) -> Verdict:
    """Evaluates a campaign; in a short one rates, memory and descriptors decide nothing."""
    records, bad = read_lines(record_files(bed))
    live = live_frames(bed.live_log, records)
    faults = durable_faults(bed.ledger, course.captured, records)
    rates = by_group(live, course.calm, course.siege)
    slowest = min(course.siege, key=lambda group: rates[group]["share"])
    besieged_until_s = max(end for spans in course.siege.values() for _, end in spans)
    pids = {sample.pid for sample in bed.samples if sample.at < besieged_until_s}
    resources = growth([sample for sample in bed.samples if sample.pid in pids], course.calm)
    peers = max((sample.peers for sample in bed.samples if sample.peers == sample.peers), default=float("nan"))
    calm_kb = medians_kb(bed.samples, course.calm)
    resources |= {
        "rss_after": calm_kb[-1] / calm_kb[0] if calm_kb else math.nan,
        "peers_max": peers,
        "log_lines_per_min": course.log_lines_per_min,
    }
    alarms = [alarm for process in bed.processes for alarm in process.alarms()]
    entries = bed.journal.read()
    found = findings(entries)
    senders = {
        "live": {
            "frames": float(len(live.acknowledged)),
            "late": live.late,
            "lost": float(len(live.lost)),
            "duplicated": live.duplicated,
        },
        "complete delivery": {
            "frames": float(course.captured or 0),
            **{name: float(len(getattr(faults, name))) for name in ("lost", "duplicated", "misplaced", "wrong")},
        },
    }
    criteria = [
        Criterion("no traceback", not alarms, f"{len(alarms)} on stderr"),
        Criterion("no attack succeeds, none hangs", not found, ", ".join(f"{f}.{a}" for f, a in found)),
        Criterion(
            "honest senders lose nothing",
            not (live.lost or faults.any or bad or course.captured is None),
            "; ".join(moment(frame, entries) for frame in live.lost),
        ),
        Criterion("nothing ends by itself", not bed.gave_up, f"{len(bed.gave_up)} times"),
        Criterion("starts and ends in order", not course.problems, "; ".join(course.problems)),
        Criterion("no frame twice", live.duplicated == 0),
        Criterion(
            f"at least {LEAST_RATE:.0%} of the frame rate beside each group",
            None if short else rates[slowest]["share"] >= LEAST_RATE,
            f"{rates[slowest]['share']:.0%} beside {slowest}",
        ),
        Criterion("memory is flat", None if short else is_flat(resources, "rss_kb", _SPARE_KB)),
        Criterion("descriptors are flat", None if short else is_flat(resources, "descriptors", _SPARE_DESCRIPTORS)),
        Criterion("peers are counted", _peers_hold(course.peers, peers), f"{course.peers}, at most {peers:g}"),
        Criterion("frames.jsonl is strict JSON", not bad, "; ".join(bad[:3])),
    ]
    counted = Counter((alarm.process, alarm.cause) for alarm in alarms)
    return Verdict(rates, senders, resources, criteria, counted, [*_describe(found), *bed.gave_up])


def moment(frame: tuple[int, int], entries: Iterable[Entry]) -> str:
    """A frame, and which faults and attacks its capture fell into."""
    seq, at_ms = frame
    beside = [e for e in entries if e.at - e.seconds - _SETTLED_S <= at_ms / 1e3 <= e.at]
    names = sorted({f"{each.family}.{each.attack}" for each in beside})
    return f"live frame {seq}: {', '.join(names) or 'calm'}"


def _peers_hold(check: Span, largest: float) -> bool:
    before, after = check
    return after <= before and not largest > _LARGEST_PEERS


def _describe(found: Any) -> list[str]:
    """One line for each attack that shows a fault, with the seed of the first."""
    lines = []
    for (family, attack), entries in found.items():
        first: Entry = entries[0]
        lines.append(f"{family}.{attack}:{first.seed} {first.outcome} ×{len(entries)}: {first.detail}")
    return lines


def excerpts(alarms: Iterable[Alarm]) -> list[str]:
    by_cause = {(alarm.process, alarm.cause): alarm.excerpt for alarm in alarms}
    return [f"--- {process}: {cause}\n{text}" for (process, cause), text in by_cause.items()]
