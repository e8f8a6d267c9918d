"""The audit of receivers' frame records, and short runs of it, also with each deliberate bug."""

from pathlib import Path

import pytest

from tests.bench.ledger import Faults, audit, records_in, run_fronts, run_pair
from tests.netlab.durable_sender import captured_at

CORRECT = [(sequence, captured_at(sequence)) for sequence in range(5)]


def test_audit_of_one_receiver_and_of_several_together() -> None:
    for records, faults in (
        (CORRECT, Faults()),
        ([*CORRECT, (5, captured_at(5))], Faults()),
        (CORRECT[:2] + CORRECT[3:], Faults(lost=[2])),
        ([], Faults(lost=[0, 1, 2, 3, 4])),
        ([*CORRECT[:3], *CORRECT[2:]], Faults(duplicated=[2])),
        ([*CORRECT, *CORRECT[3:]], Faults(duplicated=[3, 4], misplaced=[3])),
        ([CORRECT[1], CORRECT[0], *CORRECT[2:]], Faults(misplaced=[0])),
        ([(0, captured_at(1)), *CORRECT[1:]], Faults(wrong=[0])),
    ):
        assert audit(range(5), records) == faults
        assert faults.any == (faults != Faults())
    assert audit(range(5), [CORRECT[0], CORRECT[4]], CORRECT[1:4]) == Faults()
    assert audit(range(5), CORRECT[:3], CORRECT[2:]) == Faults(duplicated=[2])


def test_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    assert records_in(tmp_path) == {}
    (tmp_path / "sessions.jsonl").write_text('{"session":1,"id":"ab"}\n')
    (tmp_path / "frames.jsonl").write_text('{"session":1,"seq":0,"captured_at":1.5}\n{"seq":1,"capt')
    assert records_in(tmp_path) == {"ab": [(0, 1.5)]}


@pytest.mark.slow
def test_no_acknowledged_frame_is_lost_when_either_side_is_killed() -> None:
    outcome = run_pair(3, seed=3)
    assert outcome.kills["receiver"] > 0 < outcome.kills["sender"] and outcome.kills.total() == 3
    assert outcome.faults == Faults()
    assert outcome.frames > 10


@pytest.mark.slow
def test_deliberate_bugs_are_found() -> None:
    assert run_pair(20, 2, "acknowledge-early").faults.lost
    assert run_pair(20, 2, "no-deduplication").faults.duplicated


@pytest.mark.slow
def test_senders_go_on_at_another_receiver_without_loss() -> None:
    outcome = run_fronts(1, seed=1)
    assert outcome.faults == Faults()
    assert outcome.kills.total() == 1 and outcome.failovers_ms and outcome.frames > 0
