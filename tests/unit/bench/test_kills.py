"""Kills: that a fault of complete delivery would be noticed."""

from pathlib import Path

import pytest

from tests.bench.kills import Faults, audit, records_in, run
from tests.netlab.durable_sender import captured_at

CORRECT = [(sequence, captured_at(sequence)) for sequence in range(5)]


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


@pytest.mark.slow
def test_kills_lose_nothing_and_deliberate_bugs_are_found() -> None:
    for outcome in (run(3, "3"), run(2, "1", 3, 2, ["--share-sessions"])):
        assert outcome.faults == Faults() and outcome.kills.total() > 1 and outcome.frames > 10
    assert run(20, "2", flags=["--bug", "acknowledge-early"]).faults.lost
    assert run(20, "2", flags=["--bug", "no-deduplication"]).faults.duplicated
