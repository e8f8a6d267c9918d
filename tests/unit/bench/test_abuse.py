"""Attacks and kills: what is counted, and that a fault would be noticed."""

import json
from itertools import islice
from pathlib import Path

import pytest

from tests.bench.abuse import ledger, testbed
from tests.bench.abuse.attacker import FAMILIES, choices
from tests.bench.abuse.ledger import Faults, audit, records_in
from tests.bench.abuse.outcome import Outcome, result_of
from tests.bench.abuse.siege import ALL, GROUPS, LiveFrames, durable_faults, read_lines
from tests.bench.abuse.supervision import Watched
from tests.netlab.durable_sender import captured_at
from tests.netlab.hostile_client import StreamEnded

CORRECT = [(sequence, captured_at(sequence)) for sequence in range(5)]


@pytest.mark.parametrize(
    ("code", "reason", "outcome"),
    [
        ("INVALID_ARGUMENT", "", Outcome.REFUSED),
        ("UNKNOWN", "Unexpected <class 'KeyError'>", Outcome.UNHANDLED),
        ("UNAVAILABLE", "", Outcome.ABSENT),
        ("RESOURCE_EXHAUSTED", "full for now", Outcome.ABSENT),
        ("RESOURCE_EXHAUSTED", "Received message larger than max", Outcome.REFUSED),
        ("OK", "", Outcome.HARMLESS),
    ],
)
def test_outcome_of_a_stream_by_its_status(code: str, reason: str, outcome: Outcome) -> None:
    assert result_of(StreamEnded(code, reason)).outcome is outcome


def test_attacks_are_decided_by_the_seed_and_all_come_before_one_comes_again() -> None:
    families, number = list(FAMILIES), sum(map(len, FAMILIES.values()))
    first, again, other = (list(islice(choices(families, seed), 2 * number)) for seed in ("1/0", "1/0", "1/1"))
    assert first == again != other
    assert len(set(first[:number])) == len(set(first[number:])) == number
    assert {*testbed.FAMILIES} == set(families) == {*GROUPS} - {ALL}


def test_alarms_on_stderr_have_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def alarms(code: str) -> list[str]:
        (tmp_path / "program.py").write_text(code)
        process = Watched("program", ["program"], tmp_path)
        assert process.wait(60.0) is not None
        return process.alarms()

    assert alarms("print('fine')\nraise KeyError('session')") == ["KeyError: 'session'"]
    assert alarms("import os; os.abort()") == ["killed by SIGABRT"]
    assert "never awaited" in alarms("import asyncio\nasync def f(): pass\nf()")[0]
    assert alarms("import sys; sys.exit('receiver: no such file')") == []


def _event(what: str, seq: int, **more: object) -> str:
    return json.dumps({"what": what, "seq": seq, "at": 0.0, **more}) + "\n"


def _record(seq: int, at: float, source: str = "logged") -> dict[str, object]:
    return {"seq": seq, "session": 1, "source": source, "captured_at": at, "age_ms": 50.0}


def test_frames_of_the_live_sender_that_were_acknowledged_and_not_recorded_are_lost(tmp_path: Path) -> None:
    log = tmp_path / "log"
    # The sender is started again: its numbers begin again.
    runs = [(seq, 100.0 + seq / 2) for seq in range(4)] + [(seq, 200.0 + seq / 2) for seq in range(2)]
    lines = []
    for seq, at in runs:
        lines += [_event("captured", seq, captured_at=at), _event("ended", seq, fate="acknowledged")]
    log.write_text("".join(lines) + '{"what": "capt')
    live = LiveFrames.read(log, [_record(seq, at + 0.0004) for seq, at in runs])
    assert (live.lost, live.duplicated) == ([], 0)
    live = LiveFrames.read(log, [_record(seq, at) for seq, at in [*runs[:5], runs[0]]])
    assert (live.lost, live.duplicated) == ([(1, 200_500)], 1)
    assert LiveFrames.read(log, [_record(seq, at, "stolen") for seq, at in runs]).lost == live.acknowledged


def test_lines_must_be_strict_json(tmp_path: Path) -> None:
    path, good = tmp_path / "frames.jsonl", json.dumps(_record(0, 1.0))
    path.write_text(f"{good}\n{good.replace('50.0', 'NaN')}\n\x00\n{good[:20]}")
    records, bad = read_lines(path)
    assert (len(records), len(bad)) == (1, 2)


@pytest.mark.parametrize(
    ("records", "faults"),
    [
        (CORRECT, Faults()),
        ([*CORRECT, (5, captured_at(5))], Faults()),
        (CORRECT[:2] + CORRECT[3:], Faults(lost=[2])),
        ([*CORRECT[:3], *CORRECT[2:]], Faults(duplicated=[2])),
        ([*CORRECT, *CORRECT[3:]], Faults(duplicated=[3, 4], misplaced=[3])),
        ([CORRECT[1], CORRECT[0], *CORRECT[2:]], Faults(misplaced=[0])),
        ([(0, captured_at(1)), *CORRECT[1:]], Faults(wrong=[0])),
    ],
)
def test_audit_of_one_receiver(records: list[tuple[int, float]], faults: Faults) -> None:
    assert audit(range(5), records) == faults
    assert faults.any == (faults != Faults())


def test_audit_of_several_receivers_and_of_what_they_wrote(tmp_path: Path) -> None:
    assert audit(range(5), [CORRECT[0], CORRECT[4]], CORRECT[1:4]) == Faults()
    assert audit(range(5), CORRECT[:3], CORRECT[2:]) == Faults(duplicated=[2])
    assert records_in(tmp_path) == {}
    (tmp_path / "sessions.jsonl").write_text('{"session":1,"id":"ab"}\n')
    (tmp_path / "frames.jsonl").write_text('{"session":1,"seq":0,"captured_at":1.5}\n{"seq":1,"capt')
    assert records_in(tmp_path) == {"ab": [(0, 1.5)]}
    (tmp_path / "ledger").write_text("0\n1\n2\n3")
    durable = [_record(seq, captured_at(seq), "durable") for seq in range(5)]
    assert durable_faults(tmp_path / "ledger", 6, durable) == Faults(lost=[5])
    assert durable_faults(tmp_path / "ledger", None, durable[:2]) == Faults(lost=[2])


@pytest.mark.slow
def test_kills_lose_nothing_and_deliberate_bugs_are_found() -> None:
    for outcome in (ledger.run(3, "3"), ledger.run(2, "1", 3, 2, ["--share-sessions"])):
        assert outcome.faults == Faults() and outcome.kills.total() > 1 and outcome.frames > 10
    assert ledger.run(20, "2", flags=["--bug", "acknowledge-early"]).faults.lost
    assert ledger.run(20, "2", flags=["--bug", "no-deduplication"]).faults.duplicated
