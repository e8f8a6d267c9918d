"""The audit of a receiver's frame records, and short runs of it, also with each deliberate bug."""

from pathlib import Path

import pytest

from tests.bench.ledger import Faults, audit, read_records, run
from tests.netlab.durable_sender import captured_at

CORRECT = [(sequence, captured_at(sequence)) for sequence in range(5)]


@pytest.mark.parametrize(
    ("records", "faults"),
    [
        (CORRECT, Faults()),
        ([*CORRECT, (5, captured_at(5))], Faults()),
        (CORRECT[:2] + CORRECT[3:], Faults(lost=[2])),
        ([], Faults(lost=[0, 1, 2, 3, 4])),
        ([*CORRECT[:3], *CORRECT[2:]], Faults(duplicated=[2])),
        ([*CORRECT, *CORRECT[3:]], Faults(duplicated=[3, 4], misplaced=[3])),
        ([CORRECT[1], CORRECT[0], *CORRECT[2:]], Faults(misplaced=[0])),
        ([(0, captured_at(1)), *CORRECT[1:]], Faults(wrong=[0])),
    ],
)
def test_audit(records: list[tuple[int, float]], faults: Faults) -> None:
    assert audit(range(5), records) == faults
    assert faults.any == (faults != Faults())


def test_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    assert read_records(tmp_path) == []
    (tmp_path / "frames.jsonl").write_text('{"seq":0,"captured_at":1.5}\n{"seq":1,"capt')
    assert read_records(tmp_path) == [(0, 1.5)]


def test_no_acknowledged_frame_is_lost_when_either_side_is_killed() -> None:
    outcome = run(rounds=3, seed=3)
    assert outcome.rounds == 3
    assert 0 < outcome.receiver_kills < 3
    assert outcome.faults == Faults()
    assert outcome.frames > 10


def test_early_acknowledgements_are_found() -> None:
    assert run(rounds=20, seed=2, bug="acknowledge-early").faults.lost


def test_missing_deduplication_is_found() -> None:
    assert run(rounds=20, seed=2, bug="no-deduplication").faults.duplicated
