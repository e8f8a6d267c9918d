"""The audit of a receiver's books, and a short run of it with each fault that it is there to find."""

from pathlib import Path

import pytest

from tests.bench.ledger import Faults, audit, play, read_books
from tests.netlab.durable_sender import captured_at

WELL = [(sequence, captured_at(sequence)) for sequence in range(5)]


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        (WELL, Faults()),
        ([*WELL, (5, captured_at(5))], Faults()),
        (WELL[:2] + WELL[3:], Faults(lost=[2])),
        ([], Faults(lost=[0, 1, 2, 3, 4])),
        ([*WELL[:3], *WELL[2:]], Faults(duplicated=[2])),
        ([*WELL, *WELL[3:]], Faults(duplicated=[3, 4], misplaced=[3])),
        ([WELL[1], WELL[0], *WELL[2:]], Faults(misplaced=[0])),
        ([(0, captured_at(1)), *WELL[1:]], Faults(wrong=[0])),
    ],
)
def test_the_audit_finds(lines: list[tuple[int, float]], faults: Faults) -> None:
    assert audit(range(5), lines) == faults
    assert faults.any == (faults != Faults())


def test_a_torn_line_is_none(tmp_path: Path) -> None:
    assert read_books(tmp_path) == []
    (tmp_path / "frames.jsonl").write_text('{"seq":0,"captured_at":1.5}\n{"seq":1,"capt')
    assert read_books(tmp_path) == [(0, 1.5)]


def test_nothing_acknowledged_is_lost_when_either_side_is_killed() -> None:
    outcome = play(rounds=3, seed=3)
    assert outcome.rounds == 3
    assert 0 < outcome.receiver_kills < 3
    assert outcome.faults == Faults()
    assert outcome.frames > 10


def test_a_receiver_that_acknowledges_too_early_is_found() -> None:
    assert play(rounds=20, seed=2, bug="acknowledge-early").faults.lost


def test_a_receiver_that_keeps_no_account_is_found() -> None:
    assert play(rounds=20, seed=2, bug="no-deduplication").faults.duplicated
