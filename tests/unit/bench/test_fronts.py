"""The audit of frames that several receivers have recorded."""

from pathlib import Path

import pytest

from receiver.link.auth.ownership import SessionOwner
from receiver.publish.config import PublishConfig
from receiver.publish.frame_record import FrameRecord
from receiver.publish.session_directory import SessionDirectory
from tests.bench.fronts import Front, audited
from tests.bench.ledger import Faults
from tests.netlab.durable_sender import captured_at

SESSION = "ab" * 16


def front(folder: Path, *sequences: int) -> Front:
    with SessionDirectory(PublishConfig(folder)) as directory:
        # Numbers of sessions are those of a directory.
        directory.session("cd" * 16, SessionOwner("", bytes(32)))
        writer = directory.session(SESSION, SessionOwner("", bytes(32)))
        for sequence in sequences:
            writer.append(FrameRecord(sequence, "durable", captured_at(sequence), 0.0, None, {}, {}, {}, ()))
    return Front(folder, shared=True)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 1, 2), (3, 4), Faults()),
        ((0, 4), (1, 2, 3), Faults()),
        ((0, 1), (3, 4), Faults(lost=[2])),
        ((0, 1, 2), (2, 3, 4), Faults(duplicated=[2])),
    ],
)
def test_records_of_all_receivers_together_count(
    tmp_path: Path, first: tuple[int, ...], second: tuple[int, ...], expected: Faults
) -> None:
    fronts = [front(tmp_path / "a", *first), front(tmp_path / "b", *second)]
    assert audited(fronts, {SESSION: range(5)}) == (expected, len(first) + len(second))
